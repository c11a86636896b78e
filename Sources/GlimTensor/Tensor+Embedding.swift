import CGlimKernels

extension Tensor {
    /// One row of the table for each token.
    ///
    /// - Parameters:
    ///   - tokens: ids below the table's outputs.
    ///   - table: one matrix `[vocabulary, D]`, packed as every weight is, so that a tied head can share it.
    /// - Returns: `[T, D]`
    public static func embedding(_ tokens: [Int32], _ table: Weight, tape: Tape? = nil) -> Tensor {
        let (count, width) = (tokens.count, table.inputs)
        precondition(
            tokens.allSatisfy { $0 >= 0 && Int($0) < table.outputs },
            "embedding: a token is not in 0..<\(table.outputs)")
        var y = Tensor(uninitialized: [count, width])
        tokens.withUnsafeBufferPointer { tokens in
            let ids = Shared(tokens.baseAddress!)
            overRows(count, width: width) { first, rows in
                switch table.format {
                case .f32:
                    kernels.pointee.gather_rows_f32(
                        y.row(first), Int64(width), table.floats, ids.pointer + first, Int64(rows), Int64(width))
                case .bf16:
                    kernels.pointee.gather_rows_bf16(
                        y.row(first), Int64(width), table.halves, ids.pointer + first, Int64(rows), Int64(width))
                case .int8, .int4: preconditionFailure("embedding: a table in \(table.format)")
                }
            }
        }
        tape?.record(&y) { [unowned tape] dy in
            tape!.write(to: table) { gradient, accumulate in
                if !accumulate {
                    overElements(table.elementCount) { i, n in (gradient + i).update(repeating: 0, count: n) }
                }
                tokens.withUnsafeBufferPointer { tokens in
                    let ids = Shared(tokens.baseAddress!)
                    // Columns are shared out, tokens stay in order: the sum of a row is the same for any threads.
                    let columns = 16
                    ThreadPool.shared.run((width + columns - 1) / columns) { c in
                        kernels.pointee.scatter_rows_f32(
                            gradient, dy.pointer, Int64(width), ids.pointer, Int64(count), Int64(width),
                            Int64(c * columns), Int64(min(width, (c + 1) * columns)))
                    }
                }
            }
        }
        return y
    }
}
