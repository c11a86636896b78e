import CGlimKernels

extension Tensor {
    /// `y = x · Wᵀ`.
    ///
    /// - Parameters:
    ///   - x: `[T, inputs]`
    ///   - weight: one matrix `[outputs, inputs]`.
    /// - Returns: `[T, outputs]`
    public static func linear(_ x: Tensor, _ weight: Weight, tape: Tape? = nil) -> Tensor {
        let rows = x.shape.rows
        precondition(
            weight.count == 1 && !weight.isVector && weight.inputs == x.shape.last,
            "linear: weight \(weight.layout) for \(x.shape)")
        var y = Tensor(uninitialized: [rows, weight.outputs])
        Product.forward(
            y.pointer, stride: weight.outputs, x.pointer, stride: weight.inputs, weight, matrix: 0, rows: rows)
        tape?.record(&y) { [unowned tape] dy in
            tape!.write(to: x) { dx, accumulate in
                Product.inputGradient(
                    dx, stride: weight.inputs, dy.pointer, stride: weight.outputs, weight, matrix: 0, rows: rows,
                    accumulate: accumulate)
            }
            tape!.write(to: weight) { gradient, accumulate in
                Product.weightGradient(
                    gradient, dy.pointer, stride: weight.outputs, x.pointer, stride: weight.inputs, weight,
                    rows: rows, accumulate: accumulate)
            }
        }
        return y
    }
}

/// How a product is divided among threads: over rows and panels of outputs, never over the sum.
package enum Product {
    /// Rows of one piece: a multiple of the kernels' tile height whose inputs stay in the second-level cache.
    private static let rowBlock = 96
    private static let panel = Int(GLIM_PANEL)
    /// Multiply-adds below which a product is not worth sharing.
    private static let shared = 1 << 15

    /// `y (+)= x · Wᵀ` for one matrix of a weight.
    package static func forward(
        _ y: UnsafeMutablePointer<Float>, stride ldy: Int, _ x: UnsafePointer<Float>, stride ldx: Int,
        _ weight: Weight, matrix: Int, rows: Int, accumulate: Bool = false
    ) {
        let base = weight.buffer.pointer
        let offset = matrix * weight.matrixStride
        run(rows: rows, outputs: weight.outputs, inputs: weight.inputs) { row, count, firstPanel, columns in
            let out = y + row * ldy + firstPanel * panel
            let flags = accumulate ? GLIM_ACCUMULATE : 0
            switch weight.format {
            case .f32:
                kernels.pointee.matmul_f32(
                    out, Int64(ldy), Int64(panel), x + row * ldx, Int64(ldx),
                    base.assumingMemoryBound(to: Float.self) + offset + firstPanel * weight.panelStride, Int64(panel),
                    Int64(weight.panelStride), Int64(count), Int64(columns), Int64(weight.inputs), flags)
            case .bf16:
                kernels.pointee.matmul_f32_bf16(
                    out, Int64(ldy), Int64(panel), x + row * ldx, Int64(ldx),
                    base.assumingMemoryBound(to: UInt16.self) + offset + firstPanel * weight.panelStride,
                    Int64(weight.panelStride), Int64(count), Int64(columns), Int64(weight.inputs), flags)
            }
        }
    }

    /// `dx (+)= dy · W`.
    package static func inputGradient(
        _ dx: UnsafeMutablePointer<Float>, stride lddx: Int, _ dy: UnsafePointer<Float>, stride lddy: Int,
        _ weight: Weight, matrix: Int, rows: Int, accumulate: Bool
    ) {
        let (turned, matrixStride) = weight.transposedPanels()
        let from = turned.floats + matrix * matrixStride
        let panelStride = panel * weight.outputs
        run(rows: rows, outputs: weight.inputs, inputs: weight.outputs) { row, count, firstPanel, columns in
            kernels.pointee.matmul_f32(
                dx + row * lddx + firstPanel * panel, Int64(lddx), Int64(panel), dy + row * lddy, Int64(lddy),
                from + firstPanel * panelStride, Int64(panel), Int64(panelStride), Int64(count), Int64(columns),
                Int64(weight.outputs), accumulate ? GLIM_ACCUMULATE : 0)
        }
    }

    /// `dW (+)= dyᵀ · x`, in the layout of one matrix of the weight; the sum runs over rows in ascending order.
    package static func weightGradient(
        _ gradient: UnsafeMutablePointer<Float>, _ dy: UnsafePointer<Float>, stride lddy: Int,
        _ x: UnsafePointer<Float>, stride ldx: Int, _ weight: Weight, rows: Int, accumulate: Bool
    ) {
        let pieces = gradientPieces(weight)
        ThreadPool.shared.run(pieces) { piece in
            weightGradientPiece(
                piece, gradient, dy, stride: lddy, x, stride: ldx, weight, rows: rows, accumulate: accumulate)
        }
    }

    /// Inputs of one piece of a weight's gradient.
    private static let inputBlock = 192

    /// Pieces that a matrix's gradient is divided into.
    package static func gradientPieces(_ weight: Weight) -> Int {
        weight.panelCount * ((weight.inputs + inputBlock - 1) / inputBlock)
    }

    /// One piece: a panel of outputs by a block of inputs.
    package static func weightGradientPiece(
        _ piece: Int, _ gradient: UnsafeMutablePointer<Float>, _ dy: UnsafePointer<Float>, stride lddy: Int,
        _ x: UnsafePointer<Float>, stride ldx: Int, _ weight: Weight, rows: Int, accumulate: Bool
    ) {
        let blocks = (weight.inputs + inputBlock - 1) / inputBlock
        let (p, first) = (piece / blocks, piece % blocks * inputBlock)
        kernels.pointee.matmul_f32(
            gradient + p * weight.panelStride + first * panel, Int64(panel), Int64(weight.panelStride), x + first,
            Int64(ldx), dy + p * panel, Int64(lddy), Int64(panel), Int64(min(inputBlock, weight.inputs - first)),
            Int64(min(panel, weight.outputs - p * panel)), Int64(rows),
            GLIM_A_TRANSPOSED | (accumulate ? GLIM_ACCUMULATE : 0))
    }

    /// Calls `body(row, rows, panel, columns)` for pieces that cover all rows and outputs.
    private static func run(
        rows: Int, outputs: Int, inputs: Int, _ body: (Int, Int, Int, Int) -> Void
    ) {
        guard rows > 0 else { return }
        let panels = (outputs + panel - 1) / panel
        if rows * outputs * inputs < shared || ThreadPool.shared.threadCount == 1 && rows <= rowBlock {
            body(0, rows, 0, outputs)
            return
        }
        let rowPieces = (rows + rowBlock - 1) / rowBlock
        // Enough pieces for every thread, a few panels each.
        let wanted = max(1, (4 * ThreadPool.shared.threadCount + rowPieces - 1) / rowPieces)
        let panelsEach = max(min(4, (panels + 1) / 2), (panels + wanted - 1) / wanted)
        let panelPieces = (panels + panelsEach - 1) / panelsEach
        ThreadPool.shared.run(rowPieces * panelPieces) { piece in
            let (row, first) = (piece / panelPieces * rowBlock, piece % panelPieces * panelsEach)
            let columns = min(outputs, (first + panelsEach) * panel) - first * panel
            body(row, min(rowBlock, rows - row), first, columns)
        }
    }
}
