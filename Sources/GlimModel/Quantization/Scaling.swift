import Foundation
import GlimTensor

/// Activation-aware scaling (AWQ: Lin et al., 2023): inputs that are large have their weights made larger, which the
/// rounding then hurts less, and whatever makes those inputs makes them smaller by as much. What the model computes
/// stays the same.
struct Scaling {
    /// Matrices that read the same inputs, and what makes these.
    struct Pair {
        /// A norm, or a matrix; of several matrices (experts, heads) one.
        let maker: Weight
        let makerMatrix: Int?
        /// All that reads: those with a format are quantised.
        let readers: [(weight: Weight, matrix: Int?, format: Weight.Format?)]
        /// Of what the readers meet.
        let statistics: (absolute: [Double], squares: [Double])
    }

    /// Exponents that are tried: 0 leaves everything as it is.
    private static let exponents = [0, 0.25, 0.5, 0.75, 1]
    /// No number is moved further than this.
    private static let most = 16.0

    /// Finds the factors with the least error, and puts them in.
    static func apply(to pair: Pair) {
        var (best, least) = ([Float](), Double.infinity)
        for exponent in exponents {
            let factors = Self.factors(pair.statistics.absolute, exponent)
            let error = self.error(pair, factors)
            if error < least { (best, least) = (factors, error) }
        }
        guard best.contains(where: { $0 != 1 }) else { return }
        pair.maker.divideOutputs(by: best, matrix: pair.makerMatrix)
        for reader in pair.readers { reader.weight.scaleInputs(by: best, matrix: reader.matrix) }
    }

    /// (E|x| / their geometric mean) to the power of the exponent.
    private static func factors(_ absolute: [Double], _ exponent: Double) -> [Float] {
        let floor = 1e-6 * (absolute.max() ?? 1)
        let logs = absolute.map { log(max($0, floor, .leastNormalMagnitude)) }
        let mean = logs.reduce(0, +) / Double(max(1, logs.count))
        return logs.map { Float(min(most, max(1 / most, exp(exponent * ($0 - mean))))) }
    }

    /// Of all quantised readers together, with these factors put in.
    private static func error(_ pair: Pair, _ factors: [Float]) -> Double {
        let squares = zip(pair.statistics.squares, factors).map { $0 / Double($1 * $1) }
        var error = 0.0
        for reader in pair.readers {
            guard let format = reader.format else { continue }
            for matrix in reader.matrix.map({ $0..<$0 + 1 }) ?? 0..<reader.weight.count {
                var rows = reader.weight.rows(matrix: matrix).elements
                let inputs = factors.count
                for i in rows.indices { rows[i] *= factors[i % inputs] }
                error += rows.withUnsafeBufferPointer {
                    WeightedError(format: format, inputs: inputs, squares: squares).nearest($0)
                }
            }
        }
        return error
    }
}

extension DecoderLayer {
    /// The pairs that can be scaled, in the order of the pass.
    ///
    /// - Parameters:
    ///   - formats: what weights are quantised to.
    ///   - measured: what their products meet.
    func scalingPairs(
        _ formats: [ObjectIdentifier: Weight.Format], _ measured: [ObjectIdentifier: ActivationStatistics]
    ) -> [Scaling.Pair] {
        func reader(_ weight: Weight, _ matrix: Int? = nil) -> (weight: Weight, matrix: Int?, format: Weight.Format?) {
            (weight, matrix, formats[ObjectIdentifier(weight)])
        }
        func statistics(_ weight: Weight) -> ActivationStatistics? { measured[ObjectIdentifier(weight)] }
        var pairs: [Scaling.Pair] = []
        for (norm, readers) in streamReaders {
            // Any of them met what all of them read; experts each only the tokens that went there.
            guard let statistics = readers.lazy.compactMap(statistics).first(where: { $0.matrixCount == 1 }) else {
                continue
            }
            pairs.append(
                Scaling.Pair(
                    maker: norm, makerMatrix: nil, readers: readers.map { reader($0) }, statistics: statistics.means(0))
            )
        }
        if let norm = attention.queryNorm, let statistics = statistics(attention.queryUp) {
            let readers = [attention.queryUp] + (attention.indexer.map { [$0.query] } ?? [])
            pairs.append(
                Scaling.Pair(
                    maker: norm, makerMatrix: nil, readers: readers.map { reader($0) }, statistics: statistics.means(0))
            )
        }
        func inner(_ up: Weight, _ down: Weight) {
            guard let statistics = statistics(down) else { return }
            for matrix in 0..<down.count {
                pairs.append(
                    Scaling.Pair(
                        maker: up, makerMatrix: matrix, readers: [reader(down, matrix)],
                        statistics: statistics.means(matrix)))
            }
        }
        switch feedForward {
        case .dense(let mlp): inner(mlp.up, mlp.down)
        case .experts(let experts):
            if let resident = experts.resident { inner(resident.up, resident.down) }
            if let shared = experts.shared { inner(shared.up, shared.down) }
        }
        return pairs
    }
}
