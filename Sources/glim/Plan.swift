import ArgumentParser
import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor

/// What of a model would lie where in a given memory, and how fast it may be expected to run: nothing of it is loaded.
struct Plan: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what of a model fits where, how fast it will run, and what would help most.",
        discussion: """
            Everything but the routed experts lies in memory; of the experts as many as find room, the others are read from \
            disk when they are needed. The rates are arithmetic, from what this machine's memory, processor and disk are \
            measured to do now; the assumptions are printed with them. A preset is planned as glim quantize --scheme w4a8 \
            would write it.
            """)

    @Option(help: "Model folder.") var model: String?
    @Option(help: "A known shape: \(ModelConfig.presetNames.joined(separator: ", ")).") var preset: String?
    @Option(help: ArgumentHelp("Memory that the process may take, such as 8GiB.", valueName: "bytes"))
    var memory: ByteCount
    @Option(
        help: ArgumentHelp(
            "What the disk reads in a second, such as 3GB (default: measured, of a preset in the present folder).",
            valueName: "bytes"))
    var diskBandwidth: ByteCount?
    @Option(help: "Tokens in the cache.") var context = 8192
    @Flag(help: "End standard output with one JSON object.") var json = false
    @OptionGroup var compute: ComputeOptions

    func validate() throws {
        guard (model == nil) != (preset == nil) else { throw ValidationError("Give either --model or --preset.") }
        guard (1...1 << 24).contains(context) else {
            throw ValidationError("--context is \(context), not within 1...\(1 << 24).")
        }
    }

    func run() throws {
        compute.apply()
        let report = try makeReport()
        try emit(report.text + "\n")
        if json { try emit(report.jsonLine + "\n") }
    }

    private func makeReport() throws -> PlanReport {
        let config = try model.map { try ModelConfig(folder: URL(filePath: $0)) } ?? .preset(named: preset ?? "")
        guard context <= config.maximumPositions else {
            throw Failure(
                "--context is \(context), but the model's longest is \(config.maximumPositions); give no more than that"
            )
        }
        // Before anything is measured, which takes memory of its own.
        let program = MemoryOptions.programByteCount
        let plan = try plan(config, memory: memory.count, program: program)
        let folder = model.map { URL(filePath: $0) }
        let hitRate = try folder.flatMap { try plan.learnedHitRate(folder: $0) }
        let stored = model == nil ? config.inW4A8 : config
        let machine = SpeedForecast.Machine(roofs: .measured(), readBytesPerSecond: try readRate(plan))
        func forecast(_ plan: MemoryPlan, _ machine: SpeedForecast.Machine) -> SpeedForecast {
            SpeedForecast(plan, stored, context: context, on: machine, hitRate: hitRate)
        }
        let now = forecast(plan, machine)
        var changes: [(String, SpeedForecast)] = []
        if plan.isStreamed {
            let (more, all) = memory.count.multipliedReportingOverflow(by: 2)
            if !all {
                let larger = try self.plan(config, memory: more, program: program)
                changes.append(("twice the memory", forecast(larger, machine)))
            }
            var faster = machine
            faster.readBytesPerSecond *= 2
            changes.append(("a disk of twice the bandwidth", forecast(plan, faster)))
        }
        var wider = machine
        wider.roofs.bytes *= 2
        changes.append(("memory of twice the bandwidth", forecast(plan, wider)))
        return PlanReport(
            name: model ?? "\(preset ?? "") in w4a8", context: context, plan: plan, forecast: now, machine: machine,
            isMeasured: diskBandwidth == nil,
            changes: changes.map { ($0, $1.decode.tokensPerSecond / now.decode.tokensPerSecond) })
    }

    private func plan(_ config: ModelConfig, memory: Int, program: Int) throws -> MemoryPlan {
        let wish = MemoryPlan.Wish(memory: memory, programByteCount: program, positions: context)
        guard let model else { return try MemoryPlan(w4a8: config, name: preset ?? "", wish) }
        let plan = try MemoryPlan(folder: URL(filePath: model), wish)
        if plan.isStreamed { try MemoryOptions.requireFolder(URL(filePath: model)) }
        return plan
    }

    /// Bytes of experts that come from disk in a second: stated, or measured with the model's own, or with a file.
    private func readRate(_ plan: MemoryPlan) throws -> Double {
        if let diskBandwidth { return Double(diskBandwidth.count) }
        guard plan.isStreamed else { return .infinity }
        let direct = MemoryOptions.readsDirectly(plan)
        if let model, let rate = try MemoryPlan.readRate(folder: URL(filePath: model), direct: direct) { return rate }
        return try DiskProbe.bytesPerSecond(in: URL(filePath: FileManager.default.currentDirectoryPath))
    }
}

/// A plan of memory and what to expect of it.
private struct PlanReport {
    var name: String
    var context: Int
    var plan: MemoryPlan
    var forecast: SpeedForecast
    var machine: SpeedForecast.Machine
    var isMeasured: Bool
    /// What could be had, and how many times as fast a token would be drawn then.
    var changes: [(change: String, factor: Double)]

    private var best: (change: String, factor: Double)? {
        changes.max { $0.factor < $1.factor }.flatMap { $0.factor > 1.02 ? $0 : nil }
    }

