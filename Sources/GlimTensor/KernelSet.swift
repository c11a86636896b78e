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
    /// The names of the tables this machine can run, best first, the portable one last.
    public static let available: [String] = (0..<glim_kernels_count()).map {
        String(cString: glim_kernels_at($0).pointee.name)
    }

    /// The name of the table in use.
    public static var name: String { String(cString: kernels.pointee.name) }
}

/// What operations use. `GLIM_KERNELS=portable` overrides the choice when chasing a bug.
// nonisolated(unsafe): points at constant C data that lives as long as the program.
nonisolated(unsafe) package let kernels: UnsafePointer<glim_kernels> = {
    if let wanted = getenv("GLIM_KERNELS").map({ String(cString: $0) }),
        let i = KernelSet.available.firstIndex(of: wanted)
    {
        return glim_kernels_at(Int32(i))
    }
    return glim_kernels_at(0)
}()
