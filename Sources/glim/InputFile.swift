import GlimTrain

/// The bytes of a file that a person named.
///
/// - Throws: `Failure` where it cannot be read, or holds more than memory does.
func inputBytes(_ path: String) throws -> [UInt8] {
    do throws(FileBytes.Problem) { return try FileBytes.read(path, atMost: MemoryRoom.byteCount / 8) } catch {
        throw Failure("\(path) cannot be read: \(error)")
    }
}
