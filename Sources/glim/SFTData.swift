import ArgumentParser
import Foundation
import GlimCheckpoint
import GlimText
import GlimTrain

struct SFTData: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sft-data",
        abstract: "Make conversations to fine-tune on: demonstrations, or a model's own right answers.",
        discussion: """
            Without a model, each line of the output is a conversation that demonstrates how questions are thought \
            through and answered, with thinking in each turn, in some or in none, kept or forgotten. With --model that \
            model is asked each question several times, and its shortest right answer is kept; questions that it never \
            answers right are left out. Lines are such as glim template reads and glim train sft learns from. Questions \
            are the reasoning family's of training: glim eval reasoning asks none of them.
            """)

    @Option(help: "The file of JSON lines to write.") var out: String
    @Option(help: "How hard the questions are: easy, medium or hard.") var level = ReasoningLevel.easy
    @Option(parsing: .upToNextOption, help: "Tasks to ask, each as often (default: all).") var tasks: [NamedTask] = []
    @Option(help: "How many conversations, or with --model questions (default: 10000, with --model 1000).")
    var count: Int?
    @Option(help: "The same seed writes the same file.") var seed: UInt64 = 0
    @Option(help: "Model folder (config.json, *.safetensors, tokenizer.json) or GGUF file to ask.") var model: String?
    @Option(help: "With --model: answers to each question (default: 8).") var samples: Int?
    @Option(help: "With --model: divides the logits (default: 1).") var temperature: Double?
    @Option(help: "With --model: tokens of thinking and answer together (default: 1024).") var maxTokens: Int?
    @Flag(help: "End standard output with one JSON object.") var json = false
    @OptionGroup var compute: ComputeOptions

    private static let mostConversations = 1_000_000

    func validate() throws {
        if let count, !(1...Self.mostConversations).contains(count) {
            throw ValidationError("--count is \(count), not within 1...\(Self.mostConversations).")
        }
        if model == nil, samples != nil || temperature != nil || maxTokens != nil {
            throw ValidationError("--samples, --temperature and --max-tokens are of the answers of a --model.")
        }
        do { _ = try sampling() } catch { throw ValidationError("--\(error).") }
        if let maxTokens, maxTokens < 1 {
            throw ValidationError("--max-tokens is \(maxTokens); it must be 1 or more.")
        }
    }

    func run() throws {
        compute.apply()
        let file = URL(filePath: out)
        // Before an hour of answers, not behind it.
        try CheckpointWriter.checkFile(file)
        if let model { try sample(model, file) } else { try demonstrate(file) }
    }

    private func mixture() throws -> ReasoningMixture {
        tasks.isEmpty ? ReasoningMixture(level) : try ReasoningMixture(level, tasks.map { ($0.task, 1) })
    }

    private func sampling() throws(ReasoningError) -> RejectionSampling {
        try RejectionSampling(samples: samples ?? 8, temperature: temperature ?? 1, seed: seed)
    }
}

// MARK: - Demonstrations

extension SFTData {
    private func demonstrate(_ file: URL) throws {
        let demonstrations = ReasoningDemonstrations(try mixture(), seed: seed)
        var (lines, report) = (Data(), Demonstrated(seed: seed))
        for index in 0..<(count ?? 10_000) {
            let conversation = demonstrations.conversation(index)
            lines.append(contentsOf: (conversation.json.compact + "\n").utf8)
            report.conversations += 1
            report.questions += conversation.messages.count { $0.role == .user }
            report.count(demonstrations.mode(index))
        }
        try AtomicFile.write(lines, to: file)
        try emit("conversations \(report.conversations), questions \(report.questions)\n")
        try emit("thinking: \(report.modeList)\nwritten: \(out)\n")
        if json { try emit(report.jsonLine + "\n") }
    }

    /// What `--json` prints.
    private struct Demonstrated: Encodable {
        var conversations = 0
        var questions = 0
        /// Conversations by the way they think.
        private var modes: [String: Int] = [:]
        private let seed: UInt64

