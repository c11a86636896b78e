import CGlimKernels

/// A run of a batch's rows that belong to one sequence.
public struct SequenceSlice: Sendable, Equatable {
    /// Its first row in the batch.
    public var row: Int
    /// How many rows.
    public var count: Int
    /// The position of its first row in the sequence.
    public var position: Int

    /// A slice of `count` rows from `row` on.
    public init(row: Int, count: Int, position: Int) { (self.row, self.count, self.position) = (row, count, position) }
}

/// The keys of one sequence: rows reached through pages of 64 positions.
///
/// The same structure points into a cache, or into the rows that a training forward just made.
// @unchecked: read only while the operation that got it runs.
public struct KeyPages: @unchecked Sendable {
    /// Positions of a page.
    public static let positions = Int(GLIM_PAGE)

    package let pages: [UnsafePointer<Float>]
    package let stride: Int
    private let owner: Owner

    /// What keeps the rows in memory.
    private enum Owner {
        case rows(Buffer)
        case cache([CachePage])
    }

    /// The pages of a sequence whose keys are consecutive rows of `keys`.
    public init(rows slice: SequenceSlice, of keys: Tensor) {
        precondition(
            slice.position == 0 && slice.row + slice.count <= keys.shape.rows, "KeyPages: \(slice) in \(keys.shape)")
        pages = Swift.stride(from: 0, to: slice.count, by: Self.positions).map {
            UnsafePointer(keys.row(slice.row + $0))
        }
        stride = keys.shape.last
        owner = .rows(keys.buffer)
    }

    /// Rows of one kind, in pages of a cache.
    ///
    /// - Parameters:
    ///   - table: where they begin in each page.
    ///   - width: numbers of a row.
    ///   - pages: what the table points into.
    package init(_ table: [UnsafePointer<Float>], width: Int, in pages: [CachePage]) {
        (self.pages, stride, owner) = (table, width, .cache(pages))
    }
}
