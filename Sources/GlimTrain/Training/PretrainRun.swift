public import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimText

/// Pre-training from text to a model folder: what `glim train pretrain` does.
///
/// The run's folder is itself a model folder, beside it `recipe.json` (every value, the number of steps included),
/// `metrics.jsonl`, `samples.jsonl`, `loss.svg` and `training/` (what `--resume` goes on from).
public struct PretrainRun {
    /// For comparing with other engines.
    public struct Recording: Sendable {
        /// One JSON line a step: the rows as they are fed. The first line, step 0, has the rows that validate.
        public var batches: URL?
        /// The model before its first step.
        public var initialModel: URL?

        /// Nothing is recorded where nil.
        public init(batches: URL? = nil, initialModel: URL? = nil) {
            (self.batches, self.initialModel) = (batches, initialModel)
        }
    }

    /// What is trained, on resume what was recorded; once it trains, with the number of steps.
    public private(set) var recipe: TrainRecipe
    private let run: URL
    /// Whether an earlier process recorded the run.
    private let resumes: Bool
    /// What to tell who stopped the run.
    package var howToResume = "go on with --resume"
    private let recording: Recording
    private let say: @Sendable (String) -> Void

    /// - Parameters:
    ///   - recipe: validated.
    ///   - resumes: go on where the run in `recipe.out` stopped; its own recipe then counts.
    ///   - given: the values of `recipe` that someone asked for. On resume they must be what the run began with, but
    ///     for those that change no result.
    ///   - say: takes lines for people.
    public init(
        _ recipe: TrainRecipe, resumes: Bool, given: Set<TrainRecipe.CodingKeys> = [],
        recording: Recording = Recording(), say: @escaping @Sendable (String) -> Void
    ) throws {
        run = URL(filePath: recipe.out)
        (self.recording, self.say) = (recording, say)
        self.recipe = recipe.withAbsolutePaths()
        let recorded = run.appending(path: "recipe.json")
        let isRecorded = FileManager.default.fileExists(atPath: recorded.path)
        let hasState = TrainingState.latest(in: run) != nil
        if !resumes, isRecorded || hasState {
            throw RunError("\(run.path) already holds a run; go on with --resume, or choose another --out")
        }
        if hasState, !isRecorded {
            throw RunError("\(run.path) holds a run without its recipe.json; put that back, or choose another --out")
        }
        // Without a record it was killed before its first file, or never begun: the run begins now.
        self.resumes = isRecorded
        if isRecorded { self.recipe = try self.recipe.continuing(recorded, given: given) }
        self.recipe.learningRate = self.recipe.peakLearningRate
        guard self.recipe.stage == .pretrain else {
            throw RunError("stage is \(self.recipe.stage.rawValue); this command does pretrain")
        }
    }

    /// Trains to the end, or to the next signal.
    public mutating func train() throws -> Summary {
        let folders = try RunFolder(run)
        do { return try trainInFolder() } catch {
            folders.removeIfEmpty()
            throw error
        }
    }

    private mutating func trainInFolder() throws -> Summary {
        if let threads = recipe.threads { ThreadPool.shared.threadCount = threads }
        // Said before gigabytes of text are read.
        try checkMemory(baseConfig())
        let text = try readText()
        let tokenizer = try makeTokenizer(text.training)
        var config = try makeConfig(tokenizer)
        try checkMemory(config)
        let store = tokenise(text.training, tokenizer)
        let validation = PackedLoader.validationRows(
            tokenise(text.validation, tokenizer), sequenceLength: recipe.sequenceLength,
            maximumRows: max(8, Self.validationTokens / recipe.sequenceLength), padding: tokenizer.endOfText)
        say(
            "\(store.tokenCount) training tokens in \(store.documentCount) documents, \(tokenizer.vocabularySize) entries"
        )
        let loader = try PackedLoader(store, sequenceLength: recipe.sequenceLength, seed: recipe.seed)

        if config.maximumPositions < recipe.sequenceLength { config.maximumPositions = recipe.sequenceLength }
        let byteCounts = tokenizer.byteCounts(config.vocabularySize)
        if recipe.steps == nil {
            try planSteps(config, loader, store, validation, byteCounts)
        }
        try saveRecipe()

        let model = try makeModel(config)
        var trainer = Trainer(model, loader, recipe, totalSteps: recipe.steps ?? 1)
        let fingerprint = store.fingerprint
        if resumes, let state = TrainingState.latest(in: run) {
            try TrainingState.restore(&trainer, from: state, fingerprint: fingerprint)
            say("resuming after step \(trainer.step)")
        } else if let folder = recording.initialModel {
            try save(model, tokenizer, to: folder)
        }
        return try loop(&trainer, tokenizer, validation, byteCounts, fingerprint)
    }

