/// A stretch of a rendered conversation: a control token, or text that stands between two of them.
///
/// Text is never searched for control tokens, so that nothing in a message, a tool or an argument can become one. Joined
/// as text the pieces are what Jinja renders; a ``Tokenizer`` encodes them one by one. Training takes its mask from
/// `isProduced`, a server what the prompt ends with.
public struct PromptPiece: Sendable, Equatable {
    public enum Body: Sendable, Equatable {
        case control(ControlToken)
        case text(String)
    }

    /// What a piece belongs to.
    public enum Part: Sendable, Equatable {
        /// `[gMASK]<sop>`.
        case opening
        /// The system block that tells how long to think.
        case effort
        /// The system block that lists the tools.
        case tools
        /// The token with which a message begins: `<|user|>` and so on.
        case marker
        /// Reasoning, with the tags around it.
        case reasoning
        case content
        /// The call of this number in its message, with all its tags.
        case call(Int)
        /// The results of tools, with the tags around each.
        case result
        /// What asks for a reply.
        case generation
    }

    public let body: Body
    public let part: Part
    /// The message it comes from; nil for what the template adds.
    public let message: Int?
    /// Whether the assistant itself should write this: what it thinks, says and calls, and the token that ends its turn,
    /// which is the marker of the message that follows. The opening `<think>` is written for it.
    public let isProduced: Bool

    public init(_ body: Body, _ part: Part, message: Int?, isProduced: Bool = false) {
        (self.body, self.part, self.message, self.isProduced) = (body, part, message, isProduced)
    }

    public var text: String {
        switch body {
        case .control(let token): token.rawValue
        case .text(let text): text
        }
    }
}

extension Sequence<PromptPiece> {
    /// All pieces as one text.
    public var text: String { reduce(into: "") { $0 += $1.text } }
}

extension Tokenizer {
    /// The tokens of one piece. A control token that the vocabulary lacks is spelled out.
    public func encode(_ piece: PromptPiece) -> [Int32] {
        switch piece.body {
        case .text(let text): encode(text)
        case .control(let token): id(of: token).map { [$0] } ?? encode(token.rawValue)
        }
    }

    public func encode(_ pieces: some Sequence<PromptPiece>) -> [Int32] { pieces.flatMap { encode($0) } }
}
