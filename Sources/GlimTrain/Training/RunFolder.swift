import Foundation

/// The folder of a run, made before there is anything to put into it, so that a disk that is read-only or not
/// ours is found out before gigabytes of text are read.
struct RunFolder {
    /// What was made here, innermost first.
    private let made: [URL]

    /// - Throws: `RunError` where the folder cannot be made or takes no files.
    init(_ folder: URL) throws(RunError) {
        var (missing, parent) = ([URL](), folder.absoluteURL.standardized)
        var status = stat()
        while stat(parent.path, &status) != 0, errno == ENOENT, parent.pathComponents.count > 1 {
            missing.append(parent)
            parent.deleteLastPathComponent()
        }
        made = missing
        for each in missing.reversed() where mkdir(each.path, 0o777) != 0 {
            throw fail("cannot be made", folder)
        }
        guard stat(folder.path, &status) == 0 else { throw fail("cannot be reached", folder) }
        if status.st_mode & S_IFMT != S_IFDIR {
            throw RunError("\(folder.path) is not a folder; choose another --out")
        }
        if access(folder.path, W_OK | X_OK) != 0 { throw fail("takes no files", folder) }
    }

    /// By what the last call said.
    private func fail(_ what: String, _ folder: URL) -> RunError {
        let why = String(cString: strerror(errno))
        removeIfEmpty()
        return RunError("the folder \(folder.path) \(what): \(why); choose another --out")
    }

    /// Removes what was made here and holds nothing: a start that failed leaves no trace.
    func removeIfEmpty() {
        for folder in made where rmdir(folder.path) != 0 && errno != ENOENT { return }
    }
}
