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
    }

    let buffer: Buffer
    let arithmetic: Arithmetic
    let outputs: Int
    let inputs: Int

    static let columns = Int(GLIM_PANEL)

    /// Panels of one matrix.
    var count: Int { (outputs + Self.columns - 1) / Self.columns }
    /// Numbers from one panel to the next.
    private var panelStride: Int { Self.columns * (arithmetic == .f32 ? inputs : (inputs + 1) / 2 * 2) }

    /// `y (+)= x · Wᵀ` of one matrix, for `outputs` outputs from panel `first` on; y is where the first of them goes.
    func multiply(
        _ y: UnsafeMutablePointer<Float>, stride ldy: Int, _ x: UnsafePointer<Float>, stride ldx: Int, matrix: Int,
        first: Int = 0, outputs: Int? = nil, rows: Int, accumulate: Bool = false
    ) {
        let offset = (matrix * count + first) * panelStride
        let (flags, N) = (accumulate ? GLIM_ACCUMULATE : 0, Int64(outputs ?? self.outputs))
        let (M, K, stride) = (Int64(rows), Int64(inputs), Int64(panelStride))
        switch arithmetic {
        case .f32:
            kernels.pointee.matmul_f32(
                y, Int64(ldy), Int64(GLIM_PANEL), x, Int64(ldx), buffer.floats + offset, Int64(GLIM_PANEL), stride, M,
                N, K, flags)
        case .widened:
            kernels.pointee.matmul_f32_bf16(
                y, Int64(ldy), Int64(GLIM_PANEL), x, Int64(ldx), buffer.halves + offset, stride, M, N, K, flags)
        case .bf16:
            kernels.pointee.matmul_bf16(
                y, Int64(ldy), Int64(GLIM_PANEL), x, Int64(ldx), buffer.halves + offset, stride, M, N, K, flags)
        }
    }
}

extension Weight {
    /// What `x · Wᵀ` is multiplied with.
    package func panels() -> Panels {
        guard computesInBF16, format == .f32 else {
            let arithmetic: Panels.Arithmetic = format == .f32 ? .f32 : computesInBF16 ? .bf16 : .widened
            return Panels(buffer: buffer, arithmetic: arithmetic, outputs: outputs, inputs: inputs)
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

    /// What `dy · W` is multiplied with: the panels of the transpose.
    package func transposedPanels() -> Panels {
        let turnedCount = (inputs + Panels.columns - 1) / Panels.columns
        let stride = Panels.columns * (computesInBF16 ? (outputs + 1) / 2 * 2 : outputs)
        let made = transposed.buffer(
            version: version, byteCount: count * turnedCount * stride * (computesInBF16 ? 2 : 4)
        ) { made in
            ThreadPool.shared.run(count * turnedCount) { i in
                let (m, p) = (i / turnedCount, i % turnedCount)
                let turned = computesInBF16 ? Buffer(byteCount: Panels.columns * outputs * 4) : nil
                kernels.pointee.transpose_panels_f32(
                    turned?.floats ?? made.floats + i * stride, matrix(m), Int64(outputs), Int64(inputs), Int64(p),
                    Int64(p + 1))
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
