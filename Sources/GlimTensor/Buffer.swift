#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif
import Synchronization

/// A block of memory that returns to a pool when its last user lets go.
///
/// Steps of the same shape take the same blocks again, so a training loop stops allocating after its first step.
// @unchecked: the bytes are written only by the operation that made the buffer, or by the one owner that mutates it.
package final class Buffer: @unchecked Sendable {
    package let pointer: UnsafeMutableRawPointer
    package let byteCount: Int
    /// Bytes of the block it has, which sizes are rounded up to.
    package let heldByteCount: Int

    /// Uninitialised memory, aligned to 64 bytes.
    package init(byteCount: Int) {
        precondition(byteCount >= 0, "Buffer: \(byteCount) bytes")
        self.byteCount = byteCount
        heldByteCount = Self.heldByteCount(pooled: byteCount)
        pointer = BufferPool.take(heldByteCount)
    }

    static func heldByteCount(pooled byteCount: Int) -> Int { BufferPool.classSize(byteCount) }

    /// The same for what stays as long as a model does: a block of its own, hardly larger than it has to be.
    init(exactly byteCount: Int) {
        self.byteCount = byteCount
        heldByteCount = Self.heldByteCount(exactly: byteCount)
        pointer = BufferPool.take(heldByteCount)
    }

    static func heldByteCount(exactly byteCount: Int) -> Int {
        byteCount < SystemPages.hugePage ? BufferPool.classSize(byteCount) : SystemPages.rounded(byteCount)
    }

    deinit { BufferPool.give(pointer, heldByteCount) }

    package var floats: UnsafeMutablePointer<Float> { pointer.assumingMemoryBound(to: Float.self) }
    package var halves: UnsafeMutablePointer<UInt16> { pointer.assumingMemoryBound(to: UInt16.self) }
    package var integers: UnsafeMutablePointer<Int8> { pointer.assumingMemoryBound(to: Int8.self) }
}

/// The free blocks, by size, and the count of bytes in use.
public enum BufferPool {
    private struct State {
        var free: [Int: [UInt]] = [:]
        var live = 0
        var peak = 0
        /// Of the free blocks.
        var idle = 0
        var limit = Int.max
    }
    private static let state = Mutex(State())

    /// Bytes of tensors, weights and caches in use now.
    public static var liveBytes: Int { state.withLock { $0.live } }

    /// The most bytes in use at one time since `resetPeak`.
    public static var peakBytes: Int { state.withLock { $0.peak } }

    /// Starts a new measurement of `peakBytes`.
    public static func resetPeak() { state.withLock { $0.peak = $0.live } }

    /// Bytes that the blocks may come to, free ones included: before more is taken from the system than that, free blocks
    /// go back to it. What operations need they get in any case.
    public static var limit: Int {
        get { state.withLock { $0.limit } }
        set { state.withLock { $0.limit = newValue } }
    }

    /// Bytes of all blocks, in use and free.
    public static var heldBytes: Int { state.withLock { $0.live + $0.idle } }

    /// Sizes are rounded up to an eighth of a power of two: at most 12.5% is lost, and shapes that differ a little
    /// share blocks.
    fileprivate static func classSize(_ byteCount: Int) -> Int {
        if byteCount <= 1024 { return max(64, (byteCount + 63) & ~63) }
        let step = 1 << (Int.bitWidth - 1 - (byteCount - 1).leadingZeroBitCount - 3)
        return (byteCount + step - 1) / step * step
    }

    fileprivate static func take(_ size: Int) -> UnsafeMutableRawPointer {
        let (reused, isTight): (UInt?, Bool) = state.withLock {
            $0.live += size
            $0.peak = max($0.peak, $0.live)
            let reused = $0.free[size]?.popLast()
            if reused != nil { $0.idle -= size }
            return (reused, $0.idle > 0 && $0.live + $0.idle > $0.limit)
        }
        if let reused { return UnsafeMutableRawPointer(bitPattern: reused)! }
        if isTight { trim() }
        if size >= SystemPages.hugePage {
            guard let pages = SystemPages.map(size) else { SystemPages.fail(size) }
            return pages
        }
        var raw: UnsafeMutableRawPointer?
        guard posix_memalign(&raw, 64, size) == 0, let raw else { SystemPages.fail(size) }
        return raw
    }

    fileprivate static func give(_ pointer: UnsafeMutableRawPointer, _ size: Int) {
        let address = UInt(bitPattern: pointer)
        state.withLock {
            $0.live -= size
            $0.idle += size
            $0.free[size, default: []].append(address)
        }
    }

    /// Returns the free blocks to the system.
    public static func trim() {
        let blocks = state.withLock { state in
            defer { (state.free, state.idle) = ([:], 0) }
            return state.free
        }
        for (size, addresses) in blocks {
            for address in addresses {
                let pointer = UnsafeMutableRawPointer(bitPattern: address)!
                if size >= SystemPages.hugePage { SystemPages.unmap(pointer, size) } else { free(pointer) }
            }
        }
    }
}
