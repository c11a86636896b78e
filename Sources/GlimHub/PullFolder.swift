import Foundation
import GlimCheckpoint

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// The folder that a model is pulled into: one writer at a time, parts in a hidden folder, and a record of what was
/// checked, so that gigabytes need not be read again.
final class PullFolder {
    /// What is not the model's.
    private static let hidden = ".glim-pull"

    let path: String
    /// For files on their way.
    var parts: String { "\(path)/\(Self.hidden)" }

    private let lock: Int32
    private var record: [String: Checked]

    /// What a file was when its content was found right.
    private struct Checked: Codable, Equatable {
        let content: String
        let size: Int
        /// Nanoseconds since 1970.
        let modified: Int
    }

    /// Makes the folder, and keeps others out until the object goes, or the process.
    ///
    /// - Throws: `HubError.cannotWrite`, `.busy`.
    init(_ folder: URL) throws(HubError) {
        path = folder.path
        let parts = "\(path)/\(Self.hidden)"
        do { try FileManager.default.createDirectory(atPath: parts, withIntermediateDirectories: true) } catch {
            throw .cannotWrite(path: folder.path, reason: "the folder cannot be made")
        }
        lock = open("\(parts)/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
        guard lock >= 0 else { throw .cannotWrite(path: parts, reason: String(cString: strerror(errno))) }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            close(lock)
            throw .busy(folder: folder.path)
        }
        let bytes = try? PlainFile.read("\(parts)/checked.json", limit: 64 << 20)
        // A record that cannot be read says nothing: files are then read.
        record = bytes.flatMap { try? JSONDecoder().decode([String: Checked].self, from: Data($0)) } ?? [:]
    }

    deinit {
        // Closing is not enough: a child that was forked a moment ago has the file, too, until it becomes another program.
        flock(lock, LOCK_UN)
        close(lock)
    }

    /// Whether a file is as it was when its content was found right.
    func isRecorded(_ file: HubFile) -> Bool { record[file.path].map { $0 == checked(file) } ?? false }

    /// Records a file whose content is right.
    func note(_ file: HubFile) throws(HubError) {
        record[file.path] = checked(file)
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys]
            try AtomicFile.write(encoder.encode(record), to: URL(filePath: parts).appending(path: "checked.json"))
        } catch {
            throw .cannotWrite(path: parts, reason: (error as? CheckpointError)?.reason ?? "\(error)")
        }
    }

    /// Takes a file's name from it, if there is one: a right one waits among the parts, another is removed.
    func withdraw(_ file: HubFile, isRight: Bool) throws(HubError) {
        let name = "\(path)/\(file.path)"
        let status = isRight ? rename(name, "\(parts)/\(file.partName)") : unlink(name)
        guard status == 0 || errno == ENOENT else {
            throw .cannotWrite(path: name, reason: String(cString: strerror(errno)))
        }
        do { try synchronizeFolder(path) } catch { throw .cannotWrite(path: path, reason: error.reason) }
    }

    /// Removes the parts of contents that nobody wants any more.
    func tidy(keeping files: [HubFile]) {
        let wanted = Set(files.map(\.partName))
        for name in (try? FileManager.default.contentsOfDirectory(atPath: parts)) ?? []
        where name.hasSuffix(".part") && !wanted.contains(name) {
            unlink("\(parts)/\(name)")
        }
    }

    /// What the file with this name is now, as far as its size and time tell; nil where there is none.
    private func checked(_ file: HubFile) -> Checked? {
        var status = stat()
        guard stat("\(path)/\(file.path)", &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        #if canImport(Darwin)
        let time = status.st_mtimespec
        #else
        let time = status.st_mtim
        #endif
        return Checked(
            content: file.content.text, size: Int(status.st_size),
            modified: Int(time.tv_sec) * 1_000_000_000 + Int(time.tv_nsec))
    }
}
