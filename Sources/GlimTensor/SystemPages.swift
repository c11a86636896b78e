#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Memory straight from the system: what is given back is given back at once, where an allocator may keep it.
// @unchecked: whoever has the object decides who writes.
package final class SystemPages: @unchecked Sendable {
    package let pointer: UnsafeMutableRawPointer
    package let byteCount: Int

    /// - Parameter byteCount: rounded up to whole pages.
    package init(byteCount: Int) {
        self.byteCount = Self.rounded(byteCount)
        guard let pointer = Self.map(self.byteCount) else { Self.fail(byteCount) }
        self.pointer = pointer
    }

    deinit { Self.unmap(pointer, byteCount) }

    static let hugePage = 2 << 20

    /// Whole pages that hold so many bytes.
    package static func rounded(_ byteCount: Int) -> Int {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        return max(1, (byteCount + page - 1) / page) * page
    }

    /// Whole pages of zeros, aligned to huge ones where they are as large; nil where the system has no more.
    static func map(_ size: Int) -> UnsafeMutableRawPointer? {
        let slack = size >= hugePage ? hugePage : 0
        guard let start = mmap(nil, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | mapAnonymous, -1, 0),
            start != MAP_FAILED
        else { return nil }
        if slack == 0 { return start }
        let before = Int((0 &- UInt(bitPattern: start)) & UInt(hugePage - 1))
        let first = start + before
        if before > 0 { munmap(start, before) }
        if slack > before { munmap(first + size, slack - before) }
        #if os(Linux)
        madvise(first, size, 14 /* MADV_HUGEPAGE: 4K pages cost 4 to 13% */)
        #endif
        return first
    }

    static func unmap(_ pointer: UnsafeMutableRawPointer, _ size: Int) { munmap(pointer, size) }

    private static var mapAnonymous: Int32 {
        #if canImport(Darwin)
        MAP_ANON
        #else
        Int32(MAP_ANONYMOUS)
        #endif
    }

    /// Not a matter of input: the machine has no memory left, and nothing here could go on without it.
    static func fail(_ byteCount: Int) -> Never {
        let message =
            "error: out of memory: \(byteCount) bytes more could not be had; use a smaller batch or context\n"
        _ = message.withCString { write(2, $0, strlen($0)) }
        exit(1)
    }
}
