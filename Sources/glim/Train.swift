public import ArgumentParser
import Foundation
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
            Ctrl-C at any moment and go on with --resume: the result is the same to the bit. --recipe FILE.toml \
            gives every value instead of options.
            """)

    @Option(help: "A TOML file with every value; other options given as well go before it.")
    var recipe: String?
    @Option(help: "Shape of the model: nano, micro, mini, or a released one.") var preset: String?
    @Option(help: "A config.json to use instead of a preset.") var config: String?
    @Option(help: "The series between presets from one dial: the number of layers.") var depth: Int?
    @Option(help: "Model folder to start from.") var model: String?
    @Option(parsing: .upToNextOption, help: "Files, folders, JSON lines (default: text found on this machine).")
    var data: [String] = []
    @Option(help: "A tokenizer.json, or a folder with one (default: train one on the data).") var tokenizer: String?
    @Option(help: "Folder of the run, which becomes a model folder.") var out: String?
    @Option(help: "Optimizer steps.") var steps: Int?
    @Option(help: "Minutes of training: measured once, then a fixed number of steps.") var minutes: Double?
    @Option(help: "Tokens in a row (default: 512).") var sequenceLength: Int?
    @Option(help: "Tokens in an optimizer step (default: 8192).") var batchTokens: Int?
    @Option(help: "Tokens in one forward and backward pass (default: 4096).") var microBatchTokens: Int?
    @Option(help: "adamw.") var optimizer: TrainRecipe.Optimizer?
    @Option(help: "Peak learning rate (default: 0.002).") var learningRate: Double?
    @Option(help: "Steps of linear warm-up (default: 5% of the run).") var warmupSteps: Int?
    @Option(help: "Decoupled weight decay of matrices (default: 0.1).") var weightDecay: Double?
    @Option(help: "Weight of the multi-token prediction loss (default: 0.3).") var mtpWeight: Double?
    @Option(help: "How far a router's bias moves in a step (default: 0.001).") var balanceRate: Double?
    @Option(help: "Weight of the loss that balances experts in a sequence (default: 0.0001).")
    var sequenceBalanceWeight: Double?
    @Option(help: "Steps between evaluations (default: ten in a run).") var evaluateEvery: Int?
    @Option(help: "Steps between saves (default: every two minutes).") var saveEvery: Int?
    @Option(help: "The same seed gives the same run, to the bit.") var seed: UInt64?
    @Flag(help: "Go on with the run in --out.") var resume = false
    @Option(help: "Write each step's rows to this file, for training the same in another engine.")
    var recordBatches: String?
    @Option(help: "Save the model before its first step to this folder.") var saveInitial: String?
    @Flag(help: "End standard output with one JSON object.") var json = false
    @OptionGroup var compute: ComputeOptions

    func run() throws {
        compute.apply()
        let recording = PretrainRun.Recording(
            batches: recordBatches.map { URL(filePath: $0) }, initialModel: saveInitial.map { URL(filePath: $0) })
        var training = try PretrainRun(makeRecipe(), resumes: resume, recording: recording) { log($0) }
        let summary = try training.train()
        if json {
            print(try summary.jsonLine)
        } else {
            print("steps \(summary.steps), tokens \(summary.tokens), loss \(summary.finalLoss)")
            if let bits = summary.validationBitsPerByte { print("validation: \(bits) bits per byte") }
        }
        if summary.wasInterrupted { throw ExitCode(130) }
    }

    private func makeRecipe() throws -> TrainRecipe {
        var made = TrainRecipe()
        if let recipe {
            made = try TrainRecipe(file: URL(filePath: recipe))
            guard made.stage == .pretrain else {
                throw Failure("\(recipe): stage is \(made.stage.rawValue); this command does pretrain")
            }
        }
        if let preset { made.preset = preset }
        (made.config, made.depth, made.model) = (config ?? made.config, depth ?? made.depth, model ?? made.model)
        if !data.isEmpty { made.data = data }
        made.tokenizer = tokenizer ?? made.tokenizer
        made.out = out ?? made.out
        if steps != nil || minutes != nil { (made.steps, made.minutes) = (steps, minutes) }
        made.sequenceLength = sequenceLength ?? made.sequenceLength
        made.batchTokens = batchTokens ?? max(made.batchTokens, made.sequenceLength)
        made.microBatchTokens = microBatchTokens ?? made.microBatchTokens
        made.optimizer = optimizer ?? made.optimizer
        made.learningRate = learningRate ?? made.learningRate
        made.warmupSteps = warmupSteps ?? made.warmupSteps
        made.weightDecay = weightDecay ?? made.weightDecay
        made.mtpWeight = mtpWeight ?? made.mtpWeight
        made.balanceRate = balanceRate ?? made.balanceRate
        made.sequenceBalanceWeight = sequenceBalanceWeight ?? made.sequenceBalanceWeight
        made.evaluateEvery = evaluateEvery ?? made.evaluateEvery
        made.saveEvery = saveEvery ?? made.saveEvery
        made.seed = seed ?? made.seed
        made.threads = compute.threads ?? made.threads
        try made.validate()
        guard made.optimizer == .adamw else {
            throw Failure("optimizer \(made.optimizer.rawValue) is not in this version; use adamw")
        }
        return made
    }
}

extension TrainRecipe.Optimizer: ExpressibleByArgument {}
