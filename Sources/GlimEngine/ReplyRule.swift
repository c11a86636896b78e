public import GlimText

/// Keeps a reply to a schema, ends it with one of some texts, or both.
///
/// The text that ends a reply is among its tokens: whoever shows them cuts it off with a ``StopStrings`` of its own.
public struct ReplyRule: TokenRule {
    private var constraint: TokenConstraint?
    private var stops: StopStrings
    private let tokenizer: Tokenizer

    /// - Parameters:
    ///   - constraint: made with the request's stop tokens.
    ///   - stops: texts that end the reply.
    public init(_ tokenizer: Tokenizer, constraint: TokenConstraint? = nil, stops: [String] = []) {
        (self.tokenizer, self.constraint, self.stops) = (tokenizer, constraint, StopStrings(stops))
    }

    public func mask() -> [UInt64]? { constraint?.mask().words }

    public mutating func advance(_ token: Int32) -> Bool {
        // A model may have more ids than its tokenizer has words: those have no text.
        if let bytes = try? tokenizer.bytes(of: token) { _ = stops.push(bytes) }
        return constraint?.isOver(after: token) == true || stops.found != nil
    }
}
