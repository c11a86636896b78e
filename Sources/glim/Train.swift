public import ArgumentParser
import Foundation
import GlimModel
public import GlimTrain

struct Train: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Train a model: one stage at a time.", subcommands: [Pretrain.self])
}

struct Pretrain: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Pre-train on text: files, folders or JSON lines.",
        discussion: """
            Writes a model folder with metrics.jsonl (one line a step), loss.svg and samples.jsonl. Stop it with \
            Ctrl-C at any moment and go on with --resume: the result is the same to the bit.

            --recipe FILE.toml gives values instead of options: one "key = value" a line, keys as the options with \
            underscores (learning_rate = 0.003, data = ["a", "b"]). Only a recipe can give vocabulary_size, \
            schedule ("cosine", "linear" or "constant"), min_learning_rate_ratio, warmup_ratio, beta1, beta2, \
            epsilon, clip, validation_fraction and sample_every. The recipe.json of a run is a record, not a recipe.
            """)

    @Option(help: "A TOML file with values; an option that is given as well goes before it.")
    var recipe: String?
    @Option(help: "Shape of the model: \(ModelConfig.presetNames.joined(separator: ", ")) (default: nano).")
    var preset: String?
    @Option(help: "A config.json to use instead of a preset or a depth.") var config: String?
    @Option(help: "The series between presets from one dial: the number of layers. Goes before a preset.")
    var depth: Int?
    @Option(help: "Model folder to start from, with its shape: preset, depth and config are then not used.")
    var model: String?
    @Option(parsing: .upToNextOption, help: "Files, folders, JSON lines (default: text found on this machine).")
    var data: [String] = []
    @Option(help: "A tokenizer.json, or a folder with one (default: train one on the data).") var tokenizer: String?
    @Option(
        name: .customLong("compute-dtype"),
        help: "Number format of products: float32 or bfloat16 (default: what the config says).")
    var computeType: ModelConfig.ComputeType?
    @Option(help: "Folder of the run, which becomes a model folder (default: run).") var out: String?
    @Option(help: "Optimizer steps (default: one pass over the data).") var steps: Int?
    @Option(help: "Minutes of training: measured once, then a fixed number of steps.") var minutes: Double?
    @Option(help: "Tokens in a row (default: 512).") var sequenceLength: Int?
    @Option(help: "Tokens in an optimizer step (default: 8192).") var batchTokens: Int?
    @Option(help: "Tokens in one forward and backward pass (default: 4096).") var microBatchTokens: Int?
    @Option(help: "adamw, muon, or muon-split: muon one head at a time (default: muon-split).")
    var optimizer: TrainRecipe.Optimizer?
    @Option(help: "Peak learning rate (default: 0.01, with adamw 0.002).") var learningRate: Double?
    @Option(help: "Steps of linear warm-up (default: 5% of the run).") var warmupSteps: Int?
    @Option(help: "Decoupled weight decay of matrices (default: 0.1).") var weightDecay: Double?
    @Option(help: "Layers of multi-token prediction in a new model (default: what the shape has).") var mtpLayers: Int?
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
    @OptionGroup var compute: ComputeOptions

    func validate() throws {
        // With a recipe file it takes both to judge a value.
        if recipe == nil { _ = try makeRecipe() }
    }

    func run() throws {
        compute.apply()
        let recording = PretrainRun.Recording(
            batches: recordBatches.map { URL(filePath: $0) }, initialModel: saveInitial.map { URL(filePath: $0) })
        let (recipe, given) = try makeRecipe()
        var training = try PretrainRun(recipe, resumes: resume, given: given, recording: recording) { log($0) }
        let summary = try training.train()
        if json {
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
        var made = try recipe.map { try TrainRecipe(file: URL(filePath: $0)) } ?? TrainRecipe()
        var (fromFile, fromOptions): (Set<TrainRecipe.CodingKeys>, Set<TrainRecipe.CodingKeys>) = ([], [])
        if recipe != nil { fromFile = made.setKeys }
        func take<T>(_ key: TrainRecipe.CodingKeys, _ value: T?, _ set: (inout TrainRecipe, T) -> Void) {
            guard let value else { return }
            set(&made, value)
            fromOptions.insert(key)
        }
        if steps != nil || minutes != nil {
            (made.steps, made.minutes) = (nil, nil)
            fromFile.subtract([.steps, .minutes])
        }
        take(.preset, preset) { $0.preset = $1 }
        take(.config, config) { $0.config = $1 }
        take(.depth, depth) { $0.depth = $1 }
        take(.model, model) { $0.model = $1 }
        take(.data, data.isEmpty ? nil : data) { $0.data = $1 }
        take(.tokenizer, tokenizer) { $0.tokenizer = $1 }
        take(.computeType, computeType) { $0.computeType = $1 }
        take(.out, out) { $0.out = $1 }
        take(.steps, steps) { $0.steps = $1 }
        take(.minutes, minutes) { $0.minutes = $1 }
        take(.sequenceLength, sequenceLength) { $0.sequenceLength = $1 }
        if batchTokens == nil { made.batchTokens = max(made.batchTokens, made.sequenceLength) }
        take(.batchTokens, batchTokens) { $0.batchTokens = $1 }
        take(.microBatchTokens, microBatchTokens) { $0.microBatchTokens = $1 }
        take(.optimizer, optimizer) { $0.optimizer = $1 }
        take(.learningRate, learningRate) { $0.learningRate = $1 }
        take(.warmupSteps, warmupSteps) { $0.warmupSteps = $1 }
        take(.weightDecay, weightDecay) { $0.weightDecay = $1 }
        take(.mtpLayers, mtpLayers) { $0.mtpLayers = $1 }
        take(.mtpSteps, mtpSteps) { $0.mtpSteps = $1 }
        take(.mtpWeight, mtpWeight) { $0.mtpWeight = $1 }
        take(.balanceRate, balanceRate) { $0.balanceRate = $1 }
        take(.sequenceBalanceWeight, sequenceBalanceWeight) { $0.sequenceBalanceWeight = $1 }
        take(.evaluateEvery, evaluateEvery) { $0.evaluateEvery = $1 }
        take(.saveEvery, saveEvery) { $0.saveEvery = $1 }
        take(.seed, seed) { $0.seed = $1 }
        take(.threads, compute.threads) { $0.threads = $1 }
        do { try made.validate() } catch {
            guard let key = error.key, fromOptions.contains(where: { $0.rawValue == key }) else { throw error }
            throw ValidationError("--\(key.replacing("_", with: "-")): \(error.why).")
        }
        return (made, fromFile.union(fromOptions))
    }
}

extension TrainRecipe.Optimizer: ExpressibleByArgument {}
