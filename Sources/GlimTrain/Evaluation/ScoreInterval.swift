import Foundation

/// A share of samples, and where the true one lies with 95% confidence.
public struct ScoreInterval: Codable, Sendable, Equatable {
    public var score: Double
    public var low: Double
    public var high: Double
    public var samples: Int

    /// The interval of Wilson, which stays within 0...1 and says something of 0 or all right answers too.
    ///
    /// - Parameters:
    ///   - sum: of the samples' scores, each within 0...1. Where they are fractions, the interval is a little wide.
    ///   - samples: how many; of none the interval is everything.
    public init(sum: Double, samples: Int) {
        self.samples = samples
        guard samples > 0 else {
            (score, low, high) = (0, 0, 1)
            return
        }
        let (n, z) = (Double(samples), 1.959_963_984_540_054)
        let p = min(max(sum / n, 0), 1)
        let middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        let half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)).squareRoot()
        (score, low, high) = (p, max(0, min(p, middle - half)), min(1, max(p, middle + half)))
    }
}
