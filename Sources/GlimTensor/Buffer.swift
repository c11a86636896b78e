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
    private let keeper: Keeper

    private enum Keeper {
        case pool(classSize: Int)
        case other(AnyObject)  // what keeps mapped bytes alive
    }

    /// Uninitialised memory, aligned to 64 bytes.
    package init(byteCount: Int) {
        precondition(byteCount >= 0, "Buffer: \(byteCount) bytes")
        let size = BufferPool.classSize(byteCount)
        self.byteCount = byteCount
        keeper = .pool(classSize: size)
        pointer = BufferPool.take(size)
    }

    /// Bytes that someone else owns: a mapped file, for instance.
    package init(mapped: UnsafeRawPointer, byteCount: Int, owner: AnyObject) {
        pointer = UnsafeMutableRawPointer(mutating: mapped)
        self.byteCount = byteCount
        keeper = .other(owner)
    }

    deinit {
        if case .pool(let size) = keeper { BufferPool.give(pointer, size) }
    }

    /// Bytes of the block it has, which sizes are rounded up to; none of mapped ones.
    package var heldByteCount: Int { if case .pool(let size) = keeper { size } else { 0 } }
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
    }
    private static let state = Mutex(State())
    private static let hugePage = 2 << 20

    /// Bytes of tensors, weights and caches in use now.
    public static var liveBytes: Int { state.withLock { $0.live } }

    /// The most bytes in use at one time since `resetPeak`.
    public static var peakBytes: Int { state.withLock { $0.peak } }

    /// Starts a new measurement of `peakBytes`.
    public static func resetPeak() { state.withLock { $0.peak = $0.live } }

    /// Sizes are rounded up to an eighth of a power of two: at most 12.5% is lost, and shapes that differ a little
    /// share blocks.
    fileprivate static func classSize(_ byteCount: Int) -> Int {
        if byteCount <= 1024 { return max(64, (byteCount + 63) & ~63) }
        let step = 1 << (Int.bitWidth - 1 - (byteCount - 1).leadingZeroBitCount - 3)
        return (byteCount + step - 1) / step * step
    }

    fileprivate static func take(_ size: Int) -> UnsafeMutableRawPointer {
        let reused: UInt? = state.withLock {
            $0.live += size
            $0.peak = max($0.peak, $0.live)
            return $0.free[size]?.popLast()
        }
        if let reused { return UnsafeMutableRawPointer(bitPattern: reused)! }
        let huge = size >= hugePage
        var raw: UnsafeMutableRawPointer?
        guard posix_memalign(&raw, huge ? hugePage : 64, size) == 0, let raw else {
            // Not a matter of input: the machine has no memory left, and nothing here could go on without it.
            let message = "error: out of memory: \(size) bytes more could not be had; use a smaller batch or context\n"
            _ = message.withCString { write(2, $0, strlen($0)) }
            exit(1)
        }
        #if os(Linux)
        if huge { madvise(raw, size, 14 /* MADV_HUGEPAGE: 4K pages cost 4 to 13% */) }
        #endif
        return raw
    }

    fileprivate static func give(_ pointer: UnsafeMutableRawPointer, _ size: Int) {
        let address = UInt(bitPattern: pointer)
        state.withLock {
            $0.live -= size
            $0.free[size, default: []].append(address)
        }
    }

    /// Returns the free blocks to the system.
    public static func trim() {
        let blocks = state.withLock { state in
            defer { state.free = [:] }
            return state.free.values.flatMap { $0 }
        }
        for address in blocks { free(UnsafeMutableRawPointer(bitPattern: address)) }
    }
}
