public import GlimTensor

/// The multi-token prediction layer: from the trunk's output at a position and the next token, the token after it
/// (GLM-5 report, section 2.1; DeepSeek-V3 report, section 2.2).
public struct MultiTokenPrediction: Sendable {
    public let embeddingNorm: Weight  // [D], enorm
    public let hiddenNorm: Weight  // [D], hnorm
    public let projection: Weight  // [D, 2 D], eh_proj: embedding half first
    public let layer: DecoderLayer
    public let norm: Weight  // [D], shared_head.norm
    /// `[W, D]` each, where the checkpoint has its own; nil shares the trunk's.
    public let embedding: Weight?
    public let head: Weight?
    let epsilon: Float

    init(_ config: ModelConfig, layer index: Int, tables: ModelTables, _ make: WeightMaker) {
        let (D, W, prefix) = (config.hiddenSize, config.vocabularySize, "model.layers.\(index)")
        embedding = tables.embedding ? make.matrix("\(prefix).embed_tokens.weight", W, D, isLookedUp: true) : nil
        head = tables.head ? make.matrix("\(prefix).shared_head.head.weight", W, D) : nil
        (embeddingNorm, hiddenNorm, norm) = (make.vector(D), make.vector(D), make.vector(D))
        projection = make.matrix("\(prefix).eh_proj.weight", D, 2 * D)
        layer = DecoderLayer(config, layer: index, make)
        epsilon = config.normEpsilon
    }

    /// - Parameters:
    ///   - embedding_TD: of the token after each row.
    ///   - hidden_TD: the trunk's output after its final norm.
    /// - Returns: `[T, D]`, ready for the head; row i predicts the token two after it.
    func callAsFunction(embedding_TD: Tensor, hidden_TD: Tensor, _ pass: Pass) -> Tensor {
        let tape = pass.tape
        let joined = Tensor.concatenate(
            Tensor.rmsNorm(embedding_TD, embeddingNorm, epsilon: epsilon, tape: tape),
            Tensor.rmsNorm(hidden_TD, hiddenNorm, epsilon: epsilon, tape: tape), tape: tape)
        var selection: Selection?
        let m_TD = layer(Tensor.linear(joined, projection, tape: tape), pass, selection: &selection)
        return Tensor.rmsNorm(m_TD, norm, epsilon: epsilon, tape: tape)
    }
}
