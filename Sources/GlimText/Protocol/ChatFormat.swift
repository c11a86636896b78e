/// What a model needs to talk: its tokenizer, its template, and the tokens that end a reply.
///
/// What a person writes is plain text: no control token can be written into it.
public struct ChatFormat: Sendable {
    public let tokenizer: Tokenizer
    public let template: ChatTemplate
    /// Tokens that end a reply.
    public let stops: Set<Int32>

    /// - Parameters:
    ///   - vocabulary: how many ids the model knows.
    ///   - endOfText: the ids with which the model ends a text.
    /// - Throws: `TokenizerError` where the vocabulary has no tokens for the roles, or ids that the model does not know.
    public init(
        _ tokenizer: Tokenizer, _ template: ChatTemplate, vocabulary: Int, endOfText: [Int]
    ) throws(TokenizerError) {
        guard tokenizer.id(of: .user) != nil, tokenizer.id(of: .assistant) != nil else {
            throw .cannotChat(
                why: "it has no <|user|> and <|assistant|>, with which conversations are written; use glim generate")
        }
        guard tokenizer.vocabularySize <= vocabulary else {
            throw .cannotChat(
                why: "it has \(tokenizer.vocabularySize) tokens, but the model knows \(vocabulary); "
                    + "they do not belong together")
        }
        (self.tokenizer, self.template) = (tokenizer, template)
        stops = Set(
            [ControlToken.user, .observation, .endOfText].compactMap(tokenizer.id(of:)) + endOfText.map { Int32($0) })
    }

    /// Whether replies to this prompt begin within their thinking.
    public func startsThinking(_ prompt: ChatPrompt) -> Bool {
        template.opensThinking(prompt) && tokenizer.id(of: .beginThink) != nil
    }

    /// The tokens of a prompt, replies in it as they were drawn. Control tokens that the vocabulary lacks are left out.
    ///
    /// - Parameter replies: by the number of their message.
    public func tokens(_ prompt: ChatPrompt, replies: [Int: DrawnReply] = [:]) -> [Int32] {
        template.pieces(prompt).flatMap { piece -> [Int32] in
            if case .control(let token) = piece.body { return tokenizer.id(of: token).map { [$0] } ?? [] }
            guard let reply = piece.message.flatMap({ replies[$0] }) else { return tokenizer.encode(piece) }
            return piece.part == .reasoning ? reply.reasoning : reply.answer
        }
    }
}

/// A reply as the tokens that were drawn.
public struct DrawnReply: Sendable {
    private let startsThinking: Bool
    public private(set) var reasoning: [Int32] = []
    public private(set) var answer: [Int32] = []

    /// - Parameter endThink: what divides one from the other; nil where the model does not think.
    public init(_ ids: ArraySlice<Int32>, startsThinking: Bool, endThink: Int32?) {
        self.startsThinking = startsThinking
        guard startsThinking else {
            answer = Array(ids)
            return
        }
        let end = ids.firstIndex { $0 == endThink } ?? ids.endIndex
        reasoning = Array(ids[..<end])
        answer = Array(ids[end...].dropFirst())
    }

    /// The message that tells a template where the tokens go. Its texts say no more than that there is something.
    public var message: ChatMessage {
        .assistant(answer.isEmpty ? "" : "…", reasoning: startsThinking ? "…" : "")
    }
}
