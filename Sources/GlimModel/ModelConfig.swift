public import GlimCheckpoint
public import GlimTensor

/// The shape of one GLM-5 model: what its checkpoint's `config.json` says, in our words, and nothing else.
///
/// The defaults are GLM-5's own and serve code, not files: a file that leaves a number out is refused, where the
/// format does not define what its absence means. A value made in code is checked by ``validate()``; one read from
/// a file has been checked already, so everything below may rely on every range and relation listed there.
///
/// ```swift
/// let tiny = ModelConfig.nano.with { $0.vocabularySize = 512 }
/// ```
public struct ModelConfig: Sendable, Equatable {
    /// Which of the two architectures: they differ in the attention only.
    public enum Family: String, Sendable, CaseIterable {
        /// `glm_moe_dsa`: an indexer chooses the positions that attention reads (GLM-5, 5.1, 5.2, 5.3).
        case dsa = "glm_moe_dsa"
        /// `glm4_moe_lite`: the same network with dense attention (GLM-4.7-Flash, and ours before adaptation).
        case lite = "glm4_moe_lite"
    }

    /// The number format the weights were saved in. Advice only: a tensor's own header decides.
    public enum NumberFormat: String, Sendable, CaseIterable {
        case float32, bfloat16, float16
    }

    /// The number format of matrix products, in training as in generation: a model is the same numbers in both.
    ///
    /// With `bfloat16` weights and what they meet are rounded inside products; sums, norms, attention scores, the router
    /// and everything that is kept stay f32.
    public enum ComputeType: String, Sendable, Codable, CaseIterable {
        case float32, bfloat16
    }

    /// One block of a block-scaled FP8 weight: one scale for `rows` x `columns` numbers.
    public struct ScaleBlock: Sendable, Equatable {
        public var rows: Int
        public var columns: Int

        public init(rows: Int, columns: Int) { (self.rows, self.columns) = (rows, columns) }
    }

    /// The lightning indexer of DeepSeek Sparse Attention.
    public struct Indexer: Sendable, Equatable {
        /// Whether a layer runs its own indexer or reuses the selection of the nearest earlier full layer.
        public enum Kind: String, Sendable, CaseIterable { case full, shared }

        public var headCount: Int
        public var headWidth: Int
        /// Positions that attention may read.
        public var topK: Int
        /// Pairs rotated by RoPE are neighbours (true) or half a width apart (false).
        public var ropeInterleave: Bool
        /// One entry for each trunk layer; the first is `.full`.
        public var kinds: [Kind]
        /// How its keys are kept: what scores are made of, in training as in generation.
        public var keyFormat: KeyFormat
        /// Only the first of several speculative MTP steps runs the MTP layer's indexer.
        public var sharesSelectionAcrossDrafts: Bool

        public init(
            headCount: Int, headWidth: Int, topK: Int, ropeInterleave: Bool = true, kinds: [Kind],
            sharesSelectionAcrossDrafts: Bool = false, keyFormat: KeyFormat = .f32
        ) {
            (self.headCount, self.headWidth, self.topK) = (headCount, headWidth, topK)
            (self.ropeInterleave, self.kinds) = (ropeInterleave, kinds)
            (self.sharesSelectionAcrossDrafts, self.keyFormat) = (sharesSelectionAcrossDrafts, keyFormat)
        }

        /// IndexShare's rule: layer `i`, from 0, is full when `max(i - offset + 1, 0)` is a multiple of `every`.
        public static func kinds(layerCount: Int, every: Int = 1, offset: Int = 2) -> [Kind] {
            (0..<layerCount).map { max($0 - offset + 1, 0) % every == 0 ? .full : .shared }
        }
    }

    public var family = Family.dsa

    /// How the keys of attention are kept, f32 or bf16: what scores are made of, in training as in generation.
    public var latentFormat = KeyFormat.f32

    public var vocabularySize = 154_880  // W
    public var hiddenSize = 6144  // D
    /// Inner width of the first, dense MLPs.
    public var denseWidth = 12_288
    /// Inner width of one expert.
    public var expertWidth = 2048  // F

    /// Trunk layers; the MTP layer is not among them.
    public var layerCount = 78  // L
    /// Leading layers with a dense MLP; the others have experts.
    public var denseLayerCount = 3
    /// Multi-token prediction layers after the trunk. A single one may serve several steps, as in GLM-5.
    public var mtpLayerCount = 1

