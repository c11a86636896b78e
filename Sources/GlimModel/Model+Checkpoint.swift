public import Foundation
public import GlimCheckpoint
import GlimTensor
import Synchronization

extension Model {
    /// How matrices are held in memory.
    public enum LoadFormat: Sendable {
        /// bf16 tensors stay bf16 (widened exactly inside products); everything else becomes f32.
        case asStored
        /// The same, but where products are in bf16 what they round is held rounded: the same results from half the
        /// memory. A model loaded so cannot be saved.
        case inference
        /// Everything becomes f32: what training needs.
        case f32
    }

    /// Loads a folder with `config.json` and `*.safetensors` in Hugging Face's layout.
    ///
    /// Experts may be one tensor each, or fused as transformers holds them in memory.
    /// - Parameter computeType: of products; nil: what the config says.
    /// - Throws: `ConfigError`, `CheckpointError`.
    public init(
        folder: URL, format: LoadFormat = .asStored, computeType: ModelConfig.ComputeType? = nil
    ) throws {
        try self.init(LoadPlan(folder: folder, format: format, computeType: computeType))
    }

    /// Fills a model of the given shape from a checkpoint.
    ///
    /// - Throws: `CheckpointError` where a tensor is missing or has another shape than the config says.
    public init(_ config: ModelConfig, _ checkpoint: Checkpoint, format: LoadFormat) throws(CheckpointError) {
        try self.init(LoadPlan(config, checkpoint, format))
    }

    /// Bytes of the weights in a model folder once they are loaded, from the headers of its files.
    ///
    /// - Throws: `ConfigError`, `CheckpointError`, as loading would.
    public static func byteCount(
        ofFolder folder: URL, format: LoadFormat, computeType: ModelConfig.ComputeType? = nil
    ) throws -> Int {
        try LoadPlan(folder: folder, format: format, computeType: computeType).blueprint.weights.reduce(0) {
            $0 + $1.byteCount
        }
    }

    private init(_ plan: LoadPlan) throws(CheckpointError) {
        let (checkpoint, fused) = (plan.checkpoint, plan.fused)
        self.init(plan.config, mtpTables: plan.tables, format: plan.weightFormat)
        isHeldRounded = plan.format == .inference && plan.config.computeType == .bfloat16
        let failure = Mutex<CheckpointError?>(nil)
        let tensors = tensors
        ThreadPool.shared.run(tensors.count) { i in
            do throws(CheckpointError) {
                try tensors[i].load(from: checkpoint, fused[tensors[i].name])
            } catch {
                failure.withLock { $0 = $0 ?? error }
            }
        }
        if let error = failure.withLock({ $0 }) { throw error }
        changed()
    }

    /// Saves config.json and the tensors, f32, under the names they are loaded by; what was there before stays whole
    /// until the new files are complete.
    ///
    /// - Throws: `CheckpointError` for a disk that is full or a folder that cannot be written, and for a model that was
    ///   loaded rounded, whose numbers are lost.
    public func save(to folder: URL) throws {
        if isHeldRounded {
            throw CheckpointError.cannotWrite(
                path: folder.path, reason: "the model was loaded for inference, rounded; load it as f32")
        }
        let tensors = Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0) })
        let declarations = self.tensors.map { TensorDeclaration($0.name, .f32, $0.shape) }
        try CheckpointWriter(folder: folder).write(declarations) { declaration, sink in
            guard let numbers = tensors[declaration.name]?.numbers() else { return }
            try numbers.withElements { try sink.append($0) }
        }
        // What is written is f32, whatever the model was loaded from.
        let saved = config.with { ($0.dtype, $0.scaleBlock) = (.float32, nil) }
        try AtomicFile.write(saved.json, to: folder.appending(path: "config.json"))
    }
}

/// A checkpoint that has everything a config asks for, and how it is to be held in memory.
private struct LoadPlan {
    let config: ModelConfig
    let checkpoint: Checkpoint
    let format: Model.LoadFormat
    let tables: [ModelTables]
    let fused: FusedExperts

    init(folder: URL, format: Model.LoadFormat, computeType: ModelConfig.ComputeType?) throws {
        var config = try ModelConfig(folder: folder)
        if let computeType { config.computeType = computeType }
        let block = config.scaleBlock.flatMap { BlockSize(rows: $0.rows, columns: $0.columns) } ?? .standard
        try self.init(config, Checkpoint(folder: folder, block: block), format)
    }

