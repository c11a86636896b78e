import GlimTensor

/// Questions of several tasks at one level: what supervised fine-tuning demonstrates and reinforcement learning asks.
///
/// ```swift
/// let instance = ReasoningMixture(.easy).instance(0, split: .training, seed: 1)
/// ```
public struct ReasoningMixture: Sendable {
    public let level: ReasoningLevel
    private let parts: [(task: any VerifiableTask, weight: Double)]

    /// The whole family, every task alike.
    public init(_ level: ReasoningLevel) {
        self.level = level
        parts = ReasoningFamily.tasks.map { ($0, 1) }
    }

    /// - Parameter parts: a task with weight 2 is asked twice as often as one with weight 1.
    /// - Throws: `ReasoningError` for weights that are no shares.
    public init(
        _ level: ReasoningLevel, _ parts: [(task: any VerifiableTask, weight: Double)]
    ) throws(ReasoningError) {
        if let odd = parts.first(where: { !$0.weight.isFinite || $0.weight < 0 }) {
            throw ReasoningError("the weight of \(odd.task.name) is \(odd.weight); give a number from 0 up")
        }
        guard parts.contains(where: { $0.weight > 0 }) else {
            throw ReasoningError("no task of the mixture has a weight above 0; give one at least")
        }
        (self.level, self.parts) = (level, parts)
    }

    /// Question number `index`, a function of the arguments and the mixture alone.
    public func instance(_ index: Int, split: ReasoningSplit, seed: UInt64) -> VerifiableInstance {
        task(index, seed: seed).instance(index, level: level, split: split, seed: seed)
    }

    private func task(_ index: Int, seed: UInt64) -> any VerifiableTask {
        let random = CounterRandom(seed: seed, purpose: "reasoning.mixture")
        let used = parts.filter { $0.weight > 0 }
        var place = random.uniform(UInt64(bitPattern: Int64(index))) * used.reduce(0) { $0 + $1.weight }
        for part in used {
            if place < part.weight { return part.task }
            place -= part.weight
        }
        // Rounding.
        return used[used.count - 1].task
    }
}

/// Why a mixture of tasks cannot be, or its questions not asked.
public struct ReasoningError: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}
