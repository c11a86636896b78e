#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif
import CGlimKernels

extension KernelTable {
    /// The built-in table of this name, or the one of the shared library with this path.
    ///
    /// - Throws: ``KernelTableError``, if there is neither, or the library gives no table that can be used.
    public init(_ choice: String) throws(KernelTableError) {
        if let known = Self.builtIn.first(where: { $0.name == choice }) {
            self = known
        } else if choice.contains("/") || access(choice, F_OK) == 0 {
            self = try Self.load(choice)
        } else {
            throw .unknown(choice, known: Self.builtIn.map(\.name))
        }
    }

    /// The library stays loaded, for its kernels may be in use anywhere from now on.
    private static func load(_ file: String) throws(KernelTableError) -> KernelTable {
        let library = try open(file).pointee
        guard library.version == GLIM_KERNELS_VERSION, library.table_size == MemoryLayout<glim_kernels>.size else {
            throw .otherHeader(file, version: Int(library.version), byteCount: Int(library.table_size))
        }
        guard let table = library.table else { throw .withoutKernels(file) }
        let letters = glim_kernels_given_name(table).map { String(cString: $0) } ?? ""
        guard isName(letters) else { throw .unnamed(file) }
        let isGiven = kernelNames.indices.map { glim_kernel_is_given(table, Int32($0)) != 0 }
        let given = zip(kernelNames, isGiven).filter(\.1).map(\.0)
        guard !given.isEmpty else { throw .withoutKernels(file) }
        guard library.partial != 0 || given.count == kernelNames.count else {
            throw .incomplete(file, missing: zip(kernelNames, isGiven).filter { !$0.1 }.map(\.0))
        }
        let whole = UnsafeMutablePointer<glim_kernels>.allocate(capacity: 1)
        glim_kernels_complete(whole, table, builtIn[0].pointer)
        return KernelTable(name: letters, file: file, given: given, pointer: UnsafePointer(whole))
    }

    private static func open(_ file: String) throws(KernelTableError) -> UnsafePointer<glim_kernel_library> {
        var status = stat()
        guard stat(file, &status) == 0 else {
            throw .unreadable(file, reason: String(cString: strerror(errno)))
        }
        // A pipe would be waited for.
        guard status.st_mode & S_IFMT == S_IFREG else { throw .unreadable(file, reason: "it is no plain file") }
        // Without a slash the system would look in its own folders.
        guard let handle = dlopen(file.contains("/") ? file : "./" + file, RTLD_NOW | RTLD_LOCAL) else {
            throw .unreadable(file, reason: dlerror().map { String(cString: $0) } ?? "the system says no more")
        }
        guard let symbol = dlsym(handle, "glim_kernels_library") else { throw .withoutEntry(file) }
        typealias Entry = @convention(c) () -> UnsafePointer<glim_kernel_library>?
        guard let library = unsafeBitCast(symbol, to: Entry.self)() else { throw .declined(file) }
        return library
    }

    /// Of 1 to 32 letters, digits, '-' and '_', and no other table's.
    private static func isName(_ text: String) -> Bool {
        (1...32).contains(text.utf8.count) && !builtIn.contains { $0.name == text }
            && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber) || $0 == "-" || $0 == "_" }
    }
}
