import GlimTensor

/// Cuts documents into rows of equal length, epoch after epoch, without end.
///
/// The stream is: the documents in the order of epoch 0, then all of them in the order of epoch 1, and so on, each
/// order a permutation drawn from the seed and the epoch alone. Row k is the tokens from k·T to (k+1)·T of that
/// stream, and the rows that begin in an epoch come in an order drawn likewise: the rows of a step are then of many
/// documents, not neighbours in one. So every token comes exactly once per epoch, none is dropped, and a row may hold
/// the end of one epoch and the beginning of the next (in different segments). Nothing but `position` changes: a
/// loader made from the same data, length, seed and position gives the same rows.
public struct PackedLoader: Sendable {
    /// Which row is next; part of a checkpoint.
    public struct Position: Codable, Sendable, Equatable, CustomStringConvertible {
        public var epoch = 0
        /// Index into the epoch's order of rows.
        public var row = 0

        public init(epoch: Int = 0, row: Int = 0) { (self.epoch, self.row) = (epoch, row) }

        public var description: String { "epoch \(epoch), row \(row)" }
    }

    public private(set) var position: Position
    public let sequenceLength: Int
    private let store: TokenStore
    private let seed: UInt64
    private var current: Epoch

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
        guard position.epoch >= 0, position.row >= 0 else { throw .badPosition("\(position)", why: "a negative value") }
        guard position.epoch <= Self.maximumEpoch else { throw .badPosition("\(position)", why: "no such epoch") }
        (self.store, self.sequenceLength, self.seed, self.position) = (store, sequenceLength, seed, position)
        current = Epoch(position.epoch, of: store, length: sequenceLength, seed: seed)
        guard position.row <= current.rows.count else {
            throw .badPosition("\(position)", why: "that epoch has \(current.rows.count) rows")
        }
    }

    private static let maximumSequenceLength = 1 << 24
    private static let maximumEpoch = 1 << 24

    /// One pass over the data: the order of its documents, and of the rows that begin in it.
    private struct Epoch: Sendable {
        let documents: [Int]
        /// Where each document begins in the epoch; one more for the end.
        let starts: [Int]
        /// Where each row begins in the epoch.
        let rows: [Int]

        init(_ number: Int, of store: TokenStore, length: Int, seed: UInt64) {
            documents = CounterRandom(seed: seed, purpose: "shuffle.epoch.\(number)").permutation(store.documentCount)
            var starts = [0]
            for document in documents { starts.append(starts[starts.count - 1] + store.range(document).count) }
            self.starts = starts
            // Rows begin at multiples of T of the whole stream.
            let first = (length - number * store.tokenCount % length) % length
            let begins = Array(stride(from: first, to: store.tokenCount, by: length))
            let order = CounterRandom(seed: seed, purpose: "shuffle.rows.\(number)").permutation(begins.count)
            rows = order.map { begins[$0] }
        }

        /// The document that holds a place of the epoch, and how far into it.
        func document(at place: Int) -> (index: Int, offset: Int) {
            var (low, high) = (0, documents.count - 1)
            while low < high {
                let middle = (low + high) / 2
                if starts[middle + 1] > place { high = middle } else { low = middle + 1 }
            }
            return (low, place - starts[low])
        }
    }

    /// The same rows from another place on.
    ///
    /// - Throws: `DataError` if the position is not of this data.
    public func moved(to position: Position) throws(DataError) -> PackedLoader {
        try PackedLoader(store, sequenceLength: sequenceLength, seed: seed, position: position)
    }

    /// The next row; takes time proportional to its length, and to the number of documents and rows once per epoch.
    public mutating func nextRow() -> PackedRow {
        while position.row == current.rows.count {
            position = Position(epoch: position.epoch + 1)
            current = Epoch(position.epoch, of: store, length: sequenceLength, seed: seed)
        }
        var (epoch, number) = (current, position.epoch)
        var (index, offset) = epoch.document(at: epoch.rows[position.row])
        position.row += 1
        var row = PackedRow(capacity: sequenceLength)
        while row.tokens.count < sequenceLength {
            let document = store.range(epoch.documents[index])
            let start = document.lowerBound + offset
            let count = min(document.upperBound - start, sequenceLength - row.tokens.count)
            if count > 0 { row.append(start..<start + count, of: store, documentEnd: document.upperBound) }
            (index, offset) = (index + 1, 0)
            if index == epoch.documents.count, row.tokens.count < sequenceLength {
                number += 1
                epoch = Epoch(number, of: store, length: sequenceLength, seed: seed)
                index = 0
            }
        }
        return row
    }

    /// The next `count` rows.
    public mutating func batch(rows count: Int) -> [PackedRow] {
        (0..<max(0, count)).map { _ in nextRow() }
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

    /// Rows to validate long contexts on: the beginnings of the longest documents, the same tokens whatever the
    /// context.
    ///
    /// - Parameters:
    ///   - length: tokens of each row; a document that is shorter is filled up without targets.
    ///   - context: tokens that are seen together: at most so many of a row's beginning, then the next so many.
    /// - Returns: at most `maximumRows`, of documents of at least two tokens.
    public static func longRows(
        _ store: TokenStore, length: Int, context: Int, maximumRows: Int, padding: Int32
    ) -> [PackedRow] {
        let counts = (0..<store.documentCount).map { min(store.range($0).count, length) }
        let longest = counts.indices.filter { counts[$0] > 1 }.sorted { (-counts[$0], $0) < (-counts[$1], $1) }
        return longest.prefix(maximumRows).map { document in
            let range = store.range(document)
            var row = PackedRow(capacity: length)
            for start in stride(from: 0, to: counts[document], by: context) {
                let piece = range.lowerBound + start..<range.lowerBound + min(start + context, counts[document])
                row.append(piece, of: store, documentEnd: range.upperBound)
            }
            row.pad(to: length, with: padding)
            return row
        }
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
