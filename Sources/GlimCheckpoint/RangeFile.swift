#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Which file it is, and when it last changed.
package struct FileIdentity: Sendable, Equatable {
    private let device: UInt64
    private let node: UInt64
    let byteCount: Int
    private let seconds: Int
    private let nanoseconds: Int

    init(_ status: stat) {
        (device, node) = (UInt64(truncatingIfNeeded: status.st_dev), UInt64(truncatingIfNeeded: status.st_ino))
        byteCount = Int(status.st_size)
        #if canImport(Darwin)
        (seconds, nanoseconds) = (status.st_mtimespec.tv_sec, status.st_mtimespec.tv_nsec)
        #else
        (seconds, nanoseconds) = (status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
        #endif
    }
}

/// Where a tensor's bytes lie.
package struct TensorLocation: Sendable {
    package let path: String
    /// Of the file when its header was read.
    package let identity: FileIdentity
    package let info: TensorInfo

    /// In the file.
    package var range: Range<Int> { info.fileOffset..<info.fileOffset + info.byteCount }
}

/// A file of which parts are read when they are wanted, by any number of threads, and which has to stay what it was: a
/// shorter or changed one is noticed with the part that was read, and is an error instead of a signal.
package final class RangeFile: Sendable {
    private let path: String
    private let descriptor: Int32
    private let identity: FileIdentity
    /// Reads go past the system's own memory of files.
    package let isDirect: Bool

    /// What begins and lengths of direct reads are multiples of.
    package static let block = 4096

    /// - Parameters:
    ///   - identity: what the file must be.
    ///   - direct: past the system's memory of files, where the file system can.
    /// - Throws: `CheckpointError.unreadable`, or `.changed` for another file.
    package init(path: String, identity: FileIdentity, direct: Bool) throws(CheckpointError) {
        (self.path, self.identity) = (path, identity)
        (descriptor, isDirect) = try Self.open(path, direct: direct)
        try check()
    }

    deinit { close(descriptor) }

    private static func open(_ path: String, direct: Bool) throws(CheckpointError) -> (Int32, Bool) {
        let flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK
        #if os(Linux)
        if direct {
            let descriptor = Glibc.open(path, flags | directFlag)
            if descriptor >= 0 {
                // Some file systems let it be opened so and then refuse to read.
                if probes(descriptor) { return (descriptor, true) }
                close(descriptor)
            }
        }
        let descriptor = Glibc.open(path, flags)
        #else
        let descriptor = Darwin.open(path, flags)
        #endif
        guard descriptor >= 0 else { throw .unreadable(path: path, reason: systemReason()) }
        #if canImport(Darwin)
        if direct, fcntl(descriptor, F_NOCACHE, 1) == 0 { return (descriptor, false) }
        #endif
        return (descriptor, false)
    }

    /// `O_DIRECT`
    private static var directFlag: Int32 {
        #if arch(arm64)
        0o200000
        #else
        0o40000
        #endif
    }

    private static func probes(_ descriptor: Int32) -> Bool {
        var memory: UnsafeMutableRawPointer?
        guard posix_memalign(&memory, block, block) == 0 else { return false }
        defer { free(memory) }
        return pread(descriptor, memory, block, 0) >= 0
    }

    /// Room that reading so many bytes takes.
    package static func room(_ byteCount: Int) -> Int { (byteCount + 2 * block - 1) / block * block + block }

    /// Reads some bytes.
    ///
    /// - Parameter room: `room(range.count)` bytes, aligned to a block.
    /// - Returns: where in the room they begin.
    /// - Throws: `CheckpointError.unreadable` or `.changed`.
    package func read(_ range: Range<Int>, into room: UnsafeMutableRawBufferPointer) throws(CheckpointError)
        -> UnsafeRawPointer
    {
        let mask = isDirect ? Self.block - 1 : 0
        let first = range.lowerBound & ~mask
        let wanted = range.upperBound - first
        let length = (wanted + mask) & ~mask
        guard let base = room.baseAddress, length <= room.count else {
            preconditionFailure("RangeFile: \(range.count) bytes into \(room.count)")
        }
        var done = 0
        while done < wanted {
            let count = pread(descriptor, base + done, length - done, off_t(first + done))
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .unreadable(path: path, reason: systemReason()) }
            // A direct read goes on at a block.
            let kept = done + count < wanted ? count & ~mask : count
            guard kept > 0 else { throw .changed(path: path, reason: "it ends before byte \(range.upperBound)") }
            done += kept
        }
        try check()
        return UnsafeRawPointer(base) + (range.lowerBound - first)
    }

    private func check() throws(CheckpointError) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .unreadable(path: path, reason: systemReason()) }
        let found = FileIdentity(status)
        guard found != identity else { return }
        throw .changed(
            path: path,
            reason: found.byteCount == identity.byteCount
                ? "something was written to it"
                : "it has \(found.byteCount) bytes instead of \(identity.byteCount)")
    }
}
