import Foundation
import GlimModel
import GlimTensor

/// What `glim bench cost` adds for sparse attention: the same network in BF16 with dense attention, and deployed, as
/// long as this machine would take at its roofs. These are measured; the rest is arithmetic, and nothing is run.
struct BenchComparison: Encodable {
    private let decode: DeploymentCost
    private let prefill: DeploymentCost
    private let prefillTokens: Int
    private let roofs: MachineRoofs

    /// Nil for dense attention; otherwise measures the roofs, for three seconds.
    init?(_ config: ModelConfig, context: Int, prefillTokens: Int, batch: Int) {
        func cost(_ tokens: Int) -> DeploymentCost? {
            config.deploymentCost(context: context, tokens: tokens, chunk: Generator.chunk, batch: batch)
        }
        guard let decode = cost(1), let prefill = cost(prefillTokens) else { return nil }
        (self.decode, self.prefill, self.prefillTokens) = (decode, prefill, prefillTokens)
        roofs = .measured()
    }

    func text() -> [String] {
        func short(_ number: Double) -> String { BenchReport.short(number) }
        func row(_ name: String, _ cells: String...) -> String {
            cells.reduce(name.padding(toLength: 28, withPad: " ", startingAt: 0)) {
                $0 + String(repeating: " ", count: max(0, 14 - $1.count)) + $1
            }
        }
        func rows(_ name: String, _ cost: DeploymentCost) -> [String] {
            let (dense, sparse) = (cost.bf16Dense, cost.w4a8Sparse)
            return [
                row(name + ", bytes", short(dense.bytesPerToken), short(sparse.bytesPerToken)),
                row(name + ", FLOP", short(dense.operationsPerToken), short(sparse.operationsPerToken)),
                row(
                    name + ", seconds", String(format: "%.4f", dense.seconds(roofs)),
                    String(format: "%.4f", sparse.seconds(roofs)), String(format: "%.1f%%", 100 * cost.ratio(roofs))),
            ]
        }
        return [
            "",
            "a token in BF16 with dense attention, and in w4a8 with sparse attention and int8 index keys:",
            "computed, not run, from what this machine was measured to do: \(short(roofs.bytes))B/s, \(short(roofs.f32))FLOP/s in f32,",
            "\(short(roofs.bf16)) in bf16, \(short(roofs.int8)) in int8",
            row("", "BF16, dense", "w4a8, sparse", "of it"),
        ] + rows("decode", decode) + rows("each of \(prefillTokens) more", prefill)
    }

    func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: Key.self)
        func encode(_ name: String, _ cost: ModelCost) throws {
            try values.encode(cost.bytesPerToken, forKey: Key("\(name)_bytes_per_token"))
            try values.encode(cost.operationsPerToken, forKey: Key("\(name)_flops_per_token"))
            try values.encode(cost.seconds(roofs), forKey: Key("\(name)_seconds_per_token"))
        }
        try encode("bf16_dense", decode.bf16Dense)
        try encode("w4a8_sparse", decode.w4a8Sparse)
        try values.encode(decode.ratio(roofs), forKey: Key("cost_ratio"))
        try encode("bf16_dense_prefill", prefill.bf16Dense)
        try encode("w4a8_sparse_prefill", prefill.w4a8Sparse)
        try values.encode(prefill.ratio(roofs), forKey: Key("prefill_cost_ratio"))
        try values.encode(prefillTokens, forKey: Key("prefill_tokens"))
        for (name, roof) in [
            ("bytes", roofs.bytes), ("f32_flops", roofs.f32), ("bf16_flops", roofs.bf16), ("int8_flops", roofs.int8),
        ] {
            try values.encode(roof, forKey: Key("roof_\(name)_per_second"))
        }
    }

    private struct Key: CodingKey {
        let stringValue: String
        let intValue: Int? = nil

        init(_ name: String) { stringValue = name }
        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
}

extension MachineRoofs {
    /// Those of this machine, measured for three seconds.
    static func measured() -> MachineRoofs {
        let formats: [Weight.Format] = [.f32, .bf16, .int8(group: 128)]
        let probes = formats.map { MachineProbe.measure($0) }
        return MachineRoofs(
            bytes: probes.map(\.bytesPerSecond).max() ?? 0, f32: probes[0].operationsPerSecond,
            bf16: probes[1].operationsPerSecond, int8: probes[2].operationsPerSecond)
    }
}
