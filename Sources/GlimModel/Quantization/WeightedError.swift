import GlimTensor

/// How far a quantised matrix is off, by what it does to its product's output: Σ (w - ŵ)² E[x²] over a row's inputs,
/// which is the mean square of the output's error where inputs are uncorrelated.
struct WeightedError {
    let format: Weight.Format
    let inputs: Int
    /// E[x²] of each input.
    let squares: [Double]

    private var group: Int { format.group ?? inputs }
    private var groupCount: Int { (inputs + group - 1) / group }

    /// Of each row and group, `[outputs, groups]`.
    func ofGroups(_ rows: UnsafeBufferPointer<Float>, _ matrix: IntegerMatrix) -> [Double] {
        let numbers = matrix.numbers
        var errors = [Double](repeating: 0, count: matrix.outputs * groupCount)
        for row in 0..<matrix.outputs {
            for g in 0..<groupCount {
                var sum = 0.0
                for i in g * group..<min(inputs, (g + 1) * group) {
                    let off = Double(rows[row * inputs + i] - numbers[row * inputs + i])
                    sum += off * off * squares[i]
                }
                errors[row * groupCount + g] = sum
            }
        }
        return errors
    }

    /// Of the whole matrix, rounded to nearest.
    func nearest(_ rows: UnsafeBufferPointer<Float>) -> Double {
        ofGroups(rows, Quantizer(format, inputs: inputs)(rows)).reduce(0, +)
    }

    /// Σ w² E[x²]: what an error of all of it would be.
    func size(_ rows: UnsafeBufferPointer<Float>) -> Double {
        rows.indices.reduce(0) { $0 + Double(rows[$1]) * Double(rows[$1]) * squares[$1 % inputs] }
    }

    /// What scales are multiplied with: 1, or where that makes the error smaller less, which cuts the largest numbers off.
    private static let ratios: [Float] = [1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5]

    /// The ratio of each row and group with the least error, `[outputs, groups]`; of equals the largest.
    func bestClip(_ rows: UnsafeBufferPointer<Float>) -> (ratios: [Float], error: Double) {
        let quantizer = Quantizer(format, inputs: inputs)
        let count = rows.count / inputs * groupCount
        var best = [Float](repeating: 1, count: count)
        var least = [Double](repeating: .infinity, count: count)
        for ratio in Self.ratios {
            let errors = ofGroups(rows, quantizer(rows, clip: [Float](repeating: ratio, count: count)))
            for i in errors.indices where errors[i] < least[i] { (best[i], least[i]) = (ratio, errors[i]) }
        }
        return (best, least.reduce(0, +))
    }
}
