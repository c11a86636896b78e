public import Foundation

/// Writes whole files so that a reader, a crash or a full disk sees the old file or the new one, never a part.
public enum AtomicFile {
    /// Writes under a temporary name in the same folder, brings the bytes to the disk, then renames.
    ///
    /// A symbolic link at `file` is replaced, not followed. If anything fails, the temporary file is removed and what
    /// was there before is untouched. What killed processes left in the folder under temporary names goes.
    ///
    /// - Throws: `CheckpointError.cannotWrite`.
    public static func write(_ data: Data, to file: URL) throws(CheckpointError) {
        let folder = file.deletingLastPathComponent().path
        TemporaryFile.clean(folder)
        let temporary = try TemporaryFile(in: folder)
        try temporary.write([UInt8](data))
        try temporary.finish()
        try temporary.publish(as: file.lastPathComponent)
        try synchronizeFolder(temporary.folder)
    }

    /// The same for text, in UTF-8.
    public static func write(_ text: String, to file: URL) throws(CheckpointError) {
        try write(Data(text.utf8), to: file)
    }
}
