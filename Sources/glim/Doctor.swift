import ArgumentParser
import Foundation
import GlimModel
import GlimTensor

/// Looks at the machine and says what to do about each finding. Reports only: nothing is changed.
struct Doctor: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check this machine and say what to do.",
        discussion: """
            Instruction set, kernels and whether they agree, sparse attention against its definition, cores, memory and \
            its bandwidth, arithmetic, huge pages, disk and sandbox. It takes a few seconds, and nothing is changed.
            """)

    @Flag(help: "Print one JSON object instead of the list.") var json = false
    @OptionGroup var compute: ComputeOptions

    func run() throws {
        compute.apply()
        let engine = EngineCheck.run()
        let attention = AttentionCheck.run()
        let findings = Machine.current().findings(kernels: engine.kernels) + engine.findings + [attention.finding]
        try emit((json ? try Report(findings, engine).jsonLine : findings.map(\.text).joined(separator: "\n")) + "\n")
    }

    private struct Report: Encodable {
        var ok: Bool
        var checks: [Finding]
        var kernels: String
        var available: [String]
        var threads: Int
        var selfTest: Bool
        var bandwidth: Double
        var peak: Double

        init(_ findings: [Finding], _ engine: EngineCheck) {
            (ok, checks) = (findings.allSatisfy { $0.status != .poor }, findings)
            (kernels, available, threads) = (engine.kernels, engine.available, engine.threads)
            selfTest = engine.failing.isEmpty
            (bandwidth, peak) = (engine.probe.bytesPerSecond, engine.probe.operationsPerSecond)
        }

        enum CodingKeys: String, CodingKey {
            case ok, checks, kernels, threads
            case available = "kernels_available"
            case selfTest = "self_test"
            case bandwidth = "bandwidth_bytes_per_second"
            case peak = "peak_flops_per_second"
        }
    }
}

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

/// What a short `glim conformance` says: all but the properties of long texts, on the built-in networks.
struct AttentionCheck {
    var results: [ConformanceResult]

    static func run() -> AttentionCheck {
        let names = Set(ConformanceSuite.properties.map(\.name)).subtracting(long)
        return AttentionCheck(results: ConformanceSuite(ModelEngine()).run(names))
    }

    private static let long: Set = ["arithmetic past 2^17 keys", "recall by index score", "needle recall"]

    var finding: Finding {
        let name = "attention"
        if let bad = results.first(where: { $0.status == .failed }) {
            return Finding(
                name: name, status: .poor, found: "\(bad.name) does not hold: \(bad.detail)",
                advice: "Report it with the output of glim conformance.")
        }
        let asked = results.count { $0.status == .passed }
        return Finding(
            name: name, status: .good,
            found: "\(asked) properties of sparse attention hold (glim conformance asks for all)")
    }
}

/// One thing looked at.
struct Finding: Encodable, Equatable {
    enum Status: String, Encodable {
        case good
        /// Works, and something would work better.
        case fair
        /// Something will not work.
        case poor
    }

    var name: String
    var status: Status
    var found: String
    /// What to do, in one sentence; nil when there is nothing.
    var advice: String?

    var text: String {
        let mark = [Status.good: "ok  ", .fair: "note", .poor: "bad "][status] ?? ""
        let line = "\(mark)  \(name.padding(toLength: 12, withPad: " ", startingAt: 0))  \(found)"
        return advice.map { line + "\n" + String(repeating: " ", count: 20) + $0 } ?? line
    }
}
