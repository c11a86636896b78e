import GlimTensor

/// A tensor of a model, as it lies in a GGUF file: rows of one of its tensors, or put together from two.
package struct GGUFPiece: Sendable {
    /// Outermost first.
    let shape: [Int]
    private let form: Form

    private enum Form: Sendable {
        /// Rows (of the innermost axis) of a tensor, from `first` on.
        case rows(GGUFFile.Place, first: Int)
        /// For each head the rows that carry keys, which lie transposed, then those that carry values.
        case keysAndValues(GGUFFile.Place, GGUFFile.Place)
    }

    /// A whole tensor; nil where the file has none of that name.
    package init?(_ file: GGUFFile, _ name: String) {
        guard let place = file.place(name) else { return nil }
        (shape, form) = (place.tensor.shape, .rows(place, first: 0))
    }

    /// Some rows of matrix `index` of a stack `[matrices, rows, columns]`; nil where the file has none such.
    package init?(_ file: GGUFFile, _ name: String, matrix index: Int, rows: Range<Int>? = nil) {
        guard let place = file.place(name), place.tensor.shape.count == 3, index < place.tensor.shape[0] else {
            return nil
        }
        let R = place.tensor.shape[1]
        let rows = rows ?? 0..<R
        guard rows.lowerBound >= 0, rows.upperBound <= R else { return nil }
        (shape, form) = ([rows.count, place.tensor.width], .rows(place, first: index * R + rows.lowerBound))
    }

    /// The rows of all heads, `[heads * (keys + values), latent]`, from `[heads, latent, keys]` and
    /// `[heads, values, latent]`; nil where the file has none such.
    package init?(_ file: GGUFFile, keys: String, values: String) {
        guard let key = file.place(keys), let value = file.place(values), key.tensor.shape.count == 3,
            value.tensor.shape.count == 3, key.tensor.shape[0] == value.tensor.shape[0],
            key.tensor.shape[1] == value.tensor.shape[2]
        else { return nil }
        let (H, C) = (key.tensor.shape[0], key.tensor.shape[1])
        shape = [H * (key.tensor.shape[2] + value.tensor.shape[1]), C]
        form = .keysAndValues(key, value)
    }

    /// What a reader of safetensors would be told. Of blocks it is F32, which they become.
    var info: TensorInfo {
        let type: GGMLType
        let byteCount: Int
        let elementCount = shape.reduce(1, *)
        switch form {
        case .rows(let place, _): (type, byteCount) = (place.tensor.type, place.tensor.type.byteCount(elementCount))
        case .keysAndValues(let key, let value):
            type = key.tensor.type == value.tensor.type ? key.tensor.type : .f32
            byteCount = key.tensor.byteCount + value.tensor.byteCount
        }
        let stored: StoredType =
            switch type {
            case .f16: .f16
            case .bf16: .bf16
            case .f32, .q8_0, .q4_0, .q6_K: .f32
            }
        return TensorInfo(
            dtype: stored, shape: shape, elementCount: elementCount, byteCount: byteCount, fileOffset: 0)
    }

    /// The integers that a matrix is stored in, nil for numbers.
    var integerFormat: Weight.Format? {
        guard case .rows(let place, _) = form, shape.count == 2 else { return nil }
        return switch place.tensor.type {
        case .q8_0: .int8(group: 32)
        case .q4_0: .int4(group: 32)
        case .f32, .f16, .bf16, .q6_K: nil
        }
    }

    /// The matrix in its integers; nil for one in numbers.
    func integers() -> IntegerMatrix? {
        guard let integerFormat, case .rows(let place, let first) = form else { return nil }
        let range = Self.bytes(place.tensor, rows: first..<first + shape[0])
        defer { place.file.release(range) }
        guard let base = place.file.bytes.baseAddress else { return nil }
        let (integers, scales) = GGMLBlocks.integers(
            place.tensor.type, base + range.lowerBound, count: shape[0] * shape[1])
        return IntegerMatrix(
            integerFormat, outputs: shape[0], inputs: shape[1], integers: integers, scales: scales)
    }

    /// Whether some rows are read without the others. Where keys and values are put together they are not: every read
    /// makes the whole tensor.
    var readsRowsApart: Bool { if case .rows = form { true } else { false } }

    /// Rows of the first axis in float32; `out` has room for them, and they are within the shape.
    func decode(rows: Range<Int>, into out: UnsafeMutablePointer<Float>) {
        if case .rows(let place, let first) = form, shape.count == 2 {
            return Self.decode(place, rows: first + rows.lowerBound..<first + rows.upperBound, out)
        }
        if rows == 0..<shape[0] { return decodeWhole(out) }
        let width = shape.dropFirst().reduce(1, *)
        let whole = Tensor(uninitialized: [shape.reduce(1, *)])
        withExtendedLifetime(whole) {
            decodeWhole(whole.pointer)
            out.update(from: whole.pointer + rows.lowerBound * width, count: rows.count * width)
        }
    }

    private func decodeWhole(_ out: UnsafeMutablePointer<Float>) {
        switch form {
        case .rows(let place, let first):
            let count = shape.reduce(1, *) / place.tensor.width
            Self.decode(place, rows: first..<first + count, out)
        case .keysAndValues(let key, let value):
            let (H, C, N) = (key.tensor.shape[0], key.tensor.shape[1], key.tensor.shape[2])
            let V = value.tensor.shape[1]
            let turned = Tensor(uninitialized: [C, N])
            withExtendedLifetime(turned) {
                for h in 0..<H {
                    let (head, from) = (out + h * (N + V) * C, turned.pointer)
                    Self.decode(key, rows: h * C..<(h + 1) * C, from)
                    for c in 0..<C { for n in 0..<N { head[n * C + c] = from[c * N + n] } }
                    Self.decode(value, rows: h * V..<(h + 1) * V, head + N * C)
                }
            }
        }
    }

    private static func decode(_ place: GGUFFile.Place, rows: Range<Int>, _ out: UnsafeMutablePointer<Float>) {
        let range = bytes(place.tensor, rows: rows)
        guard let base = place.file.bytes.baseAddress else { return }
        GGMLBlocks.decode(place.tensor.type, base + range.lowerBound, out, count: rows.count * place.tensor.width)
        // What is read is somewhere else now: a model is not to be in memory twice.
        place.file.release(range)
    }

    /// Where rows of the innermost axis lie in the file.
    private static func bytes(_ tensor: GGUFTensor, rows: Range<Int>) -> Range<Int> {
        let rowByteCount = tensor.type.byteCount(tensor.width)
        return tensor.fileOffset + rows.lowerBound * rowByteCount..<tensor.fileOffset + rows.upperBound * rowByteCount
    }
}
