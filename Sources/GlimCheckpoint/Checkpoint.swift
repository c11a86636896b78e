public import Foundation

/// The weights in a model's folder: one `model.safetensors`, or shards with `model.safetensors.index.json`. Those of a
/// GGUF file look the same, under the names that a folder would have.
///
/// Opening reads headers only, so that a folder of any size opens at once. Reading is safe from any number of threads.
/// If both layouts are present the single file counts, as in transformers.
public struct Checkpoint: Sendable {
    /// The folder's path, or the file's.
    public let path: String
    /// Sorted.
    public let names: [String]

    private let places: [String: Place]
    private let block: BlockSize

    private struct Place {
        let source: Source
        let info: TensorInfo
    }

    private enum Source {
        case safetensors(SafetensorsFile)
        case gguf(GGUFPiece)
    }

    /// - Parameters:
    ///   - folder: in Hugging Face layout. Only the weights are looked at.
    ///   - block: of FP8 tensors with scales, as `weight_block_size` in `config.json` says.
    /// - Throws: the `CheckpointError` that names the first thing wrong with a file, the index or a shard's name.
    public init(folder: URL, block: BlockSize = .standard) throws(CheckpointError) {
        let path = folder.path
        self.path = path
        self.block = block
        let single = "\(path)/\(CheckpointFiles.single)"
        let index = "\(path)/\(CheckpointFiles.index)"
        var places: [String: Place] = [:]
        if fileExists(single) {
            places = Self.places(in: try SafetensorsFile(path: single))
        } else if fileExists(index) {
            var files: [String: SafetensorsFile] = [:]
            for (name, shard) in try CheckpointFiles.readIndex(index) {
                let file: SafetensorsFile
                if let known = files[shard] {
                    file = known
                } else {
                    guard fileExists("\(path)/\(shard)") else { throw .missingShard(path: index, shard: shard) }
                    file = try SafetensorsFile(path: "\(path)/\(shard)")
                    files[shard] = file
                }
                guard let info = file.info(name) else {
                    throw .missingFromShard(path: index, tensor: name, shard: shard)
                }
                places[name] = Place(source: .safetensors(file), info: info)
            }
        } else {
            throw .noWeights(folder: path)
        }
        names = places.keys.sorted()
        self.places = places
    }

    /// One safetensors file of any name, read the same way.
    ///
    /// - Throws: the `CheckpointError` that names the first thing wrong with the file.
    public init(file: URL, block: BlockSize = .standard) throws(CheckpointError) {
        path = file.path
        self.block = block
        places = Self.places(in: try SafetensorsFile(file))
        names = places.keys.sorted()
    }

    private static func places(in file: SafetensorsFile) -> [String: Place] {
        var places: [String: Place] = [:]
        for name in file.names {
            places[name] = file.info(name).map { Place(source: .safetensors(file), info: $0) }
        }
        return places
    }

    /// The tensors of a GGUF file under other names.
    package init(gguf file: GGUFFile, pieces: [String: GGUFPiece]) {
        (path, block) = (file.path, .standard)
        places = pieces.mapValues { Place(source: .gguf($0), info: $0.info) }
        names = places.keys.sorted()
    }

    /// Whether there is a tensor of that name.
    public func contains(_ name: String) -> Bool { places[name] != nil }

    /// What the header says of a tensor.
    ///
    /// - Throws: `CheckpointError.missingTensor`.
    public func info(_ name: String) throws(CheckpointError) -> TensorInfo { try place(name).info }

    /// What the header says of a tensor that must have a certain shape.
    ///
    /// - Throws: `CheckpointError.missingTensor` or `.wrongShape`.
    @discardableResult
    public func require(_ name: String, shape: [Int]) throws(CheckpointError) -> TensorInfo {
        let info = try info(name)
        guard info.shape == shape else {
            throw .wrongShape(folder: path, tensor: name, found: info.shape, expected: shape)
        }
        return info
    }

    // MARK: Bytes

