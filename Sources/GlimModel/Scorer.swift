import GlimTensor

/// What a scorer computes for each sequence.
public enum ScoreKind: String, Sendable, CaseIterable {
    /// `[T, W]`, natural scale.
    case logits
    /// `[T - 1]`: the log-probability of each next token (natural log).
    case logprobs
    /// `[T, D]`, after the final norm.
    case hidden
    /// For each layer `[T, topK]`: positions that attention read, ascending, padded with -1.
    case selection
}

/// How a scorer feeds a sequence. All ways give the same numbers, to the bit.
public enum ScoreMode: Sendable, Equatable {
    /// The whole sequence at once, without a cache: the training forward.
    case train
    /// One token at a time through the cache.
    case decode
    /// So many tokens at a time through the cache.
    case chunked(Int)
}

/// Scores sequences that are already written: logits, log-probabilities, hidden states, or the positions chosen.
public struct Scorer: Sendable {
    public let model: Model
    public let mode: ScoreMode

    public init(_ model: Model, mode: ScoreMode = .train) { (self.model, self.mode) = (model, mode) }

    /// Log-probabilities of each next token.
    ///
    /// - Returns: one fewer than there are tokens.
    public func logprobs(_ tokens: [Int32]) -> [Float] {
        var result: [Float] = []
        forEachChunk(tokens) { hidden, first, _ in
            let rows = hidden.shape.rows
            if case .train = mode {
                let targets = (0..<rows).map { first + $0 + 1 < tokens.count ? tokens[first + $0 + 1] : -1 }
                result += Tensor.crossEntropy(hidden, head: model.head, targets: targets)
            } else {
                // As generation computes them.
                let logits = model.logits(hidden)
                let lse = Tensor.logSumExp(logits)
                logits.withElements { values in
                    for t in 0..<rows where first + t + 1 < tokens.count {
                        result.append(values[t * model.head.outputs + Int(tokens[first + t + 1])] - lse[t])
                    }
                }
            }
        }
        return Array(result.prefix(max(0, tokens.count - 1)))
    }

    /// Logits of every position, `[T, W]`.
    public func logits(_ tokens: [Int32]) -> [Float] { gather(tokens) { model.logits($0) } }

    /// Hidden states of every position after the final norm, `[T, D]`.
    public func hidden(_ tokens: [Int32]) -> [Float] { gather(tokens) { $0 } }

    /// The positions that each layer's attention read: for each layer `[T, topK]`, ascending, padded with -1.
    /// Empty in a model without an indexer.
    public func selection(_ tokens: [Int32]) -> [[Int32]] {
        guard let indexer = model.config.indexer else { return [] }
        var result = [[Int32]](repeating: [], count: model.config.layerCount)
        forEachChunk(tokens) { hidden, first, observer in
            var current: Selection?
            for layer in 0..<model.config.layerCount {
                if model.config.indexerKind(layer: layer) == .full { current = observer.selections[layer] }
                for t in 0..<hidden.shape.rows {
                    let chosen = current?[t] ?? (0...Int32(first + t)).map { $0 }
                    result[layer] += chosen + [Int32](repeating: -1, count: indexer.topK - chosen.count)
                }
            }
        }
        return result
    }

    private func gather(_ tokens: [Int32], _ values: (Tensor) -> Tensor) -> [Float] {
        var result: [Float] = []
        forEachChunk(tokens) { hidden, _, _ in values(hidden).withElements { result += $0 } }
        return result
    }

    /// Calls `body(hidden, first position, observer)` for each piece the mode feeds.
    private func forEachChunk(_ tokens: [Int32], _ body: (Tensor, Int, Observer) -> Void) {
        let chunk =
            switch mode {
            case .train: tokens.count
            case .decode: 1
            case .chunked(let count): count
            }
        let cache = mode == .train ? nil : model.makeCache()
        for first in stride(from: 0, to: tokens.count, by: max(1, chunk)) {
            let piece = Array(tokens[first..<min(tokens.count, first + chunk)])
            let batch = cache.map { Batch([(piece, $0)]) } ?? Batch(tokens: piece, lengths: [piece.count])
            let observer = Observer()
            body(model.hidden(batch, observer: observer), first, observer)
        }
    }
}
