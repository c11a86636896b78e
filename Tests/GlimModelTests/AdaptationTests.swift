import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

/// What adaptation makes of a model, and what its indexers learn in one pass.
@Suite("adaptation") struct AdaptationTests {
    /// A dense model with MTP layers.
    private static func dense(_ seed: Int, _ change: (inout ModelConfig) -> Void = { _ in }) -> Model {
        var config = Tiny.config(3 * seed)
        (config.queryLatent, config.layerCount, config.mtpLayerCount) = (12, 4, 1)
        (config.denseLayerCount, config.computeType) = (1, .float32)
        change(&config)
        return Tiny.model(config, seed)
    }

    private static func indexer(_ model: Model, topK: Int = 8, _ kinds: [ModelConfig.Indexer.Kind]? = nil)
        -> ModelConfig.Indexer
    {
        ModelConfig.Indexer(
            headCount: 5, headWidth: model.config.keyRotated + 3, topK: topK,
            kinds: kinds ?? [.full, .shared, .full, .shared])
    }

    @Test("a dense model keeps its weights and gets new indexers, which a checkpoint holds", arguments: 0..<4)
    func adapted(seed: Int) throws {
        let dense = Self.dense(seed)
        let model = try dense.adapted(indexer: Self.indexer(dense), seed: 7)
        #expect(model.config.family == .dsa)
        try model.config.validate()
        let before = Set(dense.weights.map { ObjectIdentifier($0) })
        let new = model.weights.filter { !before.contains(ObjectIdentifier($0)) }
        #expect(new.map { ObjectIdentifier($0) } == model.indexerWeights.map { ObjectIdentifier($0) })
        #expect(new.count == 3 * 5 && model.weights.count == dense.weights.count + new.count)
        // As a new model of this shape and seed has them.
        let fresh = Model(model.config, seed: 7)
        for (weight, other) in zip(model.indexerWeights, fresh.indexerWeights) {
            expectSame(weight.rows().elements, other.rows().elements)
        }
        try withTemporaryFolder { folder in
            try model.save(to: folder)
            let loaded = try Model(folder: folder)
            #expect(loaded.config == model.config)
            for (a, b) in zip(model.tensors, loaded.tensors) {
                #expect(a.name == b.name)
                expectSame(b.numbers()!.elements, a.numbers()!.elements, a.name)
            }
        }
    }

    @Test("a proposed indexer fits every model of the series and the released ones") func proposed() throws {
        for name in ModelConfig.presetNames {
            let config = try ModelConfig.preset(named: name)
            let adapted = try config.adapted()
            #expect(adapted.family == .dsa && adapted.indexer?.kinds.count == config.layerCount)
            if config.family == .dsa { #expect(adapted == config) }
        }
    }

    @Test("a model without a query latent is refused, and an indexer that does not fit") func refused() {
        let plain = Self.dense(0) { $0.queryLatent = nil }
        #expect(throws: ConfigError.self) { try plain.adapted(seed: 1) }
        let dense = Self.dense(0)
        #expect(throws: ConfigError.self) { try dense.adapted(indexer: Self.indexer(dense, [.shared]), seed: 1) }
    }

    @Test("a model that has indexers keeps them where they stay, and gets those it lacks") func further() throws {
        let dense = Self.dense(1)
        let first = try dense.adapted(indexer: Self.indexer(dense), seed: 1)
        let second = try first.adapted(
            indexer: Self.indexer(dense, topK: 3, [.full, .full, .shared, .shared]), seed: 2)
        #expect(first.config.indexer?.topK == 8 && second.config.indexer?.topK == 3)
        #expect(second.layers[0].attention.indexer?.query === first.layers[0].attention.indexer?.query)
        #expect(second.layers[1].attention.indexer != nil && second.layers[2].attention.indexer == nil)
        #expect(
            second.predictions[0].layer.attention.indexer?.key === first.predictions[0].layer.attention.indexer?.key)
        let wider = ModelConfig.Indexer(
            headCount: 6, headWidth: dense.config.keyRotated + 3, topK: 8, kinds: Self.indexer(dense).kinds)
        #expect(throws: ConfigError.self) { try first.adapted(indexer: wider, seed: 1) }
    }

