public import Foundation
public import GlimCheckpoint
import GlimTensor

/// Writes a model's folder, or another GGUF file, as a GGUF file that llama.cpp reads: tensor by tensor, so that it
/// need not fit into memory.
///
/// Matrices get the number format that is asked for. Vectors, routers, and matrices whose rows are no whole blocks of it
/// are F32.
public struct GGUFExport {
    /// Of matrices.
    public let type: GGMLType
    /// What somebody who uses the file should know.
    public let notes: [String]

    private let plan: LoadPlan
    private let config: ModelConfig
    private let outputs: [Output]

    /// One tensor of the file.
    private struct Output {
        let declaration: GGUFDeclaration
        let content: Content
    }

    private enum Content {
        /// Tensors of the model, one behind another.
        case tensors([CheckpointTensor])
        /// Of `kv_b_proj` the rows that carry keys, transposed head by head, or those that carry values.
        case keys(CheckpointTensor)
        case values(CheckpointTensor)
    }

    /// Looks at headers only.
    ///
    /// - Throws: `ConfigError`, `CheckpointError` for a model that cannot be read, and `GGUFExportError` for one that the
    ///   format has no words for.
    public init(model: URL, type: GGMLType) throws {
        plan = try LoadPlan(folder: model, format: .asStored)
        self.type = type
        var config = plan.config
        var notes: [String] = []
        if config.family == .lite, config.mtpLayerCount > 0 {
            config.mtpLayerCount = 0
            notes.append("the layers of multi-token prediction are left out: \(GGUFKeys.dense) has no place for them")
        }
        if config.family == .lite, config.queryLatent == nil {
            notes.append("llama.cpp does not read \(GGUFKeys.dense) without q_lora_rank; Glim does")
        }
        if let indexer = config.indexer, !indexer.headWidth.isMultiple(of: 64) {
            notes.append(
                "llama.cpp stops at an index_head_dim of \(indexer.headWidth), which is no multiple of 64; Glim does not"
            )
        }
        try Self.check(config)
        let last = config.layerCount + config.mtpLayerCount
        let tensors = plan.blueprint.tensors.filter { tensor in (GGUFExport.layer(of: tensor.name) ?? 0) < last }
        outputs = try Self.outputs(tensors, config, type)
        (self.config, self.notes) = (config, notes)
    }

    /// Bytes of the numbers to be written.
    public var byteCount: Int { outputs.reduce(0) { $0 + $1.declaration.byteCount } }

    /// Writes the file: whole, or not at all.
    ///
    /// - Parameters:
    ///   - name: `general.name`.
    ///   - metadata: what else the file is to say: of the tokenizer.
    ///   - progress: told after each tensor how many bytes of numbers are written.
    /// - Throws: `CheckpointError` for a disk that is full or a source that is damaged.
    public func write(
        to file: URL, name: String, metadata: [(key: String, value: GGUFValue)], progress: (Int) -> Void = { _ in }
    ) throws {
        let contents = Dictionary(uniqueKeysWithValues: outputs.map { ($0.declaration.name, $0.content) })
        var done = 0
        try GGUFWriter.write(config.ggufMetadata(name: name, type) + metadata, outputs.map(\.declaration), to: file) {
            declaration, sink in
            guard let content = contents[declaration.name] else { return }
            try append(content, to: &sink)
            done += declaration.byteCount
            progress(done)
        }
    }

    // MARK: Which tensors

    /// What llama.cpp computes otherwise, and the format cannot say.
    private static func check(_ config: ModelConfig) throws(GGUFExportError) {
        if config.latentNormEpsilon != config.normEpsilon {
            throw .noWord(
                key: "latent_norm_eps", found: "\(config.latentNormEpsilon)",
                why: "the format has one epsilon for all norms, rms_norm_eps, which is \(config.normEpsilon)")
        }
        if !config.ropeInterleave {
            throw .noWord(key: "rope_interleave", found: "false", why: "llama.cpp rotates neighbours")
        }
        if config.indexer?.ropeInterleave == false {
            throw .noWord(key: "indexer_rope_interleave", found: "false", why: "llama.cpp rotates neighbours")
        }
    }

    private static func layer(of name: String) -> Int? {
        let words = name.split(separator: ".", maxSplits: 3)
        return words.count == 4 && words[1] == "layers" ? Int(words[2]) : nil
    }