    private var assumptions: [String] {
        var list = [
            "drawing a token comes to \(percent(SpeedForecast.decodeShare)) of the machine's roofs, reading a prompt to "
                + percent(SpeedForecast.prefillShare),
            "the machine reads \(short(machine.roofs.bytes))B/s from memory and computes \(short(machine.roofs.f32))FLOP/s in "
                + "f32, \(short(machine.roofs.int8))OP/s in int8, as measured now with these threads",
        ]
        guard plan.isStreamed else { return list }
        list += [
            forecast.isLearned
                ? "experts are chosen as in earlier runs, and those that are used most are held"
                : "experts are chosen evenly; a model that prefers some finds more of them in memory",
            "experts come from disk at \(short(machine.readBytesPerSecond))B/s, "
                + (isMeasured ? "as measured now" : "as stated, and are put in order as fast"),
            "\(percent(1 - SpeedForecast.unforeseen)) of the experts that a layer needs are foreseen by the one before, and "
                + "read while that computes; of a token's guesses so many are wrong that "
                + "\(percent(SpeedForecast.readingInVain - 1)) more is read than is needed",
            "a prompt is read \(plan.chunk) tokens at a time, which together need nearly all experts of a layer",
        ]
        return list
    }

    private func short(_ number: Double) -> String { BenchReport.short(number) }
    private func percent(_ share: Double) -> String { String(format: "%.0f%%", 100 * share) }
    private func rate(_ number: Double) -> String { String(format: number < 10 ? "%.3g" : "%.0f", number) }

    var text: String {
        func row(_ name: String, _ value: String) -> String {
            "  " + name.padding(toLength: 32, withPad: " ", startingAt: 0) + value
        }
        func bytes(_ count: Int) -> String { String(format: "%8.3f GiB", Double(count) / 0x1p30) }
        let (decode, prefill) = (forecast.decode, forecast.prefill)
        func pace(_ pace: SpeedForecast.Pace) -> String {
            let computing = String(format: "%.3g s of computing", pace.computeSeconds)
            guard pace.readByteCount > 0 else { return "\(rate(pace.tokensPerSecond)) tokens/s: \(computing) a token" }
            return "\(rate(pace.tokensPerSecond)) tokens/s: \(computing) a token, "
                + String(format: "%.3g s of reading ", pace.readSeconds) + "\(short(pace.readByteCount))B from disk"
        }
        let room = bytes(plan.wish.memory).trimmingCharacters(in: .whitespaces)
        var lines = ["\(name) in \(room) of memory, with \(context) tokens in the cache", "memory"]
        lines += plan.parts.map { row($0.name, bytes($0.byteCount)) }
        lines.append(
            row(
                "experts",
                bytes(plan.heldExpertByteCount)
                    + (plan.isStreamed
                        ? " of \(bytes(plan.expertByteCount).trimmingCharacters(in: .whitespaces)); "
                            + "the others on disk" : "")))
        lines += ["speed, expected", row("drawing", pace(decode)), row("reading a prompt", pace(prefill))]
        if plan.isStreamed { lines.append(row("experts in memory", percent(forecast.hitRate) + " of those needed")) }
        lines.append("what would help")
        lines += changes.sorted { $0.factor > $1.factor }.map {
            row($0.change, String(format: "%.2f times", $0.factor))
        }
        lines.append("assumptions")
        lines += assumptions.map { "  - \($0)" }
        return lines.joined(separator: "\n")
    }

    var jsonLine: String {
        get throws {
            try JSON(
                decodeTokensPerSecond: forecast.decode.tokensPerSecond,
                prefillTokensPerSecond: forecast.prefill.tokensPerSecond, memoryBytes: plan.wish.memory,
                parts: plan.parts.map { .init(name: $0.name, bytes: $0.byteCount) },
                expertBytes: plan.expertByteCount, heldExpertBytes: plan.heldExpertByteCount,
                isStreamed: plan.isStreamed, hitRate: forecast.hitRate,
                readBytesPerToken: forecast.decode.readByteCount,
                readBytesPerSecond: machine.readBytesPerSecond.isFinite ? machine.readBytesPerSecond : nil,
                prefillChunk: plan.chunk,
                changes: changes.map { .init(change: $0.change, decodeFactor: $0.factor) }, helpsMost: best?.change,
                assumptions: assumptions
            ).jsonLine
        }
    }

    private struct JSON: Encodable {
        struct Part: Encodable {
            var name: String
            var bytes: Int
        }
        struct Change: Encodable {
            var change: String
            var decodeFactor: Double

            enum CodingKeys: String, CodingKey {
                case change
                case decodeFactor = "decode_factor"
            }
        }

        var decodeTokensPerSecond: Double
        var prefillTokensPerSecond: Double
        var memoryBytes: Int
        var parts: [Part]
        var expertBytes: Int
        var heldExpertBytes: Int
        var isStreamed: Bool
        var hitRate: Double
        var readBytesPerToken: Double
        var readBytesPerSecond: Double?
        var prefillChunk: Int
        var changes: [Change]
        var helpsMost: String?
        var assumptions: [String]

        enum CodingKeys: String, CodingKey {
            case parts, changes, assumptions
            case decodeTokensPerSecond = "decode_tokens_per_second"
            case prefillTokensPerSecond = "prefill_tokens_per_second"
            case memoryBytes = "memory_bytes"
            case expertBytes = "expert_bytes"
            case heldExpertBytes = "held_expert_bytes"
            case isStreamed = "streamed"
            case hitRate = "hit_rate"
            case readBytesPerToken = "read_bytes_per_token"
            case readBytesPerSecond = "read_bytes_per_second"
            case prefillChunk = "prefill_chunk"
            case helpsMost = "helps_most"
        }
    }
}