    // MARK: The loop

    private func loop(
        _ trainer: inout Trainer, _ tokenizer: Tokenizer, _ validation: [PackedRow], _ byteCounts: [Int],
        _ fingerprint: UInt64
    ) throws -> Summary {
        let total = trainer.totalSteps
        let evaluateEvery = recipe.evaluateEvery ?? max(1, (total + 9) / 10)
        let sampleEvery = recipe.sampleEvery ?? evaluateEvery
        let log = try MetricsLog(file: run.appending(path: "metrics.jsonl"), afterStep: trainer.step)
        let samples = try SampleLog(file: run.appending(path: "samples.jsonl"), afterStep: trainer.step)
        let isNew = trainer.step == 0
        let batches = try recording.batches.map { try BatchLog(file: $0, afterStep: isNew ? -1 : trainer.step) }
        if isNew { try batches?.append(0, validation) }
        var progress = ProgressLine(label: "pretrain", stepCount: total, firstStep: trainer.step)
        var last = try MetricsLog.read(file: run.appending(path: "metrics.jsonl")).last
        var (trainingTime, firstTokens) = (Duration.zero, trainer.tokens)
        var lastSave = ContinuousClock.now
        var savedStep = trainer.step > 0 ? trainer.step : nil
        StopSignal.catchFirst()

        func save(final: Bool) throws {
            try TrainingState.save(trainer, fingerprint: fingerprint, run: run)
            try self.save(trainer.model, tokenizer, to: run)
            if final { try writeCurve() }
            (lastSave, savedStep) = (.now, trainer.step)
        }

        while !trainer.isDone, !StopSignal.arrived {
            let start = ContinuousClock.now
            let rows = trainer.nextRows()
            try batches?.append(trainer.step + 1, rows)
            var metrics = trainer.trainStep(on: rows)
            let elapsed = ContinuousClock.now - start
            trainingTime += elapsed
            let tokens = recipe.rowsPerBatch * recipe.sequenceLength
            metrics.tokensPerSecond = Double(tokens) / (elapsed / .seconds(1))
            guard metrics.loss.isFinite, metrics.gradientNorm.isFinite else {
                ProgressLine.write(progress.finish())
                let saved = savedStep.map { "what is saved is step \($0)" } ?? "no step is saved"
                throw RunError(
                    "step \(metrics.step): the loss is \(metrics.loss), its gradient \(metrics.gradientNorm); \(saved); "
                        + "start a new --out with a lower learning rate")
            }
            let step = metrics.step
            if step == total || evaluateEvery > 0 && step % evaluateEvery == 0, !validation.isEmpty {
                let evaluation = Evaluation(trainer.model, validation, byteCounts: byteCounts)
                (metrics.validationLoss, metrics.validationBitsPerByte) = (evaluation.loss, evaluation.bitsPerByte)
            }
            try log.append(metrics)
            ProgressLine.write(
                progress.update(step: step, loss: metrics.loss, tokensPerSecond: metrics.tokensPerSecond))
            if let bits = metrics.validationBitsPerByte {
                ProgressLine.write(progress.interrupt())
                let loss = (metrics.validationLoss ?? .nan).formatted(digits: 3)
                say("step \(step): validation loss \(loss), \(bits.formatted(digits: 3)) bits per byte")
            }
            if step == total || sampleEvery > 0 && step % sampleEvery == 0 {
                try samples.append(step, Self.sample(trainer.model, tokenizer, seed: recipe.seed))
            }
            last = metrics
            let isDue =
                recipe.saveEvery.map { $0 > 0 && step % $0 == 0 }
                ?? (ContinuousClock.now - lastSave > .seconds(Self.secondsBetweenSaves))
            if isDue, step < total { try save(final: false) }
        }
        ProgressLine.write(progress.finish())
        try save(final: true)
        if StopSignal.arrived, !trainer.isDone { say("stopped after step \(trainer.step); \(howToResume)") }
        return Summary(
            steps: trainer.step, tokens: trainer.tokens, finalLoss: last?.loss,
            validationBitsPerByte: last?.validationBitsPerByte,
            tokensPerSecond: trainingTime == .zero
                ? 0 : Double(trainer.tokens - firstTokens) / (trainingTime / .seconds(1)),
            seconds: trainingTime / .seconds(1), wasInterrupted: !trainer.isDone)
    }

