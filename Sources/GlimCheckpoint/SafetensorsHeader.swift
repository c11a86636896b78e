/// The header of a safetensors file, parsed and checked by the rules of Hugging Face's reader.
///
/// Eight bytes hold the length of the JSON (little-endian), the JSON says for each tensor its dtype, shape and place,
/// and the tensors together cover the rest of the file without holes or overlaps.
package struct SafetensorsHeader: Sendable {
    /// Hugging Face refuses longer headers.
    package static let byteLimit = 100_000_000

    /// In the order of their bytes.
    package let names: [String]
    package let tensors: [String: TensorInfo]
    package let metadata: [String: String]

    /// - Parameters:
    ///   - file: the whole file; only its header is read.
    ///   - path: names the file in errors.
    /// - Throws: the `CheckpointError` of the first thing that is wrong.
    package init(_ file: UnsafeRawBufferPointer, path: String) throws(CheckpointError) {
        guard file.count >= 8 else { throw .tooShort(path: path, byteCount: file.count) }
        let claimed = UInt64(littleEndian: file.loadUnaligned(as: UInt64.self))
        guard claimed <= Self.byteLimit else {
            throw .headerTooLong(path: path, headerByteCount: claimed, limit: Self.byteLimit)
        }
        let (headerByteCount, dataByteCount) = (Int(claimed), file.count - 8 - Int(claimed))
        guard dataByteCount >= 0 else {
            throw .headerTruncated(path: path, headerByteCount: headerByteCount, fileByteCount: file.count)
        }
        let json = [UInt8](UnsafeRawBufferPointer(rebasing: file[8..<8 + headerByteCount]))
        guard json.first == UInt8(ascii: "{") else {
            throw .malformedHeader(path: path, tensor: nil, offset: 0, reason: "expected an object")
        }

        var parser = Parser(path: path, dataOffset: 8 + headerByteCount, dataByteCount: dataByteCount)
        parser.tensors.reserveCapacity(json.count / 128)
        var reader = JSONReader(json)
        do throws(JSONReader.Problem) {
            try parser.parse(&reader)
        } catch {
            throw .malformedHeader(path: path, tensor: parser.tensor, offset: error.offset, reason: error.reason)
        }
        if let error = parser.error { throw error }
        names = try parser.order()
        (tensors, metadata) = (parser.tensors, parser.metadata)
    }
}

private struct Parser {
    let path: String
    let dataOffset: Int
    let dataByteCount: Int
    var tensors: [String: TensorInfo] = [:]
    var places: [(begin: Int, byteCount: Int, name: String)] = []
    var metadata: [String: String] = [:]
    /// The tensor being read, for errors.
    var tensor: String?
    /// What is wrong beyond the JSON itself. Parsing stops there.
    var error: CheckpointError?

    init(path: String, dataOffset: Int, dataByteCount: Int) {
        (self.path, self.dataOffset, self.dataByteCount) = (path, dataOffset, dataByteCount)
    }

    mutating func parse(_ reader: inout JSONReader) throws(JSONReader.Problem) {
        var hasMetadata = false
        try reader.beginObject()
        while let name = try reader.nextKey() {
            if name == "__metadata__" {
                guard !hasMetadata else { throw reader.problem("__metadata__ appears twice") }
                hasMetadata = true
                try reader.beginObject()
                while let key = try reader.nextKey() { metadata[key] = try reader.string() }
                continue
            }
            tensor = name
            guard tensors[name] == nil else {
                error = .duplicateTensor(path: path, tensor: name)
                return
            }
            guard let info = try readTensor(name, &reader) else { return }
            tensors[name] = info
            places.append((info.fileOffset - dataOffset, info.byteCount, name))
            tensor = nil
        }
        try reader.finish()
    }

    /// Nil if `error` was set.
    private mutating func readTensor(_ name: String, _ reader: inout JSONReader) throws(JSONReader.Problem)
        -> TensorInfo?
    {
        var (dtypeName, shape, offsets): (String?, [Int]?, [Int]?)
        try reader.beginObject()
        while let key = try reader.nextKey() {
            switch key {
            case "dtype" where dtypeName == nil: dtypeName = try reader.string()
            case "shape" where shape == nil: shape = try reader.counts()
            case "data_offsets" where offsets == nil: offsets = try reader.counts()
            case "dtype", "shape", "data_offsets": throw reader.problem("\(key) appears twice")
            default: try reader.skipValue()
            }
        }
        guard let dtypeName, let shape, let offsets, offsets.count == 2 else {
            throw reader.problem("expected dtype, shape and two data_offsets")
        }
        guard let dtype = StoredType(rawValue: dtypeName) else {
            error = .unknownDType(path: path, tensor: name, found: dtypeName)
            return nil
        }
        guard let (elementCount, byteCount) = dtype.size(of: shape) else {
            error = .impossibleShape(path: path, tensor: name, shape: shape)
            return nil
        }
        let (begin, end) = (offsets[0], offsets[1])
        guard begin <= end, end <= dataByteCount else {
            error = .offsetsOutOfRange(
                path: path, tensor: name, begin: begin, end: end, dataByteCount: dataByteCount)
            return nil
        }
        guard end - begin == byteCount else {
            error = .wrongByteCount(path: path, tensor: name, found: end - begin, expected: byteCount)
            return nil
        }
        return TensorInfo(
            dtype: dtype, shape: shape, elementCount: elementCount, byteCount: byteCount,
            fileOffset: dataOffset + begin)
    }

    /// The names by place, after checking that the tensors cover the data exactly once.
    func order() throws(CheckpointError) -> [String] {
        // An empty tensor may share its place with a full one, and then comes first. Most files are in order already.
        let sorted = places.sorted { ($0.begin, $0.byteCount, $0.name) < ($1.begin, $1.byteCount, $1.name) }
        var (end, last) = (0, "")
        for (begin, byteCount, name) in sorted {
            if begin < end { throw .overlap(path: path, tensor: name, other: last) }
            if begin > end { throw .hole(path: path, begin: end, end: begin) }
            (end, last) = (begin + byteCount, name)
        }
        if end < dataByteCount { throw .hole(path: path, begin: end, end: dataByteCount) }
        return sorted.map(\.name)
    }
}

extension JSONReader {
    fileprivate mutating func counts() throws(Problem) -> [Int] {
        var counts: [Int] = []
        try beginArray()
        while try nextElement() { counts.append(try count()) }
        return counts
    }
}
