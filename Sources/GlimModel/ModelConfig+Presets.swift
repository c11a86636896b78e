extension ModelConfig {
    /// The released models, and ours by size.
    public static let presetNames = ["nano", "micro", "mini", "glm-5", "glm-5.2", "glm-4.7-flash"]

    public static func preset(named name: String) throws(ConfigError) -> ModelConfig {
        switch name {
        case "nano": nano
        case "micro": micro
        case "mini": mini
        case "glm-5": glm5
        case "glm-5.2": glm52
        case "glm-4.7-flash": glm47Flash
        default: throw .unknownPreset(name: name, known: presetNames)
        }
    }

    /// About 10M parameters, 4M of them active: learns to write code-shaped text in minutes on two cores.
    public static var nano: ModelConfig { depth(6) }
    /// About 60M parameters, 20M active.
    public static var micro: ModelConfig { depth(12) }
    /// About 400M parameters, 100M active.
    public static var mini: ModelConfig { depth(24) }

    public static let depthRange = 2...96

    /// The series our own models lie on: everything is a function of the number of layers.
    ///
    /// Width grows by a third of 64 for each layer from 256 at depth 6, heads and experts by two for every three
    /// layers; inner widths, latents and the vocabulary follow. All widths are multiples of 32, which every kernel
    /// likes. Dense attention (`.lite`), as pre-training wants it; adaptation adds the indexer.
    ///
    /// - Parameter layerCount: within ``depthRange``; anything else is a bug in the caller and traps.
    public static func depth(_ layerCount: Int) -> ModelConfig {
        precondition(depthRange.contains(layerCount), "depth: \(layerCount) is not within \(depthRange)")
        func multipleOf32(_ numerator: Int, over denominator: Int = 1) -> Int {
            max((2 * numerator + 32 * denominator) / (64 * denominator), 1) * 32
        }
        var config = ModelConfig()
        config.family = .lite
        config.indexer = nil

        config.vocabularySize = layerCount < 12 ? 4096 : layerCount < 24 ? 8192 : 16_384
        config.layerCount = layerCount
        config.denseLayerCount = 1
        config.hiddenSize = multipleOf32(384 + 64 * layerCount, over: 3)
        config.denseWidth = multipleOf32(5 * config.hiddenSize, over: 2)
        config.expertWidth = multipleOf32(3 * config.hiddenSize, over: 8)

        config.headCount = 4 + 2 * (layerCount / 3)
        config.queryLatent = multipleOf32(config.hiddenSize, over: 2)
        config.latent = multipleOf32(config.hiddenSize, over: 4)
        config.keyRotated = layerCount < 12 ? 16 : 32
        config.keyPlain = 2 * config.keyRotated
        config.valueWidth = 2 * config.keyRotated

        config.routedExpertCount = config.headCount + 8
        config.expertsPerToken = 2
        // Two experts of weight 1/2 add up to 1/sqrt(2) of one expert's size; this brings the sum back to it.
        config.routedScale = 1.4

        // A matrix then keeps the size of what it is given; 0.02, made for widths of thousands, would be a third of it.
        config.initializerRange = Float(1 / Double(config.hiddenSize).squareRoot())

        // One epsilon for all norms, so that engines which know only one of the two agree with us.
        config.normEpsilon = 1e-6
        config.latentNormEpsilon = 1e-6
        // With 8 or 16 frequencies the slowest turns once in 20,000 positions or more, beyond what is trained.
        config.ropeTheta = 1e4
        config.maximumPositions = 16_384
        config.dtype = .float32
        return config
    }

    /// The indexer that adaptation gives a model that has none yet, one in each layer: in `nano` 6 heads of 24.
    ///
    /// Scoring a key costs about an eighth of attending to it (1,152 multiply-adds in `nano`'s 8 heads over a key of
    /// 80 and a value of 64, 144 here), as in GLM-5 where it is a seventeenth.
    public var proposedIndexer: Indexer {
        let attention = headCount * (2 * latent + keyRotated)
        let indexHeads = 6 * max(1, headCount / 8)
        // At least the rotated part, an even number.
        let width = max(keyRotated, attention / 8 / indexHeads / 8 * 8)
        return Indexer(
            headCount: indexHeads, headWidth: width, topK: 256, ropeInterleave: ropeInterleave,
            kinds: Indexer.kinds(layerCount: layerCount))
    }

    public static var glm5: ModelConfig {
        ModelConfig().with {
            $0.endOfTextIDs = [154_820, 154_827, 154_829]
            $0.padID = 154_820
        }
    }

    /// GLM-5 with a million positions, where 57 of 78 layers share an earlier layer's selection.
    public static var glm52: ModelConfig {
        glm5.with {
            $0.ropeTheta = 8e6
            $0.maximumPositions = 1_048_576
            $0.indexer?.kinds = Indexer.kinds(layerCount: $0.layerCount, every: 4, offset: 3)
            $0.indexer?.sharesSelectionAcrossDrafts = true
        }
    }

    public static var glm47Flash: ModelConfig {
        glm5.with {
            $0.family = .lite
            $0.indexer = nil
            $0.hiddenSize = 2048
            $0.denseWidth = 10_240
            $0.expertWidth = 1536
            $0.layerCount = 47
            $0.denseLayerCount = 1
            $0.headCount = 20
            $0.queryLatent = 768
            $0.routedExpertCount = 64
            $0.expertsPerToken = 4
            $0.routedScale = 1.8
        }
    }
}
