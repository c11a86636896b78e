import Foundation

extension CheckpointWriter {
    /// Writes a checkpoint shard by shard into a folder that has none yet: for what takes hours, and may be stopped.
    ///
    /// A shard gets its name when it is whole; the index follows the last one, and until then the folder is no
    /// checkpoint. Of the tensors only the one that is being written has to be in memory.
    /// - Parameters:
    ///   - shards: the tensors of each file; of a single one there is no index.
    ///   - isWritten: whether an earlier call wrote a shard, which then stays, if it has the right tensors.
    ///   - provide: called once for each tensor to append its elements. Within a file, formats with wider elements come
    ///     first.
    ///   - wrote: told of each shard that was written, as soon as it has its name; false ends the call.
    /// - Returns: whether all shards are there, and the index.
    /// - Throws: what `provide` and `wrote` throw, or `CheckpointError.cannotDeclare`, `.wrongElementCount`,
    ///   `.cannotWrite`. What was written before stays.
    public func writeShards(
        _ shards: [[TensorDeclaration]], isWritten: (Int) -> Bool,
        provide: (TensorDeclaration, inout TensorSink) throws -> Void, wrote: (Int) throws -> Bool
    ) throws -> Bool {
        let byteCounts = try Self.validate(shards.flatMap { $0 })
        try makeFolder(folder.path)
        TemporaryFile.clean(folder.path)
        let names = Self.shardNames(count: shards.count)
        var first = 0
        for (i, shard) in shards.enumerated() {
            let tensors = Array(zip(shard, byteCounts[first..<first + shard.count])).map {
                (declaration: $0, byteCount: $1)
            }
            first += shard.count
            if isWritten(i), Self.holds("\(folder.path)/\(names[i])", shard) { continue }
            let file = try TemporaryFile(in: folder.path)
            let order = tensors.indices.sorted {
                (-tensors[$0].declaration.dtype.bitCount, $0) < (-tensors[$1].declaration.dtype.bitCount, $1)
            }
            try Self.write(order.map { tensors[$0] }, metadata, to: file, provide)
            try file.publish(as: names[i])
            try synchronizeFolder(folder.path)
            guard try wrote(i) else { return false }
        }
        if shards.count > 1 {
            let places = zip(shards, names).flatMap { shard, name in shard.map { ($0.name, name) } }
            let file = try TemporaryFile(in: folder.path)
            try file.write(Self.index(places, byteCount: byteCounts.reduce(0, +)))
            try file.finish()
            try file.publish(as: CheckpointFiles.index)
            try synchronizeFolder(folder.path)
        }
        return true
    }

    /// As `SavePlan` names the shards of a folder that holds nothing else.
    private static func shardNames(count: Int) -> [String] {
        if count == 1 { return [CheckpointFiles.single] }
        return SavePlan.unusedNames(count: count, existing: [])
    }

    private static func holds(_ path: String, _ shard: [TensorDeclaration]) -> Bool {
        guard let file = try? SafetensorsFile(path: path), file.names.count == shard.count else { return false }
        return shard.allSatisfy { tensor in
            file.info(tensor.name).map { $0.dtype == tensor.dtype && $0.shape == tensor.shape } ?? false
        }
    }
}
