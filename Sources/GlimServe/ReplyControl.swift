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
        /// Behind the reasoning come these tokens, and then one of the followers, if there are any.
        case forced([Int32], followers: [Int32])
    }

    private var composition: ReplyComposition
    private var constraint: TokenConstraint?
    private let thinkingEnd: Int32?
    /// Tokens of reasoning; nil for any number.
    private let thinkingLimit: Int?
    private var forced: ArraySlice<Int32> = []
    private var followers: [Int32] = []
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
        case .forced(let tokens, let followers):
            (forced, self.followers) = (tokens[...], followers)
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
        if let next = forced.first { return only([next]) }
        if !followers.isEmpty { return only(followers) }
        return constraint?.mask().words ?? contentMask
    }

    mutating func advance(_ token: Int32) -> Bool {
        if !composition.isThinking {
            if forced.isEmpty { followers = [] } else { forced.removeFirst() }
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
