public import GlimModel
public import GlimTensor

/// Mean next-token cross-entropy over sequences, and its gradient.
public struct LossGradient {
    /// Mean over all predicted tokens, nats.
    public let loss: Double
    /// For each sequence the log-probability of each next token, from the same forward.
    public let logprobs: [[Float]]
    /// In the weights' own layouts; the pairwise tree over sequences.
    public let gradients: Gradients

    /// Runs the training forward and backward over each sequence: no MTP, no balance loss.
    ///
    /// - Parameter model: with f32 weights.
    public init(_ model: Model, _ sequences: [[Int32]]) {
        let count = sequences.reduce(0) { $0 + max(0, $1.count - 1) }
        var tree = GradientTree()
        var (sum, logprobs) = (0.0, [[Float]]())
        for tokens in sequences {
            let tape = Tape()
            let hidden = model.hidden(Batch(tokens: tokens, lengths: [tokens.count]), tape: tape)
            let each = Tensor.crossEntropy(
                hidden, head: model.head, targets: Array(tokens.dropFirst()) + [-1],
                lossScale: 1 / Float(max(1, count)), tape: tape)
            tape.backward()
            tree.push(tape.gradients)
            logprobs.append(Array(each.dropLast()))
            sum -= logprobs[logprobs.count - 1].reduce(0.0) { $0 + Double($1) }
        }
        (loss, self.logprobs, gradients) = (sum / Double(max(1, count)), logprobs, tree.sum())
    }
}
