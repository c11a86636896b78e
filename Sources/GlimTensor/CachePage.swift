import CGlimKernels

/// The memory of one page of a cache: 64 positions of several kinds of rows, each kind in one piece.
///
/// Whoever holds it keeps it: a sequence, several that begin alike, a prefix that is kept for later. A page that more
/// than one holds is never written; ``PagePool`` counts it until the last lets go.
// @unchecked: written by the one loop that owns the cache, before an operation reads.
public final class CachePage: @unchecked Sendable {
    private let pool: PagePool
    private let slab: PageSlab
    private let index: Int
    private let floats: UnsafeMutablePointer<Float>

    fileprivate init(_ pool: PagePool) {
        self.pool = pool
        (slab, index) = pool.takePlace()
        floats = slab.page(index).assumingMemoryBound(to: Float.self)
    }

    deinit { pool.giveBack(slab, index) }

    /// Writes rows of one kind.
    ///
    /// - Parameters:
    ///   - rows: `[T, width]`
    ///   - range: which of them.
    ///   - place: where the kind begins in the page, in numbers of f32.
    ///   - position: of the first row within the page.
    ///   - format: of the kind.
    package func write(_ rows: Tensor, _ range: Range<Int>, place: Int, position: Int, format: KeyFormat) {
        let (width, size) = (rows.shape.last, format.floats(width: rows.shape.last))
        precondition(
            position >= 0 && position + range.count <= KeyPages.positions && range.upperBound <= rows.shape.rows
                && place + KeyPages.positions * size <= pool.valueCount,
            "CachePage: rows \(range) of \(rows.shape) at \(place), position \(position)")
        let from = rows.row(range.lowerBound)
        switch format {
        case .f32:
            (floats + place + position * size).update(from: from, count: range.count * width)
        case .bf16:
            for i in 0..<range.count {
                kernels.pointee.store_bf16(
                    UnsafeMutableRawPointer(floats + place + (position + i) * size).assumingMemoryBound(
                        to: UInt16.self), from + i * width, Int64(width))
            }
        case .int8:
            kernels.pointee.pack_index_keys(
                floats + place, from, Int64(width), Int64(position), Int64(range.count), Int64(width))
        }
    }

    /// Where a kind of rows begins.
    package func rows(place: Int) -> UnsafePointer<Float> { UnsafePointer(floats + place) }

    /// The bytes of `count` numbers from `place` on, to be stored or filled.
    package func bytes(place: Int, count: Int) -> UnsafeMutableRawBufferPointer {
        precondition(place >= 0 && count >= 0 && place + count <= pool.valueCount, "CachePage: \(count) at \(place)")
        return UnsafeMutableRawBufferPointer(start: floats + place, count: count * 4)
    }
}

extension PagePool {
    /// Lends a page. Its rows hold anything.
    ///
    /// One more than ``limit`` is a bug in the caller, who has to make room first, and traps.
    package func take() -> CachePage { CachePage(self) }

    /// Lends a page that holds what another does.
    package func copy(of page: CachePage) -> CachePage {
        let copy = take()
        copy.bytes(place: 0, count: valueCount).copyMemory(
            from: UnsafeRawBufferPointer(page.bytes(place: 0, count: valueCount)))
        return copy
    }
}
