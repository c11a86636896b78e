import CGlimKernels

// Multi-head latent attention in its absorbed form: one key per position, shared by all heads, is the normed latent
// and a rotated part; queries are carried into the latent space, and outputs are carried out of it.
// Letters: T tokens, H heads, N plain and R rotated query width, C latent, V value width, W = C + R.

extension Tensor {
    /// Rows of one piece of per-head work.
    private static let headRows = Product.rowBlock

    /// The rows of the key cache: `[rmsNorm(c) | rope(k)]` from the compressed projection `[c | k]`.
    ///
    /// - Parameters:
    ///   - x: `[T, C + R]`, from `kv_a_proj_with_mqa`.
    ///   - norm: `[C]`
    ///   - positions: one a row.
    ///   - format: what they are rounded to; gradients go straight through.
    /// - Returns: `[T, C + R]`
    public static func latentKeys(
        _ x: Tensor, norm: Weight, epsilon: Float, positions: [Int32], _ table: RotaryTable, halfSplit: Bool,
        format: KeyFormat = .f32, tape: Tape? = nil
    ) -> Tensor {
        let (T, W, C, R) = (x.shape.rows, x.shape.last, norm.outputs, table.dimensions)
        precondition(W == C + R && positions.count == T, "latentKeys: \(x.shape) is not \(C) + \(R) wide")
        var y = Tensor(uninitialized: x.shape)
        let inverse = tape == nil ? nil : Tensor(uninitialized: [T])
        positions.withUnsafeBufferPointer { positions in
            let positions = Shared(positions.baseAddress!)
            overRows(T, width: W) { first, rows in
                kernels.pointee.rms_norm(
                    y.row(first), Int64(W), inverse.map { $0.pointer + first }, x.row(first), Int64(W), norm.floats,
                    Int64(rows), Int64(C), epsilon)
                for t in first..<first + rows { (y.row(t) + C).update(from: x.row(t) + C, count: R) }
                table.rotate(
                    y.row(first) + C, stride: W, headStride: R, heads: 1, positions: positions.pointer + first,
                    rows: rows, halfSplit: halfSplit, inverse: false)
                if format == .bf16 { kernels.pointee.round_to_bf16(y.row(first), Int64(rows * W)) }
            }
        }
        tape?.record(&y) { [unowned tape] dy in
            let dx = Tensor(uninitialized: x.shape)
            rmsNormPullback(
                dx: dx.pointer, dy: dy.pointer, x: x.pointer, stride: W, norm, inverse: inverse!, rows: T,
                accumulate: false, tape: tape!)
            positions.withUnsafeBufferPointer { positions in
                let positions = Shared(positions.baseAddress!)
                overRows(T, width: W) { first, rows in
                    for t in first..<first + rows { (dx.row(t) + C).update(from: dy.row(t) + C, count: R) }
                    table.rotate(
                        dx.row(first) + C, stride: W, headStride: R, heads: 1,
                        positions: positions.pointer + first, rows: rows, halfSplit: halfSplit, inverse: true)
                }
            }
            tape!.add(dx, to: x)
        }
        return y
    }

    /// Queries in the space of the keys: `[q_plain · W_UK | rope(q_rotated)]` for each head.
    ///
    /// - Parameters:
    ///   - q: `[T, H · (N + R)]`
    ///   - keyUp: H matrices `[C, N]`, the key half of `kv_b_proj` transposed.
    /// - Returns: `[T, H, C + R]`, grouped (see `HeadGroups`).
    public static func latentQueries(
        _ q: Tensor, keyUp: Weight, positions: [Int32], _ table: RotaryTable, halfSplit: Bool, tape: Tape? = nil
    ) -> Tensor {
        let (T, H, N, C, R) = (q.shape.rows, keyUp.count, keyUp.inputs, keyUp.outputs, table.dimensions)
        let (W, stride) = (C + R, q.shape.last)
        precondition(stride == H * (N + R) && positions.count == T, "latentQueries: \(q.shape), \(keyUp.layout)")
        precondition(keyUp.quantization == nil, "latentQueries: W_UK in \(keyUp.quantization!), across its groups")
        let groups = HeadGroups(heads: H)
        var y = Tensor(uninitialized: [T, H, W])
        let up = keyUp.panels()
        positions.withUnsafeBufferPointer { positions in
            let positions = Shared(positions.baseAddress!)
            overHeads(T, H, work: N * C) { h, first, rows in
                let place = groups.place(head: h, tokens: T, width: W)
                let out = y.pointer + place.offset + first * place.stride
                let from = q.row(first) + h * (N + R)
                up.multiply(out, stride: place.stride, from, stride: stride, matrix: h, rows: rows)
                for t in 0..<rows { (out + t * place.stride + C).update(from: from + t * stride + N, count: R) }
                table.rotate(
                    out + C, stride: place.stride, headStride: R, heads: 1, positions: positions.pointer + first,
                    rows: rows, halfSplit: halfSplit, inverse: false)
            }
        }
        tape?.record(&y) { [unowned tape] dy in
            let dq = Tensor(uninitialized: q.shape)
            let turned = keyUp.transposedPanels()
            positions.withUnsafeBufferPointer { positions in
                let positions = Shared(positions.baseAddress!)
                overHeads(T, H, work: N * C) { h, first, rows in
                    let place = groups.place(head: h, tokens: T, width: W)
                    let from = dy.pointer + place.offset + first * place.stride
                    let out = dq.row(first) + h * (N + R)
                    turned.multiply(out, stride: stride, from, stride: place.stride, matrix: h, rows: rows)
                    for t in 0..<rows { (out + t * stride + N).update(from: from + t * place.stride + C, count: R) }
                    table.rotate(
                        out + N, stride: stride, headStride: R, heads: 1, positions: positions.pointer + first,
                        rows: rows, halfSplit: halfSplit, inverse: true)
                }
            }
            tape!.add(dq, to: q)
            headGradients(of: keyUp, tape!) { h in
                let place = groups.place(head: h, tokens: T, width: W)
                return (dy.pointer + place.offset, place.stride, q.pointer + h * (N + R), stride, T)
            }
        }
        return y
    }

