public import Foundation
import GlimCheckpoint
public import GlimModel

/// Everything that decides a stage of training: what a `--recipe FILE.toml` says, under the same names.
///
/// All defaults are here and in `TrainRecipe+Stages.swift`. A recipe is flat: `key = value` lines, keys as in
/// `CodingKeys`. The default budget, with neither steps nor minutes, is one pass over the data.
public struct TrainRecipe: Codable, Sendable, Equatable {
    public enum Stage: String, Codable, Sendable, CaseIterable { case pretrain, midtrain, adapt, sft }

    /// What changes the weights: AdamW; Muon for the matrices between embedding and head, each checkpoint matrix as
    /// one; or the same with one block a head (GLM-5 report, section 2.1).
    public enum Optimizer: String, Codable, Sendable, CaseIterable {
        case adamw, muon
        case muonSplit = "muon-split"
    }

    /// The course of the learning rate after the warmup.
    public enum Schedule: String, Codable, Sendable, CaseIterable { case cosine, linear, constant }

    // MARK: What to train, on what

    public var stage = Stage.pretrain
    /// A named shape: `nano`, `micro`, …. Not used with `config` or `model`.
    public var preset = "nano"
    /// A `config.json` to use instead of a preset.
    public var config: String?
    /// The one dial of the series between presets: the number of layers, from which the other sizes follow.
    public var depth: Int?
    /// A model folder to start from, instead of fresh weights.
    public var model: String?
    /// Files and folders with text, in fine-tuning with conversations; none: text that is found on this machine.
    /// Relative to the working folder.
    public var data: [String] = []
    /// The folder of the run.
    public var out = "run"
    /// A `tokenizer.json`, or a folder with one; none: the one of `model`, or else one trained on the data.
    public var tokenizer: String?
    /// Number format of products, in training and afterwards; none: what the model or config says.
    public var computeType: ModelConfig.ComputeType?
    /// Tokens in a vocabulary that is trained here; none: what the preset has.
    public var vocabularySize: Int?

    // MARK: How much

    /// Optimizer steps. Not together with `minutes`.
    public var steps: Int?
    /// Wall clock minutes, after which the schedule has come to its end.
    public var minutes: Double?
    /// Tokens in a row, where `contextLengths` says nothing else.
    public var sequenceLength = 512
    /// Tokens in a row, stage by stage; none: `sequenceLength` throughout.
    public var contextLengths: [Int] = []
    /// Of each of those its share of the steps, in parts of their sum; none: equal ones.
    public var contextShares: [Double] = []
    /// What rows are made of: `text=0.8`, `retrieval=0.2`, …, shares of tokens; none: text alone.
    public var mixture: [String] = []
    /// Tokens in an optimizer step; as many whole rows as fit, in longer contexts one at least.
    public var batchTokens = 8192
    /// Tokens in one forward and backward pass, whole rows; none: about 4,096. Changes memory and time, and the last
    /// bits of gradient sums.
    public var microBatchTokens: Int?
    /// Keep only the inputs of layers and compute them again on the way back: less memory, more time, the same numbers.
    /// None: in passes of more than 16,384 tokens.
    public var recompute: Bool?

    // MARK: How

    public var optimizer = Optimizer.muonSplit
    /// At the peak, after the warmup; none: what suits the optimizer and the stage.
    public var learningRate: Double?
    /// The last learning rate, as a share of the peak.
    public var minimumLearningRateRatio = 0.1
    /// Steps of linear warmup, in adaptation those of the dense warm-up; none: by `warmupRatio`.
    public var warmupSteps: Int?
    /// The share of the budget that is warmup.
    public var warmupRatio = 0.05
    public var schedule = Schedule.cosine
    /// Decoupled: times the learning rate, of matrices only.
    public var weightDecay = 0.1
    /// Decay of AdamW's mean of gradients.
    public var beta1 = 0.9
    /// Decay of AdamW's mean of squared gradients.
    public var beta2 = 0.95
    /// Added to AdamW's denominator.
    public var epsilon = 1e-8
    /// The greatest norm of the whole gradient; 0 for no limit.
    public var clip = 1.0
    /// Layers of multi-token prediction in a new model; none: what the preset or config has.
    public var mtpLayers: Int?
    /// Tokens that multi-token prediction learns to see ahead; none: one for each of its layers. More than that go
    /// through the last layer again: three steps of one layer are GLM-5's way.
    public var mtpSteps: Int?
    /// Weight of the multi-token prediction loss, the mean over its steps.
    public var mtpWeight = 0.3
    /// How far a router's bias moves per step towards equal load.
    public var balanceRate = 0.001
    /// Weight of the loss that balances experts within each sequence.
    public var sequenceBalanceWeight = 1e-4

    // MARK: Adaptation

