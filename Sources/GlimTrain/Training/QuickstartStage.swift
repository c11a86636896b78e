import Foundation
import GlimCheckpoint
import GlimModel
import GlimText

/// One stage of the quickstart: its training, and what the model can do afterwards. `DIR/STAGE/gain.json` says that it
/// is through.
struct QuickstartStage {
    private let name: String
    private let recipe: TrainRecipe
    /// Which says what text there is, with absolute paths.
    private let textRecipe: TrainRecipe
    private let given: Set<TrainRecipe.CodingKeys>
    /// Where the text is kept for all stages.
    private let text: URL
    private let shape: Quickstart.Shape
    private let say: @Sendable (String) -> Void
    private let run: URL

    init(
        _ name: String, _ recipe: TrainRecipe, of textRecipe: TrainRecipe, given: Set<TrainRecipe.CodingKeys>,
        text: URL, shape: Quickstart.Shape, say: @escaping @Sendable (String) -> Void
    ) {
        (self.name, self.textRecipe) = (name, textRecipe)
        (self.recipe, self.given, self.text, self.shape, self.say) = (recipe, given, text, shape, say)
        run = URL(filePath: recipe.out)
    }

    var learnsConversations: Bool { recipe.stage == .sft }

    static let howToResume = "the same command goes on"

    private var record: URL { run.appending(path: "gain.json") }
    private var hasBegun: Bool { FileManager.default.fileExists(atPath: run.appending(path: "recipe.json").path) }

    /// Whether the folder is free, or holds this stage of this job.
    ///
    /// - Throws: `RunError` where it holds a run with other values than those given, or a model that is not of this
    ///   job.
    func check() throws {
        _ = try StageRun(recipe, resumes: hasBegun, given: given, say: say)
        var isFolder: ObjCBool = false
        if FileManager.default.fileExists(atPath: run.path, isDirectory: &isFolder), !isFolder.boolValue {
            throw RunError("\(run.path) is not a folder; choose another --out")
        }
        if !hasBegun, FileManager.default.fileExists(atPath: run.appending(path: "config.json").path) {
            throw RunError("\(run.path) holds a model that this job did not make; choose another --out")
        }
    }

    /// What was measured, where an earlier process came to the end of this stage.
    func finished() -> Report.Stage? {
        guard hasBegun, let data = try? FileBytes.read(record.path, atMost: 1 << 20) else { return nil }
        return try? JSONDecoder().decode(Report.Stage.self, from: Data(data))
    }

    /// Trains, or goes on training, and measures.
    ///
    /// - Parameter material: what the stage before read.
    /// - Returns: nil when a signal stopped it.
    func train(_ material: inout RunMaterial?) throws -> Report.Stage? {
        let began = hasBegun
        say(began ? "going on with \(run.path)" : "\(name): \(recipe.stage.title.lowercased())")
        var training = try StageRun(recipe, resumes: began, given: given, say: say)
        training.howToResume = Self.howToResume
        let folders = try RunFolder(run)
        do {
            if material == nil { material = try makeMaterial(training) }
            if learnsConversations, let text = material?.text { try writeConversations(text) }
        } catch {
            folders.removeIfEmpty()
            throw error
        }
        if !learnsConversations { training.material = material }
        let summary = try training.train()
        guard !summary.wasInterrupted, let material else { return nil }
        let metrics = try MetricsLog.read(file: run.appending(path: "metrics.jsonl"))
        // Over all processes that took part, from the log: each step says how fast it was.
        let seconds = zip(metrics, [0] + metrics.map(\.tokens)).reduce(0.0) { sum, step in
            sum + Double(step.0.tokens - step.1) / step.0.tokensPerSecond
        }
        var stage = Report.Stage(
            name: name, steps: summary.steps, tokens: summary.tokens, seconds: seconds,
            finalLoss: summary.finalLoss, validationBitsPerByte: summary.validationBitsPerByte)
        stage.gain = try gain(material)
        stage.gain?.indexerLoss = metrics.last?.extras["indexer_loss"]
        try AtomicFile.write(JSONEncoder().encode(stage), to: record)
        return stage
    }

