/// A row of the training batch: pieces of documents, back to back, and what each token should predict.
public struct PackedRow: Sendable, Equatable {
    /// `[T]` token ids.
    public var tokens: [Int32]
    /// The pieces in order, covering the row. Attention and positions restart in each: a token sees only the tokens
    /// of its own piece, even where the document began in an earlier row.
    public var segments: [Segment]
    /// `[T]` the token one ahead in the same document, or -1 for none. The last token of a row has one whenever its
    /// document goes on in the next row.
    public var next: [Int32]
    /// `[T]` the token two ahead in the same document, or -1: what multi-token prediction learns, given the token at
    /// `next` as its further input.
    public var next2: [Int32]

    /// A run of tokens of one document.
    public struct Segment: Sendable, Equatable {
        public var start: Int
        public var count: Int

        public init(start: Int, count: Int) { (self.start, self.count) = (start, count) }
    }

    /// How many tokens have a target, i.e. count in the loss.
    public var targetCount: Int { next.reduce(0) { $0 + ($1 >= 0 ? 1 : 0) } }

    public init(tokens: [Int32], segments: [Segment], next: [Int32], next2: [Int32]) {
        (self.tokens, self.segments, self.next, self.next2) = (tokens, segments, next, next2)
    }

    /// One whole document as a row of its own length.
    public init(document tokens: [Int32]) {
        let store = TokenStore([tokens])
        self.init(capacity: tokens.count)
        if !tokens.isEmpty { append(0..<tokens.count, of: store, documentEnd: tokens.count) }
    }

    init(capacity: Int) {
        (tokens, segments, next, next2) = ([], [], [], [])
        tokens.reserveCapacity(capacity)
        next.reserveCapacity(capacity)
        next2.reserveCapacity(capacity)
    }

    /// Appends `range` of a document of `store` as one piece.
    ///
    /// - Parameters:
    ///   - range: of `store.tokens`.
    ///   - documentEnd: where the document ends, at or after the range.
    mutating func append(_ range: Range<Int>, of store: TokenStore, documentEnd: Int) {
        segments.append(Segment(start: tokens.count, count: range.count))
        tokens += store.tokens[range]
        for i in range {
            next.append(i + 1 < documentEnd ? store.tokens[i + 1] : -1)
            next2.append(i + 2 < documentEnd ? store.tokens[i + 2] : -1)
        }
    }

    /// Fills the row up to `length` with one piece that has no targets.
    mutating func pad(to length: Int, with token: Int32) {
        let count = length - tokens.count
        guard count > 0 else { return }
        segments.append(Segment(start: tokens.count, count: count))
        tokens += Array(repeating: token, count: count)
        next += Array(repeating: -1, count: count)
        next2 += Array(repeating: -1, count: count)
    }
}
