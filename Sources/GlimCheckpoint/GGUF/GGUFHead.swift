/// One tensor of a GGUF file's table.
struct GGUFTensor: Sendable, Equatable {
    let name: String
    let type: GGMLType
    /// Outermost first, as everywhere here; the file lists the innermost first.
    let shape: [Int]
    let byteCount: Int
    /// Where its bytes begin, counted from the start of the file.
    let fileOffset: Int

    /// Numbers of the innermost axis.
    var width: Int { shape.last ?? 1 }
}

/// The head of one GGUF file, parsed and checked by ggml's rules: metadata, and tensors that lie one behind another.
struct GGUFHead {
    let metadata: [String: GGUFValue]
    let tensors: [GGUFTensor]

    /// - Parameters:
    ///   - file: the whole file; only its head is read.
    ///   - path: names the file in errors.
    /// - Throws: the `CheckpointError` of the first thing that is wrong.
    init(_ file: UnsafeRawBufferPointer, path: String) throws(CheckpointError) {
        var cursor = GGUFCursor(file, path: path)
        guard file.count >= 4, try cursor.number(UInt32.self) == Self.magic else {
            throw .malformedGGUF(path: path, reason: "it does not begin with the letters GGUF")
        }
        let version = try cursor.number(UInt32.self)
        guard version == 2 || version == 3 else {
            throw .unsupportedGGUF(
                path: path,
                what: version.byteSwapped <= 3
                    ? "numbers with the highest byte first" : "version \(version) of the format; 2 and 3 are read")
        }
        let tensorCount = try cursor.count(of: 8 + 4 + 8 + 4 + 8, "tensors")
        let valueCount = try cursor.count(of: 8 + 4 + 1, "values")
        var metadata: [String: GGUFValue] = [:]
        for _ in 0..<valueCount {
            let key = try cursor.string()
            let value = try cursor.value(of: key)
            guard metadata.updateValue(value, forKey: key) == nil else {
                throw cursor.malformed("the key \"\(key.prefix(80))\" appears twice")
            }
        }
        let alignment = metadata["general.alignment"]?.integer ?? Self.alignment
        guard (1...1 << 20).contains(alignment), alignment & (alignment - 1) == 0 else {
            throw cursor.malformed("general.alignment is \(alignment), not a power of two up to 1,048,576")
        }
        var entries: [Entry] = []
        var names: Set<String> = []
        for _ in 0..<tensorCount {
            let entry = try Entry(&cursor, path: path)
            guard names.insert(entry.name).inserted else { throw .duplicateTensor(path: path, tensor: entry.name) }
            entries.append(entry)
        }
        self.metadata = metadata
        tensors = try Self.place(
            entries, from: Self.padded(cursor.offset, alignment), alignment, file.count, path: path)
    }

    static let magic: UInt32 = 0x4655_4747  // "GGUF"
    static let alignment = 32

    /// Up to the next multiple.
    static func padded(_ count: Int, _ alignment: Int) -> Int { (count + alignment - 1) / alignment * alignment }

    /// ggml wants each tensor where the one before it ends, filled up to the alignment; whoever does not is damaged.
    private static func place(
        _ entries: [Entry], from dataOffset: Int, _ alignment: Int, _ fileByteCount: Int, path: String
    ) throws(CheckpointError) -> [GGUFTensor] {
        let dataByteCount = max(0, fileByteCount - dataOffset)
        var (tensors, end): ([GGUFTensor], Int) = ([], 0)
        for entry in entries {
            guard entry.offset == UInt64(end) else {
                throw .malformedGGUF(
                    path: path,
                    reason: "tensor \"\(entry.name.prefix(200))\" is said to begin at byte \(entry.offset) "
                        + "of the data, where \(end) is expected")
            }
            guard entry.byteCount <= dataByteCount - end else {
                throw .offsetsOutOfRange(
                    path: path, tensor: entry.name, begin: end, end: end + entry.byteCount,
                    dataByteCount: dataByteCount)
            }
            tensors.append(
                GGUFTensor(
                    name: entry.name, type: entry.type, shape: entry.shape, byteCount: entry.byteCount,
                    fileOffset: dataOffset + end))
            end = padded(end + entry.byteCount, alignment)
        }
        return tensors
    }

    /// A line of the table, before its place is checked.
    private struct Entry {
        let name: String
        let type: GGMLType
        let shape: [Int]
        let byteCount: Int
        let offset: UInt64

        init(_ cursor: inout GGUFCursor, path: String) throws(CheckpointError) {
            name = try cursor.string()
            let axisCount = try cursor.number(UInt32.self)
            guard (1...4).contains(axisCount) else {
                throw cursor.malformed("tensor \"\(name.prefix(200))\" has \(axisCount) axes, expected 1 to 4")
            }
            var (axes, elements): ([Int], Int) = ([], 1)
            for _ in 0..<axisCount {
                let axis = try cursor.number(UInt64.self)
                let (product, overflow) = elements.multipliedReportingOverflow(by: Int(exactly: axis) ?? .max)
                guard axis > 0, !overflow, product <= 1 << 56 else {
                    throw .impossibleShape(
                        path: path, tensor: name, shape: [Int(clamping: axis)] + axes.reversed())
                }
                elements = product
                axes.append(Int(axis))
            }
            let number = try cursor.number(UInt32.self)
            guard let type = GGMLType(rawValue: number) else {
                let known = GGMLType.allCases.map(\.name).joined(separator: ", ")
                throw .unsupportedGGUF(
                    path: path,
                    what: "tensor \"\(name.prefix(200))\" is in \(GGMLType.name(ofNumber: number)), "
                        + "and \(known) are read")
            }
            guard axes[0].isMultiple(of: type.blockCount) else {
                throw cursor.malformed(
                    "a row of tensor \"\(name.prefix(200))\" has \(axes[0]) numbers, which are no whole blocks of "
                        + type.name)
            }
            (self.type, shape) = (type, axes.reversed())
            byteCount = type.byteCount(elements)
            offset = try cursor.number(UInt64.self)
        }
    }
}
