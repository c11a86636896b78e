import ArgumentParser
import Foundation
import GlimModel
import GlimTrain

/// Options of every stage of training.
struct StageOptions: ParsableArguments {
    @Option(help: "A TOML file with values; an option that is given as well goes before it.")
    var recipe: String?
    @Option(
        parsing: .upToNextOption,
        help: "Files, folders, JSON lines (default: text found on this machine; fine-tuning has none).")
    var data: [String] = []
    @Option(
        parsing: .upToNextOption,
        help: """
            What rows are made of, in shares of tokens: text=0.8 retrieval=0.2; kinds are text, repository, interleaved, \
            needle, retrieval and coreference (default: in pre-training text, then all but needle; fine-tuning takes \
            none).
            """) var mixture: [String] = []
    @Option(help: "A tokenizer.json, or a folder with one (default: the model's, or one trained on the data).")
    var tokenizer: String?
    @Option(
        name: .customLong("compute-dtype"),
        help: "Number format of products: float32 or bfloat16 (default: what the config says).")
    var computeType: ModelConfig.ComputeType?
    @Option(help: "Folder of the run, which becomes a model folder (default: run).") var out: String?
    @Option(help: "Optimizer steps (default: one pass over the data).") var steps: Int?
    @Option(help: "Minutes of training: measured once, then a fixed number of steps.") var minutes: Double?
    @Option(help: "Tokens in an optimizer step, one row at least (default: 8192; in adaptation 2048).") var batchTokens:
        Int?
    @Option(help: "Tokens in one forward and backward pass (default: 4096).") var microBatchTokens: Int?
    @Flag(
        inversion: .prefixedNo,
        help: "Compute layers again on the way back: less memory (default: in passes of more than 16384 tokens).")
    var recompute: Bool?
    @Option(help: "adamw, muon, or muon-split: muon one head at a time (default: muon-split).")
    var optimizer: TrainRecipe.Optimizer?
    @Option(
        help: """
            Peak learning rate (default: 0.01, with adamw 0.002; in mid-training a fifth, in adaptation a twentieth, in \
            fine-tuning a tenth of that; with less than 8192 tokens a step, by the root of their part).
            """) var learningRate: Double?
    @Option(help: "Decoupled weight decay of matrices (default: 0.1).") var weightDecay: Double?
    @Option(
        help: """
            Tokens ahead that multi-token prediction learns; beyond its layers the last is used again (default: one \
            a layer).
            """)
    var mtpSteps: Int?
    @Option(help: "Weight of the multi-token prediction loss (default: 0.3).") var mtpWeight: Double?
    @Option(help: "How far a router's bias moves in a step (default: 0.001).") var balanceRate: Double?
    @Option(help: "Weight of the loss that balances experts in a sequence (default: 0.0001).")
    var sequenceBalanceWeight: Double?
    @Option(help: "Steps between evaluations (default: ten in a run).") var evaluateEvery: Int?
    @Option(help: "Steps between saves (default: every two minutes).") var saveEvery: Int?
    @Option(help: "The same seed gives the same run, to the bit (default: 0).") var seed: UInt64?
    @Flag(help: "Go on with the run in --out; where there is none yet, begin it.") var resume = false
    @Option(help: "Write each step's rows to this file, for training the same in another engine.")
    var recordBatches: String?
    @Option(help: "Save the model before its first step to this folder.") var saveInitial: String?
    @Flag(help: "End standard output with one JSON object.") var json = false
}

extension StageOptions {
    fileprivate func give(_ values: inout GivenValues) {
        values.take(.data, data) { $0.data = $1 }
        values.take(.mixture, mixture) { $0.mixture = $1 }
        values.take(.tokenizer, tokenizer) { $0.tokenizer = $1 }
        values.take(.computeType, computeType) { $0.computeType = $1 }
        values.take(.out, out) { $0.out = $1 }
        values.take(steps: steps, minutes: minutes)
        values.take(.batchTokens, batchTokens) { $0.batchTokens = $1 }
        values.take(.microBatchTokens, microBatchTokens) { $0.microBatchTokens = $1 }
        values.take(.recompute, recompute) { $0.recompute = $1 }
        values.take(.optimizer, optimizer) { $0.optimizer = $1 }
        values.take(.learningRate, learningRate) { $0.learningRate = $1 }
        values.take(.weightDecay, weightDecay) { $0.weightDecay = $1 }
        values.take(.mtpSteps, mtpSteps) { $0.mtpSteps = $1 }
        values.take(.mtpWeight, mtpWeight) { $0.mtpWeight = $1 }
        values.take(.balanceRate, balanceRate) { $0.balanceRate = $1 }
        values.take(.sequenceBalanceWeight, sequenceBalanceWeight) { $0.sequenceBalanceWeight = $1 }
        values.take(.evaluateEvery, evaluateEvery) { $0.evaluateEvery = $1 }
        values.take(.saveEvery, saveEvery) { $0.saveEvery = $1 }
        values.take(.seed, seed) { $0.seed = $1 }
    }
}