    private static let validationTokens = 1 << 15
    private static let secondsBetweenSaves = 120.0

    /// A few continuations, always of the same prompts with the same random numbers.
    private static func sample(_ model: Model, _ tokenizer: Tokenizer, seed: UInt64) -> [Report.Sample] {
        ["import ", "def ", "The "].map { prompt in
            var generator = Generator(model, sampler: Sampler(temperature: 0.7, topP: 0.95, seed: seed))
            generator.feed([tokenizer.endOfText] + tokenizer.encode(prompt))
            var ids: [Int32] = []
            while ids.count < 96, let token = generator.next(), token.id != tokenizer.endOfText { ids.append(token.id) }
            return Report.Sample(prompt: prompt, continuation: (try? tokenizer.decodeText(ids)) ?? "")
        }
    }

    // MARK: What a run begins with

    private func readText() throws -> ValidationSplit {
        var line = -1
        let progress: (Corpus.Totals) -> Void = { totals in
            if totals.files / 2000 != line {
                line = totals.files / 2000
                say("reading text: \(totals.bytes >> 20) MB in \(totals.files) files")
            }
        }
        let corpus =
            recipe.data.isEmpty
            ? try Corpus.found(progress: progress) : try Corpus.collect(recipe.data, progress: progress)
        say("text: \(corpus.totals)")
        if recipe.data.isEmpty { say("from \(Self.folders(corpus.documents))") }
        return ValidationSplit(corpus.documents, fraction: recipe.validationFraction, seed: recipe.seed)
    }

    /// The folders that most of the documents lie in, for people who want to know what was read.
    private static func folders(_ documents: [Document]) -> String {
        var bytes: [String: Int] = [:]
        for document in documents {
            let folder = document.name.split(separator: "/").dropLast().prefix(3).joined(separator: "/")
            bytes["/\(folder)", default: 0] += document.bytes.count
        }
        return bytes.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(8).map(\.key).joined(separator: ", ")
    }

    private func makeTokenizer(_ documents: [Document]) throws -> Tokenizer {
        let own = run.appending(path: "tokenizer.json")
        if resumes, FileManager.default.fileExists(atPath: own.path) { return try Tokenizer(file: own) }
        let tokenizer: Tokenizer
        if let path = recipe.tokenizer ?? recipe.model {
            let isFolder = (try? URL(filePath: path).resourceValues(forKeys: [.isDirectoryKey]))?.isDirectory ?? false
            tokenizer = isFolder ? try Tokenizer(folder: URL(filePath: path)) : try Tokenizer(file: URL(filePath: path))
            guard tokenizer.id(of: .endOfText) != nil else {
                throw RunError("\(path) has no <|endoftext|> token, which ends each document")
            }
        } else {
            let entries = try recipe.vocabularySize ?? baseConfig().vocabularySize
            say("training a tokenizer of \(entries) entries")
            var trainer = TokenizerTrainer(vocabularySize: entries, threads: recipe.threads)
            trainer.add(documents.lazy.map(\.bytes))
            tokenizer = try trainer.train()
        }
        try AtomicFile.write(tokenizer.json(), to: own)
        return tokenizer
    }

    private func baseConfig() throws -> ModelConfig {
        var config = try givenConfig()
        if let layers = recipe.mtpLayers, layers != config.mtpLayerCount {
            if let folder = recipe.model {
                throw RunError("mtp_layers is \(layers), but \(folder) has \(config.mtpLayerCount); leave it out")
            }
            config.mtpLayerCount = layers
        }
        if let steps = recipe.mtpSteps, !(1...steps).contains(config.mtpLayerCount) {
            throw RunError(
                config.mtpLayerCount == 0
                    ? "mtp_steps is \(steps), but the model has no MTP layer; give mtp_layers = 1 as well"
                    : "mtp_steps is \(steps): the model has \(config.mtpLayerCount) MTP layers; train as many steps or more"
            )
        }
        return config
    }

    private func givenConfig() throws -> ModelConfig {
        if let folder = recipe.model { return try ModelConfig(folder: URL(filePath: folder)) }
        if let file = recipe.config { return try ModelConfig(file: URL(filePath: file)) }
        if let depth = recipe.depth { return ModelConfig.depth(depth) }
        return try ModelConfig.preset(named: recipe.preset)
    }

