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

    package init(_ text: RunText, _ tokenizer: Tokenizer, threads: Int?) {
        func tokens(_ documents: [Document]) -> TokenStore {
            TokenStore(documents, endOfText: tokenizer.endOfText, threads: threads) { tokenizer.encode($0) }
        }
        (self.text, self.tokenizer) = (text, tokenizer)
        (store, validation) = (tokens(text.training), tokens(text.validation))
        fingerprint = store.fingerprint
    }

    /// The rows of a length that every evaluation of a run is on.
    func validationRows(_ length: Int) -> [PackedRow] {
        PackedLoader.validationRows(
            validation, sequenceLength: length, maximumRows: max(1, Self.validationTokens / length),
            padding: tokenizer.endOfText)
    }

    /// The beginnings of the longest documents that validate, seen `context` tokens at a time.
    package func longRows(_ length: Int, context: Int) -> [PackedRow] {
        PackedLoader.longRows(
            validation, length: length, context: context, maximumRows: max(1, Self.longTokens / length),
            padding: tokenizer.endOfText)
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