/// A recipe on its way from a file and options, with the keys that either gives.
struct GivenValues {
    private(set) var recipe: TrainRecipe
    private(set) var fromFile: Set<TrainRecipe.CodingKeys> = []
    private(set) var fromOptions: Set<TrainRecipe.CodingKeys> = []

    init(_ stage: TrainRecipe.Stage, file: String?) throws {
        recipe = TrainRecipe(stage: stage)
        guard let file else { return }
        recipe = try TrainRecipe(file: URL(filePath: file), stage: stage)
        guard recipe.stage == stage else {
            throw Failure("\(file): stage is \(recipe.stage.rawValue), but this command does \(stage.rawValue)")
        }
        fromFile = recipe.setKeys
    }

    mutating func take<T>(_ key: TrainRecipe.CodingKeys, _ value: T?, _ set: (inout TrainRecipe, T) -> Void) {
        guard let value else { return }
        set(&recipe, value)
        fromOptions.insert(key)
    }

    /// A list; none given is an empty one.
    mutating func take<T>(_ key: TrainRecipe.CodingKeys, _ value: [T], _ set: (inout TrainRecipe, [T]) -> Void) {
        if !value.isEmpty { take(key, .some(value), set) }
    }

    /// One length goes before the context stages that a stage has by default.
    mutating func take(sequenceLength: Int?) {
        if sequenceLength != nil {
            recipe.useOneLength()
            fromFile.subtract([.contextLengths, .contextShares])
        }
        take(.sequenceLength, sequenceLength) { $0.sequenceLength = $1 }
    }

    /// Either goes before both of a file.
    mutating func take(steps: Int?, minutes: Double?) {
        if steps != nil || minutes != nil {
            (recipe.steps, recipe.minutes) = (nil, nil)
            fromFile.subtract([.steps, .minutes])
        }
        take(.steps, steps) { $0.steps = $1 }
        take(.minutes, minutes) { $0.minutes = $1 }
    }

    /// A step has at least one row.
    mutating func growBatch() {
        guard !fromOptions.contains(.batchTokens), recipe.contextLengths.isEmpty else { return }
        recipe.batchTokens = max(recipe.batchTokens, recipe.sequenceLength)
    }
}

/// A stage of training as a command.
protocol StageCommand: ParsableCommand {
    static var stage: TrainRecipe.Stage { get }
    var common: StageOptions { get }
    var compute: ComputeOptions { get }
    /// Where adaptation saves the model after its dense warm-up.
    var warmedUpFolder: String? { get }
    /// Takes down the values of the options that only some stages have.
    func give(_ values: inout GivenValues)
}

extension StageCommand {
    var warmedUpFolder: String? { nil }

    func check() throws {
        // With a recipe file it takes both to judge a value.
        if common.recipe == nil { _ = try makeRecipe() }
    }

    func train() throws {
        compute.apply()
        let recording = StageRun.Recording(
            batches: common.recordBatches.map { URL(filePath: $0) },
            initialModel: common.saveInitial.map { URL(filePath: $0) },
            warmedUpModel: warmedUpFolder.map { URL(filePath: $0) })
        let (recipe, given) = try makeRecipe()
        var training = try StageRun(recipe, resumes: common.resume, given: given, recording: recording) { log($0) }
        let summary = try training.train()
        if common.json {
            try emit(summary.jsonLine + "\n")
        } else {
            let loss = summary.finalLoss.map { ", loss \($0)" } ?? ""
            try emit("steps \(summary.steps), tokens \(summary.tokens)\(loss)\n")
            if let bits = summary.validationBitsPerByte { try emit("validation: \(bits) bits per byte\n") }
        }
        if summary.wasInterrupted { throw ExitCode(130) }
    }

    /// The recipe that file and options make, validated, and the keys that either gives.
    private func makeRecipe() throws -> (TrainRecipe, given: Set<TrainRecipe.CodingKeys>) {
        var values = try GivenValues(Self.stage, file: common.recipe)
        common.give(&values)
        give(&values)
        values.take(.threads, compute.threads) { $0.threads = $1 }
        values.growBatch()
        do { try values.recipe.validate() } catch {
            guard let key = error.key, values.fromOptions.contains(where: { $0.rawValue == key }) else { throw error }
            throw ValidationError("--\(key.replacing("_", with: "-")): \(error.why).")
        }
        return (values.recipe, values.fromFile.union(values.fromOptions))
    }
}