    // MARK: One pass

    /// The loss of a pass, of the trunk and two steps of MTP.
    private func pass(_ model: Model, _ stage: Adaptation, _ sequences: [[Int32]]) -> IndexerTraining {
        let indexers = IndexerTraining(stage, lossScale: 0.5)
        let batch = Batch(tokens: sequences.flatMap { $0 }, lengths: sequences.map(\.count))
        var rows = model.hidden(batch, indexers: indexers)
        let next = sequences.flatMap { $0.dropFirst() + [0] }
        for step in 1...2 { rows = model.predictAhead(rows, next: next, batch, step: step, indexers: indexers) }
        return indexers
    }

    @Test(
        "gradients of every indexer weight are the slope of the loss, with layers and steps that share",
        arguments: 0..<6)
    func slopes(seed: Int) throws {
        let dense = Self.dense(seed)
        var draw = Draw(seed, "adaptation")
        let kinds: [ModelConfig.Indexer.Kind] =
            seed % 2 == 0 ? [.full, .shared, .shared, .full] : [.full, .full, .shared, .shared]
        var indexer = Self.indexer(dense, topK: 200, kinds)
        indexer.sharesSelectionAcrossDrafts = seed % 3 == 0
        let model = try dense.adapted(indexer: indexer, seed: UInt64(seed))
        let sequences = [70, 1, 12].map { draw.tokens($0, below: model.config.vocabularySize) }
        // Where a choice holds all positions both stages are one loss, which has no steps.
        let (warm, sparse) = (pass(model, .warmUp, sequences), pass(model, .sparse, sequences))
        #expect(warm.losses.keys.sorted() == kinds.indices.filter { kinds[$0] == .full } + [4])
        let steps = indexer.sharesSelectionAcrossDrafts ? 1 : 2
        #expect(warm.losses[0]?.rows == 83 && warm.losses[4]?.rows == 83 * steps)
        for (layer, loss) in warm.losses { #expect(sparse.losses[layer]! == loss && loss.sum > 0) }

        func loss() -> Double { 0.5 * pass(model, .warmUp, sequences).losses.values.reduce(0) { $0 + $1.sum } }
        for (i, weight) in model.indexerWeights.enumerated() {
            let gradient = try #require(warm.gradients[weight])
            let slope = weight.rows(of: gradient).elements
            expectSame(slope, sparse.gradients[weight].map { weight.rows(of: $0).elements } ?? [])
            let before = weight.rows().elements
            let size = slope.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            let reach = before.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            // Along the gradient the loss rises by its length.
            func at(_ way: Double) -> Double {
                let moved = zip(before, slope).map { $0 + Float(way * reach / size) * $1 }
                moved.withUnsafeBufferPointer { weight.set($0) }
                weight.changed()
                return loss()
            }
            // A bias begins as zeros, which have no size to go by.
            guard reach > 0 else { continue }
            let step = 1e-3
            let found = (at(step) - at(-step)) / (2 * step * reach)
            _ = at(0)
            #expect(abs(found - size) < 0.02 * size, "weight \(i): \(found), expected \(size)")
        }
        let reached = model.weights.filter { warm.gradients[$0] != nil }
        #expect(Set(reached.map { ObjectIdentifier($0) }) == Set(model.indexerWeights.map { ObjectIdentifier($0) }))
    }

    @Test("in a warm-up attention is dense, whatever an indexer would choose", arguments: 0..<3)
    func warmUpIsDense(seed: Int) throws {
        let dense = Self.dense(seed)
        let model = try dense.adapted(indexer: Self.indexer(dense), seed: 1)
        var draw = Draw(seed, "dense")
        let tokens = draw.tokens(90, below: model.config.vocabularySize)
        let batch = Batch(tokens: tokens, lengths: [90])
        let expected = dense.hidden(batch)
        let warm = model.hidden(batch, indexers: IndexerTraining(.warmUp, lossScale: 1))
        expectSame(warm.elements, expected.elements)
        let sparse = model.hidden(batch, indexers: IndexerTraining(.sparse, lossScale: 1))
        expectSame(sparse.elements, model.hidden(batch).elements)
        #expect(sparse.elements != warm.elements)
    }
}
