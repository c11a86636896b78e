public import GlimTensor

/// How hard the questions of a task are.
public enum ReasoningLevel: String, CaseIterable, Codable, Sendable {
    case easy, medium, hard
}

/// Which of two disjoint sets of questions: what evaluation asks, training never has.
public enum ReasoningSplit: String, CaseIterable, Codable, Sendable {
    case training, evaluation
}

/// Questions without end whose answers a program can check.
///
/// Every level of every task has at least a million different questions, and so many answers that a constant one, or
/// that of the most similar question of training, is right less than one time in ten.
public protocol VerifiableTask: Sendable {
    /// Its name in scores; what it draws depends on the name too.
    var name: String { get }

    /// Draws a question of either split: a function of the random numbers alone.
    func draw(_ level: ReasoningLevel, _ random: CounterRandom) -> VerifiableInstance
}

extension VerifiableTask {
    /// Question number `index` of a split: a function of the arguments alone.
    ///
    /// Drawn again until it falls into the split; the questions of two indices may be the same by chance.
    public func instance(
        _ index: Int, level: ReasoningLevel, split: ReasoningSplit, seed: UInt64
    ) -> VerifiableInstance {
        let purpose = "reasoning.\(name).\(level.rawValue).\(split.rawValue).\(index)"
        var attempt = 0
        while true {
            let instance = draw(level, CounterRandom(seed: seed, purpose: "\(purpose).\(attempt)"))
            if instance.split == split { return instance }
            attempt += 1
        }
    }
}

/// The reasoning family.
public enum ReasoningFamily {
    public static let tasks: [any VerifiableTask] = [
        ArithmeticTask(), CountdownTask(), OrderingTask(), LettersTask(), StoryTask(),
    ]
}
