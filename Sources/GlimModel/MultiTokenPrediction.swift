public import GlimTensor

/// A layer of multi-token prediction: from what the step before it made of a position (at first the trunk) and a token
/// ahead of it, the token after that one (GLM-5 report, section 2.1; DeepSeek-V3 report, section 2.2).
public struct MultiTokenPrediction: Sendable {
    public let embeddingNorm: Weight  // [D], enorm
    public let hiddenNorm: Weight  // [D], hnorm
    public let projection: Weight  // [D, 2 D], eh_proj: embedding half first
    public internal(set) var layer: DecoderLayer
    public let norm: Weight  // [D], shared_head.norm
    /// `[W, D]` each, where the checkpoint has its own; nil shares the trunk's.
    public let embedding: Weight?
    public let head: Weight?
    let epsilon: Float

    init(_ config: ModelConfig, layer index: Int, tables: ModelTables, _ make: WeightMaker) {
        let (D, W, prefix) = (config.hiddenSize, config.vocabularySize, "model.layers.\(index)")
        var make = make
        make.isAhead = true
        embedding = tables.embedding ? make.matrix("\(prefix).embed_tokens.weight", W, D, isLookedUp: true) : nil
        head = tables.head ? make.matrix("\(prefix).shared_head.head.weight", W, D) : nil
        (embeddingNorm, hiddenNorm, norm) = (make.vector(D), make.vector(D), make.vector(D))
        projection = make.matrix("\(prefix).eh_proj.weight", D, 2 * D)
        layer = DecoderLayer(config, layer: index, make)
        epsilon = config.normEpsilon
    }

    /// - Parameters:
    ///   - embedding_TD: of the token ahead of each row.
    ///   - hidden_TD: the step before's output, after its norm.
    ///   - selection: the positions to read where the pass keeps them; otherwise what the layer's indexer chose.
    /// - Returns: `[T, D]`, after the layer's norm: ready for the head and for the next step.
    func callAsFunction(embedding_TD: Tensor, hidden_TD: Tensor, _ pass: Pass, selection: inout Selection?) -> Tensor {
        let tape = pass.tape
        let joined = Tensor.concatenate(
            Tensor.rmsNorm(embedding_TD, embeddingNorm, epsilon: epsilon, tape: tape),
            Tensor.rmsNorm(hidden_TD, hiddenNorm, epsilon: epsilon, tape: tape), tape: tape)
        let m_TD = layer(Tensor.linear(joined, projection, tape: tape), pass, selection: &selection)
        return Tensor.rmsNorm(m_TD, norm, epsilon: epsilon, tape: tape)
    }
}

extension Model {
    /// The layer of a step of multi-token prediction, from 1. Steps beyond the last layer use it again: GLM-5 trains
    /// three steps of a single one, so that drafting several tokens is what it has learned.
    public func prediction(step: Int) -> MultiTokenPrediction {
        precondition(step >= 1 && !predictions.isEmpty, "Model: step \(step) of \(predictions.count) MTP layers")
        return predictions[min(step, predictions.count) - 1]
    }

    /// The head that turns a step's rows into logits: the trunk's, unless the checkpoint has another.
    public func aheadHead(step: Int = 1) -> Weight { prediction(step: step).head ?? head }

    /// One step of multi-token prediction: row i knows the tokens up to `step` after it and predicts the one after those.
    ///
    /// A row has the rotary position i and sees the step's own rows up to itself, of whole sequences or through the
    /// step's caches, which advance.
    /// - Parameters:
    ///   - hidden_TD: `[T, D]`, the step before's output for the same rows; of the first step the trunk's.
    ///   - next: the token `step` after each row.
    ///   - batch: the rows as sequences.
    ///   - step: from 1.
    ///   - recomputes: with a tape, keep only `hidden_TD` and compute the step again on the way back.
    ///   - indexers: are told what the step's own indexer learns.
    ///   - sharing: what the first step chose for these rows (its observer tells), where the config has later steps share
    ///     it.
    /// - Returns: `[T, D]`, ready for `aheadHead` and for the next step.
    public func predictAhead(
        _ hidden_TD: Tensor, next: [Int32], _ batch: Batch, step: Int = 1, sharing: Selection? = nil,
        tape: Tape? = nil, recomputes: Bool = false, balance: Float = 0, observer: Observer? = nil,
        indexers: IndexerTraining? = nil
    ) -> Tensor {
        let prediction = prediction(step: step)
        for (slice, cache) in zip(batch.slices, batch.caches) { cache.reserve(slice.count) }
        let shares = step > 1 && config.sharesSelectionAcrossDrafts
        let base = Pass(
            batch: batch, rotary: rotaryTable(batch), observer: observer, balance: balance, keepsSelection: shares,
            // What is shared was learned from where it was chosen.
            indexers: shares ? nil : indexers)
        let table = prediction.embedding ?? embedding
        let out_TD = base.run([hidden_TD], shares ? sharing : nil, tape, recomputes: recomputes) {
            inputs, pass, selection in
            let embedding_TD = Tensor.embedding(next, table, tape: pass.tape)
            return prediction(embedding_TD: embedding_TD, hidden_TD: inputs[0], pass, selection: &selection)
        }.output
        indexers?.finish()
        for (slice, cache) in zip(batch.slices, batch.caches) { cache.advance(slice.count) }
        return out_TD
    }
}
