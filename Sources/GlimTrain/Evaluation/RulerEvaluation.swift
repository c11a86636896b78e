public import GlimModel
import Foundation
public import GlimText

/// Retrieval from long texts, as RULER asks for it (arXiv 2404.06654), in the forms that ``Retrieval`` teaches.
///
/// Facts of pairs of words that no training document has are hidden in real text. Five samples share a text, which is
/// read once: after each the cache is cut back to the text. An answer is the greedy continuation up to the end of its
/// line; its score is the fraction of expected answers that stand in it, whatever else does.
public struct RulerEvaluation: Sendable, Equatable {
    public var tasks: [RetrievalTask]
    /// Tokens from the first of the text to the last of the answer, at most.
    public var lengths: [Int]
    /// Of each task at each length.
    public var samples: Int
    public var seed: UInt64

    /// Facts and questions alone take this much.
    public static let shortestLength = 512
    private static let longestLength = 1 << 22
    private static let mostSamples = 100_000

    public init(
        tasks: [RetrievalTask] = RetrievalTask.allCases, lengths: [Int] = [4096, 8192], samples: Int = 20,
        seed: UInt64 = 0
    ) {
        (self.tasks, self.lengths, self.samples, self.seed) = (tasks, lengths, samples, seed)
    }

    /// How far an evaluation is.
    public struct Progress: Sendable, Equatable {
        public var task: RetrievalTask
        public var length: Int
        public var tokensDone: Int
        public var tokensTotal: Int
    }

    /// Asks all of it.
    ///
    /// - Parameters:
    ///   - model: a length beyond its `maximumPositions` is asked all the same.
    ///   - haystack: text that the model did not train on.
    ///   - progress: called about every 4,096 tokens.
    /// - Throws: `EvaluationError` for a length or a number of samples that cannot be, or facts that do not fit.
    public func run(
        _ model: Model, _ tokenizer: Tokenizer, haystack: Haystack, progress: (Progress) -> Void = { _ in }
    ) throws(EvaluationError) -> RulerScore {
        try check()
        var model = model
        model.config.maximumPositions = max(model.config.maximumPositions, lengths.max() ?? 0)
        func textCount(_ task: RetrievalTask) -> Int {
            let shared = RetrievalInstance.samplesPerText(task)
            return (samples + shared - 1) / shared
        }
        let total = lengths.reduce(0, +) * tasks.reduce(0) { $0 + textCount($1) }
        var (cells, done): ([RulerScore.Cell], Int) = ([], 0)
        for length in lengths {
            for task in tasks {
                var (sum, asked, tokens) = (0.0, 0, 0)
                let texts = textCount(task)
                for index in 0..<texts {
                    let (instance, prefix) = try fit(task, index, length, tokenizer, haystack)
                    let reader = Reader(model, tokenizer)
                    for first in stride(from: 0, to: prefix.count, by: 4096) {
                        progress(Progress(task: task, length: length, tokensDone: done + first, tokensTotal: total))
                        reader.read(Array(prefix[first..<min(first + 4096, prefix.count)]))
                    }
                    for sample in instance.samples.prefix(samples - asked) {
                        sum += reader.score(sample)
                        asked += 1
                    }
                    tokens += prefix.count
                    done += length
                }
                cells.append(
                    RulerScore.Cell(
                        task: task, length: length, prefixTokens: tokens / texts,
                        result: ScoreInterval(sum: sum, samples: asked)))
            }
        }
        return RulerScore(cells, seed: seed)
    }

    /// Whether it can be asked at all, before a model is loaded.
    ///
    /// - Throws: `EvaluationError` with what to change.
    public func check() throws(EvaluationError) {
        guard (1...Self.mostSamples).contains(samples) else {
            throw EvaluationError("samples is \(samples), not within 1...\(Self.mostSamples)")
        }
        guard !tasks.isEmpty else { throw EvaluationError("no task to evaluate; name at least one") }
        guard !lengths.isEmpty else { throw EvaluationError("no length to evaluate; name at least one") }
        let range = Self.shortestLength...Self.longestLength
        if let odd = lengths.first(where: { !range.contains($0) }) {
            throw EvaluationError("length \(odd) is not within \(range.lowerBound)...\(range.upperBound)")
        }
    }

    /// A text that fills the length with its longest question and answer, and its tokens.
    package func fit(
        _ task: RetrievalTask, _ index: Int, _ length: Int, _ tokenizer: Tokenizer, _ haystack: Haystack
    ) throws(EvaluationError) -> (RetrievalInstance, tokens: [Int32]) {
        var byteCount = 3 * length
        for attempt in 0..<12 {
            let instance = RetrievalInstance(
                task, index: index, byteCount: byteCount, haystack: haystack, seed: seed)
            let tokens = tokenizer.encode(instance.prefix)
            let longest = instance.samples.map { sample in
                sample.prompts.reduce(0) { sum, ask in
                    sum + tokenizer.encode(ask.prompt).count + Reader.answerLimit(ask.expected, tokenizer)
                }
            }
            let room = length - (longest.max() ?? 0)
            if tokens.count <= room, tokens.count * 100 >= room * 97 || attempt >= 4 { return (instance, tokens) }
            // A little less than what fits on average: lines are not alike.
            let wanted = Double(room) * (attempt < 4 ? 0.99 : 0.95)
            byteCount = Int(Double(byteCount) * wanted / Double(max(tokens.count, 1)))
        }
        throw EvaluationError(
            "the facts of \(task.rawValue) do not fit into \(length) tokens of this tokenizer; ask for a greater length"
        )
    }

    /// Reads one text, and answers questions about it.
    struct Reader {
        private let model: Model
        private let tokenizer: Tokenizer
        private let cache: Cache

        init(_ model: Model, _ tokenizer: Tokenizer) {
            (self.model, self.tokenizer, cache) = (model, tokenizer, model.makeCache())
        }

        func read(_ tokens: [Int32]) {
            var generator = Generator(model, sampler: Sampler(temperature: 0), cache: cache)
            generator.feed(tokens)
        }

        /// The mean of the sample's answers; afterwards the cache ends with the text again.
        func score(_ sample: RetrievalInstance.Sample) -> Double {
            let text = cache.count
            defer { cache.truncate(to: text) }
            var generator = Generator(model, sampler: Sampler(temperature: 0), cache: cache)
            var (sum, pending): (Double, [Int32]) = (0, [])
            for (prompt, expected) in sample.prompts {
                generator.feed(pending + tokenizer.encode(prompt))
                let (line, tokens) = answer(&generator, limit: Self.answerLimit(expected, tokenizer))
                sum += RulerScore.grade(line, expected: expected)
                // The token drawn last is not in the cache yet; each question begins a line.
                pending = tokens.suffix(1) + (line.hasSuffix("\n") ? [] : tokenizer.encode("\n"))
            }
            return sum / Double(sample.prompts.count)
        }

        private func answer(_ generator: inout Generator, limit: Int) -> (line: String, tokens: [Int32]) {
            var (tokens, bytes): ([Int32], [UInt8]) = ([], [])
            while tokens.count < limit, let token = generator.next() {
                tokens.append(token.id)
                bytes += (try? tokenizer.bytes(of: token.id)) ?? []
                if bytes.contains(UInt8(ascii: "\n")) { break }
            }
            return (String(decoding: bytes, as: UTF8.self), tokens)
        }

        /// The tokens of the right answer, and some for a wrong turn.
        static func answerLimit(_ expected: [String], _ tokenizer: Tokenizer) -> Int {
            tokenizer.encode(" \(expected.joined(separator: " "))\n").count + 4
        }
    }
}
