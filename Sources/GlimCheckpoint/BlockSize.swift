/// How many rows and columns of a quantised matrix share one scale: `weight_block_size` in `config.json`.
public struct BlockSize: Sendable, Equatable {
    /// Rows of a block.
    public let rows: Int
    /// Columns of a block.
    public let columns: Int

    /// Nil unless both are positive.
    public init?(rows: Int, columns: Int) {
        guard rows > 0, columns > 0 else { return nil }
        (self.rows, self.columns) = (rows, columns)
    }

    /// Blocks that cover so many rows, the last one perhaps in part.
    func count(rows count: Int) -> Int { count / rows + (count % rows == 0 ? 0 : 1) }

    /// Blocks that cover so many columns, the last one perhaps in part.
    func count(columns count: Int) -> Int { count / columns + (count % columns == 0 ? 0 : 1) }

    private init(square side: Int) { (rows, columns) = (side, side) }

    /// 128 × 128, as published.
    public static let standard = BlockSize(square: 128)
}
