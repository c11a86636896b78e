/// Asks each task of the family as many questions that training never has, and says how many answers were right.
public struct ReasoningEvaluation: Sendable, Equatable {
    public var level: ReasoningLevel
    /// Questions of each task.
    public var samples: Int
    public var seed: UInt64

    public init(_ level: ReasoningLevel, samples: Int = 100, seed: UInt64 = 0) {
        (self.level, self.samples, self.seed) = (level, samples, seed)
    }

    private static let mostSamples = 100_000

    /// Whether it can be asked at all, before a model is loaded.
    ///
    /// - Throws: `ReasoningError` with what to change.
    public func check() throws(ReasoningError) {
        guard (1...Self.mostSamples).contains(samples) else {
            throw ReasoningError("samples is \(samples), not within 1...\(Self.mostSamples)")
        }
    }

    /// - Parameter answer: gives the answer to a question, without its thinking.
    /// - Throws: what `answer` throws.
    public func run<E: Error>(_ answer: (_ question: String) throws(E) -> String) throws(E) -> ReasoningScore {
        var cells: [ReasoningScore.Cell] = []
        for task in ReasoningFamily.tasks {
            var sum = 0.0
            for index in 0..<max(0, samples) {
                let instance = task.instance(index, level: level, split: .evaluation, seed: seed)
                sum += instance.grade(try answer(instance.question))
            }
            cells.append(.init(task: task.name, result: ScoreInterval(sum: sum, samples: max(0, samples))))
        }
        return ReasoningScore(level: level, cells: cells, seed: seed)
    }
}

/// What share of each task's questions was answered right.
public struct ReasoningScore: Codable, Sendable, Equatable {
    public struct Cell: Codable, Sendable, Equatable {
        public var task: String
        public var result: ScoreInterval
    }

    public var level: ReasoningLevel
    public var cells: [Cell]
    /// Over all questions.
    public var total: ScoreInterval
    public var seed: UInt64

    init(level: ReasoningLevel, cells: [Cell], seed: UInt64) {
        (self.level, self.cells, self.seed) = (level, cells, seed)
        total = ScoreInterval(
            sum: cells.reduce(0) { $0 + $1.result.score * Double($1.result.samples) },
            samples: cells.reduce(0) { $0 + $1.result.samples })
    }
}
