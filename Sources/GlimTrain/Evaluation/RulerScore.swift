/// What an evaluation found: a score for each task and length.
public struct RulerScore: Codable, Sendable, Equatable {
    /// One task at one length.
    public struct Cell: Codable, Sendable, Equatable {
        public var task: RetrievalTask
        public var length: Int
        /// Tokens of the text that was read, on average.
        public var prefixTokens: Int
        public var result: ScoreInterval

        enum CodingKeys: String, CodingKey {
            case task, length, result
            case prefixTokens = "prefix_tokens"
        }
    }

    public var cells: [Cell]
    /// Over all samples.
    public var total: ScoreInterval
    public var seed: UInt64

    init(_ cells: [Cell], seed: UInt64) {
        (self.cells, self.seed) = (cells, seed)
        total = ScoreInterval(
            sum: cells.reduce(0) { $0 + $1.result.score * Double($1.result.samples) },
            samples: cells.reduce(0) { $0 + $1.result.samples })
    }

    /// The fraction of expected answers that stand in the first line of what was written, whatever else stands there.
    ///
    /// As whole words, where RULER looks for any part of the text: `ice` does not stand in `rice`.
    package static func grade(_ written: String, expected: [String]) -> Double {
        let line = written.prefix { !$0.isNewline }
        let words = " " + line.split { $0.isWhitespace || $0.isPunctuation }.joined(separator: " ") + " "
        return Double(expected.count { words.contains(" \($0) ") }) / Double(max(1, expected.count))
    }
}

/// Why an evaluation cannot be made.
public struct EvaluationError: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}
