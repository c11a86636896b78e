/// One of the most probable tokens at a place of a sequence.
public struct LikelyToken: Sendable, Equatable {
    public let id: Int32
    /// Natural log, under the model's own distribution: before anything that a ``Sampler`` does to it.
    public let logprob: Float

    public init(id: Int32, logprob: Float) { (self.id, self.logprob) = (id, logprob) }

    /// So many of the most probable tokens, the most probable first, of equals the lower. A logit of -∞, or one that is
    /// no number, is none of them.
    ///
    /// - Parameters:
    ///   - logits: `[W]`, as the model gave them.
    ///   - logSumExp: of these, from `Tensor.logSumExp`: log-probabilities are then those of ``GeneratedToken``, to the
    ///     bit.
    public static func most(_ count: Int, of logits: UnsafeBufferPointer<Float>, logSumExp: Float) -> [LikelyToken] {
        logits.largest(count).map { LikelyToken(id: Int32($0), logprob: logits[$0] - logSumExp) }
    }
}
