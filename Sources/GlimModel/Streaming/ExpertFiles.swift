import GlimCheckpoint
import GlimTensor

/// Reads experts from the files of a checkpoint as they lie, into the order that products want.
final class ExpertFiles: Sendable {
    private let checkpoint: Checkpoint
    private let fused: FusedExperts
    private let files: [String: RangeFile]

    /// Bytes that a read takes at most, if 32 rows are not more.
    private static let pieceByteCount = 2 << 20
    /// The same in numbers, where they become f32 on the way.
    private static let pieceCount = 1 << 19

    /// - Parameter direct: past the system's memory of files, where the file system can.
    /// - Throws: `CheckpointError` for files that changed since their headers were read, and for experts that only a
    ///   model which is loaded whole can have.
    init(_ plan: LoadPlan, _ shapes: [ExpertShape], direct: Bool) throws(CheckpointError) {
        (checkpoint, fused) = (plan.checkpoint, plan.fused)
        var files: [String: RangeFile] = [:]
        for shape in shapes {
            for expert in 0..<shape.count {
                for (tensor, weight, _) in shape.matrices(of: expert) {
                    for place in try Self.parts(tensor, weight, plan) where files[place.path] == nil {
                        files[place.path] = try RangeFile(path: place.path, identity: place.identity, direct: direct)
                    }
                }
            }
        }
        self.files = files
    }

    /// Where the parts of a matrix lie.
    private static func parts(
        _ tensor: String, _ weight: Weight, _ plan: LoadPlan
    ) throws(CheckpointError) -> [TensorLocation] {
        let checkpoint = plan.checkpoint
        if let piece = plan.fused[tensor] {
            if checkpoint.contains("\(piece.name)_scale_inv") {
                throw .unsupportedScale(tensor: piece.name, scale: "\(piece.name)_scale_inv")
            }
            return [try checkpoint.location(of: piece.name)]
        }
        let shape = [weight.outputs, weight.inputs]
        guard try checkpoint.integerFormat(of: tensor, shape: shape) != nil else {
            return [try checkpoint.location(of: tensor)]
        }
        guard weight.format.group != nil else {
            throw .unsupportedIntegers(
                tensor: tensor, reason: "experts of its layer are stored in several formats, which is read whole only")
        }
        return try integerParts(tensor, weight, checkpoint)
    }

    private static func integerParts(
        _ tensor: String, _ weight: Weight, _ checkpoint: Checkpoint
    ) throws(CheckpointError) -> [TensorLocation] {
        let scales = try checkpoint.location(of: IntegerNames.scale(tensor))
        if weight.format.bits == 8 { return [scales, try checkpoint.location(of: tensor)] }
        return [
            scales, try checkpoint.location(of: IntegerNames.packed(tensor)),
            try checkpoint.location(of: IntegerNames.shape(tensor)),
        ]
    }

    /// Reads an expert.
    ///
    /// - Parameters:
    ///   - memory: `shape.byteCount` bytes.
    ///   - room: that nobody else uses meanwhile.
    ///   - checksShape: read, too, what the file says of the shape of matrices in four bits: once is enough.
    /// - Throws: `CheckpointError` for a file that cannot be read, or has changed.
    func read(
        _ expert: Int, of shape: ExpertShape, into memory: UnsafeMutableRawPointer, _ room: ReadingRoom,
        checksShape: Bool
    ) throws(CheckpointError) {
        for (tensor, weight, offset) in shape.matrices(of: expert) {
            let matrix = MatrixMemory(memory + offset, like: weight)
            if weight.format.group != nil {
                try readIntegers(tensor, weight, matrix, room, checksShape: checksShape)
            } else {
                try readNumbers(tensor, weight, matrix, room)
            }
        }
    }

