import Foundation

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// What the system says about the last call that failed.
func systemReason() -> String { String(cString: strerror(errno)) }

/// A whole file, mapped read-only until the last reference goes.
///
/// The file must not shrink while it is mapped: reading a page that is gone ends the process (SIGBUS), and no program
/// can prevent another from doing so. Saves through `CheckpointWriter` and `AtomicFile` never shrink a file; they put
/// a new one in its place and the mapping keeps the old.
// @unchecked: the memory is never written and lives as long as the object.
package final class MappedFile: @unchecked Sendable {
    package let path: String
    package let bytes: UnsafeRawBufferPointer

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

    deinit {
        if let start = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: start), bytes.count) }
    }
}

extension stat {
    /// Seconds since 1970.
    fileprivate var modified: Int {
        #if canImport(Darwin)
        st_mtimespec.tv_sec
        #else
        st_mtim.tv_sec
        #endif
    }
}

/// A file under a temporary name beside its target: renamed when complete, removed otherwise.
final class TemporaryFile {
    /// `.glim-PLACE-PROCESS-NUMBER.tmp`: hidden, never taken for a shard, and its process can be looked up.
    static let prefix = ".glim-"
    static let suffix = ".tmp"

    /// Where process numbers mean the same: a host, and on Linux a container of it.
    private static let place: String = {
        var name = [CChar](repeating: 0, count: 256)
        gethostname(&name, name.count - 1)
        let host = name.prefix { $0 != 0 }.map { Unicode.Scalar(UInt8(bitPattern: $0)) }
        let space = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/pid")) ?? ""
        let text = String(String.UnicodeScalarView(host)) + space
        return text.filter { $0.isASCII && ($0.isLetter || $0.isNumber) }
    }()

    let folder: String
    let path: String
    private var descriptor: Int32
    private var isPublished = false

    /// - Throws: `CheckpointError.cannotWrite` if the folder is missing or not writable.
    init(in folder: String) throws(CheckpointError) {
        var number = 0
        while true {
            let path = "\(folder)/\(Self.prefix)\(Self.place)-\(getpid())-\(number)\(Self.suffix)"
            let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
            if descriptor >= 0 {
                (self.folder, self.path, self.descriptor) = (folder, path, descriptor)
                return
            }
            guard errno == EEXIST else { throw .cannotWrite(path: folder, reason: systemReason()) }
            number += 1
        }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
        if !isPublished { unlink(path) }
    }

    /// Removes what dead processes left in a folder: at once those of this place, where they can be looked up, others
    /// after a day.
    ///
    /// - Returns: the other names in it; nil if it cannot be listed.
    @discardableResult
    static func clean(_ folder: String) -> Set<String>? {
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else { return nil }
        return Set(names).filter { name in
            guard name.hasPrefix(prefix), name.hasSuffix(suffix) else { return true }
            let path = "\(folder)/\(name)"
            let words = name.dropFirst(prefix.count).split(separator: "-")
            if words.first == place[...] {
                let process = words.count > 1 ? Int32(words[1]) ?? 0 : 0
                if process > 0, !processIsAlive(process) { unlink(path) }
            } else {
                var status = stat()
                if stat(path, &status) == 0, time(nil) - status.modified > 86_400 { unlink(path) }
            }
            return false
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            // Linux writes at most 2 GiB in one call; macOS refuses more.
            let chunk = UnsafeRawBufferPointer(rebasing: rest.prefix(1 << 30))
            #if canImport(Darwin)
            let count = Darwin.write(descriptor, chunk.baseAddress, chunk.count)
            #else
            let count = Glibc.write(descriptor, chunk.baseAddress, chunk.count)
            #endif
            if count < 0 {
                if errno == EINTR { continue }
                throw .cannotWrite(path: folder, reason: systemReason())
            }
            rest = rest.dropFirst(count)
        }
    }

    func write(_ bytes: [UInt8]) throws(CheckpointError) {
        try bytes.withUnsafeBufferPointer { bytes throws(CheckpointError) in try write(UnsafeRawBufferPointer(bytes)) }
    }

    /// Brings the bytes to the disk and closes the file. It keeps its temporary name.
    func finish() throws(CheckpointError) {
        guard synchronize(descriptor) == 0 else { throw .cannotWrite(path: folder, reason: systemReason()) }
        let status = close(descriptor)
        descriptor = -1
        guard status == 0 else { throw .cannotWrite(path: folder, reason: systemReason()) }
    }

    /// Gives the file its real name, in place of whatever plain file bore it.
    func publish(as name: String) throws(CheckpointError) {
        try requirePlain("\(folder)/\(name)")
        guard rename(path, "\(folder)/\(name)") == 0 else {
            throw .cannotWrite(path: "\(folder)/\(name)", reason: systemReason())
        }
        isPublished = true
    }
}

/// Refuses to put a file in the place of a folder, a device or a pipe, also through a link: `/dev/stdout` must stay.
private func requirePlain(_ path: String) throws(CheckpointError) {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG else { return }
    let isFolder = status.st_mode & S_IFMT == S_IFDIR
    throw .cannotWrite(path: path, reason: isFolder ? "it is a folder" : "it is not a plain file")
}

/// Whether a file could be written there, asked before the work whose result it is to hold.
///
/// - Throws: `CheckpointError.cannotWrite`.
package func checkWritable(_ path: String, inFolder folder: String) throws(CheckpointError) {
    try requirePlain(path)
    guard access(folder, W_OK | X_OK) == 0 else { throw .cannotWrite(path: folder, reason: systemReason()) }
}

/// Makes renames and removals in a folder outlast a loss of power.
func synchronizeFolder(_ folder: String) throws(CheckpointError) {
    let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .cannotWrite(path: folder, reason: systemReason()) }
    defer { close(descriptor) }
    // Some network file systems cannot, and say so with EINVAL.
    guard synchronize(descriptor) == 0 || errno == EINVAL else {
        throw .cannotWrite(path: folder, reason: systemReason())
    }
}

/// Removes a file; that it is gone already is fine.
func removeFile(_ path: String) throws(CheckpointError) {
    guard unlink(path) == 0 || errno == ENOENT else { throw .cannotWrite(path: path, reason: systemReason()) }
}

/// Whether a process of that number lives; its owner does not matter.
func processIsAlive(_ process: Int32) -> Bool { kill(process, 0) == 0 || errno == EPERM }

func fileExists(_ path: String) -> Bool { access(path, F_OK) == 0 }

private func synchronize(_ descriptor: Int32) -> Int32 {
    #if canImport(Darwin)
    // On macOS fsync leaves the bytes in the drive's own cache.
    if fcntl(descriptor, F_FULLFSYNC) == 0 { return 0 }
    #endif
    return fsync(descriptor)
}
