public import Foundation

/// Saves weights in Hugging Face layout, loadable by transformers, atomically.
///
/// Everything is written under temporary names and brought to the disk before any file gets its real name, and the
/// names change in an order that leaves the folder loadable, as the old save or the new, at every moment: when the
/// disk is full, when the process is killed, when the power fails. Two saves into one folder at the same time are not
/// provided for.
public struct CheckpointWriter: Sendable {
    /// Where the save goes.
    public let folder: URL
    /// The most data of one file; a larger tensor has a file of its own.
    public let maxShardByteCount: Int
    /// What each file's header says of itself.
    public let metadata: [String: String]

    /// - Parameters:
    ///   - folder: made if missing.
    ///   - maxShardByteCount: if the weights are larger they go to several files and an index.
    ///   - metadata: of every file; transformers wants `format` to be `pt`.
    public init(
        folder: URL, maxShardByteCount: Int = 5_000_000_000, metadata: [String: String] = ["format": "pt"]
    ) {
        (self.folder, self.maxShardByteCount, self.metadata) = (folder, max(1, maxShardByteCount), metadata)
    }

    /// Writes all tensors, in place of an earlier save in that folder.
    ///
    /// - Parameters:
    ///   - tensors: decides names, formats and shapes, and roughly the order.
    ///   - provide: called once for each tensor, when its turn comes, to append its elements to the sink. Within a
    ///     file, formats with wider elements come first.
    /// - Throws: what `provide` throws, or `CheckpointError.cannotDeclare`, `.wrongElementCount`, `.cannotWrite`. The
    ///   earlier save is then intact and nothing of the new one is left.
    public func write(
        _ tensors: [TensorDeclaration], provide: (TensorDeclaration, inout TensorSink) throws -> Void
    ) throws {
        let byteCounts = try Self.validate(tensors)
        try makeFolder(folder.path)
        let existing = try clean()
        // A damaged index of an earlier save is no reason not to replace it.
        let oldShards = (try? CheckpointFiles.readIndex(path(CheckpointFiles.index))).map { Set($0.values) } ?? []
        let plan = SavePlan(
            byteCounts: byteCounts, alignments: tensors.map { $0.dtype.bitCount / 8 },
            maxByteCount: maxShardByteCount, existing: existing, oldShards: oldShards)

        // Until they are published, these remove themselves when they go.
        var files: [TemporaryFile] = []
        for indices in plan.files {
            let file = try TemporaryFile(in: folder.path)
            files.append(file)
            try Self.write(indices.map { (tensors[$0], byteCounts[$0]) }, metadata, to: file, provide)
        }
        if plan.hasIndex {
            let file = try TemporaryFile(in: folder.path)
            files.append(file)
            try file.write(Self.index(tensors, byteCounts, plan))
            try file.finish()
        }
        try carryOut(plan, files)
    }

    /// Writes one safetensors file of any name, for results rather than models; the tensors are sorted by name.
    ///
    /// - Throws: `CheckpointError.cannotDeclare` if a shape and a count disagree, or `.cannotWrite`.
    public static func writeFile(
        _ tensors: [String: NamedTensor], metadata: [String: String] = [:], to file: URL
    ) throws {
        let sorted = tensors.sorted { $0.key < $1.key }
        let declarations = sorted.map { TensorDeclaration($0.key, $0.value.dtype, $0.value.shape) }
        let byteCounts = try validate(declarations)
        let temporary = try TemporaryFile(in: file.deletingLastPathComponent().path)
        try write(Array(zip(declarations, byteCounts)), metadata, to: temporary) { declaration, sink in
            switch tensors[declaration.name] {
            case .floats(let floats, _): try sink.append(floats)
            case .int32s(let integers, _): try sink.append(int32s: integers)
            case nil: break
            }
        }
        try temporary.publish(as: file.lastPathComponent)
        try synchronizeFolder(temporary.folder)
    }

    /// Whether `writeFile` could write there, as far as can be told before there is anything to write.
    ///
    /// - Throws: `CheckpointError.cannotWrite`.
    public static func checkFile(_ file: URL) throws(CheckpointError) {
        try checkWritable(file.path, inFolder: file.deletingLastPathComponent().path)
    }

    // MARK: Parts

    /// The byte count of each tensor.
    static func validate(_ tensors: [TensorDeclaration]) throws(CheckpointError) -> [Int] {
        var names: Set<String> = ["__metadata__"]
        var byteCounts: [Int] = []
        var total = 0
        for tensor in tensors {
            guard names.insert(tensor.name).inserted else {
                let reason = tensor.name == "__metadata__" ? "the name is reserved" : "it is named twice"
                throw .cannotDeclare(tensor: tensor.name, reason: reason)
            }
            guard let (_, byteCount) = tensor.dtype.size(of: tensor.shape),
                case let (sum, overflow) = total.addingReportingOverflow(byteCount), !overflow
            else { throw .cannotDeclare(tensor: tensor.name, reason: "shape \(tensor.shape) is impossible") }
            total = sum
            byteCounts.append(byteCount)
        }
        return byteCounts
    }

