public import Foundation
import GlimCheckpoint
import GlimTensor

/// Writes a model in Hugging Face's layout, tensor by tensor, so that it need not fit into memory: what is bf16 stays so,
/// everything else becomes f32, blocks of integers times their scales.
public struct FolderExport {
    private let plan: LoadPlan
    private let tensors: [CheckpointTensor]
    private let declarations: [TensorDeclaration]

    /// Looks at headers only.
    ///
    /// - Throws: `ConfigError`, `CheckpointError`.
    public init(model: URL) throws {
        let plan = try LoadPlan(folder: model, format: .asStored)
        tensors = plan.blueprint.tensors
        declarations = tensors.map { tensor in
            let info = try? plan.checkpoint.info(plan.fused[tensor.name]?.name ?? tensor.name)
            return TensorDeclaration(tensor.name, info?.dtype == .bf16 ? .bf16 : .f32, tensor.shape)
        }
        self.plan = plan
    }

    /// Bytes of the numbers to be written.
    public var byteCount: Int { declarations.reduce(0) { $0 + Self.byteCount($1) } }

    private static func byteCount(_ declaration: TensorDeclaration) -> Int {
        declaration.shape.reduce(declaration.dtype == .bf16 ? 2 : 4, *)
    }

    /// Writes the weights and `config.json`; what was there before stays whole until they are complete.
    ///
    /// - Parameter progress: told after each tensor how many bytes of numbers are written.
    /// - Throws: `CheckpointError` for a disk that is full or a source that is damaged.
    public func write(to folder: URL, progress: (Int) -> Void = { _ in }) throws {
        let byName = Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0) })
        var done = 0
        try CheckpointWriter(folder: folder).write(declarations) { declaration, sink in
            guard let tensor = byName[declaration.name] else { return }
            try plan.forEachRows(of: tensor) { rows throws(CheckpointError) in try sink.append(rows) }
            done += Self.byteCount(declaration)
            progress(done)
        }
        let isBF16 = declarations.first?.dtype == .bf16
        let saved = plan.config.with {
            ($0.dtype, $0.scaleBlock, $0.integerWeights) = (isBF16 ? .bfloat16 : .float32, nil, nil)
        }
        try AtomicFile.write(saved.json, to: folder.appending(path: "config.json"))
    }
}
