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
        default: return Self.compare(&draws, digits: digits)
        }
    }

    private static func numbers(_ numbers: [Int], falls: Bool) -> VerifiableInstance {
        let order = falls ? "from greatest to least" : "from least to greatest"
        let sorted = numbers.sorted { falls ? $0 > $1 : $0 < $1 }
        return sort(
            numbers.map { String($0) }, to: sorted.map { String($0) }, ask: "Sort these numbers \(order)",
            pick: falls ? "greatest" : "least", spaced: true)
    }

    private static func words(_ words: [String]) -> VerifiableInstance {
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

    /// Two numbers that are the same up to some digit, which is then compared.
    private static func compare(_ draws: inout DrawSequence, digits: Int) -> VerifiableInstance {
        var numbers = [[Int]](repeating: [], count: 2)
        let same = draws.integer(below: digits)
        for i in 0..<digits {
            let least = i == 0 ? 1 : 0
            let pair =
                i == same
                ? draws.distinct(2, from: least, through: 9)
                : [draws.integer(from: least, through: 9), draws.integer(from: least, through: 9)]
            numbers[0].append(pair[0])
            numbers[1].append(i < same ? pair[0] : pair[1])
        }
        var lines = numbers[0].prefix(same).map { "\($0) = \($0)" }
        let (a, b) = (numbers[0][same], numbers[1][same])
        lines.append(a > b ? "\(a) > \(b), the first" : "\(a) < \(b), the second")
        let texts = numbers.map { $0.map { String($0) }.joined() }
        let greater = a > b ? texts[0] : texts[1]
        return VerifiableInstance(
            question: "Which number is greater, \(texts[0]) or \(texts[1])?", thinking: lines, answer: greater,
            rule: .number(Int(greater) ?? 0, unit: nil), content: "greater \(texts.sorted().joined(separator: " "))")
    }
}
