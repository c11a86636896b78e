import Foundation
import GlimModel
import GlimTensor

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A measurement beside the roofs of the machine. What a kind of benchmark does not have is null.
struct BenchReport: Encodable {
    private let cost: ModelCost
    private var result: BenchResult?
    private var probes: [MachineProbe] = []
    private var peakBytes: Int?
    private var peakResident: Int?
    private var comparison: BenchComparison?

    init(cost: ModelCost, _ comparison: BenchComparison?) { (self.cost, self.comparison) = (cost, comparison) }

    init(_ result: BenchResult, before: MachineProbe, after: MachineProbe, peaks: (tensors: Int, resident: Int)) {
        (cost, self.result, probes) = (result.cost, result, [before, after])
        (peakBytes, peakResident) = (peaks.tensors, peaks.resident)
    }

    private var tokensPerSecond: Double? { result.map { Double($0.tokens) / $0.seconds } }
    private var roof: MachineProbe? { probes.isEmpty ? nil : MachineProbe.best(probes[0], probes[1]) }
    private var fractionOfBandwidth: Double? {
        tokensPerSecond.flatMap { rate in roof.map { rate * cost.bytesPerToken / $0.bytesPerSecond } }
    }
    private var fractionOfPeak: Double? {
        tokensPerSecond.flatMap { rate in roof.map { rate * cost.operationsPerToken / $0.operationsPerSecond } }
    }

    func text(title: String) -> String {
        guard let result, let tokensPerSecond, let fractionOfBandwidth, let fractionOfPeak else { return "" }
        func line(_ name: String, _ value: String) -> String {
            name.padding(toLength: 12, withPad: " ", startingAt: 0) + value
        }
        func rates(_ probe: MachineProbe) -> String {
            "\(Self.short(probe.bytesPerSecond))B/s read, \(Self.short(probe.operationsPerSecond))FLOP/s in \(probe.format)"
        }
        let experts = result.experts.map {
            line(
                "experts",
                String(format: "%.1f%% in memory when needed, ", 100 * $0.hitRate)
                    + "\(Self.short(Double($0.readByteCount)))B read")
        }
        let lines = [
            "\(title), \(ThreadPool.shared.threadCount) threads, \(KernelSet.name) kernels",
            line("speed", "\(Self.short(tokensPerSecond)) tokens/s"),
            line("time", String(format: "%.4f s for %d tokens", result.seconds, result.tokens)),
            line(
                "memory",
                "\(Self.short(Double(peakBytes ?? 0)))B in tensors, "
                    + "\(Self.short(Double(peakResident ?? 0)))B resident, at the highest"),
            line("a token", "\(Self.short(cost.bytesPerToken))B, \(Self.short(cost.operationsPerToken))FLOP"),
            line(
                "of the roof",
                String(
                    format: "%.1f%% of bandwidth, %.1f%% of peak", 100 * fractionOfBandwidth, 100 * fractionOfPeak)),
            line("roof before", rates(probes[0])),
            line("roof after", rates(probes[1])),
        ]
        return (lines + (experts.map { [$0] } ?? [])).joined(separator: "\n") + "\n"
    }

    /// What each part of the network costs.
    static func table(_ cost: ModelCost) -> [String] {
        func row(_ name: String, _ bytes: String, _ operations: String) -> String {
            name.padding(toLength: 28, withPad: " ", startingAt: 0) + right(bytes) + right(operations)
        }
        func right(_ text: String) -> String { String(repeating: " ", count: max(0, 12 - text.count)) + text }
        return [row("", "bytes", "FLOP")]
            + cost.parts.map { row($0.name, short($0.bytes), short($0.operations)) }
            + [row("sum", short(cost.bytesPerToken), short(cost.operationsPerToken))]
    }

    static func short(_ number: Double) -> String {
        for (limit, unit) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] where number >= limit {
            return String(format: "%.2f ", number / limit) + unit
        }
        return String(format: "%.2f ", number)
    }

    private enum CodingKeys: String, CodingKey {
        case tokensPerSecond = "tokens_per_second"
        case seconds, parts
        case peakBytes = "peak_bytes"
        case peakResident = "peak_rss_bytes"
        case bytesPerToken = "bytes_per_token"
        case operationsPerToken = "flops_per_token"
        case fractionOfBandwidth = "fraction_of_bandwidth"
        case fractionOfPeak = "fraction_of_peak"
        case bandwidths = "bandwidth_bytes_per_second"
        case peaks = "peak_flops_per_second"
        case threads, kernels
        case expertHitRate = "expert_hit_rate"
        case expertBytesRead = "expert_bytes_read"
    }

    private struct Part: Encodable {
        var name: String
        var bytes: Double
        var flops: Double
    }

    func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(tokensPerSecond, forKey: .tokensPerSecond)
        try values.encode(result?.seconds, forKey: .seconds)
        try values.encode(peakBytes, forKey: .peakBytes)
        try values.encode(peakResident, forKey: .peakResident)
        try values.encode(cost.bytesPerToken, forKey: .bytesPerToken)
        try values.encode(cost.operationsPerToken, forKey: .operationsPerToken)
        try values.encode(fractionOfBandwidth, forKey: .fractionOfBandwidth)
        try values.encode(fractionOfPeak, forKey: .fractionOfPeak)
        // Before and after.
        try values.encode(probes.map(\.bytesPerSecond), forKey: .bandwidths)
        try values.encode(probes.map(\.operationsPerSecond), forKey: .peaks)
        try values.encode(
            cost.parts.map { Part(name: $0.name, bytes: $0.bytes, flops: $0.operations) }, forKey: .parts)
        try values.encode(ThreadPool.shared.threadCount, forKey: .threads)
        try values.encode(KernelSet.name, forKey: .kernels)
        try values.encodeIfPresent(result?.experts?.hitRate, forKey: .expertHitRate)
        try values.encodeIfPresent(result?.experts?.readByteCount, forKey: .expertBytesRead)
        try comparison?.encode(to: encoder)
    }
}

/// How much memory this process has held at one time, as the system counts it.
enum ResidentMemory {
    static var peak: Int {
        #if canImport(Darwin)
        var usage = rusage()
        getrusage(RUSAGE_SELF, &usage)
        return usage.ru_maxrss
        #else
        // What getrusage tells is also that of the process which started this one, before it became this program.
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { Int($0) } ?? 0)
            * 1024
        #endif
    }

    /// Begins again from what is held now, where the system can (Linux).
    static func resetPeak() {
        #if os(Linux)
        try? Data("5".utf8).write(to: URL(filePath: "/proc/self/clear_refs"))
        #endif
    }
}