    /// The bytes of a tensor as stored, or those of some of its rows (indices of the first axis).
    ///
    /// - Throws: `CheckpointError.missingTensor`, `.rowsOutOfRange`, or `.unexpectedDType` where a row of a packed
    ///   format does not fill whole bytes, and for a GGUF file's, which may be in pieces.
    public func bytes(of name: String, rows: Range<Int>? = nil) throws(CheckpointError) -> MappedBytes {
        let place = try place(name)
        let bytes = try safetensors(place, name).bytes(place.info)
        guard let rows else { return bytes }
        try check(rows, of: name, place.info)
        let rowCount = place.info.rowCount
        guard rowCount > 0 else { return bytes }
        guard place.info.byteCount % rowCount == 0 else {
            throw .unexpectedDType(tensor: name, found: place.info.dtype, expected: "rows of whole bytes")
        }
        let rowByteCount = place.info.byteCount / rowCount
        return bytes.slice(rows.lowerBound * rowByteCount..<rows.upperBound * rowByteCount)
    }

    /// Where a tensor's bytes lie, for whoever reads them without a mapping.
    ///
    /// - Throws: `CheckpointError.missingTensor`, and `.unexpectedDType` for a GGUF file's.
    package func location(of name: String) throws(CheckpointError) -> TensorLocation {
        let place = try place(name)
        let file = try safetensors(place, name)
        return TensorLocation(path: file.path, identity: file.identity, info: place.info)
    }

    private func safetensors(_ place: Place, _ name: String) throws(CheckpointError) -> SafetensorsFile {
        guard case .safetensors(let file) = place.source else {
            throw .unexpectedDType(tensor: name, found: place.info.dtype, expected: "a tensor of a safetensors file")
        }
        return file
    }

    // MARK: Floats

    /// The tensor in float32, or some of its rows (indices of the first axis), whatever the file holds it in.
    ///
    /// The header decides: F32, F64, F16, BF16, F8_E5M2 and F8_E4M3 convert; an E4M3 tensor `X` is multiplied block by
    /// block with `X_scale_inv` if there is one. Matrices `[R, C]` and stacks of them `[…, R, C]` can have scales. Blocks
    /// of a GGUF file are multiplied by theirs.
    ///
    /// - Parameter out: receives the elements, row-major; its count must be theirs.
    /// - Throws: `CheckpointError.missingTensor`, `.rowsOutOfRange`, `.wrongElementCount`, `.unexpectedDType`,
    ///   `.wrongScaleShape` or `.unsupportedScale`.
    public func floats(
        of name: String, rows: Range<Int>? = nil, into out: UnsafeMutableBufferPointer<Float>
    ) throws(CheckpointError) {
        let info = try info(name)
        guard Decoding.isFloating(info.dtype) else {
            throw .unexpectedDType(tensor: name, found: info.dtype, expected: "a floating-point number")
        }
        if let piece = piece(name) {
            let rows = rows ?? 0..<info.rowCount
            try check(rows, of: name, info)
            let count = info.elementCount / max(1, info.rowCount) * rows.count
            guard out.count == count else { throw .wrongElementCount(tensor: name, found: out.count, expected: count) }
            if let to = out.baseAddress, count > 0 { piece.decode(rows: rows, into: to) }
            return
        }
        let bytes = try bytes(of: name, rows: rows)
        let count = bytes.count / (info.dtype.bitCount / 8)
        guard out.count == count else { throw .wrongElementCount(tensor: name, found: out.count, expected: count) }
        guard let to = out.baseAddress, count > 0 else { return }

        // What is read is somewhere else now: a model is not to be in memory twice.
        defer { bytes.release() }
        try bytes.withUnsafeBytes { source throws(CheckpointError) in
            guard let from = source.baseAddress else { return }
            try decode(from, of: name, rows: rows, count: count, into: to)
        }
    }

    /// Numbers of a tensor, from bytes of it that somebody has read.
    ///
    /// - Parameters:
    ///   - rows: which they are; nil for all.
    ///   - count: how many numbers.
    /// - Throws: as `floats`.
    package func decode(
        _ from: UnsafeRawPointer, of name: String, rows: Range<Int>?, count: Int, into to: UnsafeMutablePointer<Float>
    ) throws(CheckpointError) {
        let info = try info(name)
        guard Decoding.isFloating(info.dtype) else {
            throw .unexpectedDType(tensor: name, found: info.dtype, expected: "a floating-point number")
        }
        if info.dtype == .f8E4M3, let scale = try scale(of: name, info, rows: rows) {
            decode(from, scale: scale, shape: info.shape, rows: rows ?? 0..<info.rowCount, to)
        } else {
            Decoding.decode(info.dtype, from, to, count: count)
        }
    }

