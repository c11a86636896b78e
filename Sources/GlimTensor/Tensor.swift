/// The extents of a tensor, one to four of them, last fastest.
public struct Shape: Sendable, Equatable, ExpressibleByArrayLiteral, CustomStringConvertible {
    private let extents: (Int, Int, Int, Int)
    /// How many extents there are.
    public let rank: Int

    /// Fewer than one, more than four, or a negative one is a bug and traps.
    public init(_ dimensions: [Int]) {
        precondition((1...4).contains(dimensions.count), "Shape: \(dimensions.count) dimensions")
        precondition(dimensions.allSatisfy { $0 >= 0 }, "Shape: \(dimensions)")
        rank = dimensions.count
        func at(_ i: Int) -> Int { i < dimensions.count ? dimensions[i] : 1 }
        extents = (at(0), at(1), at(2), at(3))
    }

    public init(arrayLiteral dimensions: Int...) { self.init(dimensions) }

    /// All extents.
    public var dimensions: [Int] { [extents.0, extents.1, extents.2, extents.3].prefix(rank).map { $0 } }
    /// Elements in all.
    public var count: Int { extents.0 * extents.1 * extents.2 * extents.3 }
    /// The last extent.
    public var last: Int {
        switch rank {
        case 1: extents.0
        case 2: extents.1
        case 3: extents.2
        default: extents.3
        }
    }
    /// Everything but the last extent, multiplied.
    public var rows: Int { last == 0 ? 0 : count / last }
    /// The first extent.
    public var first: Int { extents.0 }

    public var description: String { "\(dimensions)" }
    public static func == (a: Shape, b: Shape) -> Bool { a.rank == b.rank && a.extents == b.extents }
}

/// Numbers in f32, row-major. A value: operations make new tensors and never change one.
// @unchecked: the node is written by the one tape that follows the value, on its thread; the buffer as it says itself.
public struct Tensor: @unchecked Sendable {
    /// Its extents, the last one consecutive in memory.
    public let shape: Shape
    package var buffer: Buffer
    /// Where gradients of this value gather, where a tape follows it.
    package var node: Tape.Node?

    /// Memory for an operation to fill.
    package init(uninitialized shape: Shape) {
        self.shape = shape
        buffer = Buffer(byteCount: shape.count * 4)
    }

    /// Elements in row-major order; another count than the shape's is a bug and traps.
    public init(_ elements: [Float], _ shape: Shape) {
        precondition(elements.count == shape.count, "Tensor: \(elements.count) elements for \(shape)")
        self.init(uninitialized: shape)
        elements.withUnsafeBufferPointer {
            if let from = $0.baseAddress { buffer.floats.update(from: from, count: elements.count) }
        }
    }

    /// All zeros.
    public init(zeros shape: Shape) {
        self.init(uninitialized: shape)
        buffer.floats.update(repeating: 0, count: shape.count)
    }

    /// A copy of all elements.
    public var elements: [Float] {
        Array(UnsafeBufferPointer(start: buffer.floats, count: shape.count))
    }

    /// Reads the elements in place.
    public func withElements<R>(_ body: (UnsafeBufferPointer<Float>) throws -> R) rethrows -> R {
        try withExtendedLifetime(buffer) {
            try body(UnsafeBufferPointer(start: buffer.floats, count: shape.count))
        }
    }

    /// Writes rows over this tensor's own, from row `first` on: for whoever just made the tensor.
    package func replaceRows(from first: Int, with rows: Tensor) {
        precondition(
            rows.shape.last == shape.last && first + rows.shape.rows <= shape.rows,
            "replaceRows: \(rows.shape) from row \(first) of \(shape)")
        row(first).update(from: rows.pointer, count: rows.shape.count)
    }

    /// A new tensor that `fill` fills.
    package init<E: Error>(
        _ shape: Shape, filledBy fill: (UnsafeMutableBufferPointer<Float>) throws(E) -> Void
    ) throws(E) {
        self.init(uninitialized: shape)
        try fill(UnsafeMutableBufferPointer(start: buffer.floats, count: shape.count))
    }

    /// The elements, for operations only. Valid while the tensor lives.
    package var pointer: UnsafeMutablePointer<Float> { buffer.floats }
    package func row(_ i: Int) -> UnsafeMutablePointer<Float> { buffer.floats + i * shape.last }
}
