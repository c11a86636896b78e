public import ArgumentParser
import Foundation
import GlimModel
import GlimText
public import GlimTrain

struct Eval: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Score a model on a suite of tasks.", subcommands: [EvalRuler.self, EvalReasoning.self])

    /// Words as a shell reads them.
    static func command(_ words: [String]) -> String { words.map(quoted).joined(separator: " ") }

    private static func quoted(_ word: String) -> String {
        let isPlain = word.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_./:=,@+".contains($0)) }
        return isPlain && !word.isEmpty ? word : "'\(word.replacingOccurrences(of: "'", with: "'\\''"))'"
    }

    static func column(_ text: String, _ width: Int) -> String {
        text.padding(toLength: width, withPad: " ", startingAt: 0)
    }
}

struct EvalRuler: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ruler",
        abstract: "Score retrieval from long texts, as RULER asks for it.",
        discussion: """
            Facts such as "#note eel ray sand fog" are hidden in real text, and the model continues "#recall eel ray". \
            Tasks: needle, multi-key, multi-value, multi-query, variable-tracking, aggregation. A sample's score is \
            the fraction of expected answers in what it writes greedily; the interval is Wilson's, 95%. A needle is \
            alone in its text; of other tasks five samples share a text, which is read once, so they are not quite \
            independent. No pair of words asked for is in glim's own training documents; but a model that did not \
            train on documents of this form has never seen the form. Text of --data should be what the model did not \
            train on. A length beyond the model's longest context is asked all the same.
            """)

    @Option(help: "Model folder (config.json, *.safetensors, tokenizer.json) or GGUF file.") var model: String
    @Option(parsing: .upToNextOption, help: "Tokens of text, question and answer together.") var lengths = [4096, 8192]
    @Option(help: "Samples of each task at each length.") var samples = 20
    @Option(parsing: .upToNextOption, help: "Tasks to ask (default: all).") var tasks: [RetrievalTask] = []
    @Option(
        parsing: .upToNextOption,
        help: "Text to hide facts in: files, folders, JSON lines (default: text found on this machine).")
    var data: [String] = []
    @Option(help: "The same seed asks the same questions.") var seed: UInt64 = 0
    @Flag(help: "End standard output with one JSON object.") var json = false
    @OptionGroup var compute: ComputeOptions

    private var evaluation: RulerEvaluation {
        RulerEvaluation(
            tasks: tasks.isEmpty ? RetrievalTask.allCases : tasks, lengths: lengths, samples: samples, seed: seed)
    }

    func validate() throws {
        do { try evaluation.check() } catch { throw ValidationError("\(error).") }
    }

    func run() throws {
        compute.apply()
        let folder = URL(filePath: self.model)
        let (config, tokenizer) = (try ModelConfig(folder: folder), try Tokenizer(model: folder))
        guard tokenizer.vocabularySize <= config.vocabularySize else {
            throw Failure(
                "\(self.model) has \(tokenizer.vocabularySize) tokens in tokenizer.json, but "
                    + "\(config.vocabularySize) in config.json; take both from the same model")
        }
        let longest = lengths.max() ?? 0
        if longest > config.maximumPositions {
            log("note: \(longest) tokens are more than the \(config.maximumPositions) that \(self.model) is made for")
        }
        // Enough for the longest text to be without repetition.
        let corpus = try data.isEmpty ? Corpus.found(byteBudget: max(8 << 20, 8 * longest)) : Corpus.collect(data)
        let haystack = Haystack(corpus.documents)
        let model = try Model(path: self.model)
        let start = ContinuousClock.now
        let score = try evaluation.run(model, tokenizer, haystack: haystack) { progress in
            let seconds = start.duration(to: .now) / .seconds(1)
            let rate = Double(progress.tokensDone) / max(seconds, 1e-3)
            let left = Double(progress.tokensTotal - progress.tokensDone) / rate
            let (done, total) = (progress.tokensDone, progress.tokensTotal)
            log(
                "ruler  \(progress.task.rawValue) at \(progress.length)  \(done)/\(total) tokens"
                    + (done == 0 ? "" : "  \(Int(rate)) tok/s  \(Int(left.rounded())) s left"))
        }
        for cell in score.cells {
            try emit(
                "\(Eval.column(cell.task.rawValue, 18))  \(Eval.column("\(cell.length)", 8))  \(cell.result.line)\n")
        }
        try emit("\(Eval.column("total", 18))  \(Eval.column("", 8))  \(score.total.line)\nagain: \(command)\n")
        if json { try emit(Report(score: score, samples: samples, command: command).jsonLine + "\n") }
    }

    /// What asks the same again.
    private var command: String {
        var words = ["glim", "eval", "ruler", "--model", model, "--lengths"] + lengths.map(String.init)
        words += ["--samples", "\(samples)"]
        if !tasks.isEmpty { words += ["--tasks"] + tasks.map(\.rawValue) }
        if !data.isEmpty { words += ["--data"] + data }
        return Eval.command(words + ["--seed", "\(seed)"])
    }

    private struct Report: Encodable {
        var score: RulerScore
        var samples: Int
        var command: String

        enum CodingKeys: String, CodingKey { case samples, command }

        func encode(to encoder: any Encoder) throws {
            try score.encode(to: encoder)
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(samples, forKey: .samples)
            try container.encode(command, forKey: .command)
        }
    }
}

extension RetrievalTask: ExpressibleByArgument {}

extension ScoreInterval {
    /// `85.0%  (64.0 to 94.8)  20 samples`
    var line: String {
        String(format: "%5.1f%%  (%.1f to %.1f)  ", 100 * score, 100 * low, 100 * high) + "\(samples) samples"
    }
}
