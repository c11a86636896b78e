/// A matrix in integers, row by row, with a scale for each row and group of columns: what files hold.
public struct IntegerMatrix: Sendable, Equatable {
    /// `.int8` or `.int4`, with the columns that share a scale.
    public let format: Weight.Format
    public let outputs: Int
    public let inputs: Int
    /// `[outputs, inputs]`
    public let integers: [Int8]
    /// `[outputs, groups]`
    public let scales: [Float]

    /// A format that is none of integers, groups that do not divide the inputs (unless one group is a row), and other
    /// counts than the shape's are bugs and trap.
    public init(_ format: Weight.Format, outputs: Int, inputs: Int, integers: [Int8], scales: [Float]) {
        guard let layout = IntegerLayout(format, outputs: outputs, inputs: inputs) else {
            preconditionFailure("IntegerMatrix: \(format) of \(inputs) inputs")
        }
        precondition(
            integers.count == outputs * inputs && scales.count == outputs * layout.groupCount,
            "IntegerMatrix: \(integers.count) integers, \(scales.count) scales for [\(outputs), \(inputs)] in \(format)"
        )
        (self.format, self.outputs, self.inputs) = (format, outputs, inputs)
        (self.integers, self.scales) = (integers, scales)
    }

    /// Scales of one row.
    public var groupCount: Int { scales.count / max(1, outputs) }

    /// Integers times their scales, rounded once: `[outputs, inputs]`.
    public var numbers: [Float] {
        let (group, groupCount) = (format.group ?? inputs, groupCount)
        return [Float](unsafeUninitializedCapacity: integers.count) { numbers, count in
            count = integers.count
            for row in 0..<outputs {
                for g in 0..<groupCount {
                    let scale = scales[row * groupCount + g]
                    for i in row * inputs + g * group..<row * inputs + min(inputs, (g + 1) * group) {
                        numbers[i] = Float(integers[i]) * scale
                    }
                }
            }
        }
    }

    /// Σ (w - integer · scale)² over rows `[outputs, inputs]`.
    public func squaredError(_ rows: UnsafeBufferPointer<Float>) -> Double {
        precondition(rows.count == integers.count, "IntegerMatrix: \(rows.count) numbers for [\(outputs), \(inputs)]")
        return zip(rows, numbers).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
    }
}