    /// The heads' outputs out of the latent space, side by side.
    ///
    /// - Parameters:
    ///   - x: `[T, H, C]`, grouped.
    ///   - valueUp: H matrices `[V, C]`, the value half of `kv_b_proj`.
    /// - Returns: `[T, H · V]`
    public static func latentValues(_ x: Tensor, valueUp: Weight, tape: Tape? = nil) -> Tensor {
        let (T, H, C, V) = (x.shape.first, valueUp.count, valueUp.inputs, valueUp.outputs)
        precondition(x.shape == [T, H, C], "latentValues: \(x.shape) for \(valueUp.layout)")
        precondition(valueUp.quantization == nil, "latentValues: W_UV in \(valueUp.quantization!)")
        let groups = HeadGroups(heads: H)
        var y = Tensor(uninitialized: [T, H * V])
        let up = valueUp.panels()
        overHeads(T, H, work: V * C) { h, first, rows in
            let place = groups.place(head: h, tokens: T, width: C)
            up.multiply(
                y.row(first) + h * V, stride: H * V, x.pointer + place.offset + first * place.stride,
                stride: place.stride, matrix: h, rows: rows)
        }
        tape?.record(&y) { [unowned tape] dy in
            let dx = Tensor(uninitialized: x.shape)
            let turned = valueUp.transposedPanels()
            overHeads(T, H, work: V * C) { h, first, rows in
                let place = groups.place(head: h, tokens: T, width: C)
                turned.multiply(
                    dx.pointer + place.offset + first * place.stride, stride: place.stride, dy.row(first) + h * V,
                    stride: H * V, matrix: h, rows: rows)
            }
            tape!.add(dx, to: x)
            headGradients(of: valueUp, tape!) { h in
                let place = groups.place(head: h, tokens: T, width: C)
                return (dy.pointer + h * V, H * V, x.pointer + place.offset, place.stride, T)
            }
        }
        return y
    }

    /// Calls `body(head, firstRow, rows)` for pieces that cover all heads and rows.
    private static func overHeads(_ T: Int, _ H: Int, work: Int, _ body: (Int, Int, Int) -> Void) {
        if T * H * work < 1 << 15 {
            for h in 0..<H { body(h, 0, T) }
            return
        }
        let blocks = (T + headRows - 1) / headRows
        ThreadPool.shared.run(H * blocks) { i in
            let first = i / H * headRows
            body(i % H, first, min(headRows, T - first))
        }
    }

    /// Gradients of per-head matrices; `operands(h)` is (dy, its stride, x, its stride, rows).
    private static func headGradients(
        of weight: Weight, _ tape: Tape,
        operands: (Int) -> (UnsafeMutablePointer<Float>, Int, UnsafeMutablePointer<Float>, Int, Int)
    ) {
        let grid = Product.gradientGrid(weight)
        tape.write(to: weight) { gradient, accumulate in
            ThreadPool.shared.run(weight.count * grid.count) { i in
                let h = i / grid.count
                let (dy, lddy, x, ldx, rows) = operands(h)
                Product.weightGradientPiece(
                    grid[i % grid.count], gradient + h * weight.matrixStride, dy, stride: lddy, x, stride: ldx, weight,
                    rows: rows, accumulate: accumulate)
            }
        }
    }
}
