import Foundation
import GlimModel
import GlimTensor
import GlimTestSupport
import GlimText
import GlimTrain
import Testing

/// A model small enough to train in milliseconds.
private func tinyConfig(mtp: Bool = true) -> ModelConfig {
    var config = ModelConfig.depth(2)
    (config.vocabularySize, config.hiddenSize, config.denseWidth, config.expertWidth) = (320, 32, 48, 24)
    (config.headCount, config.queryLatent, config.latent, config.valueWidth) = (2, 24, 16, 12)
    (config.keyPlain, config.keyRotated, config.routedExpertCount, config.mtpLayerCount) = (12, 8, 4, mtp ? 1 : 0)
    return config
}

private func store() -> TokenStore {
    let random = CounterRandom(seed: 3, purpose: "documents")
    // A small grammar, so that there is something to learn.
    return TokenStore(
        (0..<40).map { d in
            let length = 20 + random.integer(UInt64(d), below: 60)
            return (0..<length).map { Int32(($0 * (1 + d % 3) + d) % 50) } + [319]
        })
}

private func recipe(_ change: (inout TrainRecipe) -> Void = { _ in }) -> TrainRecipe {
    var recipe = TrainRecipe()
    (recipe.sequenceLength, recipe.batchTokens, recipe.microBatchTokens) = (32, 256, 64)
    change(&recipe)
    return recipe
}

private func trainer(_ recipe: TrainRecipe, total: Int = 10) throws -> Trainer {
    let loader = try PackedLoader(store(), sequenceLength: recipe.sequenceLength, seed: recipe.seed)
    return Trainer(Model(tinyConfig(), seed: 1), MixedLoader(loader), recipe, totalSteps: total)
}

private func weightBits(_ model: Model) -> [[UInt32]] {
    model.tensors.map { $0.numbers()!.elements.map(\.bitPattern) }
}

@Suite("trainer", .serialized) struct TrainerTests {
    @Test(
        "the loss of a small grammar falls by half in sixty steps, the MTP loss with it",
        arguments: TrainRecipe.Optimizer.allCases)
    func learns(optimizer: TrainRecipe.Optimizer) throws {
        var trainer = try trainer(recipe { ($0.optimizer, $0.learningRate) = (optimizer, 1e-2) }, total: 60)
        let first = trainer.trainStep()
        var last = first
        while !trainer.isDone { last = trainer.trainStep() }
        #expect(last.loss < first.loss / 2)
        #expect(last.mtpLoss < first.mtpLoss / 2)
    }

    @Test(
        "training gives the same bits at any thread count", arguments: [1, 3],
        [TrainRecipe.Optimizer.adamw, .muonSplit])
    func reproducible(threads: Int, optimizer: TrainRecipe.Optimizer) throws {
        func train() throws -> ([[UInt32]], [[Double]]) {
            var trainer = try trainer(recipe { $0.optimizer = optimizer })
            let measured = (0..<4).map { _ in
                let metrics = trainer.trainStep()
                return [metrics.loss, metrics.gradientNorm, metrics.extras["attention_logit_max"] ?? .nan]
            }
            return (weightBits(trainer.model), measured)
        }
        let before = ThreadPool.shared.threadCount
        defer { ThreadPool.shared.threadCount = before }
        ThreadPool.shared.threadCount = 2
        let two = try train()
        ThreadPool.shared.threadCount = threads
        let other = try train()
        #expect(two.0 == other.0)
        #expect(two.1 == other.1)
    }

    @Test("recomputing layers changes memory, not one bit of the gradients", arguments: [1, 3])
    func recomputes(mtpSteps: Int) throws {
        let model = Model(tinyConfig(), seed: 2)
        var loader = try PackedLoader(store(), sequenceLength: 32, seed: 0)
        let rows = loader.batch(rows: 4)
        var options = TrainingPass.Options()
        (options.microBatchRows, options.mtpSteps) = (2, mtpSteps)
        let plain = TrainingPass(model, rows, options)
        options.recomputes = true
        let again = TrainingPass(model, rows, options)
        #expect(plain.loss == again.loss && plain.mtpLoss == again.mtpLoss)
        #expect(plain.expertLoad == again.expertLoad)
        for tensor in model.tensors {
            let (a, b) = (tensor.numbers(in: plain.gradients), tensor.numbers(in: again.gradients))
            #expect(a?.elements.map(\.bitPattern) == b?.elements.map(\.bitPattern), "\(tensor.name)")
        }
    }

    @Test("the largest score of attention is that of its queries and keys") func attentionLogits() throws {
        // One token sees itself only: its score is what a pass over each token alone reports, and many report the most.
        let model = Model(tinyConfig(mtp: false), seed: 2)
        func largest(_ tokens: [Int32]) -> Double {
            let row = PackedRow(
                tokens: tokens, segments: tokens.indices.map { .init(start: $0, count: 1) },
                next: tokens.map { _ in 1 })
            return TrainingPass(model, [row], TrainingPass.Options()).attentionLogitMax
        }
        let tokens: [Int32] = [3, 1, 4, 15, 92, 6]
        #expect(largest(tokens) == tokens.map { largest([$0]) }.max())
        #expect(largest(tokens).isFinite)
        for weight in model.layers.map(\.attention.queryUp) {
            [Float](repeating: 0, count: weight.outputs * weight.inputs).withUnsafeBufferPointer { weight.set($0) }
            weight.changed()
        }
        #expect(largest(tokens) == 0)
    }

