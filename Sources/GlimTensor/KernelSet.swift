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
    /// The names of the tables this machine can run, best first: of "avx512bf16", "avx512", "avx2", "neondot" and "neon"
    /// those it has, and "portable", which every machine has, last.
    public static let available: [String] = (0..<glim_kernels_count()).map {
        String(cString: glim_kernels_at($0).pointee.name)
    }

    /// The name of the table in use.
    public static var name: String { String(cString: kernels.pointee.name) }

    /// Whether the table in use multiplies pairs of bf16 by an instruction of the processor, not by widening them.
    public static var multipliesBF16: Bool { name.hasSuffix("bf16") }
}

/// What operations use. `GLIM_KERNELS=portable`, or another of `KernelSet.available`, overrides the choice when chasing
/// a bug; a name that is none of them changes nothing and is told on standard error.
// nonisolated(unsafe): points at constant C data that lives as long as the program.
nonisolated(unsafe) package let kernels: UnsafePointer<glim_kernels> = {
    guard let wanted = getenv("GLIM_KERNELS").map({ String(cString: $0) }), !wanted.isEmpty else {
        return glim_kernels_at(0)
    }
    if let i = KernelSet.available.firstIndex(of: wanted) { return glim_kernels_at(Int32(i)) }
    let known = KernelSet.available.joined(separator: ", ")
    let line = "GLIM_KERNELS is \(wanted), which this machine does not have: it has \(known); using the first\n"
    _ = write(STDERR_FILENO, line, line.utf8.count)
    return glim_kernels_at(0)
}()
