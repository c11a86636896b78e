package import GlimText

/// The text of a run with its tokenizer and its tokens: read once, for all stages that follow each other.
package struct RunMaterial: Sendable {
    package let text: RunText
    package let tokenizer: Tokenizer
    let store: TokenStore
    /// Of what validates.
    let validation: TokenStore
    /// Of the training tokens.
    let fingerprint: UInt64
    /// What samples go on from.
    let prompts: [Prompt]
    /// Whether documents are lines of fine-tuning, which rows hold whole.
    let isConversations: Bool

    /// How many conversations have a member that nothing reads, by name.
    var unreadMembers: [String: Int] = [:]

    /// A beginning that the model is shown.
    struct Prompt: Sendable {
        var text: String
        var tokens: [Int32]
    }

    package init(_ text: RunText, _ tokenizer: Tokenizer, threads: Int?) {
        func tokens(_ documents: [Document]) -> TokenStore {
            TokenStore(documents, endOfText: tokenizer.endOfText, threads: threads) { tokenizer.encode($0) }
        }
        self.init(
            text: text, tokenizer: tokenizer, store: tokens(text.training), validation: tokens(text.validation),
            prompts: ["import ", "def ", "The "].map {
                Prompt(text: $0, tokens: [tokenizer.endOfText] + tokenizer.encode($0))
            }, isConversations: false)
    }

    init(
        text: RunText, tokenizer: Tokenizer, store: TokenStore, validation: TokenStore, prompts: [Prompt],
        isConversations: Bool
    ) {
        (self.text, self.tokenizer, self.store, self.validation) = (text, tokenizer, store, validation)
        (self.prompts, self.isConversations) = (prompts, isConversations)
        fingerprint = store.fingerprint
    }

    /// The rows of a length that every evaluation of a run is on.
    func validationRows(_ length: Int) -> [PackedRow] {
        let maximumRows = max(1, Self.validationTokens / length)
        if isConversations {
            // None where no conversation is there to validate, or fits.
            guard
                var rows = try? ConversationRows(validation, length: length, padding: tokenizer.endOfText, seed: 0)
            else { return [] }
            return (0..<min(rows.rowCount, maximumRows)).map { _ in rows.nextRow() }
        }
        return PackedLoader.validationRows(
            validation, sequenceLength: length, maximumRows: maximumRows, padding: tokenizer.endOfText)
    }

    /// The beginnings of the longest documents that validate, seen `context` tokens at a time.
    package func longRows(_ length: Int, context: Int) -> [PackedRow] {
        PackedLoader.longRows(
            validation, length: length, context: context, maximumRows: max(1, Self.longTokens / length),
            padding: tokenizer.endOfText)
    }

    /// Tokens of the rows that all of it fills once.
    func tokensOfOnePass(_ length: Int) -> Int {
        guard isConversations else { return store.tokenCount }
        let rows = try? ConversationRows(store, length: length, padding: tokenizer.endOfText, seed: 0)
        return (rows?.rowCount ?? 0) * length
    }

    /// Bytes of text that a token stands for.
    var bytesPerToken: Double {
        let bytes = text.training.reduce(0) { $0 + $1.bytes.count }
        return max(1, Double(bytes) / Double(max(1, store.tokenCount)))
    }

    private static let validationTokens = 1 << 15
    /// Attention over whole documents costs several times as much.
    private static let longTokens = 1 << 14
}

extension Tokenizer {
    /// The token that ends a document; a tokenizer without one is refused before training.
    var endOfText: Int32 { id(of: .endOfText) ?? 0 }
}
