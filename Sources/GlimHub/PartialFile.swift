import GlimCheckpoint

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// The beginning of a file that is on its way, under the name of its whole content: whoever goes on with it, after
/// whatever happened, goes on with the same content, and is believed only when the name of all bytes is that.
final class PartialFile {
    /// Bytes that are there.
    private(set) var count = 0

    private let path: String
    private let file: HubFile
    private let descriptor: Int32
    private var digest: ContentDigest

    /// Opens or makes the file, and reads what an earlier attempt left.
    ///
    /// - Throws: `HubError.cannotWrite`.
    init(_ file: HubFile, in folder: String) throws(HubError) {
        path = "\(folder)/\(file.partName)"
        self.file = file
        digest = ContentDigest(like: file.content, size: file.size)
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw .cannotWrite(path: path, reason: systemReason()) }
        guard let found = Self.digest(descriptor, into: &digest) else {
            throw .cannotWrite(path: path, reason: systemReason())
        }
        count = found
        // More than there is of the content: it is none of it.
        if count > file.size { try reset() }
    }

    deinit { close(descriptor) }

    /// - Throws: `HubError.cannotWrite`, or `.wrongContent` for more bytes than the file has.
    // Never inlined: Swift 6.3.1's optimizer crashes where it is, in a closure.
    @inline(never)
    func append(_ bytes: [UInt8]) throws(HubError) {
        guard bytes.count <= file.size - count else {
            throw .wrongContent(
                path: file.path, expected: "\(file.size) bytes", found: "\(count + bytes.count) bytes or more")
        }
        var done = 0
        while done < bytes.count {
            let written = bytes[done...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { throw .cannotWrite(path: path, reason: systemReason()) }
            bytes[done..<done + written].withUnsafeBytes { digest.update($0) }
            done += written
            count += written
        }
    }

    /// Forgets all bytes.
    func reset() throws(HubError) {
        guard ftruncate(descriptor, 0) == 0, lseek(descriptor, 0, SEEK_SET) == 0 else {
            throw .cannotWrite(path: path, reason: systemReason())
        }
        digest = ContentDigest(like: file.content, size: file.size)
        count = 0
    }

    /// Nil where the bytes are the content; else the name of what they are.
    var wrongName: String? { digest.text == file.content.text ? nil : digest.text }

    /// Gives the file its own name in a folder, in place of whatever plain file bore it, for good: also after a loss of
    /// power.
    func publish(in folder: String) throws(HubError) {
        let target = "\(folder)/\(file.path)"
        do throws(CheckpointError) {
            try makeParents(of: target)
            guard synchronize(descriptor) == 0 else { throw .cannotWrite(path: path, reason: systemReason()) }
            try requirePlain(target)
            guard rename(path, target) == 0 else { throw .cannotWrite(path: target, reason: systemReason()) }
            try synchronizeFolder(String(target.prefix(upTo: target.lastIndex(of: "/") ?? target.endIndex)))
        } catch {
            throw .cannotWrite(path: target, reason: error.reason)
        }
    }

    private func makeParents(of target: String) throws(CheckpointError) {
        var end = target.index(target.endIndex, offsetBy: -file.path.count)
        while let slash = target[end...].firstIndex(of: "/") {
            let parent = String(target[..<slash])
            guard mkdir(parent, 0o777) == 0 || errno == EEXIST else {
                throw .cannotWrite(path: parent, reason: systemReason())
            }
            end = target.index(after: slash)
        }
    }

    /// Whether a file that is there already is the content.
    static func holds(_ file: HubFile, at path: String) -> Bool {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, Int(status.st_size) == file.size
        else { return false }
        var digest = ContentDigest(like: file.content, size: file.size)
        return Self.digest(descriptor, into: &digest) != nil && digest.text == file.content.text
    }

    /// Reads an open file to its end.
    ///
    /// - Returns: how many bytes came; nil, with `errno`, where it cannot be read.
    private static func digest(_ descriptor: Int32, into digest: inout ContentDigest) -> Int? {
        var count = 0
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let got = buffer.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
            if got < 0, errno == EINTR { continue }
            if got <= 0 { return got < 0 ? nil : count }
            buffer.withUnsafeBytes { digest.update(UnsafeRawBufferPointer(rebasing: $0[..<got])) }
            count += got
        }
    }
}
