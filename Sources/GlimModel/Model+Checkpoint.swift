public import Foundation
public import GlimCheckpoint
import GlimTensor
import Synchronization

extension Model {
    /// How matrices are held in memory.
    public enum LoadFormat: Sendable {
        /// bf16 tensors stay bf16 (widened exactly inside products), integers stay integers; everything else becomes f32.
        case asStored
        /// The same, but where products are in bf16 what they round is held rounded: the same results from half the
        /// memory. A model loaded so cannot be saved.
        case inference
        /// Everything becomes f32, integers times their scales too: what training needs.
        case f32
    }

    /// Loads a folder with `config.json` and `*.safetensors` in Hugging Face's layout.
    ///
    /// Experts may be one tensor each, or fused as transformers holds them in memory.
    /// - Parameters:
    ///   - computeType: of products; nil: what the config says.
    ///   - scheme: of f32 weights: products are quantised by it, and what is saved are its integers (quantisation-aware
    ///     training).
    ///   - progress: told after each tensor, from any thread, how much is loaded: from 0 to 1.
    /// - Throws: `ConfigError`, `CheckpointError`.
    public init(
        folder: URL, format: LoadFormat = .asStored, computeType: ModelConfig.ComputeType? = nil, scheme: Scheme? = nil,
        progress: @Sendable (Double) -> Void = { _ in }
    ) throws {
        try self.init(
            LoadPlan(folder: folder, format: format, computeType: computeType, scheme: scheme), progress: progress)
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

    /// Loads all weights but the routed experts, which are read when a pass needs them: the same model, to the bit, in
    /// less memory. It can be neither trained nor saved.
    ///
    /// - Parameters:
    ///   - plan: what of it is to be where; one in which everything fits loads the model whole.
    ///   - counts: which experts earlier runs used.
    ///   - progress: as for a model that is loaded whole.
    /// - Throws: `ConfigError`, `CheckpointError`.
    package init(
        folder: URL, memory plan: MemoryPlan, counts: ExpertCounts? = nil,
        computeType: ModelConfig.ComputeType? = nil, options: ExpertStream.Options = ExpertStream.Options(),
        progress: @Sendable (Double) -> Void = { _ in }
    ) throws {
        let load = try LoadPlan(folder: folder, format: .inference, computeType: computeType)
        let stream =
            plan.isStreamed
            ? try ExpertStream(
                load, load.expertShapes, byteCount: plan.heldExpertByteCount, counts: counts, options: options) : nil
        try self.init(load, stream: stream, progress: progress)
        stream?.start()
    }

    private init(
        _ plan: LoadPlan, stream: ExpertStream? = nil, progress: @Sendable (Double) -> Void = { _ in }
    ) throws(CheckpointError) {
        let (checkpoint, fused) = (plan.checkpoint, plan.fused)
        self.init(
            plan.config, mtpTables: plan.tables, isZeroed: false, source: stream.map { stream in { _ in stream } },
            form: plan.form)
        isHeldRounded = plan.format == .inference && plan.config.computeType == .bfloat16
        let failure = Mutex<CheckpointError?>(nil)
        let tensors = tensors
        let total = tensors.reduce(0) { $0 + $1.shape.reduce(1, *) }
        let done = Atomic(0)
        ThreadPool.shared.run(tensors.count) { i in
            do throws(CheckpointError) {
                try tensors[i].load(from: checkpoint, fused[tensors[i].name])
            } catch {
                failure.withLock { $0 = $0 ?? error }
            }
            let count = done.add(tensors[i].shape.reduce(1, *), ordering: .relaxed).newValue
            progress(Double(count) / Double(total))
        }
        if let error = failure.withLock({ $0 }) { throw error }
        changed()
    }

    /// Saves config.json and the tensors under the names they are loaded by, f32; of a quantised model matrices in the
    /// integers that their products are in, or in bf16, stay so. What was there before stays whole until the new files are
    /// complete.
    ///
    /// - Throws: `CheckpointError` for a disk that is full or a folder that cannot be written, and for a model that was
    ///   loaded rounded, whose numbers are lost.
    public func save(to folder: URL) throws {
        if isHeldRounded {
            throw CheckpointError.cannotWrite(
                path: folder.path, reason: "the model was loaded for inference, rounded; load it as f32")
        }
        if expertStream != nil {
            throw CheckpointError.cannotWrite(
                path: folder.path, reason: "the model's experts are on disk; load it whole")
        }
        let integerWeights = integerWeights
        let stored = tensors.flatMap { $0.stored(keepsBF16: integerWeights != nil) }
        let places = Dictionary(uniqueKeysWithValues: stored.map { ($0.declaration.name, $0) })
        try CheckpointWriter(folder: folder).write(stored.map(\.declaration)) { declaration, sink in
            try places[declaration.name]?.write(to: &sink)
        }
        // What is written is f32, or integers, whatever the model was loaded from.
        let isBF16 = integerWeights != nil && embedding.format == .bf16
        let saved = config.with {
            ($0.dtype, $0.scaleBlock, $0.integerWeights) = (isBF16 ? .bfloat16 : .float32, nil, integerWeights)
        }
        try AtomicFile.write(saved.json, to: folder.appending(path: "config.json"))
    }
}

/// One tensor of a file: a tensor of the model in f32, or one of those that its integers are stored in.
private struct StoredTensor {
    let declaration: TensorDeclaration
    let tensor: CheckpointTensor
    let part: IntegerPart?

    func write(to sink: inout TensorSink) throws {
        if let part {
            guard let integers = tensor.integers() else { return }
            try sink.append(part, of: integers)
        } else {
            guard let numbers = tensor.numbers() else { return }
            try numbers.withElements { try sink.append($0) }
        }
    }
}

extension CheckpointTensor {
    /// As it is saved.
    ///
    /// - Parameter keepsBF16: what is held in bf16 is not widened.
    fileprivate func stored(keepsBF16: Bool) -> [StoredTensor] {
        guard let format = integerFormat else {
            let isBF16 = keepsBF16 && parts.allSatisfy { $0.weight.format == .bf16 }
            return [StoredTensor(declaration: .init(name, isBF16 ? .bf16 : .f32, shape), tensor: self, part: nil)]
        }
        return TensorDeclaration.integers(name, format, outputs: shape[0], inputs: shape[1]).map {
            StoredTensor(declaration: $0.declaration, tensor: self, part: $0.part)
        }
    }
}
