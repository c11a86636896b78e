import ArgumentParser
import GlimTrain

struct EvalReasoning: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reasoning",
        abstract: "Score reasoning: arithmetic, countdown, ordering, letters, stories.",
        discussion: """
            Each question is asked in a conversation of its own, and the model thinks and answers greedily. Right is an \
            answer that a program finds right, without a word around it; one that does not end within --max-tokens is \
            wrong. The interval is Wilson's, 95%. No question is among those that glim sft-data writes. A model that was \
            not taught to answer scores near 0.
            """)

    @Option(help: "Model folder (config.json, *.safetensors, tokenizer.json) or GGUF file.") var model: String
    @Option(help: "How hard the questions are: easy, medium or hard.") var level = ReasoningLevel.easy
    @Option(help: "Questions of each task.") var samples = 100
    @Option(help: "Tokens of thinking and answer together.") var maxTokens = 1024
    @Flag(help: "Ask for the answer at once.") var noThinking = false
    @Option(help: "The same seed asks the same questions.") var seed: UInt64 = 0
    @Flag(help: "End standard output with one JSON object.") var json = false
    @OptionGroup var compute: ComputeOptions

    private var evaluation: ReasoningEvaluation { ReasoningEvaluation(level, samples: samples, seed: seed) }

    func validate() throws {
        do { try evaluation.check() } catch { throw ValidationError("\(error).") }
        guard maxTokens >= 1 else { throw ValidationError("--max-tokens is \(maxTokens); it must be 1 or more.") }
    }

    func run() throws {
        compute.apply()
        let responder = try Responder(path: model, maxTokens: maxTokens)
        let start = ContinuousClock.now
        var line = ProgressLine(
            label: "reasoning", unit: "question", stepCount: samples * ReasoningFamily.tasks.count)
        let score = try evaluation.run(responder, thinks: !noThinking) { progress in
            let seconds = start.duration(to: .now) / .seconds(1)
            ProgressLine.write(
                line.update(
                    step: progress.done, figure: progress.task,
                    tokensPerSecond: Double(progress.tokens) / max(seconds, 1e-3)))
        }
        ProgressLine.write(line.finish())
        for cell in score.cells { try emit("\(Eval.column(cell.task, 18))  \(cell.result.line)\n") }
        try emit("\(Eval.column("total", 18))  \(score.total.line)\nagain: \(command)\n")
        if json {
            let report = Report(
                score: score, samples: samples, maxTokens: maxTokens, thinks: !noThinking, command: command)
            try emit(report.jsonLine + "\n")
        }
    }

    /// What asks the same again.
    private var command: String {
        var words = ["glim", "eval", "reasoning", "--model", model, "--level", level.rawValue]
        words += ["--samples", "\(samples)", "--max-tokens", "\(maxTokens)"]
        if noThinking { words.append("--no-thinking") }
        return Eval.command(words + ["--seed", "\(seed)"])
    }

    private struct Report: Encodable {
        var score: ReasoningScore
        var samples: Int
        var maxTokens: Int
        var thinks: Bool
        var command: String

        enum CodingKeys: String, CodingKey {
            case samples, command
            case maxTokens = "max_tokens"
            case thinks = "thinking"
        }

        func encode(to encoder: any Encoder) throws {
            try score.encode(to: encoder)
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(samples, forKey: .samples)
            try container.encode(maxTokens, forKey: .maxTokens)
            try container.encode(thinks, forKey: .thinks)
            try container.encode(command, forKey: .command)
        }
    }
}
