import GlimTensor

/// Whole sequences to measure a model by, in one pass.
public struct ProbeBatch: Sendable, Equatable {
    public let tokens: [Int32]
    /// Of the sequences, in order; they sum to the tokens.
    public let lengths: [Int]
    /// The token that comes after each, -1 where that is not known or does not count.
    public let next: [Int32]

    public init(tokens: [Int32], lengths: [Int], next: [Int32]) {
        precondition(next.count == tokens.count, "ProbeBatch: \(next.count) next tokens of \(tokens.count)")
        (self.tokens, self.lengths, self.next) = (tokens, lengths, next)
    }

    /// One sequence, of which all that is predicted counts.
    public init(_ tokens: [Int32]) {
        self.init(tokens: tokens, lengths: [tokens.count], next: tokens.dropFirst() + (tokens.isEmpty ? [] : [-1]))
    }

    var batch: Batch { Batch(tokens: tokens, lengths: lengths) }

    /// What the first step of multi-token prediction reads: all rows of a sequence but the last, and the token after
    /// each; as `next` the one after that. Nil where no sequence has two tokens.
    var ahead: (rows: [Int], read: ProbeBatch)? {
        var (rows, first) = ([Int](), 0)
        for length in lengths {
            rows += first..<first + max(0, length - 1)
            first += length
        }
        if rows.isEmpty { return nil }
        let read = ProbeBatch(
            tokens: rows.map { tokens[$0 + 1] }, lengths: lengths.map { max(0, $0 - 1) },
            next: rows.map { next[$0 + 1] })
        return (rows, read)
    }
}

extension Model {
    /// What is predicted from in each row, and by which head: the next token, or with the first step of multi-token
    /// prediction the one after it. Nil where there is nothing to predict it with.
    ///
    /// - Returns: of the rows that count, `[rows, D]`, and what comes.
    func probed(_ probe: ProbeBatch, ahead isAhead: Bool) -> (hidden: Tensor, next: [Int])? {
        if isAhead, predictions.isEmpty { return nil }
        var (hidden_TD, next) = (hidden(probe.batch), probe.next)
        if isAhead {
            guard let ahead = probe.ahead else { return nil }
            hidden_TD = predictAhead(
                Tensor.selectRows(hidden_TD, ahead.rows), next: ahead.read.tokens, ahead.read.batch)
            next = ahead.read.next
        }
        let rows = next.indices.filter { next[$0] >= 0 }
        return rows.isEmpty ? nil : (Tensor.selectRows(hidden_TD, rows), rows.map { Int(next[$0]) })
    }
}