    /// The text of all stages as tokens. Fine-tuning has its own material, and is measured on this.
    private func makeMaterial(_ training: StageRun) throws -> RunMaterial {
        guard learnsConversations, let model = recipe.model else {
            return try training.makeMaterial(keptText(training.recipe))
        }
        return try RunMaterial(keptText(textRecipe), Tokenizer(folder: URL(filePath: model)), threads: recipe.threads)
    }

    private func writeConversations(_ text: RunText) throws {
        let file = URL(filePath: recipe.data[0])
        if FileManager.default.fileExists(atPath: file.path) { return }
        let lines = QuickstartLines(text.training, rowLength: shape.chatLength, seed: recipe.seed)
            .lines(shape.conversations)
        try AtomicFile.write(Data(lines.map { $0 + "\n" }.joined().utf8), to: file)
    }

    /// The text that an earlier process read, or what is read now: reading takes minutes on a slow disk.
    private func keptText(_ recipe: TrainRecipe) throws -> RunText {
        if let kept = try RunText(file: text, of: recipe) { return kept }
        let read = try RunText(recipe, say: say)
        try read.save(to: text)
        return read
    }

    // MARK: What was gained

    private func gain(_ material: RunMaterial) throws -> Report.Gain {
        var gain = Report.Gain(shortLength: shape.shortLength, longLength: shape.longest)
        var model = try Model(folder: run, format: .inference)
        model.config.maximumPositions = max(model.config.maximumPositions, 2 * shape.longest)
        let byteCounts = material.tokenizer.byteCounts(model.config.vocabularySize)
        func bits(_ context: Int) -> Double? {
            let rows = material.longRows(shape.longest, context: context)
            return rows.isEmpty ? nil : Evaluation(model, rows, byteCounts: byteCounts).bitsPerByte
        }
        (gain.shortBitsPerByte, gain.longBitsPerByte) = (bits(shape.shortLength), bits(shape.longest))
        let haystack = Haystack(material.text.validation)
        func found(_ length: Int) throws -> Double? {
            guard length >= RulerEvaluation.shortestLength else { return nil }
            let evaluation = RulerEvaluation(
                tasks: [.needle, .multiKey], lengths: [length], samples: 10, seed: recipe.seed)
            return try evaluation.run(model, material.tokenizer, haystack: haystack).total.score
        }
        (gain.shortFactsFound, gain.longFactsFound) = (try found(shape.shortLength), try found(shape.longest))
        if [.adapt, .sft].contains(recipe.stage) { gain.questionsAnswered = try answered(model, material.tokenizer) }
        gain.decodeTokensPerSecond = decodeRate(model, material)
        let parts = [
            gain.shortBitsPerByte.map { "\($0.formatted(digits: 3)) bits per byte with \(shape.shortLength) in sight" },
            gain.longBitsPerByte.map { "\($0.formatted(digits: 3)) with \(shape.longest)" },
            gain.shortFactsFound.map { "\(Int(($0 * 100).rounded()))% of facts found in \(shape.shortLength)" },
            gain.longFactsFound.map { "\(Int(($0 * 100).rounded()))% in \(shape.longest)" },
            gain.questionsAnswered.map { "\(Int(($0.score * 100).rounded()))% of \($0.samples) questions answered" },
        ]
        say("\(name): \(parts.compactMap(\.self).joined(separator: ", "))")
        return gain
    }

    /// Easy questions of the reasoning family that training does not have.
    private func answered(_ model: Model, _ tokenizer: Tokenizer) throws -> ScoreInterval {
        let format = try ChatFormat(
            tokenizer, ChatTemplate(folder: run), vocabulary: model.config.vocabularySize,
            endOfText: model.config.endOfTextIDs)
        let responder = Responder(model, format, maxTokens: shape.answerLength)
        return try ReasoningEvaluation(.easy, samples: shape.questions, seed: recipe.seed).run(responder).total
    }

    /// Tokens a second behind a long text; nil without one.
    private func decodeRate(_ model: Model, _ material: RunMaterial) -> Double? {
        guard let tokens = material.longRows(shape.longest, context: shape.longest).first?.tokens else { return nil }
        var generator = Generator(model, sampler: Sampler(seed: recipe.seed))
        generator.feed(tokens)
        let count = 32
        _ = generator.next()
        let elapsed = ContinuousClock().measure { for _ in 0..<count { _ = generator.next() } }
        return Double(count) / (elapsed / .seconds(1))
    }
}