    /// Header and data of one file, down to the disk, still under its temporary name.
    static func write(
        _ tensors: [(declaration: TensorDeclaration, byteCount: Int)], _ metadata: [String: String],
        to file: TemporaryFile, _ provide: (TensorDeclaration, inout TensorSink) throws -> Void
    ) throws {
        try file.write(try header(tensors, metadata))
        for (declaration, byteCount) in tensors {
            var sink = TensorSink(declaration, byteCount: byteCount, file: file)
            try provide(declaration, &sink)
            try sink.finish()
        }
        try file.finish()
    }

    /// Length and JSON, filled up with spaces so that the data begins at a multiple of eight, as Hugging Face does.
    private static func header(
        _ tensors: [(declaration: TensorDeclaration, byteCount: Int)], _ metadata: [String: String]
    ) throws(CheckpointError) -> [UInt8] {
        var entries: [String] = []
        if !metadata.isEmpty {
            let pairs = metadata.sorted { $0.key < $1.key }.map { "\($0.key.json):\($0.value.json)" }
            entries.append("\"__metadata__\":{\(pairs.joined(separator: ","))}")
        }
        var offset = 0
        for (tensor, byteCount) in tensors {
            let shape = tensor.shape.map(String.init).joined(separator: ",")
            entries.append(
                "\(tensor.name.json):{\"dtype\":\"\(tensor.dtype.rawValue)\",\"shape\":[\(shape)],"
                    + "\"data_offsets\":[\(offset),\(offset + byteCount)]}")
            offset += byteCount
        }
        var json = Array("{\(entries.joined(separator: ","))}".utf8)
        json += [UInt8](repeating: 0x20, count: (8 - json.count % 8) % 8)
        guard json.count <= SafetensorsHeader.byteLimit else {
            throw .cannotDeclare(
                tensor: tensors.last?.declaration.name ?? "",
                reason: "the header would exceed 100 MB; use smaller shards")
        }
        return withUnsafeBytes(of: UInt64(json.count).littleEndian) { Array($0) } + json
    }

    private static func index(_ tensors: [TensorDeclaration], _ byteCounts: [Int], _ plan: SavePlan) -> [UInt8] {
        index(
            zip(plan.files, plan.names).flatMap { file, name in file.map { (tensors[$0].name, name) } },
            byteCount: byteCounts.reduce(0, +))
    }

    /// - Parameter places: names of tensors and of the files that hold them.
    static func index(_ places: [(String, String)], byteCount: Int) -> [UInt8] {
        let lines = places.sorted { $0.0 < $1.0 }.map { "    \($0.0.json): \($0.1.json)" }
        let text = """
            {
              "metadata": {
                "total_size": \(byteCount)
              },
              "weight_map": {
            \(lines.joined(separator: ",\n"))
              }
            }

            """
        return Array(text.utf8)
    }

    /// The names in the folder, without the temporary files that dead processes left, which are removed.
    private func clean() throws(CheckpointError) -> Set<String> {
        guard let names = TemporaryFile.clean(folder.path) else {
            throw .cannotWrite(path: folder.path, reason: "the folder cannot be listed")
        }
        return names
    }

    private func carryOut(_ plan: SavePlan, _ files: [TemporaryFile]) throws(CheckpointError) {
        var published: [String] = []
        for (i, step) in plan.steps.enumerated() {
            do throws(CheckpointError) {
                switch step {
                case .publish(let file, let name):
                    try files[file].publish(as: name)
                    published.append(name)
                case .synchronize: try synchronizeFolder(folder.path)
                case .remove(let name): try removeFile(path(name))
                }
            } catch {
                // After the turning point the save has succeeded; what is stale goes with the next one. Before it the
                // new files have names of their own, and only they go.
                guard i < plan.turningPoint else { return }
                if !published.contains(CheckpointFiles.index) {
                    for name in published { try? removeFile(path(name)) }
                }
                throw error
            }
        }
    }

    private func path(_ name: String) -> String { "\(folder.path)/\(name)" }
}

/// A tensor in memory, for `CheckpointWriter.writeFile`.
public enum NamedTensor: Sendable, Equatable {
    case floats([Float], shape: [Int])
    case int32s([Int32], shape: [Int])

    /// Outermost first.
    public var shape: [Int] {
        switch self {
        case .floats(_, let shape), .int32s(_, let shape): shape
        }
    }

    /// What it is written in.
    public var dtype: StoredType {
        switch self {
        case .floats: .f32
        case .int32s: .i32
        }
    }
}
