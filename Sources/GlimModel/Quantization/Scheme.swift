import GlimTensor

/// Which matrices of a model are integers, and of how many bits.
///
/// What they meet is quantised to int8, a scale for each token and group of inputs. Left as they are: embeddings, which
/// are looked up; routers, and the indexer's keys and head weights, on which choices hang; and `kv_b_proj`, whose key
/// half is used transposed, so that sums run across the groups of its scales. The published recipes for GLM-5 leave the
/// same out.
public struct Scheme: Sendable, Equatable {
    public enum Name: String, Sendable, Codable, CaseIterable {
        /// Everything in int8.
        case w8a8
        /// Routed experts in int4, everything else in int8 (GLM-5 report, section 5).
        case w4a8
    }

    /// How precise a module's matrices are.
    public enum Precision: Int, Sendable, Comparable {
        case int4 = 4
        case int8 = 8
        /// Not quantised.
        case full = 16

        public static func < (a: Precision, b: Precision) -> Bool { a.rawValue < b.rawValue }
    }

    public let name: Name
    /// Modules that keep more bits than the scheme gives them, by name: `model.layers.3.mlp.experts` for the routed
    /// experts of a layer together, which are one, `model.layers.3.self_attn.o_proj`, `lm_head`.
    public var kept: [String: Precision]

    public init(_ name: Name, kept: [String: Precision] = [:]) { (self.name, self.kept) = (name, kept) }

    /// What a matrix is quantised to, nil for not at all.
    func format(_ matrix: MatrixRequest) -> Weight.Format? {
        var precision: Precision =
            switch matrix.use {
            case .other: .full
            case .linear: .int8
            case .routedExperts: name == .w4a8 && !matrix.isAhead ? .int4 : .int8
            }
        if let most = kept[matrix.module] { precision = max(precision, most) }
        return precision == .full ? nil : .integers(bits: precision.rawValue, inputs: matrix.inputs)
    }
}

extension ModelConfig {
    /// What quantised models keep of keys: bf16 of latents, and int8 of the indexers, which then choose by products of
    /// integers.
    package mutating func keepsShortKeys() {
        latentFormat = .bf16
        indexer?.keyFormat = .int8
    }

    /// Whether any keys are kept in fewer bits than they are computed in.
    var keepsRoundedKeys: Bool { latentFormat != .f32 || (indexer?.keyFormat ?? .f32) != .f32 }
}

/// A matrix that a model is about to make.
struct MatrixRequest {
    /// What products with it are, as far as number formats go.
    enum Use {
        case linear
        case routedExperts
        /// Looked up, or a choice hangs on it, or its sums run across groups: never in integers.
        case other
    }

    /// Of the checkpoint, the first one where there are several.
    let tensor: String
    let outputs: Int
    let inputs: Int
    let use: Use
    /// A choice of experts or positions hangs on its products.
    let decides: Bool
    /// Of a layer of multi-token prediction. An int4 head accepts none of its own drafts, so these keep eight bits.
    let isAhead: Bool
    /// Nothing but numbers rounded to bf16 is ever read from it.
    let isOnlyRounded: Bool

    /// The checkpoint's module; of routed experts all of a layer.
    var module: String {
        let end = use == .routedExperts ? ".0." : "."
        return tensor.split(separator: end, omittingEmptySubsequences: false).dropLast().joined(separator: end)
    }
}

/// How a matrix is held, and what products make of it.
struct MatrixForm {
    var format = Weight.Format.f32
    /// What trained numbers are quantised to.
    var quantization: Weight.Format?
    /// Another model's weight, to be used instead of a new one.
    var shared: Weight?
}
