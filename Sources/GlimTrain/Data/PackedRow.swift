import GlimModel

/// A row of the training batch: pieces of documents, back to back, and what each token should predict.
public struct PackedRow: Sendable, Equatable {
    /// `[T]` token ids.
    public var tokens: [Int32]
    /// The pieces in order, covering the row. Attention and positions restart in each: a token sees only the tokens
    /// of its own piece, even where the document began in an earlier row.
    public var segments: [Segment]
    /// `[T]` the token one ahead in the same document, or -1 for none or one that is not taught. The last token of a
    /// row has one whenever its document goes on in the next row.
    public var next: [Int32]
    /// For each segment the tokens after it in the same document, up to `lookahead` of them: what multi-token
    /// prediction reads and learns beyond the segment's end.
    public var following: [[Int32]]
    /// For each of those the token one ahead, as in `next`.
    public var followingTargets: [[Int32]]

    /// Tokens that every step of multi-token prediction needs to know after a segment.
    public static let lookahead = 1 + ModelConfig.maximumMTPLayers

    /// A run of tokens of one document.
    public struct Segment: Sendable, Equatable {
        public var start: Int
        public var count: Int

        public init(start: Int, count: Int) { (self.start, self.count) = (start, count) }
    }

    /// How many tokens have a target, i.e. count in the loss.
    public var targetCount: Int { next.reduce(0) { $0 + ($1 >= 0 ? 1 : 0) } }

    /// - Parameter following: all taught; nil where nothing is known after any segment.
    public init(tokens: [Int32], segments: [Segment], next: [Int32], following: [[Int32]]? = nil) {
        (self.tokens, self.segments, self.next) = (tokens, segments, next)
        self.following = following ?? segments.map { _ in [] }
        followingTargets = self.following.map { $0.isEmpty ? [] : $0.dropFirst() + [-1] }
    }

    /// Pieces of documents that begin with the store's first, as many as fit, filled up with a piece without targets.
    ///
    /// - Parameters:
    ///   - store: few documents; what does not fit is cut off.
    ///   - padding: the token to fill up with.
    package init(_ store: TokenStore, length: Int, padding: Int32) {
        self.init(capacity: length)
        for document in 0..<store.documentCount where tokens.count < length {
            let range = store.range(document)
            let count = min(range.count, length - tokens.count)
            if count > 0 {
                append(range.lowerBound..<range.lowerBound + count, of: store, documentEnd: range.upperBound)
            }
        }
        pad(to: length, with: padding)
    }

    /// One whole document as a row of its own length.
    public init(document tokens: [Int32]) {
        let store = TokenStore([tokens])
        self.init(capacity: tokens.count)
        if !tokens.isEmpty { append(0..<tokens.count, of: store, documentEnd: tokens.count) }
    }

    init(capacity: Int) {
        (tokens, segments, next, following, followingTargets) = ([], [], [], [], [])
        tokens.reserveCapacity(capacity)
        next.reserveCapacity(capacity)
    }

    /// Appends `range` of a document of `store` as one piece.
    ///
    /// - Parameters:
    ///   - range: of `store.tokens`.
    ///   - documentEnd: where the document ends, at or after the range.
    mutating func append(_ range: Range<Int>, of store: TokenStore, documentEnd: Int) {
        segments.append(Segment(start: tokens.count, count: range.count))
        tokens += store.tokens[range]
        func target(after place: Int) -> Int32 { place + 1 < documentEnd ? store.target(place + 1) : -1 }
        next += range.map(target)
        let after = range.upperBound..<min(documentEnd, range.upperBound + Self.lookahead)
        following.append(Array(store.tokens[after]))
        followingTargets.append(after.map(target))
    }

    /// Fills the row up to `length` with one piece that has no targets.
    mutating func pad(to length: Int, with token: Int32) {
        let count = length - tokens.count
        guard count > 0 else { return }
        segments.append(Segment(start: tokens.count, count: count))
        tokens += Array(repeating: token, count: count)
        next += Array(repeating: -1, count: count)
        following.append([])
        followingTargets.append([])
    }
}

extension PackedRow {
    /// How many rows of a segment have a token `step` after them: its first ones.
    package func aheadCount(_ segment: Int, step: Int) -> Int {
        let count = segments[segment].count
        return max(0, min(count, count + following[segment].count - step))
    }

    /// What a step of multi-token prediction reads and learns in a segment: for each row the token `step` after it, and
    /// as target the one after that, -1 for none.
    ///
    /// - Parameter step: from 1.
    package func ahead(_ segment: Int, step: Int) -> (inputs: [Int32], targets: [Int32]) {
        let (start, count) = (segments[segment].start, segments[segment].count)
        let after = following[segment]
        var (inputs, targets): ([Int32], [Int32]) = ([], [])
        for i in step..<step + aheadCount(segment, step: step) {
            if i < count {
                inputs.append(tokens[start + i])
                targets.append(next[start + i])
            } else {
                inputs.append(after[i - count])
                targets.append(followingTargets[segment][i - count])
            }
        }
        return (inputs, targets)
    }
}
