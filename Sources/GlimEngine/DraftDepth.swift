/// How many tokens to guess ahead for one sequence: as many as pay, given how many were right lately and what a pass
/// costs here; none where none does. Changes time, never a token.
package struct DraftDepth: Sendable {
    /// What is weighed: seconds, or anything in their proportion.
    package struct Costs: Sendable, Equatable {
        /// The sequence's share of a step without drafts.
        package var step: Double
        /// A row more in the trunk's pass.
        package var row: Double
        /// Guessing a token.
        package var guess: Double

        package init(step: Double, row: Double, guess: Double) {
            (self.step, self.row, self.guess) = (step, row, guess)
        }
    }

    /// Of each place how often a guess was compared and right, older ones counting less.
    private var tried: [Double]
    private var accepted: [Double]
    /// Tokens to draw before drafts that did not pay are tried again.
    private var pause = 0
    private var nextPause = Self.firstPause
    /// Steps with drafts since then.
    private var steps = 0

    /// A step counts this much of the one after it.
    private static let memory = 0.95
    /// What is believed of a place before anything was tried, and how many trials that counts as.
    private static let belief = 0.7
    private static let beliefWeight = 2.0
    private static let firstPause = 32
    private static let longestPause = 1024

    /// - Parameter most: guesses of a step.
    package init(most: Int) {
        (tried, accepted) = (.init(repeating: 0, count: most), .init(repeating: 0, count: most))
    }

    /// For each place the share of guesses that is expected to be right, where all before it were.
    package var acceptance: [Double] {
        zip(accepted, tried).map { ($0 + Self.belief * Self.beliefWeight) / ($1 + Self.beliefWeight) }
    }

    /// A step has drawn tokens.
    ///
    /// - Parameters:
    ///   - tried: guesses that were compared.
    ///   - accepted: as many of the first of them were right.
    ///   - tokens: that were drawn.
    package mutating func record(tried count: Int, accepted right: Int, tokens: Int) {
        pause = max(0, pause - tokens)
        if count == 0 { return }
        steps += 1
        // They paid for a while: the next time that they do not, it is found out soon whether they do again.
        if steps == Self.firstPause { nextPause = Self.firstPause }
        for i in tried.indices {
            tried[i] *= Self.memory
            accepted[i] *= Self.memory
            if i < count { tried[i] += 1 }
            if i < right { accepted[i] += 1 }
        }
    }

    /// How many tokens to guess in the next step, 0 or more.
    package mutating func next(_ costs: Costs) -> Int {
        if pause > 0 { return 0 }
        let depth = best(costs)
        if depth == 0, steps > 0 {
            // The text goes on: what was learned of it will not be true for ever.
            pause = nextPause
            nextPause = min(2 * nextPause, Self.longestPause)
            (tried, accepted, steps) = (tried.map { _ in 0 }, accepted.map { _ in 0 }, 0)
        }
        return depth
    }

    /// The depth with the most tokens a second; the smaller where two are alike.
    private func best(_ costs: Costs) -> Int {
        var (best, most) = (0, 1 / costs.step)
        var (expected, reached) = (1.0, 1.0)
        for (i, share) in acceptance.enumerated() {
            reached *= share
            expected += reached
            let rate = expected / (costs.step + Double(i + 1) * (costs.row + costs.guess))
            if rate > most { (best, most) = (i + 1, rate) }
        }
        return best
    }
}
