import GlimText

/// How a conversation becomes tokens: `[gMASK]<sop><|user|>…<|assistant|>…`, made of the tokenizer's own control
/// tokens.
///
/// What a person writes is plain text: no control token can be written into it.
struct ChatTurn {
    let tokenizer: Tokenizer
    /// Tokens before the first turn.
    let opening: [Int32]
    let user: Int32
    let assistant: Int32
    /// Tokens that end a reply.
    let stops: Set<Int32>
    /// What thinking stands between, where the model knows it.
    let thinking: (begin: Int32?, end: Int32?)

    /// - Throws: where the vocabulary has no tokens for the roles, or ids the model does not know.
    init(_ tokenizer: Tokenizer, vocabulary: Int, endOfText: [Int]) throws {
        guard let user = tokenizer.id(of: .user), let assistant = tokenizer.id(of: .assistant) else {
            throw Failure(
                "tokenizer.json has no <|user|> and <|assistant|>, so this model cannot chat; use glim generate")
        }
        guard tokenizer.vocabularySize <= vocabulary else {
            throw Failure(
                "tokenizer.json has \(tokenizer.vocabularySize) tokens, but the model knows \(vocabulary); "
                    + "they do not belong together")
        }
        (self.tokenizer, self.user, self.assistant) = (tokenizer, user, assistant)
        opening = [ControlToken.generationMask, .startOfPrompt].compactMap(tokenizer.id(of:))
        stops = Set(
            [ControlToken.user, .observation, .endOfText].compactMap(tokenizer.id(of:)) + endOfText.map { Int32($0) })
        thinking = (tokenizer.id(of: .beginThink), tokenizer.id(of: .endThink))
    }

    /// The tokens that ask for a reply to `text`.
    ///
    /// - Parameter isFirst: nothing has been said before.
    func asking(_ text: String, isFirst: Bool) -> [Int32] {
        (isFirst ? opening : []) + [user] + tokenizer.encode(text) + [assistant]
    }
}
