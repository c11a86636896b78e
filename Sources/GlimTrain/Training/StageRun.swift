public import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimText

/// One stage of training, from data to a model folder: what `glim train` does.
///
/// The run's folder is itself a model folder, beside it `recipe.json` (every value, the number of steps included),
/// `metrics.jsonl`, `samples.jsonl`, `loss.svg`, `data.json` and `training/` (what `--resume` goes on from).
public struct StageRun {
    /// What is kept beside the result.
    public struct Recording: Sendable {
        /// One JSON line a step: the rows as they are fed. The first line, step 0, has the rows that validate.
        public var batches: URL?
        /// The model before its first step.
        public var initialModel: URL?
        /// In adaptation, the model after the dense warm-up.
        public var warmedUpModel: URL?

        /// Nothing is recorded where nil.
        public init(batches: URL? = nil, initialModel: URL? = nil, warmedUpModel: URL? = nil) {
            (self.batches, self.initialModel, self.warmedUpModel) = (batches, initialModel, warmedUpModel)
        }
    }

    /// What is trained, on resume what was recorded; once it trains, with the number of steps.
    public internal(set) var recipe: TrainRecipe
    /// The text and its tokens, once they are read; what another stage read already may be given.
    package var material: RunMaterial?
    /// What to tell who stopped the run.
    package var howToResume = "go on with --resume"
    let run: URL
    /// Whether an earlier process recorded the run.
    let resumes: Bool
    let say: @Sendable (String) -> Void
    private let recording: Recording

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
        guard self.recipe.stage == recipe.stage else {
            throw RunError(
                "stage is \(self.recipe.stage.rawValue) in \(recorded.path); this is \(recipe.stage.rawValue)")
        }
        switch self.recipe.stage {
        case .pretrain: break
        case .midtrain, .adapt, .sft:
            if self.recipe.model == nil {
                throw RunError("\(self.recipe.stage.rawValue) starts from a model: give its folder with --model")
            }
        }
        if self.recipe.stage == .sft, self.recipe.data.isEmpty {
            throw RunError("sft learns from conversations: give JSON lines with messages with --data")
        }
    }

    /// Trains to the end, or to the next signal.
    ///
    /// - Throws: `RunError`, `DataError`, `ConfigError` and `CheckpointError`, the last also for a folder in which another
    ///   process trains.
    public mutating func train() throws -> Summary {
        let folders = try RunFolder(run)
        let lock = try FolderLock(run.path)
        defer { withExtendedLifetime(lock) {} }
        do { return try trainInFolder() } catch {
            folders.removeIfEmpty()
            throw error
        }
    }

    private mutating func trainInFolder() throws -> Summary {
        if let threads = recipe.threads { ThreadPool.shared.threadCount = threads }
        // Said before gigabytes of text are read.
        try checkMemory(baseConfig())
        let material = try self.material ?? makeMaterial(RunText(recipe, say: say))
        self.material = material
        try saveTokenizer(material.tokenizer, to: run)
        try material.text.report.write(toFolder: run)
        let config = try makeConfig(material.tokenizer)
        try checkMemory(config)
        let loader = try MixedLoader(recipe, material, say: say)
        if recipe.steps == nil { try planSteps(config, loader, material) }
        try saveRecipe()

        let model = try makeModel(config)
        var trainer = Trainer(model, loader, recipe, totalSteps: recipe.steps ?? 1)
        if resumes, let state = TrainingState.latest(in: run) {
            try TrainingState.restore(&trainer, from: state, fingerprint: material.fingerprint)
            say("resuming after step \(trainer.step)")
        } else if let folder = recording.initialModel {
            try save(model, material.tokenizer, to: folder)
        }
        return try loop(&trainer, material)
    }

    // MARK: The loop

    private func loop(_ trainer: inout Trainer, _ material: RunMaterial) throws -> Summary {
        let total = trainer.totalSteps
        let tokenizer = material.tokenizer
        let byteCounts = tokenizer.byteCounts(trainer.model.config.vocabularySize)
        let evaluateEvery = recipe.evaluateEvery ?? max(1, (total + 9) / 10)
        let sampleEvery = recipe.sampleEvery ?? evaluateEvery
        var validation = (length: 0, rows: [PackedRow]())
        func validationRows(step: Int) -> [PackedRow] {
            let length = recipe.rowLengths[recipe.contextStage(step: max(1, step), of: total)]
            if length != validation.length { validation = (length, material.validationRows(length)) }
            return validation.rows
        }
        let log = try MetricsLog(file: run.appending(path: "metrics.jsonl"), afterStep: trainer.step)
        let samples = try SampleLog(file: run.appending(path: "samples.jsonl"), afterStep: trainer.step)
        let isNew = trainer.step == 0
        let batches = try recording.batches.map { try BatchLog(file: $0, afterStep: isNew ? -1 : trainer.step) }
        if isNew { try batches?.append(0, validationRows(step: 1)) }
        var progress = ProgressLine(label: recipe.stage.rawValue, stepCount: total, firstStep: trainer.step)
        var last = try MetricsLog.read(file: run.appending(path: "metrics.jsonl")).last
        var (trainingTime, firstTokens) = (Duration.zero, trainer.tokens)
        var lastSave = ContinuousClock.now
        var savedStep = trainer.step > 0 ? trainer.step : nil
        StopSignal.catchFirst()

        func save(final: Bool) throws {
            try TrainingState.save(trainer, fingerprint: material.fingerprint, run: run)
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
            metrics.tokensPerSecond = Double(rows.reduce(0) { $0 + $1.tokens.count }) / (elapsed / .seconds(1))
            guard metrics.loss.isFinite, metrics.gradientNorm.isFinite else {
                ProgressLine.write(progress.finish())
                let saved = savedStep.map { "what is saved is step \($0)" } ?? "no step is saved"
                throw RunError(
                    "step \(metrics.step): the loss is \(metrics.loss), its gradient \(metrics.gradientNorm); \(saved); "
                        + "start a new --out with a lower learning rate")
            }
            let step = metrics.step
            if recipe.stage == .adapt, step == recipe.warmup(of: total), let folder = recording.warmedUpModel {
                try self.save(trainer.model, tokenizer, to: folder)
            }
            if step == total || evaluateEvery > 0 && step % evaluateEvery == 0 {
                evaluate(
                    trainer.model, validationRows(step: step), material, byteCounts, isLast: step == total, &metrics)
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
                try samples.append(step, Self.sample(trainer.model, material, seed: recipe.seed))
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

    private static let secondsBetweenSaves = 120.0

    /// Bits per byte at the current length, and after the last step of a stage for long contexts also on the longest
    /// documents at the longest length.
    private func evaluate(
        _ model: Model, _ rows: [PackedRow], _ material: RunMaterial, _ byteCounts: [Int], isLast: Bool,
        _ metrics: inout StepMetrics
    ) {
        guard !rows.isEmpty else { return }
        let evaluation = Evaluation(model, rows, byteCounts: byteCounts)
        (metrics.validationLoss, metrics.validationBitsPerByte) = (evaluation.loss, evaluation.bitsPerByte)
        guard isLast, [.midtrain, .adapt].contains(recipe.stage) else { return }
        let length = recipe.longestRow
        let long = material.longRows(length, context: length)
        metrics.extras["val_bits_per_byte_\(length)"] = Evaluation(model, long, byteCounts: byteCounts).bitsPerByte
    }

    /// A few continuations, always of the same prompts with the same random numbers.
    private static func sample(_ model: Model, _ material: RunMaterial, seed: UInt64) -> [Report.Sample] {
        let tokenizer = material.tokenizer
        return material.prompts.map { prompt in
            var generator = Generator(model, sampler: Sampler(temperature: 0.7, topP: 0.95, seed: seed))
            generator.feed(prompt.tokens)
            var ids: [Int32] = []
            while ids.count < 96, let token = generator.next(), !generator.stops.contains(token.id) {
                ids.append(token.id)
            }
            return Report.Sample(prompt: prompt.text, continuation: (try? tokenizer.decodeText(ids)) ?? "")
        }
    }
}
