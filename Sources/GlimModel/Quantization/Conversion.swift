public import Foundation
import GlimCheckpoint
import GlimTensor

/// Makes a quantised copy of a model folder, tensor by tensor: the model need not fit into memory.
///
/// Matrices that the scheme names are rounded to nearest, from BF16, F32 or block-scaled FP8 files, experts one tensor
/// each or fused. Of the others F32 and BF16 stay as they are; FP8, whose numbers have fewer bits, becomes BF16. A run
/// that is stopped or killed goes on where it was: each shard has its name when it is whole, and `quantize.json` says
/// which are, until the copy is.
public struct Conversion {
    public let source: URL
    public let folder: URL
    public let scheme: Scheme
    private let plan: LoadPlan
    private let tensors: [CheckpointTensor]
    private let shards: [Range<Int>]

    /// How far the numbers of a module are off, of routed experts all of a layer.
    public struct ModuleError: Sendable, Equatable, Codable {
        /// The checkpoint's.
        public let name: String
        public let bits: Int
        /// Σ (w - ŵ)²
        public var error: Double
        /// Σ w²
        public var size: Double

        /// `‖w - ŵ‖ / ‖w‖`
        public var relative: Double { size > 0 ? (error / size).squareRoot() : 0 }
    }

    /// What is done of a conversion.
    public struct Progress: Sendable {
        public let shardsDone: Int
        public let shardCount: Int
    }

    private static let shardBytes = 2_000_000_000
    private static let copied = [
        "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json",
        "special_tokens_map.json",
    ]

    /// Looks at headers only. No shard of the copy is larger than the largest of the source.
    ///
    /// - Parameter folder: new, or with what an earlier conversion of the same left.
    /// - Throws: `ConfigError`, `CheckpointError`, and `QuantizationError` for a source that is quantised already, or a
    ///   folder with something else.
    public init(_ source: URL, to folder: URL, _ scheme: Scheme) throws {
        let largest = ConversionRecord.files(in: source).filter { $0.key.hasSuffix(".safetensors") }.values.map(\.bytes)
            .max()
        try self.init(source, to: folder, scheme, shardBytes: min(Self.shardBytes, largest ?? Self.shardBytes))
    }

    /// - Parameter shardBytes: data of one shard at most, unless one tensor has more.
    package init(_ source: URL, to folder: URL, _ scheme: Scheme, shardBytes: Int) throws {
        (self.source, self.folder, self.scheme) = (source, folder, scheme)
        plan = try LoadPlan(folder: source, format: .f32, scheme: scheme)
        if plan.config.integerWeights != nil { throw QuantizationError.alreadyQuantized(path: source.path) }
        tensors = plan.blueprint.tensors
        var (shards, first, bytes) = ([Range<Int>](), 0, 0)
        for (i, tensor) in tensors.enumerated() {
            let size = try Self.declarations(tensor, plan).reduce(0) { $0 + $1.byteCount }
            if bytes + size > shardBytes, i > first {
                shards.append(first..<i)
                (first, bytes) = (i, 0)
            }
            bytes += size
        }
        self.shards = shards + [first..<tensors.count]
    }

    /// Bytes of the source's tensors that the model has, and of what is made of them.
    public var byteCounts: (before: Int, after: Int) {
        get throws {
            var (before, after) = (0, 0)
            for tensor in tensors {
                after += try Self.declarations(tensor, plan).reduce(0) { $0 + $1.byteCount }
                if let piece = plan.fused[tensor.name] {
                    let info = try plan.checkpoint.info(piece.name)
                    before += info.byteCount / info.elementCount * tensor.shape.reduce(1, *)
                } else {
                    before += try plan.checkpoint.info(tensor.name).byteCount
                }
            }
            return (before, after)
        }
    }

