public import GlimTensor

/// One layer: attention and a feed-forward part, each after a norm and added to the residual stream.
public struct DecoderLayer: Sendable {
    public enum FeedForward: Sendable {
        case dense(MLP)
        case experts(MixtureOfExperts)
    }

    public let attentionNorm: Weight  // [D]
    public internal(set) var attention: LatentAttention
    public let feedForwardNorm: Weight  // [D]
    public let feedForward: FeedForward
    let epsilon: Float

    init(_ config: ModelConfig, layer: Int, _ make: WeightMaker) {
        (attentionNorm, feedForwardNorm) = (make.vector(config.hiddenSize), make.vector(config.hiddenSize))
        attention = LatentAttention(config, layer: layer, make)
        feedForward =
            config.isDense(layer: layer)
            ? .dense(
                MLP("model.layers.\(layer).mlp", hidden: config.hiddenSize, width: config.denseWidth, make))
            : .experts(MixtureOfExperts(config, layer: layer, make))
        epsilon = config.normEpsilon
    }

    /// The router and its experts, where the layer has them.
    public var experts: MixtureOfExperts? {
        if case .experts(let experts) = feedForward { experts } else { nil }
    }

    /// - Parameters:
    ///   - selection: the nearest earlier choice of positions, which this layer uses or replaces.
    ///   - next: the layer after this one, whose experts may be on disk.
    func callAsFunction(_ h_TD: Tensor, _ pass: Pass, selection: inout Selection?, next: DecoderLayer? = nil) -> Tensor
    {
        let tape = pass.tape
        let x_TD = Tensor.rmsNorm(h_TD, attentionNorm, epsilon: epsilon, tape: tape)
        let mid_TD = Tensor.add(h_TD, attention(x_TD, pass, selection: &selection), tape: tape)
        if let next, let experts = next.experts, experts.source?.wantsGuesses ?? false {
            experts.expect(Tensor.rmsNorm(mid_TD, next.feedForwardNorm, epsilon: epsilon))
        }
        let y_TD = Tensor.rmsNorm(mid_TD, feedForwardNorm, epsilon: epsilon, tape: tape)
        let out_TD =
            switch feedForward {
            case .dense(let mlp): mlp(y_TD, tape: tape)
            case .experts(let experts): experts(y_TD, pass)
            }
        return Tensor.add(mid_TD, out_TD, tape: tape)
    }
}
