public import GlimText

/// Conversations, and text between them, as tokens, each with whether it is learned.
///
/// ```swift
/// let encoder = try ConversationEncoder(Tokenizer(folder: model), ChatTemplate(folder: model))
/// let lines = try Data(contentsOf: file).split(separator: UInt8(ascii: "\n"))
/// let taught = try lines.map { encoder.encode(try TaughtLine(parsing: $0)) }
/// let store = TokenStore(taught.map(\.tokens), taught: taught.map(\.taught))
/// ```
///
/// ``ConversationRows`` makes rows of such a store.
public struct ConversationEncoder: Sendable {
    private let tokenizer: Tokenizer
    private let template: ChatTemplate

    /// - Throws: `RunError` where the tokenizer lacks control tokens that conversations are written with.
    public init(_ tokenizer: Tokenizer, _ template: ChatTemplate) throws(RunError) {
        let missing = Self.needed.filter { tokenizer.id(of: $0) == nil }.map(\.rawValue)
        guard missing.isEmpty else {
            throw RunError(
                "the tokenizer lacks \(missing.joined(separator: " ")), with which conversations are written; "
                    + "start from a model whose tokenizer has them")
        }
        (self.tokenizer, self.template) = (tokenizer, template)
    }

    /// What every text of the templates may hold; media stand only in messages that have some.
    private static let needed: [ControlToken] = [
        .generationMask, .startOfPrompt, .system, .user, .assistant, .observation, .beginThink, .endThink,
        .beginToolCall, .endToolCall, .beginToolResponse, .endToolResponse, .beginArgumentKey, .endArgumentKey,
        .beginArgumentValue, .endArgumentValue,
    ]

    /// The whole conversation.
    public func encode(_ conversation: Conversation) -> TaughtTokens {
        var result = TaughtTokens()
        for (piece, isTaught) in conversation.pieces(template) {
            let tokens = tokenizer.encode(piece)
            result.tokens += tokens
            result.taught += Array(repeating: isTaught, count: tokens.count)
        }
        return result
    }

    /// A line of data. Of text all is learned, and that it ends.
    public func encode(_ line: TaughtLine) -> TaughtTokens {
        switch line {
        case .conversation(let conversation): return encode(conversation)
        case .text(let text):
            var result = TaughtTokens()
            result.tokens = tokenizer.encode(Array(text.utf8)) + [tokenizer.endOfText]
            result.taught = Array(repeating: true, count: result.tokens.count)
            return result
        }
    }

    /// What a reply is asked for with, as text and as tokens; nil where the assistant begins.
    func opening(of conversation: Conversation) -> RunMaterial.Prompt? {
        conversation.opening.map { prompt in
            let pieces = template.pieces(prompt)
            return RunMaterial.Prompt(text: pieces.text, tokens: tokenizer.encode(pieces))
        }
    }
}

/// Tokens, and of each whether it is learned when it comes next.
public struct TaughtTokens: Sendable, Equatable {
    public var tokens: [Int32] = []
    /// As many as there are tokens.
    public var taught: [Bool] = []

    public init() {}
}
