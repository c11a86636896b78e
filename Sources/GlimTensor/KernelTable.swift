import CGlimKernels

/// One table of kernels: built into the program, or from a shared library that was made with `glim_kernels.h`.
///
/// All tables give the same bits; ``check(secondsPerCall:progress:)`` holds one against that. The article
/// <doc:KernelsForAnotherChip> says how one is made.
// @unchecked: points at data that nothing changes and that lives as long as the program.
public struct KernelTable: @unchecked Sendable {
    /// Such as "avx2".
    public let name: String
    /// The shared library it came from; nil where it is part of the program.
    public let file: String?
    /// The kernels that are its own. Those that a library leaves out are the best built-in table's.
    public let given: [String]
    let pointer: UnsafePointer<glim_kernels>

    /// Whether pairs of bf16 are multiplied by an instruction of the processor, as the name of the table says that has
    /// this kernel.
    package var multipliesBF16: Bool {
        given.contains("matmul_bf16") ? name.hasSuffix("bf16") : Self.builtIn[0].multipliesBF16
    }

    /// The name of every kernel, in the order of the header.
    public static let kernelNames: [String] = (0..<glim_kernel_count()).map { String(cString: glim_kernel_name($0)) }

    /// The tables of the program that this machine can run, best first, "portable" last.
    public static let builtIn: [KernelTable] = (0..<glim_kernels_count()).map {
        let pointer = glim_kernels_at($0)
        return KernelTable(
            name: String(cString: pointer.pointee.name), file: nil, given: kernelNames, pointer: pointer)
    }

    /// What every table must equal.
    static var reference: KernelTable { builtIn[builtIn.count - 1] }

    init(name: String, file: String?, given: [String], pointer: UnsafePointer<glim_kernels>) {
        (self.name, self.file, self.given, self.pointer) = (name, file, given, pointer)
    }
}
