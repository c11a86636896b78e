/// Why a checkpoint cannot be read or written.
///
/// Every case names the file or tensor, says what was found and what was expected, and its description ends with what
/// to do about it. All of it fits on one line.
public enum CheckpointError: Error, Equatable, CustomStringConvertible {
    // Files as such.
    /// The file cannot be opened, is not a regular file, or cannot be mapped.
    case unreadable(path: String, reason: String)
    /// The file is no longer what it was when its header was read.
    case changed(path: String, reason: String)
    /// The file has fewer than the eight bytes that hold the header's length.
    case tooShort(path: String, byteCount: Int)
    /// The header claims more than the 100 MB that Hugging Face's reader allows.
    case headerTooLong(path: String, headerByteCount: UInt64, limit: Int)
    /// The header claims more bytes than the file has.
    case headerTruncated(path: String, headerByteCount: Int, fileByteCount: Int)

    // What a header says.
    /// The header is not the JSON it should be. `offset` counts bytes from the start of the JSON.
    case malformedHeader(path: String, tensor: String?, offset: Int, reason: String)
    case duplicateTensor(path: String, tensor: String)
    case unknownDType(path: String, tensor: String, found: String)
    /// The number of elements or bytes overflows, or does not fill whole bytes.
    case impossibleShape(path: String, tensor: String, shape: [Int])
    /// The offsets run backwards or leave the data: a damaged header, or a file cut short.
    case offsetsOutOfRange(path: String, tensor: String, begin: Int, end: Int, dataByteCount: Int)
    case wrongByteCount(path: String, tensor: String, found: Int, expected: Int)
    case overlap(path: String, tensor: String, other: String)
    /// Bytes `begin..<end` of the data belong to no tensor, which the format forbids.
    case hole(path: String, begin: Int, end: Int)

    // Folders.
    case noWeights(folder: String)
    case malformedIndex(path: String, offset: Int, reason: String)
    /// A shard's name would leave the folder or is hidden.
    case unsafeShardName(path: String, shard: String)
    case missingShard(path: String, shard: String)
    case missingFromShard(path: String, tensor: String, shard: String)

    // GGUF files.
    case malformedGGUF(path: String, reason: String)
    /// A file that is in order, with something that is not read here.
    case unsupportedGGUF(path: String, what: String)

    // Tensors.
    case missingTensor(folder: String, tensor: String)
    case wrongShape(folder: String, tensor: String, found: [Int], expected: [Int])
    case rowsOutOfRange(tensor: String, rows: Range<Int>, rowCount: Int)
    /// The caller's buffer has room for another number of elements.
    case wrongElementCount(tensor: String, found: Int, expected: Int)
    case unexpectedDType(tensor: String, found: StoredType, expected: String)
    /// `X_scale_inv` does not have one number per block of `X`.
    case wrongScaleShape(tensor: String, found: [Int], expected: [Int])
    /// An FP8 tensor comes with a scale of a scheme that is not read here; to ignore it would give wrong weights.
    case unsupportedScale(tensor: String, scale: String)
    /// A matrix is stored in integers by a scheme that is not read here.
    case unsupportedIntegers(tensor: String, reason: String)

    // Writing.
    case cannotWrite(path: String, reason: String)
    /// The list of tensors to write is at fault: a name twice, a reserved name, or an impossible shape.
    case cannotDeclare(tensor: String, reason: String)

    public var description: String { sentence.onOneLine }

