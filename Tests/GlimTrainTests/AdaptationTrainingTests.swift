import GlimModel
import GlimTensor
import GlimTestSupport
import GlimTrain
import Testing

/// Steps of both stages of the adaptation to sparse attention.
@Suite("adaptation training", .serialized) struct AdaptationTrainingTests {
    /// A dense model with an MTP layer that serves several steps, adapted with indexers that are shared.
    private static func model(shares: Bool = false) throws -> Model {
        var config = ModelConfig.depth(3)
        (config.vocabularySize, config.hiddenSize, config.denseWidth, config.expertWidth) = (96, 32, 48, 24)
        (config.headCount, config.queryLatent, config.latent, config.valueWidth) = (5, 24, 16, 12)
        (config.keyPlain, config.keyRotated, config.routedExpertCount, config.mtpLayerCount) = (12, 8, 4, 1)
        config.initializerRange = 0.3
        let indexer = ModelConfig.Indexer(
            headCount: 4, headWidth: 12, topK: 12, kinds: [.full, .shared, .full],
            sharesSelectionAcrossDrafts: shares)
        return try Model(config, seed: 1).adapted(indexer: indexer, seed: 2)
    }

    /// All steps of one stage.
    private static func recipe(_ stage: Adaptation, total: Int) -> TrainRecipe {
        var recipe = TrainRecipe(stage: .adapt)
        recipe.useOneLength()
        (recipe.sequenceLength, recipe.batchTokens, recipe.microBatchTokens) = (80, 240, 80)
        (recipe.mtpSteps, recipe.learningRate, recipe.warmupSteps) = (3, 3e-3, stage == .warmUp ? total : 0)
        (recipe.indexerLearningRate, recipe.minimumIndexerLearningRateRatio) = (3e-3, 0.1)
        return recipe
    }

    private static func trainer(
        _ model: Model, _ stage: Adaptation = .sparse, total: Int = 20, recomputes: Bool? = nil
    ) throws -> Trainer {
        let random = CounterRandom(seed: 3, purpose: "documents")
        let documents = (0..<30).map { (d: Int) -> [Int32] in
            let count = 50 + random.integer(UInt64(d), below: 100)
            return (0..<count).map { Int32(($0 * (1 + d % 3) + d) % 50) } + [95]
        }
        let store = TokenStore(documents)
        var recipe = recipe(stage, total: total)
        recipe.recompute = recomputes
        let loader = try PackedLoader(store, sequenceLength: recipe.sequenceLength, seed: recipe.seed)
        return Trainer(model, MixedLoader(loader), recipe, totalSteps: total)
    }

    private static func bits(_ tensors: [CheckpointTensor], in gradients: Gradients? = nil) -> [[UInt32]?] {
        tensors.map { $0.numbers(in: gradients)?.elements.map(\.bitPattern) }
    }

