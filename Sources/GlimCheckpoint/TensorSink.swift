/// What is to be saved of one tensor: its name, and the format and shape it has on disk.
public struct TensorDeclaration: Sendable, Equatable {
    /// Its name in the checkpoint.
    public let name: String
    /// What it is to be stored in.
    public let dtype: StoredType
    /// Outermost first; empty for a scalar.
    public let shape: [Int]

    /// A tensor of that name, format and shape.
    public init(_ name: String, _ dtype: StoredType, _ shape: [Int]) {
        (self.name, self.dtype, self.shape) = (name, dtype, shape)
    }
}

/// Takes the elements of one tensor, row-major, in as many pieces as suits the caller.
public struct TensorSink: ~Copyable {
    /// What was declared of the tensor.
    public let declaration: TensorDeclaration
    private let file: TemporaryFile
    private let byteCount: Int
    private var writtenByteCount = 0

    init(_ declaration: TensorDeclaration, byteCount: Int, file: TemporaryFile) {
        (self.declaration, self.byteCount, self.file) = (declaration, byteCount, file)
    }

    /// Appends floats to a tensor declared F32, or BF16 (rounded to nearest, ties to even).
    ///
    /// - Throws: `CheckpointError.wrongElementCount` if they are more than the shape holds, `.unexpectedDType` if the
    ///   tensor is declared as anything else, or `.cannotWrite`.
    public mutating func append(_ floats: UnsafeBufferPointer<Float>) throws(CheckpointError) {
        switch declaration.dtype {
        case .f32: try append(bytes: UnsafeRawBufferPointer(floats))
        case .bf16:
            try reserve(2 * floats.count)
            var chunk = [UInt16](repeating: 0, count: min(floats.count, 1 << 16))
            for start in stride(from: 0, to: floats.count, by: 1 << 16) {
                let count = min(chunk.count, floats.count - start)
                for i in 0..<count { chunk[i] = Self.bfloat16(floats[start + i]) }
                try chunk.withUnsafeBufferPointer { chunk throws(CheckpointError) in
                    try file.write(UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: chunk[..<count])))
                }
            }
        default:
            throw .unexpectedDType(tensor: declaration.name, found: declaration.dtype, expected: "F32 or BF16")
        }
    }

    /// The same.
    public mutating func append(_ floats: Span<Float>) throws(CheckpointError) {
        try floats.withUnsafeBufferPointer { floats throws(CheckpointError) in try append(floats) }
    }

    /// The same.
    public mutating func append(_ floats: [Float]) throws(CheckpointError) {
        try floats.withUnsafeBufferPointer { floats throws(CheckpointError) in try append(floats) }
    }

    /// Appends integers to a tensor declared I32.
    ///
    /// - Throws: as for floats.
    public mutating func append(int32s integers: [Int32]) throws(CheckpointError) {
        guard declaration.dtype == .i32 else {
            throw .unexpectedDType(tensor: declaration.name, found: declaration.dtype, expected: "I32")
        }
        try integers.withUnsafeBufferPointer { integers throws(CheckpointError) in
            try append(bytes: UnsafeRawBufferPointer(integers))
        }
    }

    /// Appends bytes as they are, for tensors of any format.
    ///
    /// - Throws: `CheckpointError.wrongElementCount` if they are more than the shape holds, or `.cannotWrite`.
    public mutating func append(bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
        try reserve(bytes.count)
        try file.write(bytes)
    }

    /// Round to nearest, ties to even; a NaN stays one.
    static func bfloat16(_ value: Float) -> UInt16 {
        let bits = value.bitPattern
        if value.isNaN { return UInt16(truncatingIfNeeded: bits >> 16) | 0x40 }
        return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
    }

    /// Checks that the tensor is whole.
    consuming func finish() throws(CheckpointError) {
        guard writtenByteCount == byteCount else { throw wrongCount(writtenByteCount) }
    }

    private mutating func reserve(_ count: Int) throws(CheckpointError) {
        guard count <= byteCount - writtenByteCount else { throw wrongCount(writtenByteCount + count) }
        writtenByteCount += count
    }

    private func wrongCount(_ found: Int) -> CheckpointError {
        let bits = declaration.dtype.bitCount
        return .wrongElementCount(tensor: declaration.name, found: found * 8 / bits, expected: byteCount * 8 / bits)
    }
}
