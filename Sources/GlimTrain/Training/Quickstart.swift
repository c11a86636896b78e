public import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimText

/// The main job on its defaults: text, tokenizer, a `nano` model in five stages, and a page that shows what came of it.
///
/// `DIR/model` is the last stage's run and the model folder, `DIR/facts`, `DIR/pretrain`, `DIR/midtrain` and `DIR/adapt`
/// are those before it; `DIR/report.html` and `DIR/report.json` tell about them. Stopped at any moment, the same call
/// goes on where it was.
public struct Quickstart {
    /// The sizes of the job.
    package struct Shape: Sendable {
        /// A `config.json` instead of `nano`, and its vocabulary.
        package var config: String?
        package var vocabularySize: Int?
        /// Of the rows of facts alone.
        package var factLength = 128
        package var shortLength = 512
        package var longLengths = [2048, 8192]
        /// In minutes there are few tokens: many small steps teach more than few large ones.
        package var factBatch = 1024
        package var shortBatch = 2048
        /// Conversations that fine-tuning learns from: more than it has time to read.
        package var conversations = 40_000
        /// Tokens of its rows, at most those of a step.
        package var chatLength = 512
        /// Questions of each task that show what it gained, and tokens of an answer at most.
        package var questions = 20
        package var answerLength = 256

        package init() {}

        var longest: Int { longLengths.max() ?? shortLength }
    }

    package var shape = Shape()
    let folder: URL
    private let minutes: Double?
    private let data: [String]
    private let threads: Int?
    private let seed: UInt64?
    private let program: String
    private let say: @Sendable (String) -> Void

    /// - Parameters:
    ///   - minutes: of training; nil: 30. What is given here, when going on, must be what the job began with; what is
    ///     not given is what it began with.
    ///   - data: none: text found on this machine.
    ///   - seed: nil: 0.
    ///   - program: how the user calls `glim`, for the command that the report ends with.
    ///   - say: takes lines for people.
    public init(
        folder: URL, minutes: Double? = nil, data: [String] = [], threads: Int? = nil, seed: UInt64? = nil,
        program: String = "glim", say: @escaping @Sendable (String) -> Void
    ) {
        (self.folder, self.minutes, self.data, self.threads) = (folder, minutes, data, threads)
        (self.seed, self.program, self.say) = (seed, program, say)
    }

    /// Where the model is.
    public var modelFolder: URL { folder.appending(path: "model") }

    /// Runs all of it.
    ///
    /// - Returns: the report, as `report.json` holds it; nil when a signal stopped the run before its end.
    public func run() throws -> Report? {
        let named = try recipes()
        let recipes = named.map(\.recipe)
        for recipe in recipes { try recipe.validate() }
        // With the paths that the first stage records: by them it is told whether text is of this job.
        let textRecipe = recipes[0].withAbsolutePaths()
        let runs = named.map {
            QuickstartStage($0.name, $0.recipe, of: textRecipe, given: given, text: textFile, shape: shape, say: say)
        }
        // What cannot be is said before an hour of training, not after it.
        for run in runs { try run.check() }
        let format: Weight.Format = recipes[0].computeType == .bfloat16 ? .bf16 : .f32
        let probe = MachineProbe.measure(format)
        let peak = BufferPool.peakBytes
        var (stages, material, trained): ([Report.Stage], RunMaterial?, Bool) = ([], nil, false)
        for run in runs {
            if let stage = run.finished() {
                stages.append(stage)
                continue
            }
            guard let stage = try run.train(&material) else { return nil }
            stages.append(stage)
            trained = true
            if StopSignal.arrived {
                say("stopped after \(stage.name); \(QuickstartStage.howToResume)")
                return nil
            }
        }
        let file = folder.appending(path: "report.json")
        if !trained, let data = try? FileBytes.read(file.path, atMost: 64 << 20),
            let report = try? JSONDecoder().decode(Report.self, from: Data(data))
        {
            // Done before: the report keeps what was measured while it trained.
            say("already trained; remove \(folder.relativePath) to begin anew")
            return report
        }
        let report = try makeReport(
            stages, recipes, MachineProbe.best(probe, .measure(format)), max(peak, BufferPool.peakBytes))
        try report.write(to: folder, curve: LossCurve(title: "Loss over training", metrics: metrics(recipes)))
        return report
    }

