import GlimText

/// What a model needs to talk: its tokenizer, its template, and the tokens that end a reply.
///
/// What a person writes is plain text: no control token can be written into it.
struct ChatFormat {
    let tokenizer: Tokenizer
    let template: ChatTemplate
    /// Tokens that end a reply.
    let stops: Set<Int32>

    /// - Throws: where the vocabulary has no tokens for the roles, or ids the model does not know.
    init(_ tokenizer: Tokenizer, _ template: ChatTemplate, vocabulary: Int, endOfText: [Int]) throws {
        guard tokenizer.id(of: .user) != nil, tokenizer.id(of: .assistant) != nil else {
            throw Failure(
                "tokenizer.json has no <|user|> and <|assistant|>, so this model cannot chat; use glim generate")
        }
        guard tokenizer.vocabularySize <= vocabulary else {
            throw Failure(
                "tokenizer.json has \(tokenizer.vocabularySize) tokens, but the model knows \(vocabulary); "
                    + "they do not belong together")
        }
        (self.tokenizer, self.template) = (tokenizer, template)
        stops = Set(
            [ControlToken.user, .observation, .endOfText].compactMap(tokenizer.id(of:)) + endOfText.map { Int32($0) })
    }

    /// Whether replies to this prompt begin within their thinking.
    func startsThinking(_ prompt: ChatPrompt) -> Bool {
        template.opensThinking(prompt) && tokenizer.id(of: .beginThink) != nil
    }

    /// The tokens of a prompt, replies in it as they were drawn. Control tokens that the vocabulary lacks are left out.
    ///
    /// - Parameter replies: by the number of their message.
    func tokens(_ prompt: ChatPrompt, replies: [Int: DrawnReply]) -> [Int32] {
        template.pieces(prompt).flatMap { piece -> [Int32] in
            if case .control(let token) = piece.body { return tokenizer.id(of: token).map { [$0] } ?? [] }
            guard let reply = piece.message.flatMap({ replies[$0] }) else { return tokenizer.encode(piece) }
            return piece.part == .reasoning ? reply.reasoning : reply.answer
        }
    }
}

/// A reply as the tokens that were drawn.
struct DrawnReply {
    private let startsThinking: Bool
    private(set) var reasoning: [Int32] = []
    private(set) var answer: [Int32] = []

    /// - Parameter endThink: what divides one from the other; nil where the model does not think.
    init(_ ids: ArraySlice<Int32>, startsThinking: Bool, endThink: Int32?) {
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
    var message: ChatMessage {
        .assistant(answer.isEmpty ? "" : "…", reasoning: startsThinking ? "…" : "")
    }
}