    /// The same into a new array.
    public func floats(_ name: String, rows: Range<Int>? = nil) throws(CheckpointError) -> [Float] {
        let info = try info(name)
        if let rows { try check(rows, of: name, info) }
        let rowElementCount = info.rowCount > 0 ? info.elementCount / info.rowCount : 0
        let count = rows.map { $0.count * rowElementCount } ?? info.elementCount
        // The closure of this initialiser throws untyped errors.
        var failure: CheckpointError?
        let floats = [Float](unsafeUninitializedCapacity: count) { buffer, initializedCount in
            do throws(CheckpointError) {
                try self.floats(of: name, rows: rows, into: UnsafeMutableBufferPointer(rebasing: buffer[..<count]))
                initializedCount = count
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return floats
    }

    /// Whether some rows of a tensor are read without the others. Who wants all of one that is read whole asks once.
    package func readsRowsApart(of name: String) -> Bool { piece(name)?.readsRowsApart ?? true }

    /// A tensor of 32-bit integers.
    ///
    /// - Throws: `CheckpointError.missingTensor` or `.unexpectedDType`.
    public func int32s(_ name: String) throws(CheckpointError) -> [Int32] {
        let info = try info(name)
        guard info.dtype == .i32 else { throw .unexpectedDType(tensor: name, found: info.dtype, expected: "I32") }
        return try bytes(of: name).withUnsafeBytes { bytes in
            (0..<info.elementCount).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self) }
        }
    }

    // MARK: Parts

    private func place(_ name: String) throws(CheckpointError) -> Place {
        guard let place = places[name] else { throw .missingTensor(folder: path, tensor: name) }
        return place
    }

    /// A tensor's piece of a GGUF file; nil where it is in another, or nowhere.
    func piece(_ name: String) -> GGUFPiece? {
        if case .gguf(let piece) = places[name]?.source { piece } else { nil }
    }

    private func check(_ rows: Range<Int>, of name: String, _ info: TensorInfo) throws(CheckpointError) {
        guard rows.lowerBound >= 0, rows.upperBound <= info.rowCount else {
            throw .rowsOutOfRange(tensor: name, rows: rows, rowCount: info.rowCount)
        }
    }

    /// The factors of an E4M3 tensor, `[…, ⌈R / block rows⌉, ⌈C / block columns⌉]`, or nil if it has none. Of a stack
    /// of matrices only those of `rows`.
    private func scale(of name: String, _ info: TensorInfo, rows: Range<Int>?) throws(CheckpointError) -> [Float]? {
        let companion = "\(name)_scale_inv"
        guard contains(companion) else {
            if contains("\(name)_scale") { throw .unsupportedScale(tensor: name, scale: "\(name)_scale") }
            return nil
        }
        let found = try self.info(companion)
        guard info.shape.count >= 2 else {
            throw .wrongScaleShape(tensor: name, found: found.shape, expected: [])
        }
        let (R, C) = (info.shape[info.shape.count - 2], info.shape[info.shape.count - 1])
        let expected = info.shape.dropLast(2) + [block.count(rows: R), block.count(columns: C)]
        guard found.shape == Array(expected) else {
            throw .wrongScaleShape(tensor: name, found: found.shape, expected: Array(expected))
        }
        guard found.dtype == .f32 || found.dtype == .bf16 else {
            throw .unexpectedDType(tensor: companion, found: found.dtype, expected: "F32 or BF16")
        }
        return try floats(companion, rows: info.shape.count > 2 ? rows : nil)
    }

    /// `rows` are those of the first axis: of the matrix itself, or matrices of a stack.
    private func decode(
        _ from: UnsafeRawPointer, scale: [Float], shape: [Int], rows: Range<Int>, _ to: UnsafeMutablePointer<Float>
    ) {
        let (R, C) = (shape[shape.count - 2], shape[shape.count - 1])
        scale.withUnsafeBufferPointer { scale in
            guard let scale = scale.baseAddress else { return }
            if shape.count == 2 {
                Decoding.decodeBlocks(from, scale: scale, to, rows: rows, columnCount: C, block: block)
                return
            }
            let matricesPerRow = shape[1..<shape.count - 2].reduce(1, *)
            let scaleCount = block.count(rows: R) * block.count(columns: C)
            for matrix in 0..<rows.count * matricesPerRow {
                Decoding.decodeBlocks(
                    from + matrix * R * C, scale: scale + matrix * scaleCount, to + matrix * R * C,
                    rows: 0..<R, columnCount: C, block: block)
            }
        }
    }
}
