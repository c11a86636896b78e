public import GlimModel
import GlimTensor
public import GlimText

/// Best of n: each question is asked several times, and the best right answer becomes a conversation to learn from.
///
/// With the model itself to answer, it makes data for its own fine-tuning:
///
/// ```swift
/// var sampling = try RejectionSampling(samples: 8)
/// let question = mixture.instance(0, split: .training, seed: 1)
/// let kept = try sampling.best(0, ChatPrompt([.user(question.question)]), grade: question.grade) {
///     try responder.replies(to: $0, $1)
/// }
/// ```
public struct RejectionSampling: Sendable {
    /// Answers to each question.
    public let samples: Int
    public let temperature: Double
    public let seed: UInt64
    /// An answer of this grade is right.
    public var threshold = 1.0
    /// What came of all questions so far.
    public private(set) var report = Report()

    private static let mostSamples = 1024

    /// - Throws: `ReasoningError` for a number that cannot be.
    public init(samples: Int, temperature: Double = 1, seed: UInt64 = 0) throws(ReasoningError) {
        guard (1...Self.mostSamples).contains(samples) else {
            throw ReasoningError("samples is \(samples), not within 1...\(Self.mostSamples)")
        }
        guard temperature >= 0, temperature.isFinite else {
            throw ReasoningError("temperature is \(temperature); it must be 0 or more")
        }
        (self.samples, self.temperature, self.seed) = (samples, temperature, seed)
    }

    public struct Report: Sendable, Equatable {
        public var questions = 0
        /// Questions of which an answer was kept.
        public var kept = 0
        public var samples = 0
        public var rightSamples = 0
        /// Questions with a right answer among their samples.
        public var solved = 0
        /// Drawn for all samples.
        public var tokens = 0

        public init() {}

        /// The share of samples that are right; 0 of none.
        public var passAt1: Double { Double(rightSamples) / Double(max(1, samples)) }
        /// The share of questions with a right sample; 0 of none.
        public var passAtN: Double { Double(solved) / Double(max(1, questions)) }
    }

    /// How the samples of a question are drawn, each by a seed of its own.
    public func samplers(_ question: Int) -> [Sampler] {
        let random = CounterRandom(seed: seed, purpose: "rejection.\(question)")
        return (0..<samples).map { Sampler(temperature: temperature, seed: random.bits(UInt64($0))) }
    }

    /// Asks a question and keeps the best right answer: of equal grades the shortest, of equal lengths the first.
    ///
    /// Where thinking was asked for, an answer without any is not kept: templates write it as if thinking had been off,
    /// and the shortest would teach the model to leave it out.
    ///
    /// - Parameters:
    ///   - number: of the question, which decides its samples.
    ///   - prompt: ends with the question.
    ///   - grade: of an answer without its thinking, within 0...1.
    ///   - answer: gives a reply for each sampler.
    /// - Returns: the prompt with the answer; nil where none is kept.
    /// - Throws: what `answer` throws.
    public mutating func best<E: Error>(
        _ number: Int, _ prompt: ChatPrompt, grade: (_ answer: String) -> Double,
        answer: (_ prompt: ChatPrompt, _ samplers: [Sampler]) throws(E) -> [Responder.Reply]
    ) throws(E) -> ChatPrompt? {
        let replies = try answer(prompt, samplers(number))
        let grades = replies.map { $0.answer.map(grade) ?? 0 }
        let right = replies.indices.filter { replies[$0].isWhole && grades[$0] >= threshold }
        report.questions += 1
        report.samples += replies.count
        report.rightSamples += right.count
        report.solved += right.isEmpty ? 0 : 1
        report.tokens += replies.reduce(0) { $0 + $1.tokenCount }
        let best = right.filter { !prompt.enablesThinking || Self.hasThought(replies[$0]) }.min { a, b in
            (grades[b], replies[a].tokenCount, a) < (grades[a], replies[b].tokenCount, b)
        }
        guard let best else { return nil }
        report.kept += 1
        var conversation = prompt
        conversation.messages.append(.assistant(replies[best].content, reasoning: replies[best].reasoning))
        return conversation
    }

    private static func hasThought(_ reply: Responder.Reply) -> Bool {
        reply.reasoning?.contains { !$0.isWhitespace } ?? false
    }
}
