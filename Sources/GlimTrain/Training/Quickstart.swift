public import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor

/// The main job on its defaults: text, tokenizer, a `nano` model, and a page that shows what came of it.
///
/// `DIR/model` is the run and the model folder, `DIR/report.html` and `DIR/report.json` tell about it. Stopped at any
/// moment, the same call goes on where it was.
public struct Quickstart {
    private let folder: URL
    private let minutes: Double?
    private let data: [String]
    private let threads: Int?
    private let seed: UInt64?
    private let program: String
    private let say: @Sendable (String) -> Void

    /// - Parameters:
    ///   - minutes: of training; nil: ten. What is given here, when going on, must be what the run began with.
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
        var recipe = TrainRecipe()
        (recipe.preset, recipe.out, recipe.minutes) = ("nano", modelFolder.path, minutes ?? 10)
        // In minutes there are few tokens: many small steps teach more than few large ones.
        recipe.batchTokens = 2048
        // Where the processor multiplies bf16 pairs: faster, and the loss is the same within noise.
        if KernelSet.multipliesBF16 { recipe.computeType = .bfloat16 }
        (recipe.data, recipe.threads, recipe.seed) = (data, threads, seed ?? 0)
        var given: Set<TrainRecipe.CodingKeys> = []
        if minutes != nil { given.insert(.minutes) }
        if !data.isEmpty { given.insert(.data) }
        if seed != nil { given.insert(.seed) }
        try recipe.validate()
        let began = FileManager.default.fileExists(atPath: modelFolder.appending(path: "recipe.json").path)
        if began { say("going on with \(modelFolder.path)") }
        var pretraining = try PretrainRun(recipe, resumes: began, given: given, say: say)
        pretraining.howToResume = "the same command goes on"
        let format: Weight.Format = pretraining.recipe.computeType == .bfloat16 ? .bf16 : .f32
        let probe = MachineProbe.measure(format)
        let summary = try pretraining.train()
        if summary.wasInterrupted { return nil }
        let file = folder.appending(path: "report.json")
        if summary.seconds == 0, let data = try? FileBytes.read(file.path, atMost: 64 << 20),
            let report = try? JSONDecoder().decode(Report.self, from: Data(data))
        {
            // Done before: the report keeps what was measured while it trained.
            say("already trained; remove \(folder.relativePath) to begin anew")
            return report
        }
        let report = try makeReport(summary, pretraining.recipe, MachineProbe.best(probe, .measure(format)))
        let metrics = try MetricsLog.read(file: modelFolder.appending(path: "metrics.jsonl"))
        try report.write(to: folder, curve: LossCurve(title: "Loss over training", metrics: metrics))
        return report
    }

    private func makeReport(
        _ summary: PretrainRun.Summary, _ recipe: TrainRecipe, _ probe: MachineProbe
    ) throws -> Report {
        let config = try ModelConfig(folder: modelFolder)
        let metrics = try MetricsLog.read(file: modelFolder.appending(path: "metrics.jsonl"))
        // Over all processes that took part, from the log: each step says how fast it was.
        let seconds = zip(metrics, [0] + metrics.map(\.tokens)).reduce(0.0) { sum, step in
            sum + Double(step.0.tokens - step.1) / step.0.tokensPerSecond
        }
        let rate = seconds > 0 ? Double(summary.tokens) / seconds : 0
        let stepTokens = recipe.rowsPerBatch * recipe.sequenceLength
        let cost = config.trainingCost(
            sequence: recipe.sequenceLength, tokens: stepTokens,
            pass: recipe.passOptions.microBatchRows * recipe.sequenceLength)
        let size = config.size
        let source = recipe.data.isEmpty ? "text found here" : "the text given"
        return Report(
            title: "Glim quickstart",
            summary: "A GLM-5 model of \((Double(size.parameterCount) / 1e6).formatted(digits: 1)) million parameters, "
                + "trained on this machine "
                + "from \(source). \(summary.steps) steps of \(stepTokens) tokens.",
            figures: Report.Figures(
                validationBitsPerByte: summary.validationBitsPerByte, tokensPerSecond: rate,
                fractionOfPeak: rate * cost.operationsPerToken / probe.operationsPerSecond, seconds: seconds,
                totalParameters: size.parameterCount, activeParameters: size.activeCount, tokens: summary.tokens),
            stages: [
                Report.Stage(
                    name: "pretrain", steps: summary.steps, tokens: summary.tokens, seconds: seconds,
                    finalLoss: summary.finalLoss, validationBitsPerByte: summary.validationBitsPerByte)
            ],
            samples: try SampleLog.last(modelFolder.appending(path: "samples.jsonl")),
            machine: [
                Report.Fact("Kernels", KernelSet.name),
                Report.Fact("Threads", "\(ThreadPool.shared.threadCount)"),
                Report.Fact("Peak, \(probe.format)", "\(Int(probe.operationsPerSecond / 1e9)) GFLOP/s"),
                Report.Fact("Read bandwidth", "\(Int(probe.bytesPerSecond / 1e9)) GB/s"),
                Report.Fact("Most memory in use", "\(BufferPool.peakBytes >> 20) MB"),
            ],
            chatCommand: "\(program) chat --model \(modelFolder.relativePath)")
    }
}
