import CGlimKernels
import Synchronization

/// One side of a product: the panels of a weight or of its transpose, in the form that its arithmetic wants.
package struct Panels {
    enum Arithmetic {
        /// f32 by f32.
        case f32
        /// f32 by bf16, which is widened exactly.
        case widened
        /// bf16 by bf16: what comes in is rounded on the way.
        case bf16
        /// Integers by int8: what comes in is quantised before.
        case integers(IntegerLayout)
    }

    let buffer: Buffer
    let arithmetic: Arithmetic
    let outputs: Int
    let inputs: Int
    /// Where each matrix lies; nil: one behind another in the buffer.
    var places: [UnsafeMutableRawPointer?]?

    static let columns = Int(GLIM_PANEL)

    /// Panels of one matrix.
    var count: Int { (outputs + Self.columns - 1) / Self.columns }
    /// Numbers from one panel to the next, in floating point.
    private var panelStride: Int {
        if case .f32 = arithmetic { Self.columns * inputs } else { Self.columns * ((inputs + 1) / 2 * 2) }
    }

    /// Where a matrix of so many bytes begins.
    private func base(of matrix: Int, byteCount: Int) -> UnsafeMutableRawPointer {
        guard let places else { return buffer.pointer + matrix * byteCount }
        guard let place = places[matrix] else { preconditionFailure("Panels: matrix \(matrix) was not read") }
        return place
    }

    /// Inputs that share a scale; nil in floating point.
    var group: Int? { if case .integers(let layout) = arithmetic { layout.group } else { nil } }

    /// The rows that panels are multiplied with, in the form that their arithmetic wants.
    package enum Operand {
        case numbers(UnsafePointer<Float>, stride: Int)
        case integers(IntegerRows)
    }

    /// What these panels are multiplied with, made of rows of numbers: once for all pieces of a product.
    package func operand(_ x: UnsafePointer<Float>, stride: Int, rows: Int) -> Operand {
        guard case .integers(let layout) = arithmetic else { return .numbers(x, stride: stride) }
        return .integers(IntegerRows(x, stride: stride, rows: rows, inputs: inputs, group: layout.group))
    }

    /// `y (+)= x · Wᵀ` of one matrix, for rows of `x` from `row` on and `outputs` outputs from panel `first` on; y is where
    /// the first of them goes.
    package func multiply(
        _ y: UnsafeMutablePointer<Float>, stride ldy: Int, _ x: Operand, row: Int = 0, matrix: Int, first: Int = 0,
        outputs: Int? = nil, rows: Int, accumulate: Bool = false
    ) {
        switch x {
        case .numbers(let x, let ldx):
            multiply(
                y, stride: ldy, x + row * ldx, stride: ldx, matrix: matrix, first: first, outputs: outputs, rows: rows,
                accumulate: accumulate)
        case .integers(let x):
            guard case .integers(let layout) = arithmetic, layout.group == x.group, inputs == x.inputs else {
                preconditionFailure("Panels: \(x.inputs) integers in groups of \(x.group) for \(arithmetic)")
            }
            let base = base(of: matrix, byteCount: layout.byteCount)
            let product = layout.bits == 8 ? kernels.pointee.matmul_int8 : kernels.pointee.matmul_int4
            product(
                y, Int64(ldy), Int64(GLIM_PANEL), x.row(row), Int64(x.stride), x.groups(of: row),
                layout.numbers(base, panel: first), layout.scales(base, panel: first), Int64(rows),
                Int64(outputs ?? self.outputs), Int64(inputs), Int64(layout.group), accumulate ? GLIM_ACCUMULATE : 0)
        }
    }

    /// The same in floating point.
    func multiply(
        _ y: UnsafeMutablePointer<Float>, stride ldy: Int, _ x: UnsafePointer<Float>, stride ldx: Int, matrix: Int,
        first: Int = 0, outputs: Int? = nil, rows: Int, accumulate: Bool = false
    ) {
        let isWide = if case .f32 = arithmetic { true } else { false }
        let panelByteCount = panelStride * (isWide ? 4 : 2)
        let panel = base(of: matrix, byteCount: count * panelByteCount) + first * panelByteCount
        let (floats, halves) = (panel.assumingMemoryBound(to: Float.self), panel.assumingMemoryBound(to: UInt16.self))
        let (flags, N) = (accumulate ? GLIM_ACCUMULATE : 0, Int64(outputs ?? self.outputs))
        let (M, K, stride) = (Int64(rows), Int64(inputs), Int64(panelStride))
        switch arithmetic {
        case .integers: preconditionFailure("Panels: integers by numbers that were not quantised")
        case .f32:
            kernels.pointee.matmul_f32(
                y, Int64(ldy), Int64(GLIM_PANEL), x, Int64(ldx), floats, Int64(GLIM_PANEL), stride, M, N, K,
                flags)
        case .widened:
            kernels.pointee.matmul_f32_bf16(
                y, Int64(ldy), Int64(GLIM_PANEL), x, Int64(ldx), halves, stride, M, N, K, flags)
        case .bf16:
            kernels.pointee.matmul_bf16(
                y, Int64(ldy), Int64(GLIM_PANEL), x, Int64(ldx), halves, stride, M, N, K, flags)
        }
    }
}

