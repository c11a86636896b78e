import CGlimKernels

extension Tensor {
    /// Rows of a block whose contributions to a norm weight's gradient are summed before blocks are added: constant,
    /// so that the sum does not depend on threads.
    private static let gradientRows = 256

    /// Root-mean-square norm over the last axis: `y = x / √(mean(x²) + eps) · weight`.
    ///
    /// - Parameters:
    ///   - x: `[…, D]`
    ///   - weight: `[D]`
    ///   - epsilon: added to the mean square, inside the root.
    /// - Returns: `[…, D]`
    public static func rmsNorm(_ x: Tensor, _ weight: Weight, epsilon: Float, tape: Tape? = nil) -> Tensor {
        let (rows, width) = (x.shape.rows, x.shape.last)
        precondition(weight.isVector && weight.outputs == width, "rmsNorm: weight \(weight.layout) for \(x.shape)")
        var y = Tensor(uninitialized: x.shape)
        let inverse = tape == nil ? nil : Tensor(uninitialized: [rows])
        overRows(rows, width: width) { first, count in
            kernels.pointee.rms_norm(
                y.row(first), Int64(width), inverse.map { $0.pointer + first }, x.row(first), Int64(width),
                weight.floats, Int64(count), Int64(width), epsilon)
        }
        tape?.record(&y) { [unowned tape] dy in
            func pullback(_ dx: UnsafeMutablePointer<Float>, _ accumulate: Bool) {
                rmsNormPullback(
                    dx: dx, dy: dy.pointer, x: x.pointer, stride: width, weight, inverse: inverse!, rows: rows,
                    accumulate: accumulate, tape: tape!)
            }
            // The kernel makes both gradients at once; the weight wants its own even where x wants none.
            if x.node == nil {
                let unused = Tensor(uninitialized: x.shape)
                withExtendedLifetime(unused) { pullback(unused.pointer, false) }
            } else {
                tape!.write(to: x, pullback)
            }
        }
        return y
    }

    /// The pullback over `rows` rows of the weight's width, `stride` apart in dx, dy and x alike.
    package static func rmsNormPullback(
        dx: UnsafeMutablePointer<Float>, dy: UnsafePointer<Float>, x: UnsafePointer<Float>, stride: Int,
        _ weight: Weight, inverse: Tensor, rows: Int, accumulate: Bool, tape: Tape
    ) {
        let width = weight.outputs
        let blocks = (rows + gradientRows - 1) / gradientRows
        let partial = Tensor(zeros: [max(1, blocks), width])
        ThreadPool.shared.run(blocks) { b in
            let first = b * gradientRows
            kernels.pointee.rms_norm_backward(
                dx + first * stride, Int64(stride), partial.row(b), dy + first * stride, Int64(stride),
                x + first * stride, Int64(stride), weight.floats, inverse.pointer + first,
                Int64(min(gradientRows, rows - first)), Int64(width), accumulate ? GLIM_ACCUMULATE : 0)
        }
        addBlocks(partial, to: weight, tape)
    }

    /// The pullback of a layer norm with bias.
    ///
    /// - Parameter stats: mean and inverse deviation of each row.
    static func layerNormPullback(
        _ dy: Tensor, to x: Tensor, _ weight: Weight, bias: Weight, stats: Tensor, tape: Tape
    ) {
        let (rows, width) = (x.shape.rows, x.shape.last)
        let blocks = (rows + gradientRows - 1) / gradientRows
        let (dweight, dbias) = (Tensor(zeros: [max(1, blocks), width]), Tensor(zeros: [max(1, blocks), width]))
        let dx = Tensor(uninitialized: x.shape)
        ThreadPool.shared.run(blocks) { b in
            let first = b * gradientRows
            kernels.pointee.layer_norm_backward(
                dx.row(first), Int64(width), dweight.row(b), dbias.row(b), dy.row(first), Int64(width), x.row(first),
                Int64(width), weight.floats, stats.row(first), Int64(min(gradientRows, rows - first)), Int64(width), 0)
        }
        tape.add(dx, to: x)
        addBlocks(dweight, to: weight, tape)
        addBlocks(dbias, to: bias, tape)
    }

    /// Adds the rows of `partial`, in order, to the gradient of a vector.
    private static func addBlocks(_ partial: Tensor, to weight: Weight, _ tape: Tape) {
        let width = partial.shape.last
        tape.write(to: weight) { gradient, accumulate in
            if !accumulate { gradient.update(repeating: 0, count: width) }
            for b in 0..<partial.shape.rows {
                kernels.pointee.add(gradient, gradient, partial.row(b), Int64(width))
            }
        }
    }
}