    private var textFile: URL { folder.appending(path: "text") }

    /// The values that someone asked for.
    private var given: Set<TrainRecipe.CodingKeys> {
        var given: Set<TrainRecipe.CodingKeys> = []
        if minutes != nil { given.insert(.minutes) }
        if !data.isEmpty { given.insert(.data) }
        if seed != nil { given.insert(.seed) }
        return given
    }

    /// What decides the stages, but for the sizes: as it was given, or else as the job began. A stage that begins in a
    /// later process must be of the same job.
    private func terms() throws(RunError) -> (minutes: Double, data: [String], seed: UInt64) {
        let record = folder.appending(path: "facts/recipe.json")
        guard FileManager.default.fileExists(atPath: record.path) else { return (minutes ?? 30, data, seed ?? 0) }
        let begun = try TrainRecipe(stage: .pretrain).continuing(record, given: [])
        return (
            minutes ?? begun.minutes.map { $0 / Self.factShare } ?? 30, data.isEmpty ? begun.data : data,
            seed ?? begun.seed
        )
    }

    /// Of the minutes. A power of two: what a record says can be multiplied back.
    private static let factShare = 0.25

    /// The stages by name. The learning rate has one course over all of them.
    ///
    /// Facts come first, alone and in short rows: to copy what followed before is learned sooner there than in text,
    /// and kept (BENCHMARKS.md). Then they stand between lines of text, further and further back.
    private func recipes() throws(RunError) -> [(name: String, recipe: TrainRecipe)] {
        let usesBF16 = MachineProbe.prefersBF16
        let terms = try terms()
        func recipe(_ stage: TrainRecipe.Stage, _ name: String, share: Double, from: String?) -> TrainRecipe {
            var recipe = TrainRecipe(stage: stage)
            recipe.out = folder.appending(path: name).path
            recipe.model = from.map { folder.appending(path: $0).path }
            recipe.minutes = max(0.001, terms.minutes * share)
            (recipe.data, recipe.threads, recipe.seed) = (terms.data, threads, terms.seed)
            if usesBF16 { recipe.computeType = .bfloat16 }
            return recipe
        }
        var facts = recipe(.pretrain, "facts", share: Self.factShare, from: nil)
        (facts.preset, facts.config, facts.vocabularySize) = ("nano", shape.config, shape.vocabularySize)
        (facts.sequenceLength, facts.batchTokens, facts.mixture) = (shape.factLength, shape.factBatch, ["needle=1"])
        (facts.learningRate, facts.minimumLearningRateRatio) = (2e-3, 0.5)
        var pretrain = recipe(.pretrain, "pretrain", share: 0.12, from: "facts")
        (pretrain.sequenceLength, pretrain.batchTokens) = (shape.shortLength, shape.shortBatch)
        pretrain.mixture = ["text=0.5", "needle=0.1", "retrieval=0.4"]
        (pretrain.learningRate, pretrain.minimumLearningRateRatio) = (2e-3, 0.5)
        var midtrain = recipe(.midtrain, "midtrain", share: 0.15, from: "pretrain")
        (midtrain.contextLengths, midtrain.contextShares) = (shape.longLengths, [3, 1])
        (midtrain.batchTokens, midtrain.learningRate) = (shape.shortBatch, 2e-3)
        // Of so few tokens most are facts to find: only those teach to look far back.
        midtrain.mixture = ["text=0.2", "repository=0.05", "retrieval=0.7", "coreference=0.05"]
        var adapt = recipe(.adapt, "adapt", share: 0.12, from: "midtrain")
        (adapt.contextLengths, adapt.batchTokens) = (shape.longLengths, shape.shortBatch)
        var sft = recipe(.sft, "model", share: 0.36, from: "adapt")
        (sft.data, sft.sequenceLength, sft.batchTokens) = ([conversations.path], shape.chatLength, shape.shortBatch)
        // All of a chat is new to the model: it takes pre-training's rate.
        sft.learningRate = 2e-3
        return [("facts", facts), ("pretrain", pretrain), ("midtrain", midtrain), ("adapt", adapt), ("sft", sft)]
    }

