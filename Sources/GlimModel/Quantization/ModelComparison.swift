import Foundation
import GlimTensor

/// What one model predicts beside what another does, on the same text: a quantised model beside the one it was made of.
public struct ModelComparison: Sendable, Equatable {
    /// e to the mean cross-entropy of the next token.
    public let perplexityBefore: Double
    public let perplexityAfter: Double
    /// KL(before ‖ after) of the next token's distribution, the mean over positions, nats.
    public let divergence: Double
    /// Positions at which both find the same token most probable, as a share.
    public let agreement: Double
    /// Tokens that were predicted.
    public let tokenCount: Int

    /// - Parameter sequences: of two tokens or more each.
    public init(_ before: Model, _ after: Model, _ sequences: [[Int32]]) {
        self.init(Predictions(before, sequences), after)
    }

    /// - Parameter before: what the first model made of the same sequences, to compare several with it.
    public init(_ before: Predictions, _ after: Model) {
        var (nats, lost, divergence, same, count) = (0.0, 0.0, 0.0, 0, 0)
        for (tokens, hidden) in zip(before.sequences, before.hidden) {
            let other = after.hidden(Batch(tokens: tokens, lengths: [tokens.count]))
            for first in stride(from: 0, to: tokens.count - 1, by: Self.rowsAtOnce) {
                let rows = Array(first..<min(tokens.count - 1, first + Self.rowsAtOnce))
                let p = Distributions(before.model, Tensor.selectRows(hidden, rows))
                let q = Distributions(after, Tensor.selectRows(other, rows))
                for row in rows.indices {
                    let next = Int(tokens[rows[row] + 1])
                    nats -= p.logprob(row, next)
                    lost -= q.logprob(row, next)
                    divergence += p.divergence(row, from: q)
                    if p.mostProbable(row) == q.mostProbable(row) { same += 1 }
                    count += 1
                }
            }
        }
        let each = 1 / Double(max(1, count))
        (perplexityBefore, perplexityAfter) = (exp(nats * each), exp(lost * each))
        (self.divergence, agreement, tokenCount) = (divergence * each, Double(same) * each, count)
    }

    /// Rows of logits held at a time.
    private static let rowsAtOnce = 64

    /// What a model makes of some sequences.
    public struct Predictions: Sendable {
        let model: Model
        let sequences: [[Int32]]
        let hidden: [Tensor]

        /// - Parameter sequences: of two tokens or more each.
        public init(_ model: Model, _ sequences: [[Int32]]) {
            let hidden = sequences.map { model.hidden(Batch(tokens: $0, lengths: [$0.count])) }
            self.init(model: model, sequences: sequences, hidden: hidden)
        }

        private init(model: Model, sequences: [[Int32]], hidden: [Tensor]) {
            (self.model, self.sequences, self.hidden) = (model, sequences, hidden)
        }

        /// Those of the first sequences.
        func prefix(_ count: Int) -> Predictions {
            Predictions(
                model: model, sequences: Array(sequences.prefix(count)), hidden: Array(hidden.prefix(count)))
        }
    }
}

/// Next-token distributions of some rows.
private struct Distributions {
    private let logits: Tensor
    private let logSumExp: [Float]

    init(_ model: Model, _ hidden_TD: Tensor) {
        logits = model.logits(hidden_TD)
        logSumExp = Tensor.logSumExp(logits)
    }

    func logprob(_ row: Int, _ token: Int) -> Double {
        logits.withElements { Double($0[row * logits.shape.last + token] - logSumExp[row]) }
    }

    func mostProbable(_ row: Int) -> Int {
        logits.withElements { logits in
            let first = row * self.logits.shape.last
            return (0..<self.logits.shape.last).max { logits[first + $0] < logits[first + $1] } ?? 0
        }
    }

    /// KL(self ‖ other)
    func divergence(_ row: Int, from other: Distributions) -> Double {
        let width = logits.shape.last
        return logits.withElements { p in
            other.logits.withElements { q in
                var sum = 0.0
                for i in row * width..<(row + 1) * width {
                    let logp = Double(p[i] - logSumExp[row])
                    sum += exp(logp) * (logp - Double(q[i] - other.logSumExp[row]))
                }
                return sum
            }
        }
    }
}
