import Foundation
import GlimTensor

/// What one model predicts beside what another does, on the same text: a quantised model beside the one it was made of.
public struct ModelComparison: Sendable, Equatable {
    /// e to the mean cross-entropy of the tokens that count.
    public let perplexityBefore: Double
    public let perplexityAfter: Double
    /// Of `ln(perplexityAfter / perplexityBefore)`, from the differences token by token: on other text of as many tokens
    /// that logarithm would be another by about so much.
    public let standardError: Double
    /// KL(before ‖ after) of the next token's distribution, the mean over positions, nats.
    public let divergence: Double
    /// Positions at which both find the same token most probable, as a share.
    public let agreement: Double
    /// Tokens that were predicted.
    public let tokenCount: Int

    public init(
        _ before: Model, _ after: Model, _ probes: [ProbeBatch], check: () throws -> Void = {}
    ) throws {
        try self.init(Predictions(before, probes, check: check), after, check: check)
    }

    /// - Parameters:
    ///   - before: what the first model made of the same sequences, to compare several with it.
    ///   - check: called before each sequence; what it throws ends the comparison.
    public init(_ before: Predictions, _ after: Model, check: () throws -> Void = {}) throws {
        var tokens: [TokenComparison] = []
        for made in before.made {
            try check()
            guard let other = after.probed(made.probe, ahead: before.isAhead) else { continue }
            for first in stride(from: 0, to: made.next.count, by: Self.rowsAtOnce) {
                let rows = Array(first..<min(made.next.count, first + Self.rowsAtOnce))
                let p = Distributions(Tensor.selectRows(made.hidden, rows), before.head)
                let q = Distributions(
                    Tensor.selectRows(other.hidden, rows), before.isAhead ? after.aheadHead() : after.head)
                tokens += p.beside(q, next: rows.map { made.next[$0] })
            }
        }
        let each = 1 / Double(max(1, tokens.count))
        func mean(_ value: (TokenComparison) -> Double) -> Double { tokens.reduce(0) { $0 + value($1) } * each }
        let (nats, lost) = (-mean(\.before), -mean(\.after))
        (perplexityBefore, perplexityAfter) = (exp(nats), exp(lost))
        let variance = mean { ($0.before - $0.after - (lost - nats)) * ($0.before - $0.after - (lost - nats)) }
        standardError = (variance * each).squareRoot()
        // No mean of divergences is below zero, but for rounding.
        divergence = max(0, mean(\.divergence))
        (agreement, tokenCount) = (mean { $0.agrees ? 1 : 0 }, tokens.count)
    }

    /// Rows of logits held at a time.
    private static let rowsAtOnce = 64

    /// What a model makes of some sequences.
    public struct Predictions: Sendable {
        let isAhead: Bool
        let head: Weight
        /// Of each probe the rows that count, and what comes.
        let made: [(probe: ProbeBatch, hidden: Tensor, next: [Int])]

        /// - Parameters:
        ///   - ahead: what the first step of multi-token prediction predicts, instead of the next token; of a model
        ///     without one nothing.
        ///   - check: called before each sequence; what it throws ends it.
        public init(
            _ model: Model, _ probes: [ProbeBatch], ahead: Bool = false, check: () throws -> Void = {}
        ) throws {
            let made = try probes.compactMap { probe in
                try check()
                return model.probed(probe, ahead: ahead).map { (probe: probe, hidden: $0.hidden, next: $0.next) }
            }
            self.init(
                isAhead: ahead, head: ahead && !model.predictions.isEmpty ? model.aheadHead() : model.head, made: made)
        }

        private init(isAhead: Bool, head: Weight, made: [(probe: ProbeBatch, hidden: Tensor, next: [Int])]) {
            (self.isAhead, self.head, self.made) = (isAhead, head, made)
        }

        /// Those of the first probes, that many tokens or a few more.
        func prefix(tokens: Int) -> Predictions {
            var (count, sum) = (0, 0)
            while count < made.count, sum < tokens {
                sum += made[count].probe.tokens.count
                count += 1
            }
            return Predictions(isAhead: isAhead, head: head, made: Array(made.prefix(count)))
        }
    }
}

/// One prediction of two models.
private struct TokenComparison {
    /// Logarithms of what they gave the token that came.
    var before = 0.0
    var after = 0.0
    /// KL(before ‖ after)
    var divergence = 0.0
    /// Whether they find the same token most probable.
    var agrees = false
}

/// Next-token distributions of some rows.
private struct Distributions {
    private let logits: Tensor
    private let logSumExp: [Float]

    init(_ hidden_TD: Tensor, _ head: Weight) {
        logits = Tensor.linear(hidden_TD, head)
        logSumExp = Tensor.logSumExp(logits)
    }

    private var width: Int { logits.shape.last }

    /// - Parameter next: what came after each row.
    func beside(_ other: Distributions, next: [Int]) -> [TokenComparison] {
        var results = [TokenComparison](repeating: TokenComparison(), count: next.count)
        results.withUnsafeMutableBufferPointer { results in
            // Disjoint entries.
            nonisolated(unsafe) let results = results
            ThreadPool.shared.run(next.count) { row in
                results[row] = logits.withElements { p in
                    other.logits.withElements { q in compare(p, q, other, row: row, next: next[row]) }
                }
            }
        }
        return results
    }

    private func compare(
        _ p: UnsafeBufferPointer<Float>, _ q: UnsafeBufferPointer<Float>, _ other: Distributions, row: Int, next: Int
    ) -> TokenComparison {
        let first = row * width
        var (likeliest, othersLikeliest, sum) = (first, first, 0.0)
        for i in first..<first + width {
            let logp = Double(p[i] - logSumExp[row])
            sum += exp(logp) * (logp - Double(q[i] - other.logSumExp[row]))
            if p[i] > p[likeliest] { likeliest = i }
            if q[i] > q[othersLikeliest] { othersLikeliest = i }
        }
        return TokenComparison(
            before: Double(p[first + next] - logSumExp[row]), after: Double(q[first + next] - other.logSumExp[row]),
            divergence: sum, agrees: likeliest == othersLikeliest)
    }
}
