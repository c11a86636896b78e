#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif
import CGlimKernelChecks

/// What is being done with a table of kernels, in a file that two processes share: one works, the other learns from it
/// what the first died of.
public final class KernelProgress {
    let memory: UnsafeMutablePointer<glim_check_progress>

    /// Maps the file, which is made where there is none.
    ///
    /// - Throws: ``KernelTableError/unwritable(_:reason:)`` where it cannot be made or mapped.
    public init(file: String) throws(KernelTableError) {
        let descriptor = open(file, O_RDWR | O_CREAT, 0o600)
        let byteCount = MemoryLayout<glim_check_progress>.size
        defer { close(descriptor) }
        guard descriptor >= 0, ftruncate(descriptor, off_t(byteCount)) == 0,
            let start = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), start != MAP_FAILED
        else { throw .unwritable(file, reason: String(cString: strerror(errno))) }
        memory = start.bindMemory(to: glim_check_progress.self, capacity: 1)
    }

    deinit { munmap(memory, MemoryLayout<glim_check_progress>.size) }

    /// Notes what begins now, instead of what was noted before; long texts are cut off.
    public func note(_ doing: String, _ shape: String = "") {
        Self.set(&memory.pointee.kernel, doing)
        Self.set(&memory.pointee.shape, shape)
    }

    /// What was noted last, by whichever process: "rope, rows 3 heads 2 …".
    public var text: String {
        [Self.get(&memory.pointee.kernel), Self.get(&memory.pointee.shape)].filter { !$0.isEmpty }
            .joined(separator: ", ")
    }

    private static func set<T>(_ letters: inout T, _ text: String) {
        withUnsafeMutableBytes(of: &letters) { room in
            room.initializeMemory(as: UInt8.self, repeating: 0)
            room.copyBytes(from: text.utf8.prefix(room.count - 1))
        }
    }

    private static func get<T>(_ letters: inout T) -> String {
        withUnsafeBytes(of: &letters) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