    private func readIntegers(
        _ tensor: String, _ weight: Weight, _ matrix: MatrixMemory, _ room: ReadingRoom, checksShape: Bool
    ) throws(CheckpointError) {
        let parts = try Self.integerParts(tensor, weight, checkpoint)
        if checksShape, parts.count > 2 {
            let stored = try read(parts[2], parts[2].range, room)
            let found = (0..<2).map { Int(stored.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self)) }
            let expected = [weight.outputs, weight.inputs]
            guard found == expected else {
                throw .wrongShape(folder: checkpoint.path, tensor: tensor, found: found, expected: expected)
            }
        }
        let (inputs, groups) = (weight.inputs, weight.groupCount)
        let stored = try read(parts[0], parts[0].range, room)
        try checkpoint.decode(
            stored, of: IntegerNames.scale(tensor), rows: nil, count: weight.outputs * groups, into: room.scales)
        let width = parts[1].info.byteCount / weight.outputs
        let step = Self.rows(Self.pieceByteCount / width)
        for first in stride(from: 0, to: weight.outputs, by: step) {
            let count = min(step, weight.outputs - first)
            let begin = parts[1].range.lowerBound + first * width
            let rows = try read(parts[1], begin..<begin + count * width, room)
            let scales = room.scales + first * groups
            if inputs.isMultiple(of: 32) {
                matrix.set(stored: rows, scales: scales, first: first, count: count)
            } else {
                for row in 0..<count {
                    let (from, to) = (rows + row * width, room.integers + row * inputs)
                    if weight.format.bits == 4 {
                        Checkpoint.unpack(from, to, count: inputs)
                    } else {
                        UnsafeMutableRawPointer(to).copyMemory(from: from, byteCount: inputs)
                    }
                }
                matrix.set(integers: room.integers, scales: scales, first: first, count: count)
            }
        }
    }

    private func readNumbers(
        _ tensor: String, _ weight: Weight, _ matrix: MatrixMemory, _ room: ReadingRoom
    ) throws(CheckpointError) {
        let piece = fused[tensor]
        let name = piece?.name ?? tensor
        let place = try checkpoint.location(of: name)
        let size = place.info.dtype.bitCount / 8
        let (inputs, step) = (weight.inputs, Self.rows(Self.pieceCount / weight.inputs))
        // Of fused experts one lies behind the other.
        let skipped = piece.map { $0.expert * $0.shape[1] * $0.shape[2] + $0.first } ?? 0
        for first in stride(from: 0, to: weight.outputs, by: step) {
            let count = min(step, weight.outputs - first)
            let begin = place.range.lowerBound + (skipped + first * inputs) * size
            let rows = try read(place, begin..<begin + count * inputs * size, room)
            try checkpoint.decode(
                rows, of: name, rows: piece == nil ? first..<first + count : nil, count: count * inputs,
                into: room.numbers)
            matrix.set(numbers: room.numbers, first: first, count: count)
        }
    }

    private func read(
        _ place: TensorLocation, _ range: Range<Int>, _ room: ReadingRoom
    ) throws(CheckpointError) -> UnsafeRawPointer {
        guard let file = files[place.path] else { preconditionFailure("ExpertFiles: \(place.path) is not open") }
        return try file.read(range, into: room.bytes)
    }

    /// Rows of a piece: whole panels.
    private static func rows(_ fitting: Int) -> Int {
        max(MatrixMemory.panel, fitting / MatrixMemory.panel * MatrixMemory.panel)
    }

    /// The memory that a thread reads with.
    // @unchecked: one thread at a time has it.
    final class ReadingRoom: @unchecked Sendable {
        private let pages: SystemPages
        private let sizes: (bytes: Int, numbers: Int)

        init(_ shapes: [ExpertShape]) {
            let sizes = Self.sizes(shapes)
            self.sizes = (sizes.bytes, sizes.numbers)
            pages = SystemPages(byteCount: sizes.bytes + sizes.numbers + sizes.scales)
        }

        /// Bytes that it takes.
        static func byteCount(_ shapes: [ExpertShape]) -> Int {
            let sizes = sizes(shapes)
            return SystemPages.rounded(sizes.bytes + sizes.numbers + sizes.scales)
        }

        private static func sizes(_ shapes: [ExpertShape]) -> (bytes: Int, numbers: Int, scales: Int) {
            var (bytes, numbers, scales) = (0, 0, 0)
            for weight in shapes.flatMap({ [$0.weights.gate, $0.weights.up, $0.weights.down] }) {
                let (all, panel) = (weight.outputs * weight.inputs, MatrixMemory.panel * weight.inputs)
                // A number takes eight bytes of a file at most.
                guard weight.format.group != nil else {
                    let piece = min(all, max(pieceCount, panel))
                    (bytes, numbers) = (max(bytes, 8 * piece), max(numbers, 4 * piece))
                    continue
                }
                let count = weight.outputs * weight.groupCount
                (bytes, scales) = (max(bytes, max(pieceByteCount, panel), 8 * count), max(scales, 4 * count))
                // A byte holds two of those in four bits.
                if !weight.inputs.isMultiple(of: 32) {
                    numbers = max(numbers, min(all, 2 * max(pieceByteCount, panel)))
                }
            }
            return (RangeFile.room(bytes), (numbers + 63) & ~63, scales)
        }

        var bytes: UnsafeMutableRawBufferPointer {
            UnsafeMutableRawBufferPointer(start: pages.pointer, count: sizes.bytes)
        }
        var numbers: UnsafeMutablePointer<Float> {
            (pages.pointer + sizes.bytes).assumingMemoryBound(to: Float.self)
        }
        var integers: UnsafeMutablePointer<Int8> {
            (pages.pointer + sizes.bytes).assumingMemoryBound(to: Int8.self)
        }
        var scales: UnsafeMutablePointer<Float> {
            (pages.pointer + sizes.bytes + sizes.numbers).assumingMemoryBound(to: Float.self)
        }
    }
}
