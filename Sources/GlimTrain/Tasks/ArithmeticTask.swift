public import GlimTensor

/// Sums, differences and products; harder levels have more digits.
///
/// | level | questions | how many |
/// | --- | --- | --- |
/// | easy | `a + b + c`, `a + b - c` of 0...99; `a * d + b` with a digit d | 10⁶ sums alone, and over 8·10⁵ others |
/// | medium | `a + b`, `a - b` of three and four digits; three digits by two | 9,900² sums, 81,000 products |
/// | hard | the same with five to eight digits; four digits by three | over 10¹⁵ sums |
///
/// What is drawn is spread so that two draws are the same less than once in 10⁶.
public struct ArithmeticTask: VerifiableTask {
    public let name = "arithmetic"

    public init() {}

    public func draw(_ level: ReasoningLevel, _ random: CounterRandom) -> VerifiableInstance {
        var draws = DrawSequence(random)
        return switch level {
        case .easy: Self.easy(&draws)
        case .medium: Self.single(&draws, digits: 3...4, product: (3, 2))
        case .hard: Self.single(&draws, digits: 5...8, product: (4, 3))
        }
    }

    private static func easy(_ draws: inout DrawSequence) -> VerifiableInstance {
        let (a, b) = (draws.integer(below: 100), draws.integer(below: 100))
        switch draws.integer(below: 8) {
        case 0...3:
            let c = draws.integer(below: 100)
            return instance([.init(a, .add, b), .init(a + b, .add, c)], content: "+ \([a, b, c].sorted())")
        case 4...6:
            let c = draws.integer(from: 0, through: min(99, a + b))
            return instance([.init(a, .add, b), .init(a + b, .subtract, c)], content: "+- \([a, b].sorted()) \(c)")
        default:
            let digit = draws.integer(from: 2, through: 9)
            return instance([.init(a, .multiply, digit), .init(a * digit, .add, b)], content: "*+ \(a) \(digit) \(b)")
        }
    }

    private static func single(
        _ draws: inout DrawSequence, digits: ClosedRange<Int>, product: (Int, Int)
    ) -> VerifiableInstance {
        func number(_ draws: inout DrawSequence, digits: Int) -> Int {
            let least = (1..<digits).reduce(1) { least, _ in 10 * least }
            return draws.integer(from: least, through: 10 * least - 1)
        }
        let kind = draws.integer(below: 8)
        // Of products there are least.
        if kind == 7 {
            let (a, b) = (number(&draws, digits: product.0), number(&draws, digits: product.1))
            return instance([.init(a, .multiply, b)], content: "* \(a) \(b)")
        }
        let counts = (0..<2).map { _ in draws.integer(from: digits.lowerBound, through: digits.upperBound) }
        let (a, b) = (number(&draws, digits: counts[0]), number(&draws, digits: counts[1]))
        if kind >= 4 { return instance([.init(max(a, b), .subtract, min(a, b))], content: "- \([a, b].sorted())") }
        return instance([.init(a, .add, b)], content: "+ \([a, b].sorted())")
    }

    /// - Parameter steps: each begins with what the one before came to.
    private static func instance(_ steps: [ColumnArithmetic], content: String) -> VerifiableInstance {
        let expression = steps.reduce("\(steps[0].left)") { "\($0) \($1.operation.rawValue) \($1.right)" }
        let value = steps[steps.count - 1].value
        return VerifiableInstance(
            question: "What is \(expression)?", thinking: steps.flatMap(\.lines), answer: String(value),
            rule: .number(value, unit: nil), content: content)
    }
}
