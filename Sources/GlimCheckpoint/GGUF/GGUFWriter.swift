public import Foundation

/// One tensor that is to be written to a GGUF file.
public struct GGUFDeclaration: Sendable, Equatable {
    public let name: String
    public let type: GGMLType
    /// Outermost first.
    public let shape: [Int]

    public init(_ name: String, _ type: GGMLType, _ shape: [Int]) {
        (self.name, self.type, self.shape) = (name, type, shape)
    }

    var elementCount: Int { shape.reduce(1, *) }
    /// Bytes of its numbers in the file.
    public var byteCount: Int { type.byteCount(elementCount) }
}

/// Takes the numbers of one tensor, row-major, in pieces of whole rows.
public struct GGUFSink: ~Copyable {
    private let declaration: GGUFDeclaration
    private let file: TemporaryFile
    private var written = 0

    init(_ declaration: GGUFDeclaration, _ file: TemporaryFile) { (self.declaration, self.file) = (declaration, file) }

    /// Appends rows of the innermost axis, in the tensor's number format.
    ///
    /// - Throws: `CheckpointError.wrongElementCount` if they are more than the shape holds, or no whole blocks, or
    ///   `.cannotWrite`.
    public mutating func append(_ numbers: UnsafeBufferPointer<Float>) throws(CheckpointError) {
        written += numbers.count
        guard written <= declaration.elementCount, numbers.count.isMultiple(of: declaration.type.blockCount) else {
            throw wrongCount
        }
        // A multiple of every block.
        let chunk = 1 << 16
        var bytes: [UInt8] = []
        for start in stride(from: 0, to: numbers.count, by: chunk) {
            bytes.removeAll(keepingCapacity: true)
            let part = numbers[start..<min(numbers.count, start + chunk)]
            GGMLBlocks.encode(declaration.type, UnsafeBufferPointer(rebasing: part), into: &bytes)
            try file.write(bytes)
        }
    }

    /// Checks that the tensor is whole.
    consuming func finish() throws(CheckpointError) {
        guard written == declaration.elementCount else { throw wrongCount }
    }

    private var wrongCount: CheckpointError {
        .wrongElementCount(tensor: declaration.name, found: written, expected: declaration.elementCount)
    }
}

/// Writes a model in llama.cpp's format, version 3: whole, or not at all.
public enum GGUFWriter {
    /// - Parameters:
    ///   - metadata: in this order. Whole numbers become u32 where they fit, lists of them i32, other numbers f32: the
    ///     widths that llama.cpp asks for.
    ///   - provide: called once for each tensor, in order, to append its numbers to the sink.
    /// - Throws: what `provide` throws, or `CheckpointError.cannotDeclare`, `.wrongElementCount`, `.cannotWrite`. What
    ///   was there before is then intact.
    public static func write(
        _ metadata: [(key: String, value: GGUFValue)], _ tensors: [GGUFDeclaration], to file: URL,
        provide: (GGUFDeclaration, inout GGUFSink) throws -> Void
    ) throws {
        let folder = file.deletingLastPathComponent().path
        try checkWritable(file.path, inFolder: folder)
        TemporaryFile.clean(folder)
        let head = try head(metadata, tensors)
        let temporary = try TemporaryFile(in: folder)
        try temporary.write(head)
        for tensor in tensors {
            var sink = GGUFSink(tensor, temporary)
            try provide(tensor, &sink)
            try sink.finish()
            try temporary.write(filling(tensor.byteCount))
        }
        try temporary.finish()
        try temporary.publish(as: file.lastPathComponent)
        try synchronizeFolder(folder)
    }

    private static func filling(_ byteCount: Int) -> [UInt8] {
        [UInt8](repeating: 0, count: GGUFHead.padded(byteCount, GGUFHead.alignment) - byteCount)
    }

    private static func head(
        _ metadata: [(key: String, value: GGUFValue)], _ tensors: [GGUFDeclaration]
    ) throws(CheckpointError) -> [UInt8] {
        var head = Head()
        head.append(GGUFHead.magic)
        head.append(UInt32(3))
        head.append(UInt64(tensors.count))
        head.append(UInt64(metadata.count))
        for (key, value) in metadata {
            head.append(key)
            head.append(value)
        }
        var (names, offset): (Set<String>, Int) = ([], 0)
        for tensor in tensors {
            guard names.insert(tensor.name).inserted else {
                throw .cannotDeclare(tensor: tensor.name, reason: "it is named twice")
            }
            // ggml's own limit on names.
            guard tensor.name.utf8.count < 64 else {
                throw .cannotDeclare(tensor: tensor.name, reason: "its name has 64 bytes or more")
            }
            guard (1...4).contains(tensor.shape.count), tensor.shape.allSatisfy({ $0 > 0 }),
                (tensor.shape.last ?? 1).isMultiple(of: tensor.type.blockCount),
                GGMLType.writable.contains(tensor.type)
            else {
                throw .cannotDeclare(
                    tensor: tensor.name, reason: "\(tensor.shape) is no shape for \(tensor.type.name)")
            }
            head.append(tensor.name)
            head.append(UInt32(tensor.shape.count))
            for axis in tensor.shape.reversed() { head.append(UInt64(axis)) }
            head.append(tensor.type.rawValue)
            head.append(UInt64(offset))
            offset += GGUFHead.padded(tensor.byteCount, GGUFHead.alignment)
        }
        return head.bytes + filling(head.bytes.count)
    }

    private struct Head {
        var bytes: [UInt8] = []

        mutating func append(_ number: some FixedWidthInteger) {
            Swift.withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
        }

        mutating func append(_ text: String) {
            append(UInt64(text.utf8.count))
            bytes.append(contentsOf: text.utf8)
        }

        mutating func append(_ value: GGUFValue) {
            switch value {
            case .integer(let number):
                if let narrow = UInt32(exactly: number) {
                    append(UInt32(4))
                    append(narrow)
                } else {
                    append(UInt32(11))
                    append(Int64(number))
                }
            case .real(let number):
                append(UInt32(6))
                append(Float(number).bitPattern)
            case .bool(let flag):
                append(UInt32(7))
                append(UInt8(flag ? 1 : 0))
            case .string(let text):
                append(UInt32(8))
                append(text)
            case .integers(let list): appendList(5, list) { $0.append(Int32(clamping: $1)) }
            case .reals(let list): appendList(6, list) { $0.append(Float($1).bitPattern) }
            case .bools(let list): appendList(7, list) { $0.append(UInt8($1 ? 1 : 0)) }
            case .strings(let list): appendList(8, list) { $0.append($1) }
            }
        }

        private mutating func appendList<T>(_ type: UInt32, _ list: [T], _ body: (inout Head, T) -> Void) {
            append(UInt32(9))
            append(type)
            append(UInt64(list.count))
            for element in list { body(&self, element) }
        }
    }
}
