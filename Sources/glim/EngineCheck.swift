import Foundation
import GlimTensor

/// What the kernels say of themselves on this machine. Plain data, as ``Machine`` is.
struct EngineCheck {
    /// The table in use.
    var kernels: String
    var available: [String]
    /// Tables that compute other numbers than the portable one.
    var failing: [String]
    var threads: Int
    var probe: MachineProbe

    static func run() -> EngineCheck {
        EngineCheck(
            kernels: KernelSet.name, available: KernelSet.available, failing: KernelSet.failingSelfTest(),
            threads: ThreadPool.shared.threadCount, probe: .measure())
    }

    var findings: [Finding] {
        let names = available.joined(separator: ", ")
        let agreement =
            failing.isEmpty
            ? Finding(name: "kernels", status: .good, found: "\(kernels) of \(names): equal results to the bit")
            : Finding(
                name: "kernels", status: .poor, found: "\(failing.joined(separator: ", ")) computes other numbers",
                advice: "Set GLIM_KERNELS=portable, and report the processor with the output of glim doctor --json.")
        return [
            agreement,
            Finding(name: "threads", status: .good, found: "\(threads)"),
            Finding(
                name: "bandwidth", status: .good,
                found: String(format: "%.1f GB/s read from memory", probe.bytesPerSecond / 1e9)),
            Finding(
                name: "arithmetic", status: .good,
                found: String(format: "%.0f GFLOP/s in f32", probe.operationsPerSecond / 1e9)),
        ]
    }
}
