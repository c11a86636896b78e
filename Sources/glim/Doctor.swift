import ArgumentParser
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