    /// What the tensors `model.layers.L.mlp.experts.E.X.weight` that differ in E have in common.
    private static func stack(of name: String) -> [Substring] {
        var words = name.split(separator: ".")
        if words.count > 5 { words.remove(at: 5) }
        return words
    }

    private static func outputs(
        _ tensors: [CheckpointTensor], _ config: ModelConfig, _ type: GGMLType
    ) throws(GGUFExportError) -> [Output] {
        let top = Dictionary(uniqueKeysWithValues: GGUFNames.top.map { ($0.1, $0.0) })
        let layers = Dictionary(uniqueKeysWithValues: GGUFNames.layer.map { ($0.1, $0.0) })
        let stacks = Dictionary(uniqueKeysWithValues: GGUFNames.experts.map { ("\($0.1).weight", $0.0) })
        var outputs: [Output] = []
        func add(_ name: String, _ shape: [Int], _ content: Content) {
            let isPlain = shape.count == 1 || name.hasSuffix(GGUFNames.router)
            let fits = (shape.last ?? 1).isMultiple(of: type.blockCount)
            outputs.append(
                Output(declaration: GGUFDeclaration(name, isPlain || !fits ? .f32 : type, shape), content: content))
        }
        let experts = Dictionary(
            grouping: tensors.filter { $0.name.contains(".mlp.experts.") }, by: { stack(of: $0.name) })
        for tensor in tensors {
            let words = tensor.name.split(separator: ".", maxSplits: 3).map(String.init)
            if let name = top[tensor.name] {
                add(name, tensor.shape, .tensors([tensor]))
                continue
            }
            guard let layer = layer(of: tensor.name) else {
                throw .noWord(key: tensor.name, found: "a tensor", why: "llama.cpp has no name for it")
            }
            let prefix = "blk.\(layer)."
            if words[3] == GGUFNames.keyValue {
                let (H, N, V, C) = (config.headCount, config.keyPlain, config.valueWidth, config.latent)
                add(prefix + GGUFNames.keyUp, [H, C, N], .keys(tensor))
                add(prefix + GGUFNames.valueUp, [H, V, C], .values(tensor))
            } else if let name = layers[words[3]] {
                add(prefix + name, tensor.shape, .tensors([tensor]))
            } else if words[3].hasPrefix("mlp.experts.0."), let name = stacks[String(words[3].dropFirst(14))] {
                let all = experts[stack(of: tensor.name)] ?? []
                add(prefix + name, [all.count] + tensor.shape, .tensors(all))
            } else if !words[3].hasPrefix("mlp.experts.") {
                throw .noWord(key: tensor.name, found: "a tensor", why: "llama.cpp has no name for it")
            }
        }
        return outputs
    }

    // MARK: Numbers

    private func append(_ content: Content, to sink: inout GGUFSink) throws {
        let (H, N, V, C) = (config.headCount, config.keyPlain, config.valueWidth, config.latent)
        switch content {
        case .tensors(let tensors):
            for tensor in tensors {
                try plan.forEachRows(of: tensor) { rows throws(CheckpointError) in try sink.append(rows) }
            }
        case .keys(let tensor):
            let turned = Tensor(uninitialized: [C, N])
            try plan.numbers(of: tensor).withElements { numbers in
                for h in 0..<H {
                    let (first, to) = (h * (N + V) * C, turned.pointer)
                    for c in 0..<C { for n in 0..<N { to[c * N + n] = numbers[first + n * C + c] } }
                    try turned.withElements { try sink.append($0) }
                }
            }
        case .values(let tensor):
            try plan.numbers(of: tensor).withElements { numbers in
                for h in 0..<H {
                    let first = (h * (N + V) + N) * C
                    try sink.append(UnsafeBufferPointer(rebasing: numbers[first..<first + V * C]))
                }
            }
        }
    }
}

/// Why a model cannot be written as a GGUF file.
public enum GGUFExportError: Error, Equatable, CustomStringConvertible {
    case noWord(key: String, found: String, why: String)

    public var description: String {
        switch self {
        case .noWord(let key, let found, let why):
            "the model cannot be written as GGUF: \(key) is \(found), but \(why); use it from its folder".onOneLine
        }
    }
}
