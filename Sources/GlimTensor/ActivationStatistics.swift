/// What the products of a weight meet, input by input: what calibration goes by.
// @unchecked: written by the passes of a calibration, one after another.
package final class ActivationStatistics: @unchecked Sendable {
    /// Σ |x| and Σ x² over the rows of each matrix, `[count, inputs]`.
    private var sums: [(absolute: [Double], squares: [Double], rows: Int)]

    package init(_ weight: Weight) {
        let zeros = [Double](repeating: 0, count: weight.inputs)
        sums = [(absolute: [Double], squares: [Double], rows: Int)](repeating: (zeros, zeros, 0), count: weight.count)
    }

    /// Matrices that are told apart.
    package var matrixCount: Int { sums.count }

    func add(_ x: UnsafePointer<Float>, stride: Int, rows: Int, matrix: Int) {
        for row in 0..<rows {
            for i in sums[matrix].absolute.indices {
                let value = Double(x[row * stride + i])
                sums[matrix].absolute[i] += abs(value)
                sums[matrix].squares[i] += value * value
            }
        }
        sums[matrix].rows += rows
    }

    /// Fewer rows tell little of an expert: those of all experts are taken instead.
    private static let leastRows = 32

    /// Of each input of a matrix the mean of |x| and of x²; ones where nothing was met.
    package func means(_ matrix: Int) -> (absolute: [Double], squares: [Double]) {
        let chosen = sums[matrix].rows >= Self.leastRows ? [sums[matrix]] : sums
        let rows = Double(chosen.reduce(0) { $0 + $1.rows })
        guard rows > 0 else {
            let ones = sums[matrix].squares.map { _ in 1.0 }
            return (ones, ones)
        }
        func mean(_ values: [[Double]]) -> [Double] {
            values.dropFirst().reduce(values[0]) { zip($0, $1).map(+) }.map { $0 / rows }
        }
        return (mean(chosen.map(\.absolute)), mean(chosen.map(\.squares)))
    }
}
