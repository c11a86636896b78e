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

/// How keys are kept, those of attention or of the indexer.
public enum KeyFormat: String, Sendable, CaseIterable {
    case f32 = "float32"
    /// Half the memory. Keys are rounded when they are made, so that they are the same numbers where nothing is kept.
    case bf16 = "bfloat16"
    /// Of the indexer only: turned, page by page, with a scale for each. A quarter of the memory, and scores are products
    /// of integers.
    case int8

    /// Numbers of f32 that a key of `width` takes in a page.
    package func floats(width: Int) -> Int {
        switch self {
        case .f32: width
        case .bf16: (width + 1) / 2
        case .int8: Int(glim_index_key_floats(Int64(width)))
        }
    }
}

/// The keys of one sequence: rows reached through pages of 64 positions.
///
/// The same structure points into a cache, or into the rows that a training forward just made.
// @unchecked: read only while the operation that got it runs.
public struct KeyPages: @unchecked Sendable {
    /// Positions of a page.
    public static let positions = Int(GLIM_PAGE)

    package let pages: [UnsafePointer<Float>]
    /// Numbers from row to row, of the format; index keys in int8 have no rows.
    package let stride: Int
    package let format: KeyFormat
    private let owner: Owner

    /// What keeps the rows in memory.
    private enum Owner {
        case rows(Buffer)
        case cache([CachePage])
    }

    private init(_ pages: [UnsafePointer<Float>], stride: Int, _ format: KeyFormat, _ owner: Owner) {
        (self.pages, self.stride, self.format, self.owner) = (pages, stride, format, owner)
    }

    /// The pages of a sequence whose keys are consecutive rows of `keys`.
    public init(rows slice: SequenceSlice, of keys: Tensor) {
        precondition(
            slice.position == 0 && slice.row + slice.count <= keys.shape.rows, "KeyPages: \(slice) in \(keys.shape)")
        pages = Swift.stride(from: 0, to: slice.count, by: Self.positions).map {
            UnsafePointer(keys.row(slice.row + $0))
        }
        (stride, format) = (keys.shape.last, .f32)
        owner = .rows(keys.buffer)
    }

    /// Index keys as a cache would hold them, whose rows are consecutive ones of `keys`.
    public init(indexKeys slice: SequenceSlice, of keys: Tensor, format: KeyFormat) {
        guard format == .int8 else {  // rounded already
            self.init(rows: slice, of: keys)
            return
        }
        precondition(
            slice.position == 0 && slice.row + slice.count <= keys.shape.rows, "KeyPages: \(slice) in \(keys.shape)")
        let width = keys.shape.last
        let count = (slice.count + Self.positions - 1) / Self.positions
        let pageFloats = format.floats(width: width) * Self.positions
        let buffer = Buffer(byteCount: count * pageFloats * 4)
        ThreadPool.shared.run(count) { page in
            let first = page * Self.positions
            kernels.pointee.pack_index_keys(
                buffer.floats + page * pageFloats, keys.row(slice.row + first), Int64(width), 0,
                Int64(min(Self.positions, slice.count - first)), Int64(width))
        }
        let pages = (0..<count).map { UnsafePointer(buffer.floats + $0 * pageFloats) }
        self.init(pages, stride: width, format, .rows(buffer))
    }

    /// Rows of one kind, in pages of a cache.
    ///
    /// - Parameters:
    ///   - table: where they begin in each page.
    ///   - width: numbers of a row.
    ///   - format: as the cache was made.
    ///   - pages: what the table points into.
    package init(_ table: [UnsafePointer<Float>], width: Int, format: KeyFormat, in pages: [CachePage]) {
        stride = format == .bf16 ? 2 * format.floats(width: width) : width
        (self.pages, self.format, owner) = (table, format, .cache(pages))
    }
}
