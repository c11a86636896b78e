import CGlimKernels

/// Makes integers of a matrix's numbers, as the compressed-tensors library does: symmetric, round to nearest.
///
/// The scale of a group is max|w| over half the range of the integers, 127.5 or 7.5; a number over its scale is brought
/// within the range (-128 … 127, -8 … 7) and rounded to nearest even. Quantisation-aware training and conversion of
/// checkpoints both use this one, so that what was trained is what is deployed, to the bit.
public struct Quantizer: Sendable {
    /// What it makes.
    public let format: Weight.Format
    /// Of one row.
    public let inputs: Int

    /// A format that is none of integers, or whose groups do not divide the inputs, is a bug and traps.
    public init(_ format: Weight.Format, inputs: Int) {
        precondition(
            IntegerLayout(format, outputs: 1, inputs: inputs) != nil, "Quantizer: \(format) of \(inputs) inputs")
        (self.format, self.inputs) = (format, inputs)
    }

    /// Scales of one row.
    public var groupCount: Int { (inputs + group - 1) / group }

    private var group: Int { format.group ?? inputs }

    /// The scales of rows `[outputs, inputs]`: `[outputs, groups]`. Of a group of zeros 2^-23; NaN where a number is not
    /// finite.
    public func scales(_ rows: UnsafeBufferPointer<Float>) -> [Float] {
        let outputs = rows.count / inputs
        precondition(rows.count == outputs * inputs, "Quantizer: \(rows.count) numbers in rows of \(inputs)")
        return [Float](unsafeUninitializedCapacity: outputs * groupCount) { scales, count in
            count = outputs * groupCount
            guard let to = scales.baseAddress, let from = rows.baseAddress else { return }
            Tensor.overRows(outputs, width: inputs) { first, n in
                kernels.pointee.weight_scales(
                    to + first * groupCount, from + first * inputs, Int64(inputs), Int64(n), Int64(inputs),
                    Int64(group), Int32(format.bits))
            }
        }
    }

    /// Rows `[outputs, inputs]` in integers.
    ///
    /// - Parameters:
    ///   - clip: what each group's scale is multiplied with, `[outputs, groups]`: below 1 the largest numbers are cut
    ///     off and the others keep more of their bits.
    public func callAsFunction(_ rows: UnsafeBufferPointer<Float>, clip: [Float]? = nil) -> IntegerMatrix {
        var scales = scales(rows)
        if let clip {
            precondition(clip.count == scales.count, "Quantizer: \(clip.count) ratios for \(scales.count) groups")
            for i in scales.indices { scales[i] *= clip[i] }
        }
        let outputs = rows.count / inputs
        let integers = [Int8](unsafeUninitializedCapacity: rows.count) { integers, count in
            count = rows.count
            guard let to = integers.baseAddress, let from = rows.baseAddress else { return }
            scales.withUnsafeBufferPointer { scales in
                guard let by = scales.baseAddress else { return }
                Tensor.overRows(outputs, width: inputs) { first, n in
                    kernels.pointee.quantize_weights(
                        to + first * inputs, Int64(inputs), by + first * groupCount, from + first * inputs,
                        Int64(inputs), Int64(n), Int64(inputs), Int64(group), Int32(format.bits))
                }
            }
        }
        return IntegerMatrix(format, outputs: outputs, inputs: inputs, integers: integers, scales: scales)
    }
}
