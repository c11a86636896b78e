public import Foundation

/// A folder that goes away with its last user.
public final class TemporaryFolder {
    public let url: URL

    /// - Parameter isInMemory: where the system has a disk in memory: for runs that save all the time.
    public init(inMemory isInMemory: Bool = false) throws {
        let memory = URL(filePath: "/dev/shm")
        let isThere = isInMemory && FileManager.default.isWritableFile(atPath: memory.path)
        let parent = isThere ? memory : FileManager.default.temporaryDirectory
        url = parent.appending(path: "glim-commands-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    public func path(_ name: String) -> URL { url.appending(path: name) }

    public func write(_ text: String, to name: String) throws -> String {
        try Data(text.utf8).write(to: path(name))
        return path(name).path
    }
}