    private var conversations: URL { folder.appending(path: "conversations.jsonl") }

    /// All steps, one stage behind the other.
    private func metrics(_ recipes: [TrainRecipe]) throws -> [StepMetrics] {
        var (all, tokens): ([StepMetrics], Int) = ([], 0)
        for recipe in recipes {
            let lines = try MetricsLog.read(file: URL(filePath: recipe.out).appending(path: "metrics.jsonl"))
            for var line in lines {
                line.tokens += tokens
                all.append(line)
            }
            tokens += lines.last?.tokens ?? 0
        }
        return all
    }

    private func makeReport(
        _ stages: [Report.Stage], _ recipes: [TrainRecipe], _ probe: MachineProbe, _ peakBytes: Int
    ) throws -> Report {
        let config = try ModelConfig(folder: modelFolder)
        let tokens = stages.reduce(0) { $0 + $1.tokens }
        let seconds = stages.reduce(0) { $0 + ($1.seconds ?? 0) }
        let size = config.size
        let source = recipes[0].data.isEmpty ? "text found here" : "the text given"
        return Report(
            title: "Glim quickstart",
            summary: "A GLM-5 model of \((Double(size.parameterCount) / 1e6).formatted(digits: 1)) million parameters, "
                + "trained on this machine from \(source): pre-trained in contexts of \(shape.shortLength) tokens, "
                + "mid-trained up to \(shape.longest), adapted to sparse attention, which reads "
                + "\(config.indexer?.topK ?? 0) positions, and fine-tuned on conversations.",
            figures: Report.Figures(
                validationBitsPerByte: stages.last?.gain?.longBitsPerByte,
                tokensPerSecond: seconds > 0 ? Double(tokens) / seconds : 0,
                fractionOfPeak: try fractionOfPeak(stages[1], recipes[1], probe), seconds: seconds,
                totalParameters: size.parameterCount, activeParameters: size.activeCount, tokens: tokens),
            stages: stages, samples: try SampleLog.last(modelFolder.appending(path: "samples.jsonl")),
            machine: [
                Report.Fact("Kernels", KernelSet.name),
                Report.Fact("Threads", "\(ThreadPool.shared.threadCount)"),
                Report.Fact("Peak, \(probe.format)", "\(Int(probe.operationsPerSecond / 1e9)) GFLOP/s"),
                Report.Fact("Read bandwidth", "\(Int(probe.bytesPerSecond / 1e9)) GB/s"),
                Report.Fact("Most memory in use", "\(peakBytes >> 20) MB"),
            ],
            chatCommand: "\(program) chat --model \(modelFolder.relativePath)")
    }

    /// Of pre-training, whose every operation is counted.
    private func fractionOfPeak(_ stage: Report.Stage, _ recipe: TrainRecipe, _ probe: MachineProbe) throws -> Double {
        let config = try ModelConfig(folder: URL(filePath: recipe.out))
        let rows = recipe.passOptions(length: recipe.sequenceLength).microBatchRows
        let cost = config.trainingCost(
            sequence: recipe.sequenceLength, tokens: Int(recipe.stepTokens), pass: rows * recipe.sequenceLength)
        let rate = Double(stage.tokens) / max(1e-6, stage.seconds ?? 0)
        return rate * cost.operationsPerToken / probe.operationsPerSecond
    }
}