    /// Every tensor is looked at before memory is taken for any: a wrong config must not ask for terabytes.
    init(_ config: ModelConfig, _ checkpoint: Checkpoint, _ format: Model.LoadFormat) throws(CheckpointError) {
        var config = config
        if config.mtpLayerCount > 0, !checkpoint.contains("model.layers.\(config.layerCount).eh_proj.weight") {
            // Other tools drop the MTP layers when they save and keep their number in the config.
            config.mtpLayerCount = 0
        }
        // Some checkpoints repeat the embedding and the head in an MTP layer, or train them apart: theirs count.
        tables = (0..<config.mtpLayerCount).map { i in
            let prefix = "model.layers.\(config.layerCount + i)"
            return ModelTables(
                embedding: checkpoint.contains("\(prefix).embed_tokens.weight"),
                head: checkpoint.contains("\(prefix).shared_head.head.weight"))
        }
        try Self.checkOutline(config, checkpoint)
        fused = FusedExperts(config, checkpoint)
        (self.config, self.checkpoint, self.format) = (config, checkpoint, format)
        for tensor in blueprint.tensors {
            if let piece = fused[tensor.name] {
                _ = try checkpoint.require(piece.name, shape: piece.shape)
            } else {
                _ = try checkpoint.require(tensor.name, shape: tensor.shape)
            }
        }
    }

    /// The model without its memory.
    var blueprint: Model { Model(config, mtpTables: tables, isBlueprint: true, format: weightFormat) }

    func weightFormat(_ name: String, isOnlyRounded: Bool) -> Weight.Format {
        guard format != .f32 else { return .f32 }
        if format == .inference, isOnlyRounded { return .bf16 }
        // A layer's experts are one weight: bf16 only where all of them are, so that none is rounded.
        let first = ".mlp.experts.0."
        let names =
            fused[name].map { [$0.name] }
            ?? (name.contains(first)
                ? (0..<config.routedExpertCount).map { name.replacing(first, with: ".mlp.experts.\($0).") }
                : [name])
        return names.allSatisfy { (try? checkpoint.info($0))?.dtype == .bf16 } ? .bf16 : .f32
    }

    /// Checks that the checkpoint has as many layers and experts as the config says, by a few tensors of each layer: a
    /// wrong config may ask for millions of tensors, and their names alone would fill memory.
    private static func checkOutline(_ config: ModelConfig, _ checkpoint: Checkpoint) throws(CheckpointError) {
        let (W, D) = (config.vocabularySize, config.hiddenSize)
        _ = try checkpoint.require("model.embed_tokens.weight", shape: [W, D])
        for layer in 0..<config.layerCount {
            _ = try checkpoint.require("model.layers.\(layer).input_layernorm.weight", shape: [D])
            if config.isDense(layer: layer) { continue }
            let router = "model.layers.\(layer).mlp.gate.weight"
            _ = try checkpoint.require(router, shape: [config.routedExpertCount, D])
        }
    }
}

extension CheckpointTensor {
    /// Reads the tensor, or its piece of a fused one, into the model.
    fileprivate func load(from checkpoint: Checkpoint, _ piece: FusedExperts.Piece?) throws(CheckpointError) {
        let count = shape.reduce(1, *)
        let held = piece.map { $0.shape[1] * $0.shape[2] } ?? count
        let numbers = try Tensor([held]) { out throws(CheckpointError) in
            try checkpoint.floats(of: piece?.name ?? name, rows: piece.map { $0.expert..<$0.expert + 1 }, into: out)
        }
        let first = piece?.first ?? 0
        numbers.withElements { fill(from: UnsafeBufferPointer(rebasing: $0[first..<first + count])) }
    }
}

/// Checkpoints in which a layer's experts are two tensors: `gate_up_proj [E, 2 F, D]` (gate rows first) and
/// `down_proj [E, D, F]`.
private struct FusedExperts: Sendable {
    struct Piece {
        let name: String
        let shape: [Int]
        let expert: Int
        /// First number of the piece within its expert.
        let first: Int
    }

    private let config: ModelConfig
    private let layers: Set<Int>

    init(_ config: ModelConfig, _ checkpoint: Checkpoint) {
        self.config = config
        layers = Set(
            (0..<config.layerCount + config.mtpLayerCount).filter {
                checkpoint.contains("model.layers.\($0).mlp.experts.gate_up_proj")
            })
    }

    /// Where the tensor of one expert lies, if its layer is fused: "model.layers.3.mlp.experts.7.up_proj.weight".
    subscript(_ name: String) -> Piece? {
        guard !layers.isEmpty else { return nil }
        let words = name.split(separator: ".")
        guard words.count == 8, words[3] == "mlp", words[4] == "experts", let layer = Int(words[2]),
            let expert = Int(words[5]), layers.contains(layer)
        else { return nil }
        let (E, F, D) = (config.routedExpertCount, config.expertWidth, config.hiddenSize)
        let prefix = "model.layers.\(layer).mlp.experts"
        return words[6] == "down_proj"
            ? Piece(name: "\(prefix).down_proj", shape: [E, D, F], expert: expert, first: 0)
            : Piece(
                name: "\(prefix).gate_up_proj", shape: [E, 2 * F, D], expert: expert,
                first: words[6] == "up_proj" ? F * D : 0)
    }
}
