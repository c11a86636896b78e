import GlimTensor

/// Cuts documents into rows of equal length, epoch after epoch, without end.
///
/// The stream is: the documents in the order of epoch 0, then all of them in the order of epoch 1, and so on, each
/// order a permutation drawn from the seed and the epoch alone. Row k is the tokens from k·T to (k+1)·T of that
/// stream. So every token comes exactly once per epoch, none is dropped, and a row may hold the end of one epoch and
/// the beginning of the next (in different segments). Nothing but `position` changes: a loader made from the same
/// data, length, seed and position gives the same rows.
public struct PackedLoader: Sendable {
    /// Where the next row begins; part of a checkpoint.
    public struct Position: Codable, Sendable, Equatable {
        public var epoch = 0
        /// Index into the epoch's order, not into the store.
        public var document = 0
        /// Tokens of that document already given.
        public var offset = 0

        public init(epoch: Int = 0, document: Int = 0, offset: Int = 0) {
            (self.epoch, self.document, self.offset) = (epoch, document, offset)
        }
    }

    public private(set) var position: Position
    public let sequenceLength: Int
    private let store: TokenStore
    private let seed: UInt64
    /// The order of the documents in `position.epoch`.
    private var order: [Int]

    /// - Parameters:
    ///   - sequenceLength: tokens per row, T.
    ///   - position: where to go on.
    /// - Throws: `DataError` if there are no tokens, T is not positive, or the position is not of this data.
    public init(
        _ store: TokenStore, sequenceLength: Int, seed: UInt64, position: Position = Position()
    ) throws(DataError) {
        guard sequenceLength >= 1, sequenceLength <= Self.maximumSequenceLength else {
            throw .outOfRange("sequence_length", found: sequenceLength, allowed: 1...Self.maximumSequenceLength)
        }
        guard store.tokenCount > 0 else { throw .nothingUsable(paths: [], totals: Corpus.Totals()) }
        guard position.epoch >= 0, position.document >= 0, position.offset >= 0 else {
            throw .badPosition(position, why: "a negative value")
        }
        guard position.epoch <= Self.maximumEpoch else { throw .badPosition(position, why: "no such epoch") }
        guard position.document < store.documentCount else {
            throw .badPosition(position, why: "there are \(store.documentCount) documents")
        }
        (self.store, self.sequenceLength, self.seed, self.position) = (store, sequenceLength, seed, position)
        order = Self.order(epoch: position.epoch, of: store, seed: seed)
        let count = store.range(order[position.document]).count
        guard position.offset < max(count, 1) else {
            throw .badPosition(position, why: "the document there has \(count) tokens")
        }
    }

    private static let maximumSequenceLength = 1 << 24
    private static let maximumEpoch = 1 << 40

    private static func order(epoch: Int, of store: TokenStore, seed: UInt64) -> [Int] {
        CounterRandom(seed: seed, purpose: "shuffle.epoch.\(epoch)").permutation(store.documentCount)
    }

    /// The same rows from another place on.
    ///
    /// - Throws: `DataError` if the position is not of this data.
    public func moved(to position: Position) throws(DataError) -> PackedLoader {
        try PackedLoader(store, sequenceLength: sequenceLength, seed: seed, position: position)
    }

    /// The next row; takes time proportional to its length, and to the number of documents once per epoch.
    public mutating func nextRow() -> PackedRow {
        var row = PackedRow(capacity: sequenceLength)
        while row.tokens.count < sequenceLength {
            let document = store.range(order[position.document])
            let start = document.lowerBound + position.offset
            let count = min(document.upperBound - start, sequenceLength - row.tokens.count)
            if count > 0 { row.append(start..<start + count, of: store, documentEnd: document.upperBound) }
            position.offset += count
            if position.offset == document.count { advanceDocument() }
        }
        return row
    }

    /// The next `count` rows.
    public mutating func batch(rows count: Int) -> [PackedRow] {
        (0..<max(0, count)).map { _ in nextRow() }
    }

    private mutating func advanceDocument() {
        position.document += 1
        position.offset = 0
        guard position.document == store.documentCount else { return }
        position.document = 0
        position.epoch += 1
        order = Self.order(epoch: position.epoch, of: store, seed: seed)
    }

    /// How many times the data has been gone through, with fractions; for people.
    public var epochsDone: Double {
        var given = position.offset
        for i in order[..<position.document] { given += store.range(i).count }
        return Double(position.epoch) + Double(given) / Double(store.tokenCount)
    }

    /// The rows to validate on: always the same, in the order of the store, each document from its start.
    ///
    /// Where there are more tokens than rows, long documents are cut to one length at which all of them fit, so that
    /// every document counts; should that be less than 64 tokens, the last documents are left out instead. The last
    /// row is filled up with a segment without targets.
    ///
    /// - Parameters:
    ///   - maximumRows: the most rows to give.
    ///   - padding: the token to fill up with, e.g. end of text.
    /// - Returns: rows of exactly `sequenceLength` tokens; none if the store is empty.
    public static func validationRows(
        _ store: TokenStore, sequenceLength: Int, maximumRows: Int, padding: Int32
    ) -> [PackedRow] {
        guard sequenceLength >= 1, sequenceLength <= maximumSequenceLength, maximumRows >= 1 else { return [] }
        let (product, overflow) = sequenceLength.multipliedReportingOverflow(by: maximumRows)
        let capacity = overflow ? Int.max : product
        let documentLimit = max(64, fittingLength(store, capacity: capacity))
        var rows: [PackedRow] = []
        var row = PackedRow(capacity: sequenceLength)
        for document in 0..<store.documentCount {
            let range = store.range(document)
            var start = range.lowerBound
            let end = start + min(range.count, documentLimit)
            while start < end, rows.count < maximumRows {
                let count = min(end - start, sequenceLength - row.tokens.count)
                row.append(start..<start + count, of: store, documentEnd: range.upperBound)
                start += count
                if row.tokens.count == sequenceLength {
                    rows.append(row)
                    row = PackedRow(capacity: sequenceLength)
                }
            }
        }
        if !row.tokens.isEmpty, rows.count < maximumRows {
            row.pad(to: sequenceLength, with: padding)
            rows.append(row)
        }
        return rows
    }

    /// The greatest length such that the documents, cut to it, have at most `capacity` tokens together.
    private static func fittingLength(_ store: TokenStore, capacity: Int) -> Int {
        guard store.tokenCount > capacity else { return store.tokenCount }
        var (left, length) = (capacity, 0)
        let counts = (0..<store.documentCount).map { store.range($0).count }.sorted()
        for (i, count) in counts.enumerated() {
            let share = left / (counts.count - i)
            if count > share { return max(length, share) }
            left -= count
            length = count
        }
        return length
    }
}
