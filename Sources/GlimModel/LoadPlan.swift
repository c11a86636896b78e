import Foundation
import GlimCheckpoint
import GlimTensor

/// A checkpoint that has everything a config asks for, and how it is to be held in memory.
struct LoadPlan {
    let config: ModelConfig
    let checkpoint: Checkpoint
    let format: Model.LoadFormat
    /// What the model is to be quantised to, in training or in another file.
    let scheme: Scheme?
    let tables: [ModelTables]
    let fused: FusedExperts

    init(
        folder: URL, format: Model.LoadFormat, computeType: ModelConfig.ComputeType? = nil, scheme: Scheme? = nil
    ) throws {
        if GGUFFile.isNamed(by: folder) {
            let file = try GGUFFile(folder)
            var config = try ModelConfig(gguf: file)
            if let computeType { config.computeType = computeType }
            try self.init(config, Checkpoint(gguf: file), format, scheme)
            return
        }
        var config = try ModelConfig(folder: folder)
        if let computeType { config.computeType = computeType }
        let block = config.scaleBlock.flatMap { BlockSize(rows: $0.rows, columns: $0.columns) } ?? .standard
        try self.init(config, Checkpoint(folder: folder, block: block), format, scheme)
    }

    /// Every tensor is looked at before memory is taken for any: a wrong config must not ask for terabytes.
    init(
        _ config: ModelConfig, _ checkpoint: Checkpoint, _ format: Model.LoadFormat, _ scheme: Scheme? = nil
    ) throws(CheckpointError) {
        var config = config
        if config.mtpLayerCount > 0, !checkpoint.containsMatrix("model.layers.\(config.layerCount).eh_proj.weight") {
            // Other tools drop the MTP layers when they save and keep their number in the config.
            config.mtpLayerCount = 0
        }
        // Some checkpoints repeat the embedding and the head in an MTP layer, or train them apart: theirs count.
        tables = (0..<config.mtpLayerCount).map { i in
            let prefix = "model.layers.\(config.layerCount + i)"
            return ModelTables(
                embedding: checkpoint.containsMatrix("\(prefix).embed_tokens.weight"),
                head: checkpoint.containsMatrix("\(prefix).shared_head.head.weight"))
        }
        if scheme != nil { config.keepsShortKeys() }
        try Self.checkOutline(config, checkpoint)
        fused = FusedExperts(config, checkpoint)
        (self.config, self.checkpoint, self.format, self.scheme) = (config, checkpoint, format, scheme)
        for tensor in blueprint.tensors {
            if let piece = fused[tensor.name] {
                _ = try checkpoint.require(piece.name, shape: piece.shape)
            } else if try checkpoint.integerFormat(of: tensor.name, shape: tensor.shape) == nil {
                _ = try checkpoint.require(tensor.name, shape: tensor.shape)
            }
        }
    }

    /// The model without its memory.
    var blueprint: Model { Model(config, mtpTables: tables, isBlueprint: true, form: form) }

    /// What the layers with experts have.
    var expertShapes: [ExpertShape] { blueprint.expertShapes }

