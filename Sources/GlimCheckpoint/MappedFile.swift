#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// A whole file, mapped read-only until the last reference goes.
///
/// The file must not shrink while it is mapped: reading a page that is gone ends the process (SIGBUS), and no program
/// can prevent another from doing so. Saves through `CheckpointWriter` and `AtomicFile` never shrink a file; they put
/// a new one in its place and the mapping keeps the old.
// @unchecked: the memory is never written and lives as long as the object.
package final class MappedFile: @unchecked Sendable {
    package let path: String
    package let bytes: UnsafeRawBufferPointer
    /// Which file it was, and when it had changed last.
    let identity: FileIdentity

    /// - Throws: `CheckpointError.unreadable` if there is no regular file that can be opened and mapped.
    package init(path: String) throws(CheckpointError) {
        // Non-blocking, or opening a named pipe would wait for a writer.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .unreadable(path: path, reason: systemReason()) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .unreadable(path: path, reason: systemReason()) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw .unreadable(path: path, reason: status.st_mode & S_IFMT == S_IFDIR ? "a folder" : "not a plain file")
        }
        let count = Int(status.st_size)
        identity = FileIdentity(status)
        if count == 0 {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
        } else {
            guard let start = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED else {
                throw .unreadable(path: path, reason: systemReason())
            }
            bytes = UnsafeRawBufferPointer(start: start, count: count)
        }
        self.path = path
    }

    /// Lets go of the pages of some bytes, which come from the file again when they are touched: they count as this
    /// process's memory no longer.
    package func release(_ range: Range<Int>) {
        guard let start = bytes.baseAddress, !range.isEmpty else { return }
        // Around a page that is touched the system maps others that it has at hand, in stretches of 64 KB.
        let (first, end) = (UInt(bitPattern: start), UInt(bitPattern: start) + UInt(bytes.count))
        let from = max(first, (first + UInt(range.lowerBound)) & ~0xFFFF)
        let to = min(end, (first + UInt(range.upperBound) + 0xFFFF) & ~0xFFFF)
        madvise(UnsafeMutableRawPointer(bitPattern: from), Int(to - from), MADV_DONTNEED)
    }

    deinit {
        if let start = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: start), bytes.count) }
    }
}