    private func makeConfig(_ tokenizer: Tokenizer) throws -> ModelConfig {
        var config = try baseConfig()
        if recipe.model == nil {
            // Whole panels of the head: 32 outputs.
            if let size = recipe.vocabularySize { config.vocabularySize = size }
            if tokenizer.vocabularySize > config.vocabularySize || recipe.tokenizer != nil {
                config.vocabularySize = (tokenizer.vocabularySize + 31) / 32 * 32
            }
            config.dtype = .float32
        } else if tokenizer.vocabularySize > config.vocabularySize {
            throw RunError("the tokenizer has \(tokenizer.vocabularySize) entries, the model \(config.vocabularySize)")
        }
        if let type = recipe.computeType { config.computeType = type }
        let stops: [ControlToken] = [.endOfText, .user, .observation]
        config.endOfTextIDs = stops.compactMap { tokenizer.id(of: $0).map { Int($0) } }
        config.padID = Int(tokenizer.endOfText)
        try config.validate()
        return config
    }

    private func checkMemory(_ config: ModelConfig) throws {
        let name = recipe.model ?? recipe.config ?? recipe.depth.map { "depth \($0)" } ?? recipe.preset
        try MemoryRoom.check(
            MemoryRoom.byteCount(of: config, microBatches: recipe.microBatchCount), of: "training \(name)",
            advice: "use a smaller shape")
    }

    private func makeModel(_ config: ModelConfig) throws -> Model {
        guard let folder = recipe.model else { return Model(config, seed: recipe.seed) }
        var model = try Model(folder: URL(filePath: folder), format: .f32, computeType: recipe.computeType)
        model.config = config.with { $0.mtpLayerCount = model.config.mtpLayerCount }
        return model
    }

    private func tokenise(_ documents: [Document], _ tokenizer: Tokenizer) -> TokenStore {
        TokenStore(documents, endOfText: tokenizer.endOfText, threads: recipe.threads) { tokenizer.encode($0) }
    }

    /// Fixes the number of steps: what fills the minutes, measured once on a copy that is thrown away; or one pass
    /// over the data.
    private mutating func planSteps(
        _ config: ModelConfig, _ loader: PackedLoader, _ store: TokenStore, _ validation: [PackedRow],
        _ byteCounts: [Int]
    ) throws {
        let stepTokens = recipe.rowsPerBatch * recipe.sequenceLength
        guard let minutes = recipe.minutes else {
            recipe.steps = max(1, store.tokenCount / stepTokens)
            return
        }
        say("measuring four steps and an evaluation to plan \(minutes) minutes")
        var trial = Trainer(try makeModel(config), loader, recipe, totalSteps: 1000)
        _ = trial.trainStep()
        let clock = ContinuousClock()
        let times = (0..<3).map { _ in clock.measure { _ = trial.trainStep() } / .seconds(1) }.sorted()
        let evaluation = clock.measure { _ = Evaluation(trial.model, validation, byteCounts: byteCounts) } / .seconds(1)
        // At most a twentieth of the time goes to evaluations.
        let evaluations = min(10, max(1, Int(minutes * 3 / max(evaluation, 1e-3))))
        let steps = max(1, Int((minutes * 60 - Double(evaluations) * evaluation) / times[1]))
        recipe.steps = steps
        if recipe.evaluateEvery == nil { recipe.evaluateEvery = max(1, (steps + evaluations - 1) / evaluations) }
        say("\(steps) steps of \(stepTokens) tokens, \(times[1].formatted(digits: 2)) s each")
    }

    // MARK: Files

    private func saveRecipe() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try AtomicFile.write(encoder.encode(recipe), to: run.appending(path: "recipe.json"))
    }

    private func save(_ model: Model, _ tokenizer: Tokenizer, to folder: URL) throws {
        try model.save(to: folder)
        try AtomicFile.write(tokenizer.json(), to: folder.appending(path: "tokenizer.json"))
        let end = ControlToken.endOfText.rawValue
        try AtomicFile.write(
            """
            {
              "tokenizer_class": "PreTrainedTokenizerFast",
              "eos_token": "\(end)",
              "pad_token": "\(end)",
              "model_max_length": \(model.config.maximumPositions)
            }

            """, to: folder.appending(path: "tokenizer_config.json"))
    }

    private func writeCurve() throws {
        let metrics = try MetricsLog.read(file: run.appending(path: "metrics.jsonl"))
        try LossCurve(title: "Pre-training", metrics: metrics).write(to: run.appending(path: "loss.svg"))
    }
}

extension Tokenizer {
    /// The token that ends a document; a tokenizer without one is refused before training.
    var endOfText: Int32 { id(of: .endOfText) ?? 0 }
}
