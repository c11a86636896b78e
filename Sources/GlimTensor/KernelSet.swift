#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif
package import CGlimKernels

/// The kernels of this machine: one table of functions, chosen once.
///
/// Only operations of this room call it; they check shapes first, for a kernel cannot fail.
public enum KernelSet {
    /// The names of the built-in tables this machine can run, best first: of "avx512bf16", "avx512", "avx2", "neondot" and
    /// "neon" those it has, and "portable", which every machine has, last.
    public static let available: [String] = KernelTable.builtIn.map(\.name)

    /// The name of the table in use.
    public static var name: String { String(cString: kernels.pointee.name) }

    /// Whether the table in use multiplies pairs of bf16 by an instruction of the processor, not by widening them.
    public static var multipliesBF16: Bool { ((try? choice.get()) ?? KernelTable.builtIn[0]).multipliesBF16 }

    /// Whether the table that `GLIM_KERNELS` asks for, by name or by the path of a shared library, can be had.
    ///
    /// A program that does not ask gets the best table of the machine instead, and is told on standard error.
    ///
    /// - Throws: ``KernelTableError``.
    public static func checkChoice() throws(KernelTableError) { _ = try choice.get() }

    /// What operations use: the best table, or what `GLIM_KERNELS` says. A library must have passed a short test.
    fileprivate static let choice = Result<KernelTable, KernelTableError> {
        () throws(KernelTableError) -> KernelTable in
        guard let wanted = getenv("GLIM_KERNELS").map({ String(cString: $0) }), !wanted.isEmpty else {
            return KernelTable.builtIn[0]
        }
        let table = try KernelTable(wanted)
        if let file = table.file, answer(of: table.pointer) != answer(of: KernelTable.reference.pointer) {
            throw .differs(file)
        }
        return table
    }
}

/// What operations use.
// nonisolated(unsafe): points at constant C data that lives as long as the program.
nonisolated(unsafe) package let kernels: UnsafePointer<glim_kernels> = {
    switch KernelSet.choice {
    case .success(let table): return table.pointer
    case .failure(let error):
        let line = "GLIM_KERNELS: \(error); using \(KernelTable.builtIn[0].name)\n"
        _ = write(STDERR_FILENO, line, line.utf8.count)
        return KernelTable.builtIn[0].pointer
    }
}()
