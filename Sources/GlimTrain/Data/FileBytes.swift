import Foundation

#if canImport(Darwin)
import Darwin
#elseif canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// The few questions put to the file system while collecting text, without Foundation's page-long errors.
package enum FileBytes {
    enum Kind: Equatable {
        case file, folder, pipe, other
    }

    /// What stands at a path. `identity` is the same for two names of one file.
    struct Entry {
        var kind: Kind
        var size: Int
        var identity: Identity
    }

    struct Identity: Hashable {
        var device: UInt64
        var inode: UInt64
    }

    /// - Parameter following: whether a symbolic link stands for what it points at.
    /// - Returns: nil if nothing is there; a link that is not followed is `.other`.
    static func entry(_ path: String, following: Bool) -> Entry? {
        var info = stat()
        guard (following ? stat(path, &info) : lstat(path, &info)) == 0 else { return nil }
        let kind: Kind =
            switch info.st_mode & S_IFMT {
            case S_IFREG: .file
            case S_IFDIR: .folder
            case S_IFIFO: .pipe
            default: .other
            }
        let identity = Identity(
            device: UInt64(truncatingIfNeeded: info.st_dev), inode: UInt64(truncatingIfNeeded: info.st_ino))
        return Entry(kind: kind, size: Int(info.st_size), identity: identity)
    }

    static func isSymbolicLink(_ path: String) -> Bool {
        var info = stat()
        return lstat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFLNK
    }

    /// The names in a folder in the order of their bytes (the same on every system); nil if it cannot be read.
    static func names(in folder: String) -> [String]? {
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else { return nil }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// Whether the names in a folder can be asked for; if not, `lastError` says why.
    static func isListable(_ folder: String) -> Bool { access(folder, R_OK | X_OK) == 0 }

    /// The path with every link resolved; nil if it does not exist.
    static func realPath(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// Why a file cannot be read, in the words of an error: "Permission denied".
    package struct Problem: Error, CustomStringConvertible {
        package let description: String
    }

    /// Up to `limit` bytes of a plain file or a pipe from its start.
    ///
    /// A pipe that nobody writes to is an error after two seconds rather than a wait without end, and a device, which
    /// may have no end, is refused.
    package static func read(_ path: String, limit: Int = .max) throws(Problem) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw Problem(description: lastError) }
        defer { close(descriptor) }
        var info = stat()
        guard fstat(descriptor, &info) == 0 else { throw Problem(description: lastError) }
        var bytes: [UInt8] = []
        switch info.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFIFO: bytes = try awaitWriter(descriptor)
        case S_IFDIR: throw Problem(description: "it is a folder")
        default: throw Problem(description: "it is neither a file nor a pipe")
        }
        let hint = max(0, Int(info.st_size))
        // One byte more than the size, so that the read which meets the end needs no growth.
        var next = min(limit, max(hint + 1, 1 << 16))
        while bytes.count < limit {
            let start = bytes.count
            var got = 0
            let chunk = [UInt8](unsafeUninitializedCapacity: min(next, limit - start)) { buffer, count in
                got = readFully(descriptor, buffer)
                count = max(got, 0)
            }
            if got < 0 { throw Problem(description: lastError) }
            if bytes.isEmpty { bytes = chunk } else { bytes += chunk }
            if got < min(next, limit - start) { break }
            next = 1 << 20
        }
        return bytes
    }

    /// Up to `limit` bytes, of which there must be no more.
    package static func read(_ path: String, atMost limit: Int) throws(Problem) -> [UInt8] {
        let bytes = try read(path, limit: limit + 1)
        guard bytes.count <= limit else { throw Problem(description: "it has more than \(limit >> 20) MiB") }
        return bytes
    }

    /// Waits until a pipe has a writer, and makes reads of it wait from then on.
    ///
    /// - Returns: what was read on the way.
    private static func awaitWriter(_ descriptor: Int32) throws(Problem) -> [UInt8] {
        var first: [UInt8] = []
        var watched = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        if poll(&watched, 1, 2000) == 0 {
            // Silent so far: a writer that takes its time, or none. Only a pipe without one is at its end.
            var byte: UInt8 = 0
            let got = sysRead(descriptor, &byte, 1)
            if got == 0 { throw Problem(description: "it is a pipe that nobody writes to") }
            if got == 1 { first = [byte] }
        }
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
        return first
    }

    /// Fills the buffer unless the file ends before. Returns how many bytes came, or -1.
    private static func readFully(_ descriptor: Int32, _ buffer: UnsafeMutableBufferPointer<UInt8>) -> Int {
        var filled = 0
        while filled < buffer.count, let base = buffer.baseAddress {
            let got = sysRead(descriptor, base + filled, buffer.count - filled)
            if got < 0 {
                if errno == EINTR { continue }
                return -1
            }
            if got == 0 { break }
            filled += got
        }
        return filled
    }

    private static func sysRead(_ descriptor: Int32, _ buffer: UnsafeMutablePointer<UInt8>, _ count: Int) -> Int {
        #if canImport(Darwin)
        Darwin.read(descriptor, buffer, count)
        #elseif canImport(Glibc)
        Glibc.read(descriptor, buffer, count)
        #else
        Musl.read(descriptor, buffer, count)
        #endif
    }

    /// What the last failed call said ("Permission denied").
    static var lastError: String { String(cString: strerror(errno)) }
}
