import GlimEngine
import GlimText

/// What a reply may go on with and where it ends, as its request has it: stop texts, a schema, a bound of the
/// reasoning, and whether a tool is to be called.
struct ReplyControl: TokenRule {
    /// Whether the reply calls a tool.
    enum Calls: Sendable {
        case free
        /// The token that begins a call never comes.
        case never(begin: Int32)
        /// Behind the reasoning comes one of these ways to begin a call, and then one of the followers.
        case forced([[Int32]], followers: Set<Int32>)
    }

    private var composition: ReplyComposition
    private var constraint: TokenConstraint?
    private let thinkingEnd: Int32?
    /// Tokens of reasoning; nil for any number.
    private let thinkingLimit: Int?
    /// What is left of the ways to begin a call that agree with what was drawn; empty once one is at its end.
    private var beginnings: [ArraySlice<Int32>] = []
    private var followers: Set<Int32> = []
    private let vocabularySize: Int
    /// What may be drawn within the reasoning and behind it where nothing else says so; nil allows all.
    private var thinkingMask: [UInt64]?
    private var contentMask: [UInt64]?

    /// - Parameters:
    ///   - constraint: of the content.
    ///   - stops: tokens that end the reply.
    init(
        _ form: ReplyForm, vocabularySize: Int, constraint: TokenConstraint?, thinkingLimit: Int?, calls: Calls,
        stops: Set<Int32>
    ) {
        composition = ReplyComposition(form, number: 0)
        (self.constraint, self.thinkingLimit, thinkingEnd) = (constraint, thinkingLimit, form.thinkingEnd)
        self.vocabularySize = vocabularySize
        switch calls {
        case .free: break
        case .never(let begin): contentMask = Self.words(vocabularySize, allBut: [begin])
        case .forced(let beginnings, let followers):
            (self.beginnings, self.followers) = (beginnings.map { $0[...] }, followers)
            // A reply that ended before its call would have none.
            thinkingMask = Self.words(vocabularySize, allBut: stops)
        }
    }

    func mask() -> [UInt64]? {
        if composition.isThinking {
            if let thinkingLimit, let thinkingEnd, composition.thinkingTokens >= thinkingLimit {
                return only([thinkingEnd])
            }
            return constraint?.mask().words ?? thinkingMask
        }
        if !beginnings.isEmpty {
            // A name may be the beginning of another one.
            return only(beginnings.compactMap(\.first) + (beginnings.contains(where: \.isEmpty) ? followers : []))
        }
        return constraint?.mask().words ?? contentMask
    }

    mutating func advance(_ token: Int32) -> Bool {
        if !composition.isThinking, !beginnings.isEmpty {
            beginnings = beginnings.filter { $0.first == token }.map { $0.dropFirst() }
        }
        _ = composition.push(token)
        return constraint?.isOver(after: token) == true || composition.isOver
    }

    private func only(_ tokens: [Int32]) -> [UInt64] {
        var mask = TokenMask(count: vocabularySize)
        for token in tokens { mask[token] = true }
        return mask.words
    }

    private static func words(_ count: Int, allBut tokens: some Sequence<Int32>) -> [UInt64] {
        var mask = TokenMask(count: count, allowsAll: true)
        for token in tokens { mask[token] = false }
        return mask.words
    }
}
