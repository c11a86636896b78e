public import GlimTensor

// Letters: T tokens, D hidden, H heads, N plain and R rotated key part, V value part, C key-value latent, Q query latent,
// I indexer heads, X indexer width.

/// Multi-head latent attention in its absorbed form, dense or sparse (GLM-5 report, section 2.1).
///
/// Each position leaves one row in the cache, shared by all heads: the normed latent and a rotated key part. Queries
/// are carried into that space by half of `kv_b_proj`, outputs out of it by the other half.
public struct LatentAttention: Sendable {
    /// `[Q, D]`, nil where queries are projected in one step.
    public let queryDown: Weight?
    /// `[Q]`
    public let queryNorm: Weight?
    /// `[H (N + R), Q]`, or `[H (N + R), D]`.
    public let queryUp: Weight
    /// `[C + R, D]`
    public let keyDown: Weight
    /// `[C]`
    public let keyNorm: Weight
    /// H matrices `[C, N]`.
    public let keyUp: Weight
    /// H matrices `[V, C]`.
    public let valueUp: Weight
    /// `[D, H V]`
    public let output: Weight
    /// Present in layers that choose positions themselves.
    public internal(set) var indexer: Indexer?
    let layer: Int
    let epsilon: Float
    let halfSplit: Bool
    let scale: Float
    /// How its keys are kept, in a cache or out of it.
    let keyFormat: KeyFormat

    init(_ config: ModelConfig, layer: Int, _ make: WeightMaker) {
        let (D, H, N, R) = (config.hiddenSize, config.headCount, config.keyPlain, config.keyRotated)
        let prefix = "model.layers.\(layer).self_attn"
        queryDown = config.queryLatent.map { make.matrix("\(prefix).q_a_proj.weight", $0, D) }
        queryNorm = config.queryLatent.map { make.vector($0) }
        let query = config.queryLatent == nil ? "q_proj" : "q_b_proj"
        queryUp = make.matrix("\(prefix).\(query).weight", H * (N + R), config.queryLatent ?? D)
        keyDown = make.matrix("\(prefix).kv_a_proj_with_mqa.weight", config.latent + R, D)
        keyNorm = make.vector(config.latent)
        keyUp = make.matrix("\(prefix).kv_b_proj.weight", config.latent, N, count: H, use: .other)
        valueUp = make.matrix("\(prefix).kv_b_proj.weight", config.valueWidth, config.latent, count: H, use: .other)
        output = make.matrix("\(prefix).o_proj.weight", D, H * config.valueWidth)
        indexer = config.indexerKind(layer: layer) == .full ? Indexer(config, layer: layer, make) : nil
        (self.layer, epsilon, halfSplit) = (layer, config.latentNormEpsilon, !config.ropeInterleave)
        keyFormat = config.latentFormat
        scale = Float(1 / Double(N + R).squareRoot())
    }

    /// - Parameters:
    ///   - x_TD: after the layer's first norm.
    ///   - selection: the nearest earlier choice of positions; a layer with an indexer replaces it.
    func callAsFunction(_ x_TD: Tensor, _ pass: Pass, selection: inout Selection?) -> Tensor {
        let (batch, tape) = (pass.batch, pass.tape)
        let latent_TQ = queryDown.map {
            Tensor.rmsNorm(Tensor.linear(x_TD, $0, tape: tape), queryNorm!, epsilon: epsilon, tape: tape)
        }
        let q_T = Tensor.linear(latent_TQ ?? x_TD, queryUp, tape: tape)
        let keys_T = Tensor.latentKeys(
            Tensor.linear(x_TD, keyDown, tape: tape), norm: keyNorm, epsilon: epsilon, positions: batch.positions,
            pass.rotary, halfSplit: halfSplit, tape: tape)
        if keyFormat == .bf16 { Tensor.roundToBF16(keys_T) }
        let pages = batch.pages(of: keys_T, .latent(layer: layer), format: .f32)
        if let indexer, !pass.keepsSelection {
            let (x_TD, latent_TQ) = (x_TD.untracked, latent_TQ!.untracked)
            selection =
                if let indexers = pass.indexers {
                    indexers.choose(indexer, x_TD, latent_TQ, pass)
                } else {
                    indexer(x_TD, latent_TQ, pass)
                }
            pass.observer?.selections[layer] = selection
        }
        let q_THW = Tensor.latentQueries(
            q_T, keyUp: keyUp, positions: batch.positions, pass.rotary, halfSplit: halfSplit, tape: tape)
        let sums = pass.indexers.map { _ in Tensor(uninitialized: [q_THW.shape.rows]) }
        let o_THC = Tensor.attention(
            q_THW, keys: keys_T, pages: pages, slices: batch.slices, selection: selection,
            valueWidth: keyNorm.outputs, scale: scale, logSumExp: sums, tape: tape,
            observe: pass.observer?.see(attentionLogit:))
        if let sums {
            let record = AttentionRecord(q: q_THW.untracked, pages: pages, logSumExp: sums, scale: scale)
            pass.indexers?.learn(record, pass, selection: selection)
        }
        return Tensor.linear(Tensor.latentValues(o_THC, valueUp: valueUp, tape: tape), output, tape: tape)
    }
}

