import ArgumentParser
import Foundation
import GlimTensor
import GlimTrain

/// Holds the kernel tables of this machine against the reference, and times them.
struct Kernels: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the kernel tables of this machine, check each to the bit and time it.",
        discussion: """
            A table has every inner loop, for one instruction set; the first that is listed is what Glim uses. Each must \
            give the bits of the portable one, which is the reference: some hundred thousand calls are compared, in a \
            process of its own, so that one that crashes is only told. Those that are right are timed, with \
            matrices of rows x outputs x inputs and attention of tokens x heads x positions, beside the peak and the \
            bandwidth that their own probes reach here. It takes some ten seconds a table.

            --library loads one more table, from a shared library that was made with glim_kernels.h, and looks at it \
            first; if it is wrong, at nothing else. The guide "Kernels for another chip" (make docs) says how one is \
            made, and Examples/kernels has one. GLIM_KERNELS=NAME or GLIM_KERNELS=FILE makes any command use a table \
            of this list or of a library. The exit status is 1 if a table is not right.
            """)

    @Option(help: "A shared library with a kernel table.") var library: String?
    @Flag(help: "Print one JSON object instead of the list: passed, failed, tables.") var json = false
    @OptionGroup var compute: ComputeOptions
    /// The folder in which a process of its own leaves what it found.
    @Option(help: .hidden) var child: String?

    func run() throws {
        compute.apply()
        if let child { return try KernelExamination.run(leaving: URL(filePath: child)) }
        StopSignal.catchFirst()
        var reports: [KernelReport] = []
        // A path, for a file may be called as a table is.
        if let library { reports.append(try examine(library.contains("/") ? library : "./" + library)) }
        if reports.allSatisfy({ $0.status == .equal }) {
            for name in KernelSet.available { reports.append(try examine(name)) }
        }
        let wrong = reports.filter { $0.status != .equal }
        if json {
            try emit(
                try Summary(passed: reports.count - wrong.count, failed: wrong.count, tables: reports).jsonLine + "\n")
        }
        if let first = wrong.first {
            let others = wrong.count > 1 ? "; so does \(wrong[1...].map(\.name).joined(separator: ", "))" : ""
            throw Failure(
                "the kernel table \(first.name) fails: \(first.trouble)\(others); it was used for nothing else")
        }
    }

    private func examine(_ choice: String) throws -> KernelReport {
        let report = try KernelExamination.inProcess(choice)
        if !json { try emit(report.text) }
        return report
    }

    private struct Summary: Encodable {
        var passed: Int
        var failed: Int
        var tables: [KernelReport]
    }
}
