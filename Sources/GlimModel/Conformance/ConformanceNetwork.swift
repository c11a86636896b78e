import Foundation
public import GlimTensor

/// A network on paper: its shape, and its numbers under the checkpoint's names.
public struct ConformanceNetwork: Sendable {
    public let name: String
    public let config: ModelConfig
    private let numbers: @Sendable (_ tensor: String) -> [Float]?
    private let quantized: @Sendable (_ tensor: String) -> IntegerMatrix?

    /// - Parameters:
    ///   - integers: of a matrix whose products are in them; nil where they are not.
    ///   - numbers: of a tensor, row-major; nil where there is none.
    public init(
        _ name: String, _ config: ModelConfig,
        integers: @escaping @Sendable (_ tensor: String) -> IntegerMatrix? = { _ in nil },
        numbers: @escaping @Sendable (_ tensor: String) -> [Float]?
    ) {
        (self.name, self.config, self.numbers, quantized) = (name, config, numbers, integers)
    }

    /// A matrix in the integers that products with it are in, which also decide how what it meets is rounded: to int8,
    /// with a scale for each row and group. Nil of tensors whose products are of numbers.
    public func integers(_ name: String) -> IntegerMatrix? { quantized(name) }

    /// The numbers of a tensor, row-major, those of integers times their scales; asking for one that the config does not
    /// have is a bug.
    public func tensor(_ name: String) -> [Float] {
        if let integers = quantized(name) { return integers.numbers }
        guard let found = numbers(name) else { preconditionFailure("ConformanceNetwork: no tensor \(name)") }
        return found
    }

    /// A network that differs in its config, and in the tensors given, products with which are of numbers.
    func changed(
        _ name: String, _ change: (inout ModelConfig) -> Void = { _ in }, tensors: [String: [Float]] = [:]
    ) -> ConformanceNetwork {
        ConformanceNetwork(
            name, config.with(change), integers: { [quantized] in tensors[$0] == nil ? quantized($0) : nil },
            numbers: { [numbers] in tensors[$0] ?? numbers($0) })
    }

    /// The same as a quantised file has it: matrices in integers, those of feed-forward parts of so many bits, and keys
    /// kept in fewer bits.
    func inIntegers(feedForwardBits bits: Int) -> ConformanceNetwork {
        let scheme = Scheme(.w8a8)
        let plan = Model(config, isBlueprint: true) { MatrixForm(quantization: scheme.format($0)) }
        var integers: [String: IntegerMatrix] = [:]
        for tensor in plan.tensors where tensor.integerFormat != nil {
            let inputs = tensor.shape[1]
            let format = Weight.Format.integers(bits: tensor.name.contains(".mlp.") ? bits : 8, inputs: inputs)
            integers[tensor.name] = self.tensor(tensor.name).withUnsafeBufferPointer {
                Quantizer(format, inputs: inputs)($0)
            }
        }
        return ConformanceNetwork(
            name, config.with { $0.keepsShortKeys() }, integers: { [integers] in integers[$0] }, numbers: numbers)
    }

    /// The same weights with dense attention.
    var dense: ConformanceNetwork {
        changed("\(name), dense") { ($0.family, $0.indexer) = (.lite, nil) }
    }

    /// The same weights with another number of chosen positions.
    func selecting(_ topK: Int) -> ConformanceNetwork {
        changed("\(name), top \(topK)") { $0.indexer?.topK = topK }
    }

    /// The first layer as a network of its own: its keys hang on tokens and positions alone, so that a plain computation
    /// of few rows is possible at any length.
    var firstLayer: ConformanceNetwork {
        changed(config.layerCount == 1 ? name : "\(name), first layer") {
            ($0.layerCount, $0.mtpLayerCount, $0.denseLayerCount) = (1, 0, min(1, $0.denseLayerCount))
            $0.indexer?.kinds = [.full]
        }
    }

    /// Names and shapes of all tensors, in the checkpoint's order.
    static func shapes(_ config: ModelConfig) -> [(name: String, shape: [Int])] {
        Model(config, isBlueprint: true).tensors.map { ($0.name, $0.shape) }
    }
}

extension ConformanceNetwork {
    /// The networks of the suite: every kind of attention, small enough to be computed by hand in a second.
    public static var builtIn: [ConformanceNetwork] {
        [
            random("dense", tiny(layers: 2, kinds: nil)),
            random("sparse", tiny(layers: 2, kinds: [.full, .full])),
            random("shared", tiny(layers: 5, kinds: [.full, .shared, .full, .shared, .shared])),
            random("mtp", tiny(layers: 2, kinds: [.full, .shared]).with { $0.mtpLayerCount = 3 }),
        ] + quantized
    }

    /// Those of them that are quantised: one with all matrices in 8 bits, one with some in 4.
    public static var quantized: [ConformanceNetwork] {
        // Rows of several groups, and rows that are one.
        let config = tiny(layers: 2, kinds: [.full, .shared]).with { ($0.hiddenSize, $0.denseWidth) = (96, 160) }
        return [8, 4].map { random("int\($0)", config).inIntegers(feedForwardBits: $0) }
    }

    /// Positions that the built-in networks choose: neither a power of two nor a divisor of a page.
    static let topK = 24

