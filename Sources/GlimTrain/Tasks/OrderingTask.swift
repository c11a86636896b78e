public import GlimTensor

/// Numbers and words to sort, and two long numbers to compare.
///
/// To say which of two things is the greater has two answers, and which of three short numbers is the greatest is mostly
/// answered by a similar question. So what is compared is too long to meet again, and what is short is sorted as a whole.
///
/// | level | to sort | numbers, in two directions | words | to compare |
/// | --- | --- | --- | --- | --- |
/// | easy | 3 | 2 · 970,200 of 0...99 | over 10⁶ | 6 digits |
/// | medium | 5 | over 10¹⁴ of 0...999 | over 10¹⁰ | 9 digits |
/// | hard | 7 | over 10²⁷ of 0...9999 | over 10¹⁴ | 12 digits |
public struct OrderingTask: VerifiableTask {
    public let name = "ordering"

    private static let words = RetrievalWords.names + RetrievalWords.values

    public init() {}

    public func draw(_ level: ReasoningLevel, _ random: CounterRandom) -> VerifiableInstance {
        var draws = DrawSequence(random)
        let (count, greatest, digits) =
            switch level {
            case .easy: (3, 99, 6)
            case .medium: (5, 999, 9)
            case .hard: (7, 9999, 12)
            }
        switch draws.integer(below: 3) {
        case 0: return Self.numbers(draws.distinct(count, from: 0, through: greatest), falls: draws.chance(0.5))
        case 1:
            let places = draws.distinct(count, from: 0, through: Self.words.count - 1)
            return Self.words(places.map { Self.words[$0] })
        default:
            let pair = Self.alikePair(&draws, digits: digits)
            return Self.compare(pair[0], pair[1])
        }
    }

    package static func numbers(_ numbers: [Int], falls: Bool) -> VerifiableInstance {
        let order = falls ? "from greatest to least" : "from least to greatest"
        let sorted = numbers.sorted { falls ? $0 > $1 : $0 < $1 }
        return sort(
            numbers.map { String($0) }, to: sorted.map { String($0) }, ask: "Sort these numbers \(order)",
            pick: falls ? "greatest" : "least", spaced: true)
    }

    package static func words(_ words: [String]) -> VerifiableInstance {
        sort(words, to: words.sorted(), ask: "Sort these words by the alphabet", pick: "first", spaced: false)
    }

    /// Takes the next from what is left, until nothing is.
    private static func sort(
        _ items: [String], to sorted: [String], ask: String, pick: String, spaced: Bool
    ) -> VerifiableInstance {
        func shown(_ item: String) -> String { spaced ? ColumnArithmetic.spaced(item) : item }
        var (left, lines) = (items, [String]())
        for next in sorted {
            lines.append("left \(left.map(shown).joined(separator: ", ")): \(pick) \(shown(next))")
            left.removeAll { $0 == next }
        }
        return VerifiableInstance(
            question: "\(ask): \(items.joined(separator: ", ")).", thinking: lines,
            answer: sorted.joined(separator: ", "), rule: .list(sorted),
            content: "\(pick) \(items.sorted().joined(separator: " "))")
    }

    /// The digits of two numbers that are the same up to some digit, and then not.
    private static func alikePair(_ draws: inout DrawSequence, digits: Int) -> [[Int]] {
        var numbers = [[Int]](repeating: [], count: 2)
        let same = draws.integer(below: digits)
        for i in 0..<digits {
            let least = i == 0 ? 1 : 0
            let first = draws.integer(from: least, through: 9)
            var second = i < same ? first : draws.integer(from: least, through: 9)
            while i == same, second == first { second = draws.integer(from: least, through: 9) }
            numbers[0].append(first)
            numbers[1].append(second)
        }
        return numbers
    }

    /// - Parameters:
    ///   - first: the digits of a number.
    ///   - second: of another, as long.
    package static func compare(_ first: [Int], _ second: [Int]) -> VerifiableInstance {
        var lines: [String] = []
        for (a, b) in zip(first, second) {
            lines.append(a == b ? "\(a) = \(b)" : a > b ? "\(a) > \(b), the first" : "\(a) < \(b), the second")
            if a != b { break }
        }
        let numbers = [first, second].map { $0.reduce(0) { 10 * $0 + $1 } }
        let greater = max(numbers[0], numbers[1])
        return VerifiableInstance(
            question: "Which number is greater, \(numbers[0]) or \(numbers[1])?", thinking: lines,
            answer: String(greater), rule: .number(greater, unit: nil), content: "greater \(numbers.sorted())")
    }
}