    /// Makes the copy, or goes on with it.
    ///
    /// - Parameters:
    ///   - isStopped: asked after each shard: whether to leave it at that.
    ///   - progress: told of each shard that is there.
    ///   - whole: called when the copy is there, to look at it. If it throws, the same conversion comes to this point
    ///     again at once.
    /// - Returns: the error of each module, in the checkpoint's order; nil when it was stopped.
    /// - Throws: `CheckpointError` for a disk that is full, a source that is damaged or a folder that another process
    ///   writes, and `QuantizationError` for numbers that are not finite.
    @discardableResult public func run(
        isStopped: () -> Bool = { false }, progress: (Progress) -> Void = { _ in },
        whole: ([ModuleError]) throws -> Void = { _ in }
    ) throws -> [ModuleError]? {
        let lock = try lockFolder()
        defer { withExtendedLifetime(lock) {} }
        var record = try ConversionRecord.find(in: folder, source: source, scheme)
        try record.write(to: folder)
        let byName = Dictionary(
            uniqueKeysWithValues: try tensors.flatMap { tensor in
                try Self.declarations(tensor, plan).map { ($0.declaration.name, (tensor: tensor, part: $0.part)) }
            })
        var errors: [String: ModuleError] = [:]
        let writer = CheckpointWriter(folder: folder)
        let declarations = try shards.map {
            try $0.flatMap { try Self.declarations(tensors[$0], plan).map(\.declaration) }
        }
        let isWhole = try writer.writeShards(declarations) {
            record.shards["\($0)"] != nil
        } provide: {
            declaration, sink in
            guard let (tensor, part) = byName[declaration.name] else { return }
            try Self.write(tensor, part, plan, &errors, to: &sink)
        } wrote: { shard in
            record.shards["\(shard)"] = errors.values.sorted { $0.name < $1.name }
            errors = [:]
            try record.write(to: folder)
            progress(Progress(shardsDone: record.shards.count, shardCount: shards.count))
            return !isStopped()
        }
        guard isWhole else { return nil }
        try Self.copyFiles(from: source, to: folder)
        let model = plan.blueprint
        let config = plan.config.with { ($0.scaleBlock, $0.integerWeights) = (nil, model.integerWeights) }
        // Last: with it the folder is a model.
        try AtomicFile.write(config.json, to: folder.appending(path: "config.json"))
        let all = inOrder(shards.indices.flatMap { record.shards["\($0)"] ?? [] })
        try whole(all)
        try ConversionRecord.remove(from: folder)
        return all
    }

    /// Writes a model that was quantised in memory, with what the source has beside its weights.
    ///
    /// - Parameter make: makes the model, once it is certain that the folder can have it.
    /// - Returns: what `make` made.
    /// - Throws: as `run`, also for a folder with shards that `run` began.
    public func write(_ make: () throws -> Calibration) throws -> Calibration {
        let lock = try lockFolder()
        defer {
            // A start that failed leaves no trace; with files in it the folder stays.
            rmdir(folder.path)
            withExtendedLifetime(lock) {}
        }
        let record = try ConversionRecord.find(in: folder, source: source, scheme)
        guard record.shards.isEmpty else {
            throw QuantizationError.folderInUse(path: folder.path, reason: "holds part of a copy without calibration")
        }
        let made = try make()
        try record.write(to: folder)
        try Self.copyFiles(from: source, to: folder)
        try made.model.save(to: folder)
        try ConversionRecord.remove(from: folder)
        return made
    }

    /// Makes the folder this conversion's own, until the lock is let go of.
    private func lockFolder() throws -> FolderLock {
        try makeFolder(folder.path)
        return try FolderLock(folder.path)
    }

    /// Copies tokenizer, chat template and generation defaults, those that there are.
    private static func copyFiles(from source: URL, to folder: URL) throws(CheckpointError) {
        for name in copied {
            guard let data = FileManager.default.contents(atPath: source.appending(path: name).path) else { continue }
            try AtomicFile.write(data, to: folder.appending(path: name))
        }
    }

