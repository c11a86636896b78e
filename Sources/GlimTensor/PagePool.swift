import Synchronization

/// The pages that caches share, of one size and no more than a budget allows.
public final class PagePool: Sendable {
    /// Numbers of a page.
    public let valueCount: Int
    /// Pages that may be lent at one time.
    public let limit: Int
    private let lent = Atomic<Int>(0)
    private let held = Atomic<Int>(0)
    /// Slabs with a page that is not lent.
    private let open = Mutex<[PageSlab]>([])

    /// - Parameters:
    ///   - valueCount: numbers of a page.
    ///   - limit: pages that may be lent at one time.
    public init(valueCount: Int, limit: Int = .max) {
        precondition(valueCount > 0 && limit > 0, "PagePool: \(limit) pages of \(valueCount) numbers")
        (self.valueCount, self.limit) = (valueCount, limit)
    }

    /// Pages that are lent.
    public var count: Int { lent.load(ordering: .relaxed) }

    /// Bytes of memory that it has: of pages that are lent, and of those that lie in a piece with them.
    package var byteCount: Int { held.load(ordering: .relaxed) }

    /// Bytes of memory that so many pages come to.
    package static func heldByteCount(pageByteCount: Int, count: Int) -> Int {
        let each = PageSlab.pageCount(pageByteCount)
        return (count + each - 1) / each * Buffer.heldByteCount(pooled: each * pageByteCount)
    }

    /// Counts pages that are lent or come back; returns how many are lent then.
    @discardableResult
    private func lend(_ change: Int) -> Int { lent.wrappingAdd(change, ordering: .relaxed).newValue }

    /// Takes the memory of a page. One more than ``limit`` is a bug in the caller, who has to make room first, and traps.
    func takePlace() -> (slab: PageSlab, index: Int) {
        precondition(lend(1) <= limit, "PagePool: more than \(limit) pages")
        return open.withLock { open in
            if open.isEmpty {
                open.append(PageSlab(pageByteCount: valueCount * 4, limit: limit))
                held.wrappingAdd(open[0].buffer.heldByteCount, ordering: .relaxed)
            }
            let slab = open[open.count - 1]
            let index = slab.free.removeLast()
            if slab.free.isEmpty { open.removeLast() }
            return (slab, index)
        }
    }

    /// Takes it back. A slab without pages that are lent returns to the system's pool.
    func giveBack(_ slab: PageSlab, _ index: Int) {
        open.withLock { open in
            slab.free.append(index)
            if slab.free.count == 1 { open.append(slab) }
            if slab.free.count == slab.count {
                open.removeAll { $0 === slab }
                held.wrappingSubtract(slab.buffer.heldByteCount, ordering: .relaxed)
            }
        }
        lend(-1)
    }
}

/// Memory of several pages in one piece: large enough for the system's huge pages. What a step reads of a cache lies
/// scattered over all of it, and with pages of 4 KB finding out where costs more than reading.
// @unchecked: `free` is touched under the lock of its pool only.
final class PageSlab: @unchecked Sendable {
    let buffer: Buffer
    let pageByteCount: Int
    let count: Int
    /// Pages that are not lent.
    fileprivate(set) var free: [Int]

    private static let hugePage = 2 << 20

    fileprivate init(pageByteCount: Int, limit: Int) {
        self.pageByteCount = pageByteCount
        count = min(limit, Self.pageCount(pageByteCount))
        buffer = Buffer(byteCount: count * pageByteCount)
        free = Array((0..<count).reversed())
    }

    /// Of small pages, which small models have, a few.
    fileprivate static func pageCount(_ pageByteCount: Int) -> Int {
        let some = (4 * pageByteCount + hugePage - 1) / hugePage * hugePage / pageByteCount
        return pageByteCount < hugePage / 32 ? 8 : some
    }

    /// Where a page begins.
    func page(_ index: Int) -> UnsafeMutableRawPointer { buffer.pointer + index * pageByteCount }
}
