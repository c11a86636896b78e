public import GlimTensor

/// What can be done with the letters of a word: turned round, picked, replaced, counted, made capital.
///
/// A single letter or a single count has so few answers that guessing pays: so several letters are picked, and every
/// letter is counted. Words are random letters, easy ones three to five, medium ones six to eight, hard ones nine to
/// twelve; of five letters alone there are 26⁵, over 10⁷. Some letters repeat.
public struct LettersTask: VerifiableTask {
    public let name = "letters"

    public init() {}

    public func draw(_ level: ReasoningLevel, _ random: CounterRandom) -> VerifiableInstance {
        var draws = DrawSequence(random)
        // Of the shortest words there are few.
        let (lengths, picks) =
            switch level {
            case .easy: ([3, 4, 4, 5, 5, 5], 2)
            case .medium: ([6, 7, 8], 3)
            case .hard: ([9, 10, 11, 12], 4)
            }
        var word = (0..<draws.pick(lengths)).map { _ in Self.letter(&draws) }
        if draws.chance(0.5) {
            let places = draws.distinct(2, from: 0, through: word.count - 1)
            word[places[0]] = word[places[1]]
        }
        switch draws.integer(below: 5) {
        case 0: return Self.reverse(word)
        case 1: return Self.pick(word, draws.distinct(picks, from: 1, through: word.count))
        case 2:
            let old = draws.pick(word)
            let others = Self.alphabet.filter { $0 != old }
            return Self.replace(word, old, by: draws.pick(others))
        case 3: return Self.count(word)
        default: return Self.capital(word)
        }
    }

    private static let alphabet = "abcdefghijklmnopqrstuvwxyz".map { String($0) }

    private static func letter(_ draws: inout DrawSequence) -> String { draws.pick(alphabet) }

    /// `1 t, 2 o, 3 p`.
    private static func numbered(_ letters: [String]) -> String {
        letters.enumerated().map { "\($0 + 1) \($1)" }.joined(separator: ", ")
    }

    /// The last line of a demonstration is the answer letter by letter.
    private static func instance(
        _ word: [String], _ question: String, work: String, result: [String], content: String
    ) -> VerifiableInstance {
        let answer = result.joined()
        return VerifiableInstance(
            question: question, thinking: [numbered(word), work, result.joined(separator: " ")], answer: answer,
            rule: .text(answer), content: content)
    }

    package static func reverse(_ word: [String]) -> VerifiableInstance {
        let work = word.enumerated().reversed().map { "\($0 + 1) \($1)" }.joined(separator: ", ")
        let text = word.joined()
        return instance(
            word, "Write the word \(text) backwards.", work: work, result: word.reversed(), content: "reverse \(text)")
    }

    package static func pick(_ word: [String], _ places: [Int]) -> VerifiableInstance {
        let list = places.map { String($0) }.joined(separator: ", ")
        let result = places.map { word[$0 - 1] }
        let work = zip(places, result).map { "\($0) \($1)" }.joined(separator: ", ")
        let text = word.joined()
        return instance(
            word, "Write letters \(list) of the word \(text).", work: work, result: result,
            content: "pick \(list) \(text)")
    }

    package static func replace(_ word: [String], _ old: String, by new: String) -> VerifiableInstance {
        let result = word.map { $0 == old ? new : $0 }
        let text = word.joined()
        return instance(
            word, "Replace every \(old) by \(new) in the word \(text).", work: numbered(result), result: result,
            content: "replace \(old) \(new) \(text)")
    }

    package static func capital(_ word: [String]) -> VerifiableInstance {
        let result = word.map { $0.uppercased() }
        let text = word.joined()
        return instance(
            word, "Write the word \(text) in capital letters.", work: numbered(result), result: result,
            content: "capital \(text)")
    }

    package static func count(_ word: [String]) -> VerifiableInstance {
        var order: [String] = []
        for letter in word where !order.contains(letter) { order.append(letter) }
        let lines = order.map { letter in
            let places = word.indices.filter { word[$0] == letter }.map { String($0 + 1) }
            return "\(letter) at \(places.joined(separator: ", ")): \(places.count)"
        }
        let counts = order.map { letter in "\(letter) \(word.count { $0 == letter })" }
        let text = word.joined()
        return VerifiableInstance(
            question: "How often is each letter in the word \(text)? In order of appearance, as a 1, b 2.",
            thinking: [numbered(word)] + lines, answer: counts.joined(separator: ", "),
            rule: .list(counts.flatMap { $0.split(separator: " ").map(String.init) }), content: "count \(text)")
    }
}
