/// Where rows of one kind and length come from, one after the other, without end.
protocol RowSource: Sendable {
    /// Which row is next; everything else is fixed.
    var position: PackedLoader.Position { get }
    mutating func nextRow() -> PackedRow
    /// - Throws: `DataError` if the position is not of this source.
    func moved(to position: PackedLoader.Position) throws(DataError) -> Self
}

extension PackedLoader: RowSource {}

/// Rows that are made when they are wanted: row i is a function of i.
struct MadeRows: RowSource {
    private(set) var position = PackedLoader.Position()
    private let make: @Sendable (_ index: Int) -> PackedRow

    init(_ make: @escaping @Sendable (_ index: Int) -> PackedRow) { self.make = make }

    mutating func nextRow() -> PackedRow {
        defer { position.row += 1 }
        return make(position.row)
    }

    func moved(to position: PackedLoader.Position) throws(DataError) -> MadeRows {
        // Far more than a run has, and few enough to count on from.
        guard position.epoch == 0, (0...1 << 50).contains(position.row) else {
            throw .badPosition("\(position)", why: "no such row")
        }
        var moved = self
        moved.position = position
        return moved
    }
}
