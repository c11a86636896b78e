public import GlimTensor

/// Numbers of which an expression is to be made that has a given value.
///
/// The demonstration tries sums and differences in a fixed order until one fits (`CountdownTrial`). Easy: three numbers
/// of 1...99; medium: four; hard: four of 1...50, two of them multiplied. Three different numbers in any order are
/// 941,094, and each of them has more than two values to ask for.
public struct CountdownTask: VerifiableTask {
    public let name = "countdown"

    public init() {}

    public func draw(_ level: ReasoningLevel, _ random: CounterRandom) -> VerifiableInstance {
        var draws = DrawSequence(random)
        let numbers = draws.distinct(level == .easy ? 3 : 4, from: 1, through: level == .hard ? 50 : 99)
        let trials = CountdownTrial.all(numbers, withProduct: level == .hard)
        // The sum of all is a trial, so there is one above 0.
        let target = draws.pick(trials.map(\.value).filter { $0 > 0 })
        return Self.instance(numbers, target: target, trials)
    }

    /// - Parameter trials: of these numbers; one has the target's value.
    package static func instance(_ numbers: [Int], target: Int, _ trials: [CountdownTrial]) -> VerifiableInstance {
        var (lines, answer) = (["goal \(ColumnArithmetic.spaced(target))"], "")
        for trial in trials {
            lines.append("\(trial.line), \(trial.value == target ? "yes" : "no")")
            guard trial.value == target else { continue }
            answer = trial.expression
            break
        }
        let list = numbers.map { String($0) }.joined(separator: ", ")
        return VerifiableInstance(
            question: "Make \(target) from \(list) with + - * / and brackets, each number exactly once.",
            thinking: lines, answer: answer, rule: .expression(numbers: numbers, target: target),
            content: "\(numbers.sorted()) \(target)")
    }
}
