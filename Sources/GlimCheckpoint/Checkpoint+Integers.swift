public import GlimTensor

// Matrices in integers, as the compressed-tensors library stores them. Of 8 bits: `X.weight` I8 `[R, C]`. Of 4:
// `X.weight_packed` I32 `[R, ⌈C / 8⌉]`, eight numbers a word, each plus 8, the first in the lowest bits, and
// `X.weight_shape` I64 `[2]`. Both with `X.weight_scale` `[R, groups of C]`: weight = integer · scale.

/// The names of a matrix's parts.
package enum IntegerNames {
    package static func packed(_ tensor: String) -> String { "\(tensor)_packed" }
    package static func scale(_ tensor: String) -> String { "\(tensor)_scale" }
    package static func shape(_ tensor: String) -> String { "\(tensor)_shape" }
    /// What only other schemes have.
    static func foreign(_ tensor: String) -> [String] { ["\(tensor)_zero_point", "\(tensor)_g_idx"] }
}

extension Checkpoint {
    /// Whether there is a matrix of that name, in numbers or in integers.
    public func containsMatrix(_ name: String) -> Bool { contains(name) || contains(IntegerNames.packed(name)) }

    /// The integers that a matrix is stored in, by the headers alone; nil if it is stored in numbers, or not at all.
    ///
    /// - Parameters:
    ///   - name: `X.weight`, also where the file has `X.weight_packed`.
    ///   - shape: what it must have.
    /// - Throws: `CheckpointError.wrongShape`, `.missingTensor` for integers without scales, `.unexpectedDType`, or
    ///   `.unsupportedIntegers` for groups and zero points that are not read here.
    public func integerFormat(of name: String, shape: [Int]) throws(CheckpointError) -> Weight.Format? {
        if let piece = piece(name) {
            try require(name, shape: shape)
            return piece.integerFormat
        }
        let packed = IntegerNames.packed(name)
        let bits: Int
        if contains(packed) {
            bits = 4
        } else if contains(name), try info(name).dtype == .i8 {
            bits = 8
        } else {
            return nil
        }
        guard shape.count == 2 else {
            throw .wrongShape(
                folder: path, tensor: name, found: try info(bits == 4 ? packed : name).shape, expected: shape)
        }
        let (rows, columns) = (shape[0], shape[1])
        if bits == 4 {
            let info = try require(packed, shape: [rows, (columns + 7) / 8])
            guard info.dtype == .i32 else {
                throw .unexpectedDType(tensor: packed, found: info.dtype, expected: "I32")
            }
            let shapeInfo = try require(IntegerNames.shape(name), shape: [2])
            guard shapeInfo.dtype == .i64 else {
                throw .unexpectedDType(tensor: IntegerNames.shape(name), found: shapeInfo.dtype, expected: "I64")
            }
        } else {
            try require(name, shape: shape)
        }
        if let other = IntegerNames.foreign(name).first(where: contains) {
            throw .unsupportedIntegers(tensor: name, reason: "it comes with \(other)")
        }
        let scales = try info(IntegerNames.scale(name)).shape
        guard scales.count == 2, scales[0] == rows, scales[1] >= 1, columns % scales[1] == 0 else {
            throw .wrongShape(
                folder: path, tensor: IntegerNames.scale(name), found: scales, expected: [rows, (columns + 127) / 128])
        }
        // One scale a row is a group of any size.
        let group = scales[1] == 1 ? (columns + 31) / 32 * 32 : columns / scales[1]
        guard group % 32 == 0 else {
            throw .unsupportedIntegers(
                tensor: name, reason: "\(group) columns share a scale, and groups of a multiple of 32 are read")
        }
        return bits == 8 ? .int8(group: group) : .int4(group: group)
    }

    /// A matrix stored in integers.
    ///
    /// - Parameter format: by `integerFormat`.
    /// - Throws: as `integerFormat`, and `.wrongShape` where the stored shape is another.
    public func integers(
        of name: String, shape: [Int], _ format: Weight.Format
    ) throws(CheckpointError) -> IntegerMatrix {
        let (rows, columns) = (shape[0], shape[1])
        if let matrix = piece(name)?.integers() { return matrix }
        let (stored, scales) = try storedIntegers(of: name, shape: shape, format)
        defer { stored.release() }
        let integers = [Int8](unsafeUninitializedCapacity: rows * columns) { integers, count in
            count = rows * columns
            stored.withUnsafeBytes { stored in
                guard let from = stored.baseAddress, let to = integers.baseAddress else { return }
                if format.bits == 8 { return UnsafeMutableRawPointer(to).copyMemory(from: from, byteCount: count) }
                let rowByteCount = Self.rowByteCount(columns)
                for row in 0..<rows {
                    Self.unpack(from + row * rowByteCount, to + row * columns, count: columns)
                }
            }
        }
        return IntegerMatrix(format, outputs: rows, inputs: columns, integers: integers, scales: scales)
    }

