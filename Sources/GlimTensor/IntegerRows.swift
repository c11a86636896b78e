import CGlimKernels

/// Rows in int8, with a scale for each row and group: one side of a product of integers.
///
/// A row's integers depend on that row alone, so it does not matter what else is multiplied with it.
package struct IntegerRows: Sendable {
    private let numbers: Buffer
    private let groups: Buffer
    let inputs: Int
    /// Inputs that share a scale.
    let group: Int
    let stride: Int
    let groupCount: Int

    private init(rows: Int, inputs: Int, group: Int) {
        (self.inputs, self.group) = (inputs, group)
        stride = Int(glim_integer_stride(Int64(inputs)))
        groupCount = (inputs + group - 1) / group
        numbers = Buffer(byteCount: rows * stride)
        groups = Buffer(byteCount: rows * groupCount * MemoryLayout<glim_row_group>.stride)
    }

    /// Quantises rows of numbers.
    init(_ x: UnsafePointer<Float>, stride ldx: Int, rows: Int, inputs: Int, group: Int) {
        self.init(rows: rows, inputs: inputs, group: group)
        let made = self
        Tensor.overRows(rows, width: inputs) { first, count in
            kernels.pointee.quantize_rows(
                made.row(first), Int64(made.stride), made.groups(of: first), x + first * ldx, Int64(ldx), Int64(count),
                Int64(inputs), Int64(group))
        }
    }

    func row(_ i: Int) -> UnsafeMutablePointer<Int8> { numbers.integers + i * stride }
    func groups(of row: Int) -> UnsafeMutablePointer<glim_row_group> {
        groups.pointer.assumingMemoryBound(to: glim_row_group.self) + row * groupCount
    }

    /// The given rows, in the given order.
    func gathered(_ rows: [Int32]) -> IntegerRows {
        let some = IntegerRows(rows: rows.count, inputs: inputs, group: group)
        Tensor.overRows(rows.count, width: stride) { first, count in
            for i in first..<first + count {
                some.row(i).update(from: row(Int(rows[i])), count: stride)
                some.groups(of: i).update(from: groups(of: Int(rows[i])), count: groupCount)
            }
        }
        return some
    }

    /// Integers times their scales.
    ///
    /// - Returns: `[rows, inputs]`
    func restored(rows: Int) -> Tensor {
        let x = Tensor(uninitialized: [rows, inputs])
        Tensor.overRows(rows, width: inputs) { first, count in
            kernels.pointee.restore_rows(
                x.row(first), Int64(inputs), row(first), Int64(stride), groups(of: first), Int64(count), Int64(inputs),
                Int64(group))
        }
        return x
    }
}
