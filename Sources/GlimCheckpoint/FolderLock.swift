#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Keeps a folder to one writer: two processes that write one model at once would each believe that theirs is there.
///
/// The folder itself is locked, so that nothing is left in it, and a process that ends in any way lets go.
package final class FolderLock: Sendable {
    private let descriptor: Int32

    /// - Throws: `CheckpointError.cannotWrite` for a folder that another writer has, or that cannot be opened.
    package init(_ folder: String) throws(CheckpointError) {
        descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .cannotWrite(path: folder, reason: systemReason()) }
        // Some network file systems lock nothing; there it is as if there were no lock.
        if flock(descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
            throw .cannotWrite(path: folder, reason: "another process writes there")
        }
    }

    deinit {
        // Closing is not enough: a child that was forked a moment ago has the file, too, until it becomes another program.
        flock(descriptor, LOCK_UN)
        close(descriptor)
    }
}