    private var sentence: String {
        switch self {
        case .unreadable(let path, let reason):
            "\(path) cannot be read: \(reason); check the path and its permissions"
        case .changed(let path, let reason):
            "\(path) changed while it was in use: \(reason); leave it alone, or fetch it again, and start anew"
        case .tooShort(let path, let byteCount):
            "\(path) is no safetensors file: it has \(byteCount) bytes, fewer than 8; fetch it again"
        case .headerTooLong(let path, let headerByteCount, let limit):
            "\(path) is no safetensors file: its header claims \(headerByteCount) bytes, more than \(limit); "
                + "fetch it again"
        case .headerTruncated(let path, let headerByteCount, let fileByteCount):
            "\(path) is cut short: its header claims \(headerByteCount) bytes, the file has \(fileByteCount); "
                + "fetch it again"
        case .malformedHeader(let path, let tensor, let offset, let reason):
            "\(path) has a damaged header: \(tensor.map { "tensor \($0.quoted): " } ?? "")\(reason) "
                + "at byte \(offset) of the JSON; fetch it again"
        case .duplicateTensor(let path, let tensor):
            "\(path) names tensor \(tensor.quoted) twice; fetch or save it again"
        case .unknownDType(let path, let tensor, let found):
            "\(path): tensor \(tensor.quoted) has dtype \(found.quoted), expected one of "
                + StoredType.allCases.map(\.rawValue).joined(separator: ", ") + "; convert it first"
        case .impossibleShape(let path, let tensor, let shape):
            "\(path): tensor \(tensor.quoted) has shape \(shape.shortened), which no file can hold; fetch it again"
        case .offsetsOutOfRange(let path, let tensor, let begin, let end, let dataByteCount):
            "\(path): tensor \(tensor.quoted) claims bytes \(begin) to \(end) of \(dataByteCount) bytes of data; "
                + "the file is cut short or damaged, fetch it again"
        case .wrongByteCount(let path, let tensor, let found, let expected):
            "\(path): tensor \(tensor.quoted) has \(found) bytes, expected \(expected) from its shape and dtype; "
                + "fetch it again"
        case .overlap(let path, let tensor, let other):
            "\(path): tensors \(other.quoted) and \(tensor.quoted) overlap; fetch it again"
        case .hole(let path, let begin, let end):
            "\(path): bytes \(begin) to \(end) of the data belong to no tensor; fetch it again"
        case .noWeights(let folder):
            "\(folder) has neither model.safetensors nor model.safetensors.index.json; give a model's folder"
        case .malformedIndex(let path, let offset, let reason):
            "\(path) is damaged: \(reason) at byte \(offset); fetch it again"
        case .unsafeShardName(let path, let shard):
            "\(path) names the shard \(shard.quoted), which is not a plain file name; do not trust this folder"
        case .missingShard(let path, let shard):
            "\(path) names the shard \(shard.quoted), which is not in the folder; fetch it"
        case .missingFromShard(let path, let tensor, let shard):
            "\(path) places tensor \(tensor.quoted) in \(shard.quoted), which does not have it; "
                + "fetch both again from the same revision"
        case .malformedGGUF(let path, let reason):
            "\(path) is no usable GGUF file: \(reason); fetch it again, or convert the model anew"
        case .unsupportedGGUF(let path, let what):
            "\(path) cannot be used: \(what); take the model in another format, or from its folder in Hugging Face's "
                + "layout"
        case .missingTensor(let folder, let tensor):
            folder.hasSuffix(".gguf")
                ? "\(folder) lacks the tensor that is called \(tensor.quoted) in folders; convert the model anew"
                : "\(folder) has no tensor \(tensor.quoted); check that config.json and weights are of the same model"
        case .wrongShape(let folder, let tensor, let found, let expected):
            "\(folder): tensor \(tensor.quoted) has shape \(found.shortened), expected \(expected.shortened); "
                + "check that config.json and weights are of the same model"
        case .rowsOutOfRange(let tensor, let rows, let rowCount):
            "tensor \(tensor.quoted) has \(rowCount) rows, but rows \(rows.lowerBound) to \(rows.upperBound) were asked "
                + "for; check that config.json and weights are of the same model"
        case .wrongElementCount(let tensor, let found, let expected):
            "tensor \(tensor.quoted) takes \(expected) elements, but there are \(found); check the shape it is given"
        case .unexpectedDType(let tensor, let found, let expected):
            "tensor \(tensor.quoted) has dtype \(found.rawValue), expected \(expected); convert the checkpoint first"
        case .wrongScaleShape(let tensor, let found, let expected):
            "tensor \(tensor.quoted) has scales of shape \(found.shortened), expected \(expected.shortened); "
                + "check weight_block_size in config.json"
        case .unsupportedScale(let tensor, let scale):
            "tensor \(tensor.quoted) is scaled by \(scale.quoted), expected \("\(tensor)_scale_inv".quoted); "
                + "use the bf16 or the block-scaled FP8 checkpoint"
        case .unsupportedIntegers(let tensor, let reason):
            "tensor \(tensor.quoted) is in integers that are not read here: \(reason.quoted); "
                + "take the bf16 checkpoint and glim quantize"
        case .cannotWrite(let path, let reason):
            "\(path) cannot be written: \(reason); check free space and permissions, "
                + "what was there before is unchanged"
        case .cannotDeclare(let tensor, let reason):
            "tensor \(tensor.quoted) cannot be saved: \(reason); change what is saved"
        }
    }
}

extension CheckpointError {
    /// Why a file could not be written, without its name and advice: for errors of other rooms.
    package var reason: String { if case .cannotWrite(_, let reason) = self { reason } else { description } }
}

extension String {
    /// In quotation marks, on one line, and not longer than a line can bear, whatever a damaged file says.
    fileprivate var quoted: String {
        let shown = unicodeScalars.prefix(200).map { $0.properties.generalCategory == .control ? "?" : String($0) }
        return "\"\(shown.joined())\(unicodeScalars.count > 200 ? "…" : "")\""
    }
}

extension [Int] {
    fileprivate var shortened: String { count <= 8 ? "\(self)" : "\(prefix(8)) and \(count - 8) more" }
}
