#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// What the system says about the last call that failed.
package func systemReason() -> String { String(cString: strerror(errno)) }

/// Refuses to put a file in the place of a folder, a device or a pipe, also through a link: `/dev/stdout` must stay.
package func requirePlain(_ path: String) throws(CheckpointError) {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG else { return }
    let isFolder = status.st_mode & S_IFMT == S_IFDIR
    throw .cannotWrite(path: path, reason: isFolder ? "it is a folder" : "it is not a plain file")
}

/// Makes a folder that there is not, and those that it is to lie in.
///
/// - Throws: `CheckpointError.cannotWrite`.
package func makeFolder(_ path: String) throws(CheckpointError) {
    var status = stat()
    if stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR { return }
    var isMade = mkdir(path, 0o777) == 0
    if !isMade, errno == ENOENT, let slash = path.lastIndex(of: "/"), slash > path.startIndex {
        try makeFolder(String(path[..<slash]))
        isMade = mkdir(path, 0o777) == 0
    }
    // Another process may have been faster.
    if isMade || errno == EEXIST && stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR { return }
    throw .cannotWrite(path: path, reason: "the folder cannot be made: \(systemReason())")
}

/// Whether a file could be written there, asked before the work whose result it is to hold.
///
/// - Throws: `CheckpointError.cannotWrite`.
package func checkWritable(_ path: String, inFolder folder: String) throws(CheckpointError) {
    try requirePlain(path)
    guard access(folder, W_OK | X_OK) == 0 else { throw .cannotWrite(path: folder, reason: systemReason()) }
}

/// Makes renames and removals in a folder outlast a loss of power.
///
/// - Throws: `CheckpointError.cannotWrite`.
package func synchronizeFolder(_ folder: String) throws(CheckpointError) {
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

/// Brings what was written down to the disk; 0, or -1 with `errno`.
package func synchronize(_ descriptor: Int32) -> Int32 {
    #if canImport(Darwin)
    // On macOS fsync leaves the bytes in the drive's own cache.
    if fcntl(descriptor, F_FULLFSYNC) == 0 { return 0 }
    #endif
    return fsync(descriptor)
}
