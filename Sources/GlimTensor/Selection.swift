/// The positions that sparse attention may see, for each row of a batch.
// @unchecked: filled by the operation that makes it, read only afterwards.
public struct Selection: @unchecked Sendable {
    /// Positions a row may have at most.
    public let topK: Int
    /// `[T, topK]`, ascending, filled to `counts`.
    package let positions: Buffer
    /// How many positions each row has; -1 where it sees every visible position (there are no more than topK).
    package let counts: Buffer
    /// Rows of the batch.
    public let rows: Int

    package init(rows: Int, topK: Int) {
        (self.rows, self.topK) = (rows, topK)
        positions = Buffer(byteCount: rows * topK * 4)
        counts = Buffer(byteCount: rows * 4)
    }

    /// A choice that is known: for each row ascending positions, at most `topK`, or nil where it sees all.
    package init(_ chosen: [[Int32]?], topK: Int) {
        self.init(rows: chosen.count, topK: topK)
        for (t, positions) in chosen.enumerated() {
            precondition(positions.map { $0.count <= topK } ?? true, "Selection: more than \(topK) in row \(t)")
            count[t] = positions.map { Int32($0.count) } ?? -1
            for (i, position) in (positions ?? []).enumerated() { row(t)[i] = position }
        }
    }

    /// The choice for some of the rows, in the given order.
    package func selectRows(_ kept: [Int]) -> Selection { Selection(kept.map { self[$0] }, topK: topK) }

    package func row(_ t: Int) -> UnsafeMutablePointer<Int32> {
        positions.pointer.assumingMemoryBound(to: Int32.self) + t * topK
    }
    package var count: UnsafeMutablePointer<Int32> { counts.pointer.assumingMemoryBound(to: Int32.self) }

    /// The ascending positions of a row, or nil where it sees all.
    public subscript(_ t: Int) -> [Int32]? {
        let n = Int(count[t])
        return n < 0 ? nil : Array(UnsafeBufferPointer(start: row(t), count: n))
    }
}
