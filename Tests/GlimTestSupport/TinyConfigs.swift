public import GlimModel
import GlimTensor

/// Small configs, every part of the network in some of them.
public enum Tiny {
    /// A config of a kind that `seed` decides: sparse or dense attention, shared indexers, groups of experts, odd
    /// widths, tied embeddings, no query latent, MTP layers, products in f32 or bf16.
    public static func config(_ seed: Int) -> ModelConfig {
        var draw = Draw(seed, "config")
        var config = ModelConfig()
        let isSparse = seed % 3 != 0
        config.vocabularySize = draw.integer(17...90)
        config.hiddenSize = draw.integer(9...48)
        config.denseWidth = draw.integer(5...60)
        config.expertWidth = draw.integer(3...34)
        config.layerCount = draw.integer(1...(isSparse ? 4 : 3))
        config.denseLayerCount = draw.integer(0...min(2, config.layerCount))
        config.mtpLayerCount = draw.chance(0.3) ? 1 + seed % 2 : 0
        config.headCount = draw.pick([1, 2, 3, 4, 5, 6, 9])
        config.queryLatent = isSparse || draw.chance(0.6) ? draw.integer(4...36) : nil
        config.latent = draw.integer(3...40)
        config.keyPlain = draw.integer(1...24)
        config.keyRotated = 2 * draw.integer(1...6)
        config.valueWidth = draw.integer(1...24)
        config.family = isSparse ? .dsa : .lite
        config.indexer = nil
        if isSparse {
            let kinds = (0..<config.layerCount).map { i -> ModelConfig.Indexer.Kind in
                i == 0 || draw.chance(0.5) ? .full : .shared
            }
            config.indexer = .init(
                headCount: draw.integer(1...9), headWidth: config.keyRotated + draw.integer(0...12),
                topK: draw.integer(1...24), ropeInterleave: draw.chance(0.5), kinds: kinds,
                sharesSelectionAcrossDrafts: seed % 4 < 2)
        }
        config.groupCount = draw.pick([1, 1, 2, 3])
        let groupSize = draw.integer(config.groupCount > 1 ? 2...4 : 2...9)
        config.routedExpertCount = config.groupCount * groupSize
        config.groupsKept = draw.integer(1...config.groupCount)
        config.expertsPerToken = draw.integer(1...min(4, groupSize * config.groupsKept))
        config.sharedExpertCount = draw.integer(1...2)
        config.normalisesExpertWeights = draw.chance(0.7)
        config.routedScale = draw.pick([1, 1.4, 2.5])
        config.ropeTheta = draw.pick([1e4, 1e6])
        config.ropeInterleave = draw.chance(0.6)
        config.latentNormEpsilon = draw.pick([1e-5, 1e-6])
        config.tiesEmbeddings = draw.chance(0.3)
        config.initializerRange = draw.pick([0.1, 0.3, 0.6])
        config.maximumPositions = 1024
        config.endOfTextIDs = []
        config.dtype = .float32
        config.computeType = draw.chance(0.35) ? .bfloat16 : .float32
        return config
    }

    /// The same with keys that are kept in fewer bits, for two seeds of three: what such a model is held against must
    /// round as it does.
    public static func shortKeys(_ seed: Int) -> ModelConfig {
        var draw = Draw(seed, "short keys")
        return config(seed).with {
            if draw.chance(2 / 3) { $0.latentFormat = .bf16 }
            $0.indexer?.keyFormat = draw.pick([.f32, .bf16, .int8, .int8])
        }
    }

    /// A model of such a config, its norms and router biases no longer plain.
    public static func model(_ seed: Int) -> Model { model(config(seed), seed) }

    /// The same of a config that was changed.
    public static func model(_ config: ModelConfig, _ seed: Int) -> Model {
        let model = Model(config, seed: UInt64(seed))
        var draw = Draw(seed, "vectors")
        for weight in model.weights where weight.isVector {
            let before = weight.rows().elements
            let moved = before.map { $0 + draw.float(0.2) }
            moved.withUnsafeBufferPointer { weight.set($0) }
            weight.changed()
        }
        return model
    }
}