/// The lightning indexer: chooses the positions that attention reads (DeepSeek-V3.2 report, eq. 1).
///
/// Its inputs are detached: it learns from its own loss only.
public struct Indexer: Sendable {
    /// `[I X, Q]`
    public let query: Weight
    /// `[X, D]`
    public let key: Weight
    /// `[X]` each; a layer norm with bias.
    public let keyNorm: Weight
    public let keyBias: Weight
    /// `[I, D]`
    public let headWeights: Weight
    let layer: Int
    let topK: Int
    /// How its keys are kept, in a cache or out of it.
    let keyFormat: KeyFormat
    let halfSplit: Bool

    init(_ config: ModelConfig, layer: Int, _ make: WeightMaker) {
        guard let shape = config.indexer else { preconditionFailure("Indexer: the model has none") }
        let prefix = "model.layers.\(layer).self_attn.indexer"
        query = make.matrix(
            "\(prefix).wq_b.weight", shape.headCount * shape.headWidth, config.queryLatent!, decides: true)
        key = make.matrix("\(prefix).wk.weight", shape.headWidth, config.hiddenSize, decides: true, use: .other)
        (keyNorm, keyBias) = (make.vector(shape.headWidth), make.vector(shape.headWidth, filledWith: 0))
        headWeights = make.matrix(
            "\(prefix).weights_proj.weight", shape.headCount, config.hiddenSize, decides: true, use: .other)
        (self.layer, topK, keyFormat, halfSplit) = (layer, shape.topK, shape.keyFormat, !shape.ropeInterleave)
    }

    /// This indexer's choice of positions by the numbers of another.
    func with(weightsOf other: Indexer) -> Indexer {
        Indexer(
            query: other.query, key: other.key, keyNorm: other.keyNorm, keyBias: other.keyBias,
            headWeights: other.headWeights, layer: layer, topK: topK, keyFormat: keyFormat, halfSplit: halfSplit)
    }

    private init(
        query: Weight, key: Weight, keyNorm: Weight, keyBias: Weight, headWeights: Weight, layer: Int, topK: Int,
        keyFormat: KeyFormat, halfSplit: Bool
    ) {
        (self.query, self.key, self.keyNorm, self.keyBias) = (query, key, keyNorm, keyBias)
        (self.headWeights, self.layer, self.topK, self.halfSplit) = (headWeights, layer, topK, halfSplit)
        self.keyFormat = keyFormat
    }

    /// The weights, which only the indexer's own loss moves.
    public var weights: [Weight] { [query, key, keyNorm, keyBias, headWeights] }

    private var headCount: Int { headWeights.outputs }
    /// Multiplies products of queries and keys.
    var scale: Float { Float(1 / Double(key.outputs).squareRoot()) }

    /// What scores are made of: rotated queries `[T, I X]`, head weights `[T, I]`.
    package func queries(_ x_TD: Tensor, _ latent_TQ: Tensor, _ pass: Pass, tape: Tape?) -> (q: Tensor, weights: Tensor)
    {
        let q = Tensor.rope(
            Tensor.linear(latent_TQ, query, tape: tape), heads: headCount, positions: pass.batch.positions,
            pass.rotary, halfSplit: halfSplit, tape: tape)
        let scale = Float(1 / Double(headCount).squareRoot())
        return (q, Tensor.scale(Tensor.linear(x_TD, headWeights, tape: tape), by: scale, tape: tape))
    }

    /// Rotated keys `[T, X]`.
    package func keys(_ x_TD: Tensor, _ pass: Pass, tape: Tape?) -> Tensor {
        let normed = Tensor.layerNorm(
            Tensor.linear(x_TD, key, tape: tape), keyNorm, bias: keyBias, epsilon: 1e-6, tape: tape)
        let keys = Tensor.rope(
            normed, heads: 1, positions: pass.batch.positions, pass.rotary, halfSplit: halfSplit, tape: tape)
        if keyFormat == .bf16 { Tensor.roundToBF16(keys) }
        return keys
    }

    /// The choice for each row, or nil where every row sees no more than `topK` positions. Keys are cached either way.
    func callAsFunction(_ x_TD: Tensor, _ latent_TQ: Tensor, _ pass: Pass) -> Selection? {
        let batch = pass.batch
        let isSparse = isSparse(batch)
        guard isSparse || !batch.caches.isEmpty else { return nil }
        let pages = batch.pages(of: keys(x_TD, pass, tape: nil), .indexKey(layer: layer), format: keyFormat)
        guard isSparse else { return nil }
        let (q, weights) = queries(x_TD, latent_TQ, pass, tape: nil)
        return Tensor.select(
            q, weights: weights, pages: pages, slices: batch.slices, topK: topK, scale: scale)
    }

    /// Whether any row sees more than `topK` positions.
    func isSparse(_ batch: Batch) -> Bool { batch.slices.contains { $0.position + $0.count > topK } }
}

extension Batch {
    /// The keys that each slice's rows may read: the fresh rows themselves, in `format`, or the cache after they were
    /// added to it.
    func pages(
        of rows: Tensor, _ stream: CacheLayout.Stream, format: KeyFormat
    ) -> [KeyPages] {
        if caches.isEmpty { return slices.map { KeyPages(indexKeys: $0, of: rows, format: format) } }
        return zip(slices, caches).map { slice, cache in
            cache.write(stream, rows, slice)
            return cache.keys(stream)
        }
    }
}