    func form(_ matrix: MatrixRequest) -> MatrixForm {
        guard format != .f32 else { return MatrixForm(format: .f32, quantization: scheme?.format(matrix)) }
        // A layer's experts are one weight: what it is held in is what all of them are stored in, so that none is
        // rounded, or f32.
        let name = matrix.tensor
        let names =
            fused[name].map { [$0.name] }
            ?? (matrix.use == .routedExperts
                ? (0..<config.routedExpertCount).map {
                    name.replacing(".experts.0.", with: ".experts.\($0).", maxReplacements: 1)
                }
                : [name])
        if matrix.use != .other, fused[name] == nil {
            let shape = [matrix.outputs, matrix.inputs]
            let first = try? checkpoint.integerFormat(of: name, shape: shape)
            if let first, names.allSatisfy({ (try? checkpoint.integerFormat(of: $0, shape: shape)) == first }) {
                return MatrixForm(format: first)
            }
        }
        if format == .inference, matrix.isOnlyRounded { return MatrixForm(format: .bf16) }
        let isBF16 = names.allSatisfy { (try? checkpoint.info($0))?.dtype == .bf16 }
        return MatrixForm(format: isBF16 ? .bf16 : .f32)
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
    func load(from checkpoint: Checkpoint, _ piece: FusedExperts.Piece?) throws(CheckpointError) {
        if piece == nil, let format = try checkpoint.integerFormat(of: name, shape: shape) {
            return try load(format, from: checkpoint)
        }
        if piece == nil, parts.count == 1, !parts[0].isTransposed, shape.count == 2 {
            return try loadRows(from: checkpoint)
        }
        try withNumbers(from: checkpoint, piece) { fill(from: $0) }
    }

    private func load(_ format: Weight.Format, from checkpoint: Checkpoint) throws(CheckpointError) {
        let (weight, matrix) = (parts[0].weight, parts[0].matrix)
        if weight.format == format, shape[1].isMultiple(of: 32), checkpoint.storesIntegersApart(name) {
            // Only put in another order, straight from the file.
            let (integers, scales) = try checkpoint.storedIntegers(of: name, shape: shape, format)
            let width = integers.count / shape[0]
            let rowsAtOnce = max(1, Self.bytesAtOnce / width / 32) * 32
            for first in stride(from: 0, to: shape[0], by: rowsAtOnce) {
                let part = integers.slice(first * width..<min(shape[0], first + rowsAtOnce) * width)
                part.withUnsafeBytes { weight.set(stored: $0, scales: scales, from: first, matrix: matrix) }
                part.release()
            }
            return
        }
        let integers = try checkpoint.integers(of: name, shape: shape, format)
        if weight.format == format {
            weight.set(integers, matrix: matrix)
        } else {
            integers.numbers.withUnsafeBufferPointer { fill(from: $0) }
        }
    }

    /// Of a large matrix some rows are read at a time: in f32, and beside what they become, all would take more memory
    /// than the rest of loading.
    private static let bytesAtOnce = 16 << 20

    /// Bytes that loading it takes at one time, besides its own.
    var loadByteCount: Int {
        let count = shape.reduce(1, *)
        // As numbers and in the file; integers and their scales in the file.
        if integerFormat != nil { return 2 * min(count, Self.bytesAtOnce) + count / 16 }
        let isWhole = parts.count > 1 || shape.count < 2
        return 8 * (isWhole ? count : min(count, max(Self.bytesAtOnce / 4, 32 * shape[1])))
    }

    private func loadRows(from checkpoint: Checkpoint) throws(CheckpointError) {
        let rowsAtOnce = max(1, Self.bytesAtOnce / 4 / 32 / shape[1]) * 32
        for first in stride(from: 0, to: shape[0], by: rowsAtOnce) {
            let rows = first..<min(shape[0], first + rowsAtOnce)
            let numbers = try Tensor([rows.count * shape[1]]) { out throws(CheckpointError) in
                try checkpoint.floats(of: name, rows: rows, into: out)
            }
            numbers.withElements { parts[0].weight.set($0, from: first, matrix: parts[0].matrix) }
        }
    }

    /// Reads the tensor's numbers, or those of its piece of a fused one.
    func withNumbers<R>(
        from checkpoint: Checkpoint, _ piece: FusedExperts.Piece?, _ body: (UnsafeBufferPointer<Float>) -> R
    ) throws(CheckpointError) -> R {
        let count = shape.reduce(1, *)
        let numbers: Tensor
        if let piece {
            // Experts lie one behind another; of each first the rows of the gate, then those of the other half.
            numbers = try Tensor([piece.shape[1] * piece.shape[2]]) { out throws(CheckpointError) in
                try checkpoint.floats(of: piece.name, rows: piece.expert..<piece.expert + 1, into: out)
            }
        } else {
            numbers = try Tensor([count]) { out throws(CheckpointError) in
                try checkpoint.floats(of: name, into: out)
            }
        }
        let first = piece?.first ?? 0
        return numbers.withElements { body(UnsafeBufferPointer(rebasing: $0[first..<first + count])) }
    }
}

/// Checkpoints in which a layer's experts are two tensors: `gate_up_proj [E, 2 F, D]` (gate rows first) and
/// `down_proj [E, D, F]`.
struct FusedExperts: Sendable {
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