extension Weight {
    /// What `x · Wᵀ` is multiplied with.
    package func panels() -> Panels {
        if let quantization, let layout = IntegerLayout(quantization, outputs: outputs, inputs: inputs) {
            return Panels(
                buffer: format == quantization ? buffer : quantizedPanels(layout), arithmetic: .integers(layout),
                outputs: outputs, inputs: inputs, places: places)
        }
        guard computesInBF16, format == .f32 else {
            let arithmetic: Panels.Arithmetic = format == .f32 ? .f32 : computesInBF16 ? .bf16 : .widened
            return Panels(buffer: buffer, arithmetic: arithmetic, outputs: outputs, inputs: inputs, places: places)
        }
        let stride = Panels.columns * ((inputs + 1) / 2 * 2)
        let made = rounded.buffer(version: version, byteCount: count * panelCount * stride * 2) { made in
            ThreadPool.shared.run(count * panelCount) { i in
                kernels.pointee.round_panels(
                    made.halves + i * stride, floats + i * panelStride, 1, Int64(inputs))
            }
        }
        return Panels(buffer: made, arithmetic: .bf16, outputs: outputs, inputs: inputs)
    }

    /// What `dy · W` is multiplied with: the panels of the transpose, in floating point. Of a quantised weight they hold
    /// what its products multiply with, so that the gradient of inputs is that of the pass that was made.
    package func transposedPanels() -> Panels {
        let turnedCount = (inputs + Panels.columns - 1) / Panels.columns
        let stride = Panels.columns * (computesInBF16 ? (outputs + 1) / 2 * 2 : outputs)
        let made = transposed.buffer(
            version: version, byteCount: count * turnedCount * stride * (computesInBF16 ? 2 : 4)
        ) { made in
            let restored = quantization == nil ? nil : restoredPanels()
            let (numbers, matrixStride) = (restored?.floats ?? floats, panelCount * Panels.columns * inputs)
            defer { withExtendedLifetime(restored) {} }
            ThreadPool.shared.run(count * turnedCount) { i in
                let (m, p) = (i / turnedCount, i % turnedCount)
                let turned = computesInBF16 ? Buffer(byteCount: Panels.columns * outputs * 4) : nil
                kernels.pointee.transpose_panels_f32(
                    turned?.floats ?? made.floats + i * stride, numbers + m * matrixStride, Int64(outputs),
                    Int64(inputs), Int64(p), Int64(p + 1))
                if let turned {
                    kernels.pointee.round_panels(made.halves + i * stride, turned.floats, 1, Int64(outputs))
                }
            }
        }
        return Panels(
            buffer: made, arithmetic: computesInBF16 ? .bf16 : .f32, outputs: inputs, inputs: outputs)
    }
}

/// Another form of a weight's numbers, made again when their version has moved.
final class DerivedPanels: Sendable {
    private let held = Mutex<(version: UInt64, buffer: Buffer)?>(nil)

    func buffer(version: UInt64, byteCount: Int, make: (Buffer) -> Void) -> Buffer {
        // Locked: two passes over one model may ask at the same time.
        held.withLock { held in
            if let held, held.version == version { return held.buffer }
            let buffer = held?.buffer ?? Buffer(byteCount: byteCount)
            make(buffer)
            held = (version, buffer)
            return buffer
        }
    }
}
