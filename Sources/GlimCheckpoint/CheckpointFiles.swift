/// The names of a checkpoint's files, and its index.
enum CheckpointFiles {
    static let single = "model.safetensors"
    static let index = "model.safetensors.index.json"

    /// The shard of each tensor: `weight_map`.
    static func readIndex(_ path: String) throws(CheckpointError) -> [String: String] {
        var reader = JSONReader(try PlainFile.read(path, limit: SafetensorsHeader.byteLimit))
        let shards: Result<[String: String], CheckpointError>
        do throws(JSONReader.Problem) {
            shards = try parseIndex(&reader, path: path)
        } catch {
            throw .malformedIndex(path: path, offset: error.offset, reason: error.reason)
        }
        return try shards.get()
    }

    private static func parseIndex(_ reader: inout JSONReader, path: String) throws(JSONReader.Problem)
        -> Result<[String: String], CheckpointError>
    {
        var shards: [String: String]?
        try reader.beginObject()
        while let key = try reader.nextKey() {
            guard key == "weight_map" else {
                try reader.skipValue()
                continue
            }
            guard shards == nil else { throw reader.problem("weight_map appears twice") }
            var map: [String: String] = [:]
            try reader.beginObject()
            while let name = try reader.nextKey() {
                let shard = try reader.string()
                guard isPlain(shard) else { return .failure(.unsafeShardName(path: path, shard: shard)) }
                guard map.updateValue(shard, forKey: name) == nil else {
                    return .failure(.duplicateTensor(path: path, tensor: name))
                }
            }
            shards = map
        }
        guard let shards else { throw reader.problem("weight_map is missing") }
        try reader.finish()
        return .success(shards)
    }

    /// A file of the folder itself, visible, and weights.
    private static func isPlain(_ shard: String) -> Bool {
        shard.hasSuffix(".safetensors") && !shard.hasPrefix(".")
            && !shard.unicodeScalars.contains { $0 == "/" || $0 == "\\" || $0.value < 0x20 }
    }
}