    /// Positions that attention reads; none: a sixteenth of the longest row.
    public var topK: Int?
    /// One layer in so many runs its own indexer, the others use what it chose.
    public var shareEvery = 1
    /// Of the indexers, at the beginning of the dense warm-up.
    public var indexerLearningRate = 5e-3
    /// The last learning rate of the dense warm-up, as a share of that.
    public var minimumIndexerLearningRateRatio = 0.04

    // MARK: Fine-tuning

    /// Train what is deployed in integers: products are quantised by this scheme, gradients go straight through, and the
    /// model that is saved is quantised; none: products in floating point.
    public var quantize: Scheme.Name?

    // MARK: Watching and saving

    /// The share of bytes that validates, up to 1/2; none: `ValidationSplit.defaultFraction`.
    public var validationFraction: Double?
    /// Steps between evaluations; none: about ten in the run; 0: only at the end.
    public var evaluateEvery: Int?
    /// Steps between checkpoints; none: every two minutes; 0: only at the end.
    public var saveEvery: Int?
    /// Steps between samples of text; none: with the evaluations; 0: only at the end.
    public var sampleEvery: Int?
    public var seed: UInt64 = 0
    /// Threads that compute; none: one per core. Changes time only.
    public var threads: Int?

    init(bare stage: Stage) { self.stage = stage }

    /// The names of the values, in recipe files and in `recipe.json`.
    public enum CodingKeys: String, CodingKey, CaseIterable, Sendable {
        case stage, preset, config, depth, model, data, out, tokenizer
        case computeType = "compute_dtype"
        case vocabularySize = "vocabulary_size"
        case steps, minutes
        case sequenceLength = "sequence_length"
        case contextLengths = "context_lengths"
        case contextShares = "context_shares"
        case mixture
        case batchTokens = "batch_tokens"
        case microBatchTokens = "micro_batch_tokens"
        case recompute, optimizer
        case learningRate = "learning_rate"
        case minimumLearningRateRatio = "min_learning_rate_ratio"
        case warmupSteps = "warmup_steps"
        case warmupRatio = "warmup_ratio"
        case schedule
        case weightDecay = "weight_decay"
        case beta1, beta2, epsilon, clip
        case mtpLayers = "mtp_layers"
        case mtpSteps = "mtp_steps"
        case mtpWeight = "mtp_weight"
        case balanceRate = "balance_rate"
        case sequenceBalanceWeight = "sequence_balance_weight"
        case topK = "top_k"
        case shareEvery = "share_every"
        case indexerLearningRate = "indexer_learning_rate"
        case minimumIndexerLearningRateRatio = "min_indexer_learning_rate_ratio"
        case quantize
        case validationFraction = "validation_fraction"
        case evaluateEvery = "evaluate_every"
        case saveEvery = "save_every"
        case sampleEvery = "sample_every"
        case seed, threads
    }

    /// The same with paths that mean the same from any folder; `out` stays as it is.
    func withAbsolutePaths() -> TrainRecipe {
        func absolute(_ path: String) -> String {
            if path.hasPrefix("/") { return path }
            // ".." stays: after a link it does not lead back.
            let parts = path.split(separator: "/").filter { $0 != "." }
            return ([FileManager.default.currentDirectoryPath] + parts.map(String.init)).joined(separator: "/")
        }
        var recipe = self
        recipe.data = data.map(absolute)
        (recipe.config, recipe.model) = (config.map(absolute), model.map(absolute))
        recipe.tokenizer = tokenizer.map(absolute)
        return recipe
    }

    /// Far more than all keys and a long list of data can fill.
    private static let maximumFileBytes = 1 << 20

    /// Reads a recipe file and validates it.
    ///
    /// - Parameter stage: whose defaults hold where the file names none.
    public init(file: URL, stage: Stage = .pretrain) throws(RecipeError) {
        let bytes: [UInt8]
        do throws(FileBytes.Problem) { bytes = try FileBytes.read(file.path, atMost: Self.maximumFileBytes) } catch {
            throw RecipeError(file: file.path, why: "\(error); give a recipe in TOML")
        }
        guard let text = String(validating: bytes, as: UTF8.self), !bytes.contains(0) else {
            throw RecipeError(file: file.path, why: "it is not text")
        }
        try self.init(toml: text, file: file.path, stage: stage)
    }
}

/// Why a recipe cannot be used: the file, the line where it is known, the key, what is wrong and what would be right.
public struct RecipeError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Nil for a recipe that came from the command line.
    public var file: String?
    public var line: Int?
    public var key: String?
    public var why: String

    init(file: String? = nil, line: Int? = nil, key: String? = nil, why: String) {
        (self.file, self.line, self.key, self.why) = (file, line, key, why)
    }

    public var description: String {
        let place = file.map { $0 + (line.map { ":\($0)" } ?? "") + ": " } ?? ""
        return (place + (key.map { "\($0): " } ?? "") + why).onOneLine
    }
}
