import GlimTensor

/// The surface of one kind of fact: how a line tells it, and how a line asks for it.
///
/// A question repeats the words of the fact just before the answer, so that whoever copies what followed those words
/// last time answers it: what small models learn first (induction). Names and values are two words each, so that copying
/// pays within them too: of one word each, it is learned several times later (BENCHMARKS.md).
///
/// ```
/// #note eel ray sand fog          #recall eel ray sand fog                     one fact, one answer
/// #add cow ewe ivy fir            #list cow ewe ivy fir rain dew               every value told of it, in order
/// #link moon bud hare hen         #trace moon bud hare hen lynx ox wren jay    who holds it, each from the one before
/// #vote ram boar oak elm          #most ram boar oak elm                       the value told most often
/// #say owl colt mint sky          #again second owl colt dew rose              the second reply to the same request
/// ```
package enum RetrievalForm: CaseIterable, Sendable {
    case note, add, link, vote, say

    /// What a line of a fact begins with.
    package var fact: String {
        switch self {
        case .note: "#note"
        case .add: "#add"
        case .link: "#link"
        case .vote: "#vote"
        case .say: "#say"
        }
    }

    /// What a question begins with.
    package var question: String {
        switch self {
        case .note: "#recall"
        case .add: "#list"
        case .link: "#trace"
        case .vote: "#most"
        case .say: "#again"
        }
    }

    static let verbs: [String] = allCases.flatMap { [$0.fact, $0.question] }
}

/// Facts that belong together, in the order in which they must be told, and what can be asked once all are.
struct FactGroup: Equatable {
    /// One line: a verb, and names or values.
    struct Fact: Equatable {
        var verb: String
        var words: [String]

        var line: String { "\(verb) \(words.joined(separator: " "))\n" }
    }

    struct Question: Equatable {
        var verb: String
        /// What it asks about: chosen at random.
        var about: [String]
        /// What follows from the facts.
        var answers: [String]

        var prompt: String { "\(verb) \(about.joined(separator: " "))" }
        var line: String { "\(prompt) \(answers.joined(separator: " "))\n" }
    }

    var facts: [Fact]
    var questions: [Question]
}

/// Makes the facts of one document: no name is used twice.
struct FactGroupMaker {
    let form: RetrievalForm
    /// Facts for evaluation, of pairs of words that training never has.
    let isHeldOut: Bool
    private var names: [String]
    private var values: [String]
    private var draws: DrawSequence

    init(_ form: RetrievalForm, isHeldOut: Bool, seed: UInt64, purpose: String) {
        (self.form, self.isHeldOut) = (form, isHeldOut)
        let shuffle = CounterRandom(seed: seed, purpose: purpose + ".words")
        (names, values) = (RetrievalWords.names.pairs(shuffle), RetrievalWords.values.pairs(shuffle))
        draws = DrawSequence(seed: seed, purpose: purpose + ".facts")
    }

    /// The next group; nil when the names are used up.
    ///
    /// - Parameter count: facts of it (of a vote: values beside the most frequent), within 2...4; of a note always one.
    mutating func next(count: Int) -> FactGroup? {
        if form == .link { return nextChain(count: count) }
        let wanted =
            switch form {
            case .note: 1
            case .say: count
            case .vote: count + 1
            case .add, .link: count
            }
        while let name = names.popLast() {
            guard let words = drawValues(for: name, count: wanted) else { continue }
            return group(name, words)
        }
        return nil
    }

    private mutating func group(_ name: String, _ words: [String]) -> FactGroup {
        func fact(_ words: [String]) -> FactGroup.Fact { .init(verb: form.fact, words: [name] + words) }
        func question(_ about: [String], _ answers: [String]) -> FactGroup.Question {
            .init(verb: form.question, about: about, answers: answers)
        }
        switch form {
        case .note:
            return FactGroup(facts: [fact(words)], questions: [question([name], words)])
        case .add, .link:
            return FactGroup(facts: words.map { fact([$0]) }, questions: [question([name], words)])
        case .vote:
            // The most frequent value is told three times, and neither first nor last: who takes an end is wrong.
            var middle = [String](repeating: words[0], count: 3) + words[2...].dropLast()
            for i in middle.indices.reversed() { middle.swapAt(i, draws.integer(below: i + 1)) }
            let order = [words[1]] + middle + [words[words.count - 1]]
            return FactGroup(facts: order.map { fact([$0]) }, questions: [question([name], [words[0]])])
        case .say:
            return FactGroup(
                facts: words.map { fact([$0]) },
                questions: zip(RetrievalWords.ordinals, words).map { question([$0, name], [$1]) })
        }
    }

    private mutating func nextChain(count: Int) -> FactGroup? {
        while let value = values.popLast() {
            var chain = [value]
            while chain.count <= count {
                let last = chain[chain.count - 1]
                guard let i = names.lastIndex(where: { RetrievalWords.isHeldOut(last, $0) == isHeldOut }) else { break }
                chain.append(names.remove(at: i))
            }
            if chain.count <= count { continue }
            let facts = zip(chain, chain.dropFirst()).map { FactGroup.Fact(verb: form.fact, words: [$0, $1]) }
            let question = FactGroup.Question(
                verb: form.question, about: [value], answers: Array(chain.dropFirst()))
            return FactGroup(facts: facts, questions: [question])
        }
        return nil
    }

    private mutating func drawValues(for name: String, count: Int) -> [String]? {
        var candidates = values.filter { RetrievalWords.isHeldOut(name, $0) == isHeldOut }
        guard candidates.count >= count else { return nil }
        return (0..<count).map { _ in candidates.remove(at: draws.integer(below: candidates.count)) }
    }
}

extension [String] {
    /// As many pairs as words: each word once in front and once behind, never beside itself.
    fileprivate func pairs(_ shuffle: CounterRandom) -> [String] {
        let order = shuffle.permutation(count)
        let distance = 1 + shuffle.integer(UInt64(count), below: count - 1)
        return indices.map { self[order[$0]] + " " + self[order[($0 + distance) % count]] }
    }
}