    /// Sums by module, in the checkpoint's order.
    private func inOrder(_ parts: [ModuleError]) -> [ModuleError] {
        var (sums, order) = ([String: ModuleError](), [String]())
        for part in parts {
            if var sum = sums[part.name] {
                sum.error += part.error
                sum.size += part.size
                sums[part.name] = sum
            } else {
                sums[part.name] = part
            }
        }
        for tensor in tensors where sums[tensor.module] != nil && order.last != tensor.module {
            order.append(tensor.module)
        }
        return order.compactMap { sums.removeValue(forKey: $0) }
    }

    // MARK: One tensor

    private typealias Stored = (part: IntegerPart?, declaration: TensorDeclaration, byteCount: Int)

    /// What a tensor is written as.
    private static func declarations(_ tensor: CheckpointTensor, _ plan: LoadPlan) throws -> [Stored] {
        func stored(_ part: IntegerPart?, _ declaration: TensorDeclaration) -> Stored {
            (part, declaration, declaration.dtype.bitCount / 8 * declaration.shape.reduce(1, *))
        }
        if let format = tensor.integerFormat {
            return TensorDeclaration.integers(tensor.name, format, outputs: tensor.shape[0], inputs: tensor.shape[1])
                .map { stored($0.part, $0.declaration) }
        }
        let type: StoredType =
            switch try plan.checkpoint.info(plan.fused[tensor.name]?.name ?? tensor.name).dtype {
            case .bf16, .f8E4M3, .f8E5M2: .bf16
            default: .f32
            }
        return [stored(nil, TensorDeclaration(tensor.name, type, tensor.shape))]
    }

    private static func write(
        _ tensor: CheckpointTensor, _ part: IntegerPart?, _ plan: LoadPlan, _ errors: inout [String: ModuleError],
        to sink: inout TensorSink
    ) throws {
        let piece = plan.fused[tensor.name]
        guard let part, let format = tensor.integerFormat else {
            return try tensor.withNumbers(from: plan.checkpoint, piece) { numbers in
                Result { () throws(CheckpointError) in try sink.append(numbers) }
            }.get()
        }
        var (error, size) = (0.0, 0.0)
        let matrix = try tensor.withNumbers(from: plan.checkpoint, piece) { numbers in
            let matrix = Quantizer(format, inputs: tensor.shape[1])(numbers)
            if part == .integers {
                error = matrix.squaredError(numbers)
                size = numbers.reduce(0) { $0 + Double($1) * Double($1) }
            }
            return matrix
        }
        guard matrix.scales.allSatisfy(\.isFinite) else {
            throw QuantizationError.notFinite(tensor: tensor.name)
        }
        if part == .integers {
            errors[tensor.module, default: ModuleError(name: tensor.module, bits: format.bits, error: 0, size: 0)]
                .error += error
            errors[tensor.module]?.size += size
        }
        try sink.append(part, of: matrix)
    }
}

/// Why a model cannot be quantised.
public enum QuantizationError: Error, Equatable, CustomStringConvertible {
    case alreadyQuantized(path: String)
    /// The folder to write has a model, or another conversion's shards.
    case folderInUse(path: String, reason: String)
    case notFinite(tensor: String)

    public var description: String {
        switch self {
        case .alreadyQuantized(let path):
            "\(path) is quantised already; give the checkpoint that it was made of".onOneLine
        case .folderInUse(let path, let reason):
            "\(path) \(reason); give a new folder".onOneLine
        case .notFinite(let tensor):
            "tensor \(tensor) holds an infinity or NaN, which no integer is near; fetch or train it again".onOneLine
        }
    }
}

extension CheckpointTensor {
    /// The checkpoint's module; of routed experts all of a layer.
    var module: String {
        if let range = name.firstRange(of: ".mlp.experts.") {
            return String(name[..<range.upperBound].dropLast())
        }
        return name.hasSuffix(".weight") ? String(name.dropLast(".weight".count)) : name
    }
}
