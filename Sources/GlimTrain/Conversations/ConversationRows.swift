import GlimTensor

/// Rows of whole conversations (or texts between them), epoch after epoch, without end: none is cut, and none sees
/// another, for attention and positions restart in each.
///
/// Every epoch has an order of its conversations drawn from the seed and the epoch. A row begins with the first that
/// waits, takes of the next 256 the longest that still fits, again and again, and is filled up without targets. The
/// rows come in an order drawn likewise, so every conversation comes once an epoch. Nothing but `position` changes.
public struct ConversationRows: RowSource {
    public private(set) var position = PackedLoader.Position()
    /// Tokens of a row.
    public let length: Int
    private let store: TokenStore
    private let padding: Int32
    private let seed: UInt64
    /// The conversations that come.
    private let used: [Int]
    /// The epoch's rows, each the conversations in it.
    private var rows: [[Int]] = []

    /// - Parameters:
    ///   - store: one conversation a document. Those longer than a row, and those that teach nothing, never come.
    ///   - length: tokens of a row.
    ///   - padding: the token to fill up with, e.g. end of text.
    /// - Throws: `RunError` where no conversation is left.
    public init(_ store: TokenStore, length: Int, padding: Int32, seed: UInt64) throws(RunError) {
        used = (0..<store.documentCount).filter { Self.reasonToLeaveOut($0, of: store, length: length) == nil }
        guard !used.isEmpty else {
            throw RunError("no conversation that teaches something fits in a row of \(length) tokens; give longer rows")
        }
        (self.store, self.length, self.padding, self.seed) = (store, length, padding, seed)
        rows = packed(epoch: 0)
    }

    /// Why rows never hold a conversation; nil where they do.
    static func reasonToLeaveOut(_ document: Int, of store: TokenStore, length: Int) -> CorpusReport.Reason? {
        store.range(document).count > length ? .tooLong : store.teaches(document) ? nil : .untaught
    }

    /// How many rows this epoch has.
    public var rowCount: Int { rows.count }

    public mutating func nextRow() -> PackedRow {
        if position.row == rows.count {
            position = PackedLoader.Position(epoch: position.epoch + 1)
            rows = packed(epoch: position.epoch)
        }
        defer { position.row += 1 }
        var row = PackedRow(capacity: length)
        for document in rows[position.row] {
            let range = store.range(document)
            row.append(range, of: store, documentEnd: range.upperBound)
        }
        row.pad(to: length, with: padding)
        return row
    }

    /// The same rows from another place on.
    ///
    /// - Throws: `DataError` if the position is not of these conversations.
    public func moved(to position: PackedLoader.Position) throws(DataError) -> ConversationRows {
        guard (0...Self.lastEpoch).contains(position.epoch) else {
            throw .badPosition("\(position)", why: "no such epoch")
        }
        var moved = self
        (moved.position, moved.rows) = (position, packed(epoch: position.epoch))
        guard (0...moved.rows.count).contains(position.row) else {
            throw .badPosition("\(position)", why: "that epoch has \(moved.rows.count) rows")
        }
        return moved
    }

    private func packed(epoch: Int) -> [[Int]] {
        func shuffled<T>(_ values: [T], _ purpose: String) -> [T] {
            let random = CounterRandom(seed: seed, purpose: "shuffle.\(purpose).\(epoch)")
            return random.permutation(values.count).map { values[$0] }
        }
        var waiting = shuffled(used, "conversations")[...]
        var window = Array(waiting.prefix(Self.windowCount))
        waiting = waiting.dropFirst(Self.windowCount)
        func count(_ place: Int) -> Int { store.range(window[place]).count }
        var rows: [[Int]] = []
        while !window.isEmpty {
            var (row, room): ([Int], Int) = ([], length)
            var next: Int? = 0
            while let place = next {
                room -= count(place)
                row.append(window.remove(at: place))
                if let document = waiting.popFirst() { window.append(document) }
                // The longest that fits, the first of equals.
                next = window.indices.lazy.filter { count($0) <= room }.max { (count($0), $1) < (count($1), $0) }
            }
            rows.append(row)
        }
        return shuffled(rows, "rows")
    }

    /// Enough to fill rows to a few hundredths, few enough to look through for each conversation.
    private static let windowCount = 256
    private static let lastEpoch = 1 << 24
}

extension MixedLoader {
    /// Conversations alone, in a single stage.
    public init(_ rows: ConversationRows) {
        self.init([Stage(length: rows.length, sources: [rows], shares: [1])])
    }

    /// The rows of fine-tuning, length after length; each has orders of its own.
    ///
    /// - Throws: `RunError` where no conversation fits in a row of one of the lengths.
    init(_ recipe: TrainRecipe, conversations material: RunMaterial) throws(RunError) {
        var stages: [Stage] = []
        for (number, length) in recipe.rowLengths.enumerated() {
            let seed = CounterRandom(seed: recipe.seed, purpose: "rows.sft.\(number)").bits(0)
            let rows = try ConversationRows(
                material.store, length: length, padding: material.tokenizer.endOfText, seed: seed)
            stages.append(Stage(length: length, sources: [rows], shares: [1]))
        }
        self.init(stages)
    }
}
