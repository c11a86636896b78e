import ArgumentParser
import Foundation
import GlimModel
import GlimTensor
import GlimTrain

struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure speed and memory, and hold them against what this machine can do.",
        discussion: """
            prefill reads --tokens more where --context tokens are in the cache; decode draws --tokens one at a time \
            from there (the cache is filled with random rows: reading so far would take long, and no time depends on \
            what it holds); train makes whole steps of --batch sequences, with AdamW; cost only computes what a \
            token costs by arithmetic, and for sparse attention holds w4a8 against BF16 with dense attention. Times are \
            medians of at least three runs and two seconds, or of one run that takes more than twenty. The memory \
            bandwidth and the peak in the format of products are measured before and after with the same threads.

            The other kinds need no model. kernels holds the products of a model against the peak and the bandwidth \
            of this machine, measured beside each; threads tells what sharing work out costs; tokenizer learns 4,096 \
            tokens from 20 MB of text and encodes it; load times a process from its start to its first token, with a \
            model of 1 GB that it makes and removes, or with --model.
            """)

    enum Kind: String, CaseIterable, ExpressibleByArgument {
        case prefill, decode, train, cost, kernels, threads, tokenizer, load

        /// Measures a model, not the machine.
        var needsModel: Bool { [.prefill, .decode, .train, .cost].contains(self) }
    }

    @Argument(help: "prefill, decode, train or cost of a model; kernels, threads, tokenizer or load.") var kind: Kind
    @Option(help: "Model folder or GGUF file.") var model: String?
    @Option(help: "Random weights of a known shape: \(ModelConfig.presetNames.joined(separator: ", ")).")
    var preset: String?
    @OptionGroup var sparse: BenchSparse
    @Option(help: "Tokens that are in the cache before: prefill, decode and cost.") var context = 512
    @Option(help: "Tokens that are measured (default: 512 for prefill, 64 for decode).") var tokens: Int?
    @Option(help: "Tokens of a sequence in training.") var sequenceLength = 512
    @Option(help: "Sequences at a time (default: 16 for train, otherwise 1).") var batch: Int?
    @Flag(help: "Train as with less memory: keep only the inputs of layers, and compute the rest again.")
    var recompute = false
    @Option(
        name: .customLong("compute-dtype"),
        help: "Number format of products: float32 or bfloat16 (default: what the config says).")
    var computeType: ModelConfig.ComputeType?
    @Option(
        parsing: .upToNextOption,
        help: "tokenizer: files, folders, JSON lines (default: text found on this machine).")
    var data: [String] = []
    @OptionGroup var memory: MemoryOptions
    @Option(help: "Seed of the random weights and tokens.") var seed: UInt64 = 0
    @Flag(help: "End standard output with one JSON object.") var json = false
    @OptionGroup var compute: ComputeOptions

    func validate() throws {
        if kind.needsModel, (model == nil) == (preset == nil) {
            throw ValidationError("Give either --model or --preset.")
        }
        if preset == nil, sparse.isGiven { throw ValidationError("--top-k and --share-every are of --preset only.") }
        if !kind.needsModel, preset != nil || model != nil && kind != .load {
            throw ValidationError("bench \(kind.rawValue) measures no model of yours.")
        }
        if !kind.needsModel, computeType != nil || tokens != nil || batch != nil {
            throw ValidationError("--compute-dtype, --tokens and --batch are of bench prefill, decode, train and cost.")
        }
        if !data.isEmpty, kind != .tokenizer { throw ValidationError("--data is of bench tokenizer only.") }
        func check(_ name: String, _ value: Int?, from least: Int) throws {
            if let value, !(least...1 << 24).contains(value) {
                throw ValidationError("--\(name) is \(value), not within \(least)...\(1 << 24).")
            }
        }
        try check("context", context, from: 0)
        try check("tokens", tokens, from: 1)
        try check("sequence-length", sequenceLength, from: 2)
        try check("batch", batch, from: 1)
        if memory.memory != nil, model == nil || kind != .prefill && kind != .decode {
            throw ValidationError("--memory is of bench prefill and decode with --model only.")
        }
        if recompute, kind != .train { throw ValidationError("--recompute is of bench train only.") }
    }

    func run() throws {
        compute.apply()
        if let table = try measureMachine() {
            if json { try emit(table.jsonLine + "\n") }
            return
        }
        let config = try (model.map { try ModelConfig(folder: URL(filePath: $0)) } ?? presetConfig())
            .with { $0.computeType = computeType ?? $0.computeType }
        try checkRoom(config)
        if kind == .cost { return try printCost(config) }
        let format = config.integerWeights == nil ? config.productFormat : .int8(group: 128)
        let before = MachineProbe.measure(format)
        ResidentMemory.resetPeak()
        BufferPool.resetPeak()
        let result = try measure(config)
        let peaks = (BufferPool.peakBytes, ResidentMemory.peak)
        // The probe has memory of its own.
        BufferPool.trim()
        let after = MachineProbe.measure(format)
        let report = BenchReport(result, before: before, after: after, peaks: peaks)
        try emit(report.text(title: "\(kind.rawValue), \(model ?? preset ?? "")"))
        if json { try emit(report.jsonLine + "\n") }
    }

    private func measureMachine() throws -> BenchTable? {
        switch kind {
        case .kernels: try BenchKernels.run()
        case .threads: try BenchThreads.run()
        case .tokenizer: try BenchTokenizer.run(data: data, threads: compute.threads)
        case .load: try BenchLoad.run(model: model)
        case .prefill, .decode, .train, .cost: nil
        }
    }

    private var tokenCount: Int { tokens ?? (kind == .prefill ? 512 : kind == .decode ? 64 : 1) }
    private var batchCount: Int { batch ?? (kind == .train ? 16 : 1) }

    private var wantedPositions: Int {
        kind == .train ? sequenceLength : kind == .cost ? context : context + tokenCount
    }

    /// Random weights know no longest context: the preset's is raised to what is asked for.
    private func presetConfig() throws -> ModelConfig {
        try sparse.adapt(.preset(named: preset ?? "")).with {
            $0.maximumPositions = max($0.maximumPositions, wantedPositions)
        }
    }

    private func checkRoom(_ config: ModelConfig) throws {
        guard wantedPositions <= config.maximumPositions else {
            throw Failure(
                "\(wantedPositions) tokens were asked for, but the model's context is \(config.maximumPositions)")
        }
    }

    private func loadModel(_ config: ModelConfig) throws -> LoadedModel {
        if let model, memory.memory != nil {
            return try memory.load(
                model, positions: wantedPositions * batchCount, sequences: batchCount,
                chunk: kind == .prefill ? min(tokenCount, Generator.chunk) * batchCount : 1, computeType: computeType)
        }
        let (name, advice) = (model ?? preset ?? "", "glim bench cost computes without running")
        let format: Model.LoadFormat = kind == .train ? .f32 : .inference
        if kind == .train {
            try MemoryRoom.check(
                MemoryRoom.byteCount(of: config, microBatches: recipe.microBatchCount), of: name, advice: advice)
        } else {
            let weights = try model.map {
                try Model.byteCount(ofFolder: URL(filePath: $0), format: format, computeType: computeType)
            }
            let pages = (wantedPositions + KeyPages.positions - 1) / KeyPages.positions * batchCount
            try MemoryRoom.check(
                MemoryRoom.sum(
                    weights ?? MemoryRoom.byteCount(of: config),
                    MemoryRoom.product(CacheLayout(config).pageByteCount, pages)),
                of: "\(name) with a cache of \(wantedPositions) positions", advice: advice)
        }
        return LoadedModel(
            model: try model.map { try Model(path: $0, format: format, computeType: computeType) }
                ?? Model(config, seed: seed))
    }

    /// Rows and micro-batches as `glim train` has them.
    private var recipe: TrainRecipe {
        var recipe = TrainRecipe()
        (recipe.sequenceLength, recipe.batchTokens) = (sequenceLength, sequenceLength * batchCount)
        return recipe
    }

    /// Loads the model and lets go of it again.
    private func measure(_ config: ModelConfig) throws -> BenchResult {
        let loaded = try loadModel(config)
        var result = measure(loaded.model, chunk: loaded.plan.map { max(1, $0.chunk / batchCount) } ?? Generator.chunk)
        if let stream = loaded.model.expertStream {
            if let failure = stream.failure { throw failure }
            result.experts = stream.statistics
        }
        loaded.finish()
        return result
    }

    private func measure(_ model: Model, chunk: Int) -> BenchResult {
        let config = model.config
        let weights = model.weights
        let read = weights.reduce(0) { $0 + ($1.computesInBF16 ? 2 * $1.parameterCount : $1.byteCount) }
        // Integers have their width in the config, each part its own.
        let width =
            config.integerWeights == nil ? Double(read) / Double(weights.reduce(0) { $0 + $1.parameterCount }) : nil
        let workload = BenchWorkload(model, seed: seed, batch: batchCount)
        switch kind {
        case .prefill:
            let cost = config.inferenceCost(
                context: context, tokens: min(tokenCount, chunk), batch: batchCount, bytesPerWeight: width)
            let seconds = workload.inference(context: context, tokens: tokenCount, chunk: chunk)
            return BenchResult(tokens: tokenCount * batchCount, seconds: seconds, cost: cost)
        case .decode:
            // Half way through what is drawn.
            let cost = config.inferenceCost(
                context: context + tokenCount / 2, batch: batchCount, bytesPerWeight: width)
            let seconds = workload.inference(context: context, tokens: tokenCount, chunk: 1)
            return BenchResult(tokens: tokenCount * batchCount, seconds: seconds, cost: cost)
        default:
            let tokens = sequenceLength * batchCount
            var options = recipe.passOptions(length: sequenceLength)
            options.recomputes = recompute
            let cost = config.trainingCost(
                sequence: sequenceLength, tokens: tokens, pass: options.microBatchRows * sequenceLength)
            return BenchResult(tokens: tokens, seconds: workload.training(sequenceLength, options), cost: cost)
        }
    }

    private func printCost(_ config: ModelConfig) throws {
        let cost = config.inferenceCost(
            context: context, tokens: tokenCount, batch: batchCount, bytesPerCached: config.dtype.byteCount)
        let title =
            "\(model ?? preset ?? ""): cost of a token, \(tokenCount) at a time in \(batchCount) sequence"
            + "\(batchCount == 1 ? "" : "s") with \(context) positions in the cache"
        let comparison = BenchComparison(config, context: context, prefillTokens: tokens ?? 512, batch: batchCount)
        let lines = [title] + BenchReport.table(cost) + (comparison?.text() ?? [])
        try emit(lines.joined(separator: "\n") + "\n")
        if json { try emit(BenchReport(cost: cost, comparison).jsonLine + "\n") }
    }
}
