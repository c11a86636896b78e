public import ArgumentParser
public import GlimModel
public import GlimTrain

struct Train: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Train a model: one stage at a time.",
        subcommands: [Pretrain.self, Midtrain.self, Adapt.self, FineTune.self])
}

extension TrainRecipe.Optimizer: ExpressibleByArgument {}
extension Scheme.Name: ExpressibleByArgument {}

/// What every stage's help ends with.
///
/// - Parameter keys: those of the stage alone that are no options, each with a comma.
private func recipeHelp(_ keys: String = "") -> String {
    """
    Writes a model folder with metrics.jsonl (one line a step), data.json (what was read, and what was left out), \
    loss.svg and samples.jsonl. Stop it with Ctrl-C at any moment and go on with --resume: the result is the same to \
    the bit.

    --recipe FILE.toml gives values instead of options: one "key = value" a line, keys as the options with \
    underscores (learning_rate = 0.003, data = ["a", "b"]). Only a recipe can give \(keys)schedule ("cosine", \
    "linear" or "constant"), min_learning_rate_ratio, warmup_ratio, beta1, beta2, epsilon, clip, validation_fraction \
    and sample_every. The recipe.json of a run is a record, not a recipe.
    """
}

struct Pretrain: StageCommand {
    static let stage = TrainRecipe.Stage.pretrain
    static let configuration = CommandConfiguration(
        abstract: "Pre-train on text: files, folders or JSON lines.",
        discussion: recipeHelp("vocabulary_size, context_lengths, context_shares, "))

    @Option(help: "Shape of the model: \(ModelConfig.presetNames.joined(separator: ", ")) (default: nano).") var preset:
        String?
    @Option(help: "A config.json to use instead of a preset or a depth.") var config: String?
    @Option(help: "The series between presets from one dial: the number of layers. Goes before a preset.")
    var depth: Int?
    @Option(
        help: "Model folder or GGUF file to start from, with its shape: preset, depth and config are then not used.")
    var model: String?
    @Option(help: "Tokens in a row (default: 512).") var sequenceLength: Int?
    @Option(help: "Steps of linear warm-up (default: 5% of the run).") var warmupSteps: Int?
    @Option(help: "Layers of multi-token prediction in a new model (default: what the shape has).") var mtpLayers: Int?
    @OptionGroup var common: StageOptions
    @OptionGroup var compute: ComputeOptions

    func give(_ values: inout GivenValues) {
        values.take(.preset, preset) { $0.preset = $1 }
        values.take(.config, config) { $0.config = $1 }
        values.take(.depth, depth) { $0.depth = $1 }
        values.take(.model, model) { $0.model = $1 }
        values.take(sequenceLength: sequenceLength)
        values.take(.warmupSteps, warmupSteps) { $0.warmupSteps = $1 }
        values.take(.mtpLayers, mtpLayers) { $0.mtpLayers = $1 }
    }

    func validate() throws { try check() }
    func run() throws { try train() }
}

struct Midtrain: StageCommand {
    static let stage = TrainRecipe.Stage.midtrain
    static let configuration = CommandConfiguration(
        abstract: "Go on with a model in longer and longer contexts.",
        discussion: """
            Rows grow from stage to stage; a step has the same number of tokens, or one row where that is longer. \
            They are text, files of a folder packed together, similar texts interleaved, and made documents with \
            facts to find again: the mixture.

            """ + recipeHelp())

    @Option(help: "Model folder or GGUF file to start from.") var model: String?
    @Option(
        parsing: .upToNextOption,
        help: "Tokens in a row, stage by stage (default: 2048 8192).") var contextLengths: [Int] = []
    @Option(
        parsing: .upToNextOption,
        help: "Of each length its share of the steps (default: equal shares).")
    var contextShares: [Double] = []
    @Option(help: "Tokens in a row, in one stage only.") var sequenceLength: Int?
    @Option(help: "Steps of linear warm-up (default: 2% of the run).") var warmupSteps: Int?
    @OptionGroup var common: StageOptions
    @OptionGroup var compute: ComputeOptions

