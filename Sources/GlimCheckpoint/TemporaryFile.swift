import Foundation

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

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
