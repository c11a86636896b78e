import GlimModel
import GlimTensor
import GlimText
import GlimTrain
import Testing

/// A tiny model that knows two demonstrations by heart, of questions of the evaluation.
private enum Memorizer {
    static let instances = [LettersTask() as any VerifiableTask, OrderingTask()].map {
        $0.instance(0, level: .easy, split: .evaluation, seed: 5)
    }
    static let maxTokens = 400

    static let model: (model: Model, format: ChatFormat, loss: Double) = {
        // A token a byte.
        let tokenizer = try! TokenizerTrainer(vocabularySize: 320).train()
        var config = ModelConfig.depth(2)
        (config.vocabularySize, config.hiddenSize, config.denseWidth, config.expertWidth) = (320, 48, 96, 32)
        (config.headCount, config.queryLatent, config.latent, config.valueWidth) = (4, 32, 24, 12)
        (config.keyPlain, config.keyRotated, config.routedExpertCount, config.mtpLayerCount) = (12, 8, 4, 0)
        config.endOfTextIDs = []
        let model = Model(config, seed: 1)
        let rows = instances.map { instance in
            let conversation = ChatPrompt([
                .user(instance.question), .assistant(instance.answer, reasoning: instance.thinking),
            ])
            return PackedRow(document: tokenizer.encode(ChatTemplate.glm5.trainingPieces(conversation)))
        }
        var optimizer = Optimizer(model, .adamw)
        optimizer.decay = 0
        var loss = Double.infinity
        for step in 0..<800 where loss > 0.01 {
            let passes = rows.map { TrainingPass(model, [$0], TrainingPass.Options()) }
            loss = passes.reduce(0) { $0 + $1.loss } / Double(passes.count)
            for pass in passes { _ = optimizer.update(pass.gradients, learningRate: step < 20 ? 0.002 : 0.005) }
        }
        let format = try! ChatFormat(tokenizer, .glm5, vocabulary: 320, endOfText: [])
        return (model, format, loss)
    }()

    static func responder(maxTokens: Int = maxTokens) -> Responder {
        Responder(model.model, model.format, maxTokens: maxTokens)
    }
}

@Suite("Asking a model", .serialized) struct ResponderTests {
    private let greedy = Sampler(temperature: 0)

    @Test("what it learned by heart comes back, taken apart") func reply() throws {
        try #require(Memorizer.model.loss < 0.05, "\(Memorizer.model.loss)")
        for instance in Memorizer.instances {
            let prompt = ChatPrompt([.user(instance.question)])
            let reply = try Memorizer.responder().replies(to: prompt, [greedy])[0]
            #expect(reply.reasoning == instance.thinking && reply.content == instance.answer)
            #expect(reply.isWhole && reply.answer == instance.answer)
            // A token a byte, and the ends of thinking and answer.
            #expect(reply.tokenCount == instance.thinking.utf8.count + instance.answer.utf8.count + 2)

            let cut = try Memorizer.responder(maxTokens: reply.tokenCount - 1).replies(to: prompt, [greedy])[0]
            #expect(!cut.isWhole && cut.answer == nil && cut.content == instance.answer)
            let short = try Memorizer.responder(maxTokens: 5).replies(to: prompt, [greedy])[0]
            #expect(short.reasoning == String(instance.thinking.prefix(5)) && short.content.isEmpty)
        }
    }

    @Test("samples of one prompt are those of each alone, on any number of threads") func fork() throws {
        let before = ThreadPool.shared.threadCount
        defer { ThreadPool.shared.threadCount = before }
        let prompt = ChatPrompt([.user(Memorizer.instances[0].question)])
        let samplers = (0..<4).map { Sampler(temperature: 3, seed: UInt64($0)) } + [greedy]
        ThreadPool.shared.threadCount = 1
        let together = try Memorizer.responder(maxTokens: 150).replies(to: prompt, samplers)
        #expect(Set(together.map { "\($0)" }).count == 5)
        ThreadPool.shared.threadCount = 3
        for (sampler, reply) in zip(samplers, together).reversed() {
            #expect(try Memorizer.responder(maxTokens: 150).replies(to: prompt, [sampler]) == [reply])
        }
    }

    @Test("without thinking the reply is the answer from its first token on") func noThinking() throws {
        let prompt = ChatPrompt([.user("hi")], enablesThinking: false)
        let reply = try Memorizer.responder(maxTokens: 8).replies(to: prompt, [Sampler(seed: 1)])[0]
        #expect(reply.reasoning == nil)
    }

    @Test("a prompt without room is refused") func noRoom() throws {
        var model = Memorizer.model.model
        model.config.maximumPositions = 20
        let responder = Responder(model, Memorizer.model.format, maxTokens: 50)
        #expect(throws: ReasoningError.self) {
            try responder.replies(to: ChatPrompt([.user(String(repeating: "a", count: 40))]), [greedy])
        }
        // Where there is some, the reply ends with it.
        let reply = try responder.replies(to: ChatPrompt([.user("a")]), [greedy])[0]
        #expect(reply.tokenCount <= 20)
    }

    @Test("a model's own right answers are kept, and those of other questions are not") func rejection() throws {
        var sampling = try RejectionSampling(samples: 3, temperature: 0.3, seed: 2)
        let responder = Memorizer.responder()
        for (number, instance) in Memorizer.instances.enumerated() {
            let prompt = ChatPrompt([.user(instance.question)])
            let kept = try sampling.best(number, prompt, grade: instance.grade) {
                prompt, samplers throws(ReasoningError) in
                try responder.replies(to: prompt, samplers)
            }
            #expect(
                kept?.messages == [
                    .user(instance.question), .assistant(instance.answer, reasoning: instance.thinking),
                ])
        }
        let unknown = ArithmeticTask().instance(0, level: .hard, split: .training, seed: 0)
        let none = try sampling.best(2, ChatPrompt([.user(unknown.question)]), grade: unknown.grade) {
            prompt, samplers throws(ReasoningError) in try responder.replies(to: prompt, samplers)
        }
        #expect(none == nil && sampling.report.kept == 2 && sampling.report.samples == 9)
    }

    @Test("an evaluation counts what the model knows; an answer that is cut off is wrong") func evaluation() throws {
        let evaluation = ReasoningEvaluation(.easy, samples: 1, seed: 5)
        var seen: [ReasoningEvaluation.Progress] = []
        let score = try evaluation.run(Memorizer.responder()) { seen.append($0) }
        #expect(score.cells.map(\.task) == seen.map(\.task) && seen.map(\.done) == [1, 2, 3, 4, 5])
        #expect(seen.allSatisfy { $0.total == 5 } && seen[4].tokens > seen[3].tokens)
        #expect(score.cells[2].result.score == 1 && score.cells[3].result.score == 1)
        #expect(try evaluation.run(Memorizer.responder()) == score)
        let cut = try evaluation.run(Memorizer.responder(maxTokens: 10))
        #expect(cut.total == ScoreInterval(sum: 0, samples: 5))
        for samples in [0, .max] {
            #expect(throws: ReasoningError.self) {
                try ReasoningEvaluation(.easy, samples: samples).run(Memorizer.responder())
            }
        }
    }

    @Test("a tokenizer that is not for this model is refused") func refused() throws {
        let tokenizer = try TokenizerTrainer(vocabularySize: 320).train()
        let error = #expect(throws: TokenizerError.self) {
            try ChatFormat(tokenizer, .glm5, vocabulary: 319, endOfText: [])
        }
        #expect(error?.description.contains("320 tokens, but the model knows 319") == true)
    }
}