        init(seed: UInt64) {
            self.seed = seed
            for mode in ReasoningDemonstrations.Mode.allCases { modes[mode.rawValue] = 0 }
        }

        mutating func count(_ mode: ReasoningDemonstrations.Mode) { modes[mode.rawValue, default: 0] += 1 }

        var modeList: String {
            let all = ReasoningDemonstrations.Mode.allCases.map(\.rawValue)
            return all.map { "\(modes[$0, default: 0]) \($0)" }.joined(separator: ", ")
        }
    }
}

// MARK: - Answers of a model

extension SFTData {
    private func sample(_ model: String, _ file: URL) throws {
        let (mixture, questions) = (try mixture(), count ?? 1000)
        let responder = try Responder(path: model, maxTokens: maxTokens ?? 1024)
        var (sampling, lines) = (try sampling(), Data())
        var progress = ProgressLine(label: "sft-data", unit: "question", stepCount: questions)
        let start = ContinuousClock.now
        var seconds: Double { max(start.duration(to: .now) / .seconds(1), 1e-3) }
        for number in 0..<questions {
            let question = mixture.instance(number, split: .training, seed: seed)
            let kept = try sampling.best(
                number, ChatPrompt([.user(question.question)]), grade: question.grade
            ) { prompt, samplers throws(ReasoningError) in try responder.replies(to: prompt, samplers) }
            if let kept { lines.append(contentsOf: (kept.json.compact + "\n").utf8) }
            let report = sampling.report
            ProgressLine.write(
                progress.update(
                    step: number + 1, figure: "kept \(report.kept)  right \(Self.percent(report.passAt1))",
                    tokensPerSecond: Double(report.tokens) / seconds))
        }
        ProgressLine.write(progress.finish())
        let report = Sampled(sampling.report, seed: seed, seconds: seconds)
        if report.kept > 0 { try AtomicFile.write(lines, to: file) }
        try emit(
            """
            questions \(report.questions), kept \(report.kept)
            right: \(Self.percent(report.passAt1)) of \(report.samples) answers, at least one of \(sampling.samples) to \
            \(Self.percent(report.passAtN)) of the questions
            tokens \(report.tokens), \(report.tokensPerSecond.formatted(digits: 0)) tok/s

            """)
        if report.kept > 0 { try emit("written: \(out)\n") }
        if json { try emit(report.jsonLine + "\n") }
        guard report.kept > 0 else {
            throw Failure(
                "\(model) answered none of the \(questions) questions right, so \(out) was not written; teach it "
                    + "demonstrations first (glim sft-data without --model), or ask easier questions")
        }
    }

    private static func percent(_ share: Double) -> String { "\((100 * share).formatted(digits: 1))%" }

    /// What `--json` prints.
    private struct Sampled: Encodable {
        var questions: Int
        var kept: Int
        var samples: Int
        var passAt1: Double
        var passAtN: Double
        var tokens: Int
        var tokensPerSecond: Double
        var seconds: Double
        var seed: UInt64

        init(_ report: RejectionSampling.Report, seed: UInt64, seconds: Double) {
            (questions, kept, samples) = (report.questions, report.kept, report.samples)
            (passAt1, passAtN, tokens) = (report.passAt1, report.passAtN, report.tokens)
            (tokensPerSecond, self.seconds, self.seed) = (Double(report.tokens) / seconds, seconds, seed)
        }

        enum CodingKeys: String, CodingKey {
            case questions, kept, samples, tokens, seconds, seed
            case passAt1 = "pass_at_1"
            case passAtN = "pass_at_n"
            case tokensPerSecond = "tokens_per_second"
        }
    }
}

/// A task of the reasoning family, by its name.
struct NamedTask: ExpressibleByArgument {
    let task: any VerifiableTask

    init?(argument: String) {
        guard let task = ReasoningFamily.tasks.first(where: { $0.name == argument }) else { return nil }
        self.task = task
    }

    static var allValueStrings: [String] { ReasoningFamily.tasks.map(\.name) }
}
