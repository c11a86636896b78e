/// A matrix that Muon orthogonalises as a whole: a matrix of a weight, some of its outputs (a head's), or parts of
/// several weights one below the other.
public struct MuonBlock: Sendable {
    /// What a weight has of the block, at the block's full width.
    public struct Part: Sendable {
        /// Whose numbers they are.
        public let weight: Weight
        /// Which of the weight's matrices.
        public let matrix: Int
        /// Outputs of that matrix.
        public let outputs: Range<Int>
        /// The block's rows are the matrix's inputs, its columns the outputs.
        public let isTransposed: Bool

        /// - Parameter outputs: nil is all of them. None, or one that the matrix lacks, is a bug and traps.
        public init(_ weight: Weight, matrix: Int = 0, outputs: Range<Int>? = nil, isTransposed: Bool = false) {
            let outputs = outputs ?? 0..<weight.outputs
            precondition(
                !weight.isVector && matrix < weight.count && !outputs.isEmpty && outputs.upperBound <= weight.outputs,
                "MuonBlock: \(outputs) of matrix \(matrix) of \(weight.layout)")
            (self.weight, self.matrix, self.outputs, self.isTransposed) = (weight, matrix, outputs, isTransposed)
        }

        var rows: Int { isTransposed ? weight.inputs : outputs.count }
        var columns: Int { isTransposed ? outputs.count : weight.inputs }
    }

    /// From the first row down.
    public let parts: [Part]
    /// Of all parts together.
    public let rows: Int
    /// Of each part.
    public let columns: Int

    /// - Parameter parts: of one width, from the first row down.
    public init(_ parts: [Part]) {
        precondition(
            parts.first.map { first in parts.allSatisfy { $0.columns == first.columns } } ?? false, "MuonBlock")
        self.parts = parts
        (rows, columns) = (parts.reduce(0) { $0 + $1.rows }, parts[0].columns)
    }

    /// A whole matrix.
    public init(_ weight: Weight, matrix: Int = 0) { self.init([Part(weight, matrix: matrix)]) }

    /// Every matrix of a weight for itself.
    public static func each(of weight: Weight) -> [MuonBlock] {
        (0..<weight.count).map { MuonBlock(weight, matrix: $0) }
    }

    /// The shape of `tall`: the longer side first.
    private var tallShape: Shape { [max(rows, columns), min(rows, columns)] }

    /// Multiply-adds of a Newton–Schulz step.
    var work: Int { tallShape.last * tallShape.last * (2 * tallShape.first + tallShape.last) }

    /// The block row-major, turned so that its longer side comes first.
    ///
    /// - Parameter numbers: of a weight, in its layout.
    func tall(_ numbers: (Weight) -> Tensor) -> Tensor {
        let tall = Tensor(uninitialized: tallShape)
        move(numbers, tall) { block, packed in block.pointee = packed.pointee }
        return tall
    }

    /// Writes what `tall` would give.
    func set(_ tall: Tensor, _ numbers: (Weight) -> Tensor) {
        move(numbers, tall) { block, packed in packed.pointee = block.pointee }
    }

    /// Calls `body` with the place of each number in a tall tensor and in its weight's layout.
    @inline(__always) private func move(
        _ numbers: (Weight) -> Tensor, _ tall: Tensor,
        _ body: (UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>) -> Void
    ) {
        let (panel, isTurned) = (Panels.columns, rows < columns)
        var row = 0
        for part in parts {
            let (weight, inputs) = (part.weight, part.weight.inputs)
            let packed = numbers(weight)
            let matrix = packed.pointer + part.matrix * weight.matrixStride
            // From one output of the weight, and one input, to the next.
            let (outputStep, inputStep) = part.isTransposed == isTurned ? (tallShape.last, 1) : (1, tallShape.last)
            let corner = tall.pointer + row * (isTurned ? 1 : tallShape.last)
            for p in part.outputs.lowerBound / panel...(part.outputs.upperBound - 1) / panel {
                let outputs = part.outputs.clamped(to: p * panel..<(p + 1) * panel)
                let from = matrix + p * weight.panelStride + outputs.lowerBound % panel
                let to = corner + (outputs.lowerBound - part.outputs.lowerBound) * outputStep
                // Squares that keep whole cache lines of both sides in use.
                for first in stride(from: 0, to: inputs, by: 16) {
                    for o in 0..<outputs.count {
                        var (block, number) = (to + o * outputStep + first * inputStep, from + o + first * panel)
                        for _ in first..<min(inputs, first + 16) {
                            body(block, number)
                            block += inputStep
                            number += panel
                        }
                    }
                }
            }
            row += part.rows
        }
    }
}
