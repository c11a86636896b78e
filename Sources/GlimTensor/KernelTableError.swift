import CGlimKernels

/// Why a table of kernels cannot be used. Files are named as they were given.
public enum KernelTableError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Neither a table of this machine nor a file.
    case unknown(String, known: [String])
    /// The system does not load the file, for this reason.
    case unreadable(String, reason: String)
    /// A file that a check works with cannot be made, for this reason.
    case unwritable(String, reason: String)
    /// The library does not export `glim_kernels_library`.
    case withoutEntry(String)
    /// Its `glim_kernels_library` returned null.
    case declined(String)
    /// It was made with another `glim_kernels.h`.
    case otherHeader(String, version: Int, byteCount: Int)
    /// Its table has no name, one that is none, or a built-in table's.
    case unnamed(String)
    /// Every kernel of its table is null.
    case withoutKernels(String)
    /// It says that it is whole, but these kernels are null.
    case incomplete(String, missing: [String])
    /// A short test found other numbers than the reference's.
    case differs(String)

    public var description: String {
        switch self {
        case .unknown(let name, let known):
            "'\(name)' is no kernel table of this machine, which has \(known.joined(separator: ", ")), and no file"
        case .unreadable(let file, let reason):
            "\(file) cannot be loaded: \(reason); a table comes from a shared library made for this machine"
        case .unwritable(let file, let reason):
            "\(file) cannot be written: \(reason); point TMPDIR at a folder with some space"
        case .withoutEntry(let file):
            "\(file) has no function glim_kernels_library; export it as glim_kernels.h declares it"
        case .declined(let file):
            "\(file) cannot be used here: it says that this machine lacks what its kernels need"
        case .otherHeader(let file, let version, let byteCount):
            "\(file) was made with version \(version) of glim_kernels.h and a table of \(byteCount) bytes, but this glim "
                + "has version \(GLIM_KERNELS_VERSION) and \(MemoryLayout<glim_kernels>.size) bytes; build it with this "
                + "glim's header"
        case .unnamed(let file):
            "the table of \(file) has no name of its own; give it one of up to 32 letters, digits, '-' and '_' that no "
                + "built-in table has"
        case .withoutKernels(let file):
            "\(file) gives no kernel; set one at least in its table"
        case .incomplete(let file, let missing):
            "\(file) says that its table is whole, but lacks \(missing.prefix(8).joined(separator: ", "))"
                + (missing.count > 8 ? " and \(missing.count - 8) more" : "")
                + "; give them, or set partial to take them from Glim"
        case .differs(let file):
            "\(file) computes other numbers than the reference; glim kernels --library \(file) says which"
        }
    }
}
