/// What steps cost on this machine, as measured: seconds of a pass by its rows, and of guessing a token.
package struct PassCosts: Sendable {
    /// A moving mean for each number of rows.
    private var passes: [Int: Double] = [:]
    private var guess: Double?
    /// `pass = base + row · rows`
    private var base = 0.0
    private var row = 0.0

    /// How much of a mean the newest measurement is.
    private static let weight = 0.2

    package init() {}

    /// A pass of the trunk has drawn for all its sequences.
    package mutating func record(rows: Int, seconds: Double) {
        passes[rows] = mean(passes[rows], seconds)
        fit()
    }

    /// So many tokens were guessed.
    package mutating func record(guesses: Int, seconds: Double) {
        if guesses > 0 { guess = mean(guess, seconds / Double(guesses)) }
    }

    /// For one of `sequences` that draw together; nil as long as no pass was measured.
    ///
    /// What is not known yet is taken for cheap, for trying it is how to know.
    package func costs(sequences: Int) -> DraftDepth.Costs? {
        if passes.isEmpty { return nil }
        return DraftDepth.Costs(step: base / Double(max(1, sequences)) + row, row: row, guess: guess ?? 0)
    }

    private func mean(_ old: Double?, _ new: Double) -> Double {
        old.map { $0 + Self.weight * (new - $0) } ?? new
    }

    /// The line of least squares; neither part of a cost is negative.
    private mutating func fit() {
        let count = Double(passes.count)
        let x = passes.keys.reduce(0.0) { $0 + Double($1) } / count
        let y = passes.values.reduce(0, +) / count
        let spread = passes.keys.reduce(0.0) { $0 + (Double($1) - x) * (Double($1) - x) }
        let joint = passes.reduce(0.0) { $0 + (Double($1.key) - x) * ($1.value - y) }
        row = spread > 0 ? max(0, joint / spread) : 0
        base = y - row * x
        if base < 0 { (base, row) = (0, y / x) }
    }
}