    func give(_ values: inout GivenValues) {
        values.take(.model, model) { $0.model = $1 }
        values.take(sequenceLength: sequenceLength)
        values.take(.contextLengths, contextLengths) { ($0.contextLengths, $0.contextShares) = ($1, []) }
        values.take(.contextShares, contextShares) { $0.contextShares = $1 }
        values.take(.warmupSteps, warmupSteps) { $0.warmupSteps = $1 }
    }

    func validate() throws {
        if sequenceLength != nil, !contextLengths.isEmpty {
            throw ValidationError("Give --sequence-length or --context-lengths, not both.")
        }
        try check()
    }

    func run() throws { try train() }
}

struct Adapt: StageCommand {
    static let stage = TrainRecipe.Stage.adapt
    static let configuration = CommandConfiguration(
        abstract: "Give a model with dense attention sparse attention.",
        discussion: """
            First a dense warm-up, in which only the new indexers learn what attention attends to; then everything \
            learns while attention reads the positions that the indexers choose. Reads any model with multi-head \
            latent attention, writes glm_moe_dsa.

            """ + recipeHelp("context_lengths, context_shares, min_indexer_learning_rate_ratio, "))

    @Option(help: "Model folder or GGUF file to start from, with dense attention.") var model: String?
    @Option(help: "Positions that attention reads (default: a sixteenth of a row).") var topK: Int?
    @Option(help: "Steps of the dense warm-up (default: 80% of the run).") var warmupSteps: Int?
    @Option(help: "One layer in so many has an indexer, the others use its choice (default: 1).") var shareEvery: Int?
    @Option(help: "Learning rate of the indexers as the dense warm-up begins (default: 0.005).")
    var indexerLearningRate: Double?
    @Option(help: "Tokens in a row, in one context stage only (default: 2048, then 8192).") var sequenceLength: Int?
    @Option(help: "Save the model after the dense warm-up to this folder as well.") var saveWarmedUp: String?
    @OptionGroup var common: StageOptions
    @OptionGroup var compute: ComputeOptions

    func give(_ values: inout GivenValues) {
        values.take(.model, model) { $0.model = $1 }
        values.take(.topK, topK) { $0.topK = $1 }
        values.take(.warmupSteps, warmupSteps) { $0.warmupSteps = $1 }
        values.take(.shareEvery, shareEvery) { $0.shareEvery = $1 }
        values.take(.indexerLearningRate, indexerLearningRate) { $0.indexerLearningRate = $1 }
        values.take(sequenceLength: sequenceLength)
    }

    var warmedUpFolder: String? { saveWarmedUp }

    func validate() throws { try check() }
    func run() throws { try train() }
}

struct FineTune: StageCommand {
    static let stage = TrainRecipe.Stage.sft
    static let configuration = CommandConfiguration(
        commandName: "sft",
        abstract: "Fine-tune a model on conversations.",
        discussion: """
            Each line of --data is a conversation as glim template reads it: messages, tools, enable_thinking, \
            clear_thinking, reasoning_effort. Learned is what the assistant thinks, says and calls, and the token that \
            ends its turn; a message of the assistant or a call with "error": true is read and not learned. A line \
            {"text": "..."} is learned whole, as in pre-training, so that less is forgotten. Rows hold whole \
            conversations, which do not see each other; one that is longer than a row is left out. The model keeps its \
            chat template.

            """ + recipeHelp("context_lengths, context_shares, "))

    @Option(help: "Model folder or GGUF file to start from.") var model: String?
    @Option(help: "Tokens in a row (default: 1024).") var sequenceLength: Int?
    @Option(help: "Steps of linear warm-up (default: 5% of the run).") var warmupSteps: Int?
    @Option(
        help: """
            Learn to be quantised, to w8a8 or w4a8: products are in integers as in deployment, and the model that is \
            saved holds them (default: floating point).
            """) var quantize: Scheme.Name?
    @OptionGroup var common: StageOptions
    @OptionGroup var compute: ComputeOptions

    func give(_ values: inout GivenValues) {
        values.take(.model, model) { $0.model = $1 }
        values.take(sequenceLength: sequenceLength)
        values.take(.warmupSteps, warmupSteps) { $0.warmupSteps = $1 }
        values.take(.quantize, quantize) { $0.quantize = $1 }
    }

    func validate() throws { try check() }
    func run() throws { try train() }
}