    public var headCount = 64  // H
    /// Width of the queries' latent; nil projects queries in one step (`.lite` only).
    public var queryLatent: Int? = 2048  // Q
    /// Width of the keys' and values' latent, which is what the cache holds.
    public var latent = 512  // C
    /// Part of a head's key without rotation.
    public var keyPlain = 192  // N
    /// Rotated part of a head's key, one vector shared by all heads; even.
    public var keyRotated = 64  // R
    public var valueWidth = 256  // V
    /// nil for `.lite`.
    public var indexer: Indexer? = Indexer(
        headCount: 32, headWidth: 128, topK: 2048, kinds: Indexer.kinds(layerCount: 78))

    public var routedExpertCount = 256  // E
    /// Experts every token passes through; stored as one MLP of width `expertWidth * sharedExpertCount`.
    public var sharedExpertCount = 1
    public var expertsPerToken = 8  // K
    public var groupCount = 1
    /// Groups that stay eligible for a token, by the sum of their two best scores.
    public var groupsKept = 1
    public var routedScale: Float = 2.5
    public var normalisesExpertWeights = true

    /// Added to the mean square in every RMS norm but the latents'.
    public var normEpsilon: Float = 1e-5
    /// The same, in the norms of the two latents.
    public var latentNormEpsilon: Float = 1e-5
    public var ropeTheta = 1e6
    /// Pairs rotated by RoPE are neighbours (true) or half a width apart (false).
    public var ropeInterleave = true
    public var maximumPositions = 202_752

    /// The head's weight is the embedding's.
    public var tiesEmbeddings = false
    public var initializerRange: Float = 0.02

    /// Tokens that end a reply. Like the other ids, set by whoever trains the tokenizer.
    public var endOfTextIDs: [Int] = []
    public var padID: Int?
    public var bosID: Int?

    public var dtype = NumberFormat.bfloat16
    /// `compute_dtype` in the file, our own key; other engines pass over it.
    public var computeType = ComputeType.float32
    /// What products are computed in, as kernels call it.
    public var productFormat: Weight.Format { computeType == .bfloat16 ? .bf16 : .f32 }
    /// Present when the file announces block-scaled FP8 weights.
    public var scaleBlock: ScaleBlock?
    /// Present when the file announces weights in integers.
    public var integerWeights: IntegerWeights?

    public init() {}

    /// A copy with some fields changed.
    public func with(_ change: (inout ModelConfig) -> Void) -> ModelConfig {
        var copy = self
        change(&copy)
        return copy
    }
}

extension ModelConfig {
    /// Width of one head's query, and of its key before absorption.
    public var keyWidth: Int { keyPlain + keyRotated }

    /// Width of the shared experts' one MLP.
    public var sharedWidth: Int { expertWidth * sharedExpertCount }

    /// Trunk layers with experts.
    public var expertLayerCount: Int { layerCount - denseLayerCount }

    /// Whether a layer has a dense MLP. Layers from ``layerCount`` on are MTP layers, which have experts.
    public func isDense(layer: Int) -> Bool { layer < denseLayerCount }

    /// Whether steps of multi-token prediction after the first read the positions that the first chose.
    public var sharesSelectionAcrossDrafts: Bool { indexer?.sharesSelectionAcrossDrafts ?? false }

    /// What the indexer of a layer does, or nil in a model without one. MTP layers have their own.
    public func indexerKind(layer: Int) -> Indexer.Kind? {
        guard let indexer else { return nil }
        return layer < layerCount ? indexer.kinds[layer] : .full
    }
}

/// Why a `config.json` cannot be used, in one line: the key, what was found, and what would be right.
public enum ConfigError: Error, Equatable, CustomStringConvertible {
    case unreadable(path: String, why: String)
    /// A GGUF file, which holds config and weights, is damaged or not to be used.
    case weights(CheckpointError)
    case notJSON(why: String)
    case missing(key: String)
    case wrongType(key: String, found: String, expected: String)
    case outOfRange(key: String, found: String, allowed: String)
    case unsupported(key: String, found: String, why: String)
    case unknownPreset(name: String, known: [String])
    indirect case inFile(path: String, ConfigError)

    public var description: String { sentence.onOneLine }

    private var sentence: String {
        switch self {
        case .unreadable(let path, let why): "cannot read \(path): \(why)"
        case .weights(let error): error.description
        case .notJSON(let why): "not a configuration in JSON: \(why)"
        case .missing(let key): "\(key) is missing"
        case .wrongType(let key, let found, let expected): "\(key) is \(found), expected \(expected)"
        case .outOfRange(let key, let found, let allowed): "\(key) is \(found), allowed: \(allowed)"
        case .unsupported(let key, let found, let why): "\(key) is \(found), which is not supported: \(why)"
        case .unknownPreset(let name, let known):
            "there is no preset \"\(name)\"; known: \(known.joined(separator: ", "))"
        case .inFile(let path, let error): "\(path): \(error)"
        }
    }
}