    @Test("three steps of one MTP layer are learned together") func stepsOfOneLayer() throws {
        var trainer = try trainer(
            recipe {
                $0.learningRate = 1e-2
                $0.mtpSteps = 3
            }, total: 60)
        let first = trainer.trainStep()
        var last = first
        while !trainer.isDone { last = trainer.trainStep() }
        #expect(last.mtpLoss < first.mtpLoss / 2)
    }

    @Test("a document cut into rows gives each step ahead the targets it has whole, and experts every token")
    func cutRows() throws {
        let document = (0..<24).map { Int32($0 * 5 % 50) }
        let model = Model(tinyConfig(), seed: 2)
        var options = TrainingPass.Options()
        options.mtpSteps = 3
        let whole = TrainingPass(model, [PackedRow(document: document)], options)
        var loader = try PackedLoader(TokenStore([document]), sequenceLength: 8, seed: 0)
        let rows = loader.batch(rows: 3)
        let cut = TrainingPass(model, rows, options)
        // Of 24 tokens step d has rows for 24 - d, cut or not.
        let expected = (24 - 1 + 24 - 2 + 24 - 3) * model.config.expertsPerToken
        for pass in [whole, cut] { #expect(pass.expertLoad[model.config.layerCount]?.reduce(0, +) == expected) }
        #expect(cut.mtpLoss.isFinite && cut.mtpLoss != whole.mtpLoss)
        // A row alone: each of its tokens learns three steps.
        let middle = try #require(rows.first { $0.tokens == Array(document[8..<16]) })
        for step in 1...3 {
            let ahead = middle.ahead(0, step: step)
            #expect(ahead.inputs == Array(document[8 + step..<16 + step]))
            #expect(ahead.targets == Array(document[9 + step..<min(24, 17 + step)]))
        }
    }

    @Test("a document packed with others has the loss it has alone") func packing() throws {
        let model = Model(tinyConfig(mtp: false), seed: 2)
        let documents: [[Int32]] = [[1, 2, 3, 4, 5, 6, 7], [9, 8, 7], [20, 30, 40, 50]]
        let rows = documents.map { PackedRow(document: $0) }
        let alone = LossGradient(model, documents)
        let together = TrainingPass(
            model,
            [
                PackedRow(
                    tokens: rows.flatMap(\.tokens),
                    segments: [.init(start: 0, count: 7), .init(start: 7, count: 3), .init(start: 10, count: 4)],
                    next: rows.flatMap(\.next), following: rows.flatMap(\.following))
            ], TrainingPass.Options())
        #expect(alone.loss == together.loss)
    }

    @Test("router biases move by one step towards equal load")
    func balance() {
        // GLM5: loads [10, 2, 4, 8], mean 6.
        #expect(
            Trainer.balanced([0, 0, 0, 0], load: [10, 2, 4, 8], rate: 0.001) == [-0.001, 0.001, 0.001, -0.001])
        #expect(Trainer.balanced([0.5, 0.25], load: [3, 3], rate: 0.001) == [0.5, 0.25])
    }

    @Test("the learning rate rises linearly, then falls to its last share along the schedule")
    func schedule() {
        let recipe = recipe { ($0.learningRate, $0.warmupSteps, $0.minimumLearningRateRatio) = (1, 4, 0.1) }
        #expect(TrainRecipe().peakLearningRate == 1e-2)
        var adamw = TrainRecipe()
        adamw.optimizer = .adamw
        #expect(adamw.peakLearningRate == 2e-3)
        adamw.batchTokens = 2048
        #expect(adamw.peakLearningRate == 1e-3)
        adamw.batchTokens = 32_768
        #expect(adamw.peakLearningRate == 2e-3)
        #expect(recipe.learningRate(step: 1, of: 24) == 0.25)
        #expect(recipe.learningRate(step: 4, of: 24) == 1)
        #expect(abs(recipe.learningRate(step: 14, of: 24) - 0.55) < 1e-12)  // half-way of the cosine
        #expect(abs(recipe.learningRate(step: 24, of: 24) - 0.1) < 1e-12)
        var linear = recipe
        linear.schedule = .linear
        #expect(abs(linear.learningRate(step: 9, of: 24) - 0.775) < 1e-12)
        linear.schedule = .constant
        #expect(linear.learningRate(step: 24, of: 24) == 1)
    }
}

@Suite("room in memory") struct MemoryRoomTests {
    @Test("a parameter takes its weight, two averages, and as many gradients as the sum over micro-batches holds")
    func bytes() {
        let config = tinyConfig(mtp: false)
        let parameters = config.size.parameterCount
        #expect(MemoryRoom.byteCount(of: config) == 4 * parameters)
        for (batches, gradients) in [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4)] {
            #expect(
                MemoryRoom.byteCount(of: config, microBatches: batches) == (16 + 4 * gradients) * parameters,
                "\(batches)")
        }
        #expect(throws: RunError.self) { try MemoryRoom.check(.max, of: "it", advice: "none") }
        #expect(throws: Never.self) { try MemoryRoom.check(1, of: "it", advice: "none") }
    }
}
