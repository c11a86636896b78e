#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Reads small files whole: settings and indices, not weights.
package enum PlainFile {
    /// - Parameter limit: a file of more bytes is no such file.
    /// - Throws: `CheckpointError.unreadable` for what is no regular file, so that neither a pipe without a writer nor a
    ///   device without an end keeps the caller.
    package static func read(_ path: String, limit: Int) throws(CheckpointError) -> [UInt8] {
        // Non-blocking, or opening a named pipe would wait for a writer.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .unreadable(path: path, reason: systemReason()) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .unreadable(path: path, reason: systemReason()) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw .unreadable(path: path, reason: status.st_mode & S_IFMT == S_IFDIR ? "a folder" : "not a plain file")
        }
        let tooLarge = CheckpointError.unreadable(path: path, reason: "more than \(limit) bytes")
        guard status.st_size <= limit else { throw tooLarge }
        // One byte more than the size, so that the read which meets the end needs no growth.
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size) + 1)
        var count = 0
        while true {
            if count == bytes.count { bytes += [UInt8](repeating: 0, count: count) }
            let got = bytes.withUnsafeMutableBytes { buffer in
                #if canImport(Darwin)
                Darwin.read(descriptor, buffer.baseAddress! + count, buffer.count - count)
                #else
                Glibc.read(descriptor, buffer.baseAddress! + count, buffer.count - count)
                #endif
            }
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw .unreadable(path: path, reason: systemReason()) }
            if got == 0 { break }
            count += got
            guard count <= limit else { throw tooLarge }
        }
        bytes.removeLast(bytes.count - count)
        return bytes
    }
}