    /// Whether `storedIntegers` can have them: not in a GGUF file, where scales lie between them.
    package func storesIntegersApart(_ name: String) -> Bool { piece(name) == nil }

    /// The same, its integers as the file has them: `[R, C]` bytes, or of 4 bits `[R, ⌈C / 8⌉]` words.
    ///
    /// - Throws: as `integers`.
    package func storedIntegers(
        of name: String, shape: [Int], _ format: Weight.Format
    ) throws(CheckpointError) -> (integers: MappedBytes, scales: [Float]) {
        let scales = try floats(IntegerNames.scale(name))
        if format.bits == 8 { return (try bytes(of: name), scales) }
        let shapeBytes = try bytes(of: IntegerNames.shape(name))
        let stored = shapeBytes.withUnsafeBytes { bytes in
            (0..<2).map { Int(bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self)) }
        }
        shapeBytes.release()
        guard stored == shape else {
            throw .wrongShape(folder: path, tensor: name, found: stored, expected: shape)
        }
        return (try bytes(of: IntegerNames.packed(name)), scales)
    }

    /// Of a row of four-bit numbers: whole words.
    package static func rowByteCount(_ columns: Int) -> Int { (columns + 7) / 8 * 4 }

    /// A row of four-bit numbers, as the file has them, to bytes.
    package static func unpack(_ from: UnsafeRawPointer, _ to: UnsafeMutablePointer<Int8>, count: Int) {
        let bytes = from.assumingMemoryBound(to: UInt8.self)
        for i in 0..<count / 2 {
            to[2 * i] = Int8(truncatingIfNeeded: bytes[i] & 15) &- 8
            to[2 * i + 1] = Int8(truncatingIfNeeded: bytes[i] >> 4) &- 8
        }
        if count % 2 == 1 { to[count - 1] = Int8(truncatingIfNeeded: bytes[count / 2] & 15) &- 8 }
    }
}

// MARK: - Writing

/// One of the tensors that a matrix of integers is stored in.
public enum IntegerPart: Sendable, CaseIterable {
    case integers, scale, shape
}

extension TensorDeclaration {
    /// The tensors that a matrix of integers is stored in.
    ///
    /// - Parameter name: `X.weight`
    public static func integers(
        _ name: String, _ format: Weight.Format, outputs: Int, inputs: Int
    ) -> [(part: IntegerPart, declaration: TensorDeclaration)] {
        let groups = (inputs + (format.group ?? inputs) - 1) / (format.group ?? inputs)
        let scale = TensorDeclaration(IntegerNames.scale(name), .f32, [outputs, groups])
        if format.bits == 8 { return [(.integers, .init(name, .i8, [outputs, inputs])), (.scale, scale)] }
        return [
            (.integers, .init(IntegerNames.packed(name), .i32, [outputs, (inputs + 7) / 8])), (.scale, scale),
            (.shape, .init(IntegerNames.shape(name), .i64, [2])),
        ]
    }
}

extension TensorSink {
    /// Appends one of the tensors that a matrix of integers is stored in.
    ///
    /// - Throws: as for floats.
    public mutating func append(_ part: IntegerPart, of matrix: IntegerMatrix) throws(CheckpointError) {
        switch part {
        case .scale: try append(matrix.scales)
        case .shape: try append(rawBytes: [Int64(matrix.outputs), Int64(matrix.inputs)])
        case .integers where matrix.format.bits == 8: try append(rawBytes: matrix.integers)
        case .integers:
            let rowByteCount = Checkpoint.rowByteCount(matrix.inputs)
            var packed = [UInt8](repeating: 0, count: matrix.outputs * rowByteCount)
            for row in 0..<matrix.outputs {
                for column in 0..<matrix.inputs {
                    let half = UInt8(truncatingIfNeeded: matrix.integers[row * matrix.inputs + column] &+ 8)
                    packed[row * rowByteCount + column / 2] |= column % 2 == 0 ? half : half << 4
                }
            }
            try append(rawBytes: packed)
        }
    }

    private mutating func append<T>(rawBytes: [T]) throws(CheckpointError) {
        try rawBytes.withUnsafeBufferPointer { bytes throws(CheckpointError) in
            try append(bytes: UnsafeRawBufferPointer(bytes))
        }
    }
}