    @Test("a warm-up moves nothing but indexers, and brings them nearer to attention") func warmUp() throws {
        let model = try Self.model()
        let trunk = model.tensors.filter { !$0.name.contains(".indexer.") }
        let indexers = model.tensors.filter { $0.name.contains(".indexer.") }
        let before = (Self.bits(trunk), Self.bits(indexers))
        var trainer = try Self.trainer(model, .warmUp)
        let rows = trainer.nextRows()
        let losses = (0..<20).map { _ in trainer.trainStep(on: rows) }
        #expect(Self.bits(trunk) == before.0)
        for (now, then) in zip(Self.bits(indexers), before.1) { #expect(now != then) }
        let (first, last) = (losses[0].extras["indexer_loss"]!, losses[19].extras["indexer_loss"]!)
        #expect(last < 0.8 * first && last > 0, "\(first) to \(last)")
        // The model's own loss is measured, and stays.
        #expect(losses.allSatisfy { $0.loss == losses[0].loss && $0.mtpLoss == losses[0].mtpLoss && $0.loss > 0 })
    }

    @Test("a sparse step gives the trunk the gradient of its own loss, and indexers theirs, to the bit") func apart()
        throws
    {
        let model = try Self.model()
        var trainer = try Self.trainer(model)
        let rows = trainer.nextRows()
        var options = trainer.recipe.passOptions(length: 80)
        let own = TrainingPass(model, rows, options)
        options.adaptation = .sparse
        let both = TrainingPass(model, rows, options)
        #expect(own.loss == both.loss && own.mtpLoss == both.mtpLoss && own.indexerLoss == 0 && both.indexerLoss > 0)
        for tensor in model.tensors {
            let (a, b) = (Self.bits([tensor], in: own.gradients), Self.bits([tensor], in: both.gradients))
            if tensor.name.contains(".indexer.") {
                #expect(a == [nil] && b != [nil], "\(tensor.name)")
            } else {
                #expect(a == b, "\(tensor.name)")
            }
        }
    }

    @Test(
        "gradients are the same bits for any threads and with recomputation", arguments: Adaptation.allCases,
        [true, false])
    func exact(stage: Adaptation, shares: Bool) throws {
        let model = try Self.model(shares: shares)
        var trainer = try Self.trainer(model)
        let rows = trainer.nextRows()
        var options = trainer.recipe.passOptions(length: 80)
        options.adaptation = stage
        let first = Machine.alone(threads: 1) { TrainingPass(model, rows, options) }
        #expect(first.indexerLoss.isFinite && first.indexerLoss > 0)
        for (threads, recomputes) in [(2, false), (3, true), (1, true)] {
            options.recomputes = recomputes
            let again = Machine.alone(threads: threads) { TrainingPass(model, rows, options) }
            #expect(again.loss == first.loss && again.mtpLoss == first.mtpLoss)
            #expect(again.indexerLoss == first.indexerLoss && again.expertLoad == first.expertLoad)
            #expect(
                Self.bits(model.tensors, in: again.gradients) == Self.bits(model.tensors, in: first.gradients),
                "\(threads) threads, recomputes: \(recomputes)")
        }
    }

    @Test(
        "after both stages, saved and loaded, scores are the same bits in every mode, and drafts change no token",
        arguments: [true, false])
    func adaptedExactness(shares: Bool) throws {
        let dense = try Self.model(shares: shares)
        var warm = try Self.trainer(dense, .warmUp, total: 3)
        while !warm.isDone { _ = warm.trainStep() }
        var sparse = try Self.trainer(dense, total: 4, recomputes: true)
        while !sparse.isDone { #expect(sparse.trainStep().extras["indexer_loss"]!.isFinite) }

        let model = try withTemporaryFolder { folder in
            try dense.save(to: folder)
            return try Model(folder: folder)
        }
        #expect(model.config == dense.config)
        var draw = Draw(4, "scored")
        let tokens = draw.tokens(150, below: model.config.vocabularySize)
        let expected = Machine.alone(threads: 1) { Scorer(dense).logits(tokens) }
        let chosen = Scorer(model).selection(tokens)
        #expect(chosen[0] == chosen[1] && chosen[0] != chosen[2])
        for threads in [1, 2] {
            for mode in [ScoreMode.train, .decode, .chunked(7), .chunked(64)] {
                let found = Machine.alone(threads: threads) { Scorer(model, mode: mode).logits(tokens) }
                expectSame(found, expected, "\(mode), \(threads) threads")
            }
            var replies: [[GeneratedToken]] = []
            for drafts in [0, 1, 4] {
                replies.append(
                    Machine.alone(threads: threads) {
                        var generator = Generator(
                            model, sampler: Sampler(temperature: 1, seed: 5), stops: [], drafts: drafts)
                        generator.feed(Array(tokens.prefix(60)))
                        return (0..<40).compactMap { _ in generator.next() }
                    })
            }
            #expect(replies[0].count == 40 && replies[1] == replies[0] && replies[2] == replies[0])
        }
    }
}
