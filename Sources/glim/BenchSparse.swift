import ArgumentParser
import GlimModel

/// The sparse attention that `glim bench` gives a preset.
struct BenchSparse: ParsableArguments {
    @Option(help: "Give the preset sparse attention, as adaptation does: so many positions for each token.")
    var topK: Int?
    @Option(help: "With --top-k: of so many layers one chooses positions, and the others share its choice.")
    var shareEvery: Int?

    var isGiven: Bool { topK != nil || shareEvery != nil }

    func validate() throws {
        for (name, value) in [("top-k", topK), ("share-every", shareEvery)] {
            if let value, !(1...1 << 24).contains(value) {
                throw ValidationError("--\(name) is \(value), not within 1...\(1 << 24).")
            }
        }
        if topK == nil, shareEvery != nil { throw ValidationError("--share-every needs --top-k.") }
    }

    /// The shape with its own indexer, or the one that adaptation gives it.
    func adapt(_ config: ModelConfig) throws -> ModelConfig {
        guard let topK else { return config }
        var indexer = config.indexer ?? config.proposedIndexer
        indexer.topK = topK
        if let shareEvery {
            indexer.kinds = ModelConfig.Indexer.kinds(layerCount: config.layerCount, every: shareEvery)
        }
        return try config.adapted(indexer: indexer)
    }
}