    /// Small widths, none of them equal to another that it could be confused with.
    private static func tiny(layers: Int, kinds: [ModelConfig.Indexer.Kind]?) -> ModelConfig {
        var config = ModelConfig()
        config.family = kinds == nil ? .lite : .dsa
        config.indexer = kinds.map { .init(headCount: 5, headWidth: 14, topK: topK, kinds: $0) }
        (config.vocabularySize, config.hiddenSize, config.denseWidth, config.expertWidth) = (48, 32, 36, 12)
        (config.layerCount, config.denseLayerCount, config.mtpLayerCount) = (layers, layers, 0)
        (config.headCount, config.queryLatent, config.latent) = (3, 20, 16)
        (config.keyPlain, config.keyRotated, config.valueWidth) = (10, 8, 6)
        (config.routedExpertCount, config.expertsPerToken) = (4, 2)
        config.ropeTheta = 1e4
        config.maximumPositions = 1 << 18
        config.dtype = .float32
        return config
    }

    /// Every matrix keeps the size of what it is given; norms are near 1, biases not zero.
    private static func random(_ name: String, _ config: ModelConfig) -> ConformanceNetwork {
        var tensors: [String: [Float]] = [:]
        for (name, shape) in shapes(config) {
            let random = CounterRandom(seed: 1, purpose: "conformance.\(name)")
            func uniform(_ i: Int) -> Float { Float(2 * random.uniform(UInt64(i)) - 1) }
            let isBias = name.hasSuffix("bias")
            let isEmbedding = name == "model.embed_tokens.weight"
            tensors[name] = (0..<shape.reduce(1, *)).map { i in
                if shape.count == 1 { return (isBias ? 0 : 1) + 0.3 * uniform(i) }
                return uniform(i) * Float(3 / Double(isEmbedding ? 1 : shape[1])).squareRoot()
            }
        }
        return ConformanceNetwork(name, config) { [tensors] in tensors[$0] }
    }
}

/// A network whose indexer and attention retrieve planted tokens by construction, at any distance.
///
/// Embeddings are one-hot, so that every matrix is a table over tokens. Asking token j makes the query e_j; needle j is
/// the only key along e_j. All other scores are exactly 0. Attention does the same in its part without rotation, and
/// carries the needle's own one-hot vector to the head.
enum NeedleNetwork {
    static let count = 7
    private static let fillers = 16
    static let vocabulary = fillers + 2 * count

    static func filler(_ i: Int) -> Int32 { Int32(i % fillers) }
    static func needle(_ j: Int) -> Int32 { Int32(fillers + j) }
    static func asking(_ j: Int) -> Int32 { Int32(fillers + count + j) }

    static var network: ConformanceNetwork {
        var config = ModelConfig()
        let (D, rotated, plain) = (vocabulary, 4, count + 2)
        config.indexer = .init(headCount: 2, headWidth: rotated + plain, topK: ConformanceNetwork.topK, kinds: [.full])
        (config.vocabularySize, config.hiddenSize, config.denseWidth) = (D, D, 4)
        (config.layerCount, config.denseLayerCount, config.mtpLayerCount) = (1, 1, 0)
        (config.headCount, config.queryLatent, config.latent) = (1, count + 1, D)
        (config.keyPlain, config.keyRotated, config.valueWidth) = (count, rotated, D)
        config.ropeTheta = 1e4
        config.maximumPositions = 1 << 18
        config.dtype = .float32

        var tensors: [String: [Float]] = [:]
        let shapes = ConformanceNetwork.shapes(config)
        for (name, shape) in shapes {
            let isOne = shape.count == 1 && !name.hasSuffix("bias")
            tensors[name] = [Float](repeating: isOne ? 1 : 0, count: shape.reduce(1, *))
        }
        func set(_ tensor: String, _ row: Int, _ column: Int, _ value: Float) {
            guard let shape = shapes.first(where: { $0.name == tensor })?.shape else { return }
            tensors[tensor]![row * shape[1] + column] = value
        }
        let attention = "model.layers.0.self_attn"
        for v in 0..<D {
            set("model.embed_tokens.weight", v, v, 1)
            set("\(attention).kv_a_proj_with_mqa.weight", v, v, 1)
            set("\(attention).kv_b_proj.weight", count + v, v, 1)
            set("\(attention).o_proj.weight", v, v, 1)
            let isAsking = v >= fillers + count
            set("\(attention).q_a_proj.weight", isAsking ? v - fillers - count : count, v, 1)
            // A layer norm follows: each key is a pair +1, -1, and only needle j is positive along e_j.
            let needle = v - fillers
            let isNeedle = (0..<count).contains(needle)
            set("\(attention).indexer.wk.weight", rotated + (isNeedle ? needle : count), v, 1)
            set("\(attention).indexer.wk.weight", rotated + (isNeedle ? count : count + 1), v, -1)
            for head in 0..<2 { set("\(attention).indexer.weights_proj.weight", head, v, 1) }
        }
        for j in 0..<count {
            for head in 0..<2 {
                set("\(attention).indexer.wq_b.weight", head * (rotated + plain) + rotated + j, j, 1)
            }
            set("\(attention).q_b_proj.weight", j, j, 4)
            set("\(attention).kv_b_proj.weight", j, Int(needle(j)), 4)
            set("lm_head.weight", Int(needle(j)), Int(needle(j)), 1)
        }
        return ConformanceNetwork("needle", config) { [tensors] in tensors[$0] }
    }
}
