public import Foundation
import GlimTensor

/// The one thread pool of the process, lent to one test at a time.
///
/// Tests run side by side. A test that wants its work spread over a certain number of threads has to be alone with the
/// pool: a second caller runs its pieces itself.
public enum Machine {
    private static let lock = NSRecursiveLock()

    /// Runs `body` while no other test that asks for it uses the pool.
    public static func alone<R>(threads: Int? = nil, _ body: () throws -> R) rethrows -> R {
        lock.lock()
        let before = ThreadPool.shared.threadCount
        defer {
            ThreadPool.shared.threadCount = before
            lock.unlock()
        }
        if let threads { ThreadPool.shared.threadCount = threads }
        return try body()
    }

    /// Bytes of memory that this process has, where the system says (Linux); 0 elsewhere.
    public static var residentBytes: Int { residentBytes(of: ProcessInfo.processInfo.processIdentifier) }

    /// The same of another process.
    public static func residentBytes(of process: Int32) -> Int {
        let file = "/proc/\(process)/statm"
        let words = (try? String(contentsOfFile: file, encoding: .utf8))?.split(separator: " ") ?? []
        return words.count > 1 ? (Int(words[1]) ?? 0) * 4096 : 0
    }
}

/// Lends a new folder, removed afterwards.
public func withTemporaryFolder<R>(_ body: (URL) throws -> R) throws -> R {
    let folder = FileManager.default.temporaryDirectory.appending(path: "glim-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try body(folder)
}
