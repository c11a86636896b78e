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
    private let owners: [Buffer]

    package init(pages: [UnsafePointer<Float>], stride: Int, owners: [Buffer]) {
        (self.pages, self.stride, self.owners) = (pages, stride, owners)
    }

    /// The pages of a sequence whose keys are consecutive rows of `keys`.
    public init(rows slice: SequenceSlice, of keys: Tensor) {
        precondition(
            slice.position == 0 && slice.row + slice.count <= keys.shape.rows, "KeyPages: \(slice) in \(keys.shape)")
        pages = Swift.stride(from: 0, to: slice.count, by: Self.positions).map {
            UnsafePointer(keys.row(slice.row + $0))
        }
        stride = keys.shape.last
        owners = [keys.buffer]
    }
}

/// The memory of one page of a cache: 64 positions of several kinds of rows, each kind in one piece.
// @unchecked: written by the one loop that owns the cache, before an operation reads.
public final class CachePage: @unchecked Sendable {
    fileprivate let buffer: Buffer

    /// - Parameter valueCount: f32 numbers of the page.
    public init(valueCount: Int) { buffer = Buffer(byteCount: valueCount * 4) }

    /// Writes rows of one kind.
    ///
    /// - Parameters:
    ///   - rows: `[T, width]`
    ///   - range: which of them.
    ///   - place: where the kind begins in the page, in numbers.
    ///   - position: of the first row within the page.
    public func write(_ rows: Tensor, _ range: Range<Int>, place: Int, position: Int) {
        let width = rows.shape.last
        precondition(
            position >= 0 && position + range.count <= KeyPages.positions && range.upperBound <= rows.shape.rows
                && (place + (position + range.count) * width) * 4 <= buffer.byteCount,
            "CachePage: rows \(range) of \(rows.shape) at \(place), position \(position)")
        (buffer.floats + place + position * width).update(
            from: rows.row(range.lowerBound), count: range.count * width)
    }
}

extension KeyPages {
    /// Rows of one kind, in pages of a cache.
    ///
    /// - Parameters:
    ///   - place: where the kind begins in each page, in numbers.
    ///   - width: numbers of a row.
    public init(_ pages: [CachePage], place: Int, width: Int) {
        self.init(
            pages: pages.map { UnsafePointer($0.buffer.floats + place) }, stride: width, owners: pages.map(\.buffer))
    }
}
