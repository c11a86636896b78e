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
        // Products of one input are one job, those of the indexer among them.
        let choice = pass.keepsSelection || pass.indexers != nil ? nil : indexer?.choice(batch)
        var ofInput = Tensor.linear(x_TD, [queryDown ?? queryUp, keyDown], untaped: choice?.ofInput ?? [], tape: tape)
        var q_T = ofInput.removeFirst()
        let down_TK = ofInput.removeFirst()
        var latent_TQ: Tensor?
        if queryDown != nil {
            let latent = Tensor.rmsNorm(q_T, queryNorm!, epsilon: epsilon, tape: tape)
            var ofLatent = Tensor.linear(latent, [queryUp], untaped: choice?.ofLatent ?? [], tape: tape)
            (latent_TQ, q_T) = (latent, ofLatent.removeFirst())
            ofInput += ofLatent
        }
        let keys_T = Tensor.latentKeys(
            down_TK, norm: keyNorm, epsilon: epsilon, positions: batch.positions, pass.rotary, halfSplit: halfSplit,
            format: keyFormat, tape: tape)
        let pages = batch.pages(of: keys_T, .latent(layer: layer), format: .f32)
        if let indexer, !pass.keepsSelection {
            selection =
                if let indexers = pass.indexers {
                    indexers.choose(indexer, x_TD.untracked, latent_TQ!.untracked, pass)
                } else {
                    indexer.choose(choice, products: ofInput, pass)
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
        queries(
            of: Tensor.linear(latent_TQ, query, tape: tape), Tensor.linear(x_TD, headWeights, tape: tape), pass,
            tape: tape)
    }

    private func queries(of q_TIX: Tensor, _ weights_TI: Tensor, _ pass: Pass, tape: Tape?) -> (
        q: Tensor, weights: Tensor
    ) {
        let q = Tensor.rope(
            q_TIX, heads: headCount, positions: pass.batch.positions, pass.rotary, halfSplit: halfSplit, tape: tape)
        return (q, Tensor.scale(weights_TI, by: Float(1 / Double(headCount).squareRoot()), tape: tape))
    }

    /// Rotated keys `[T, X]`.
    package func keys(_ x_TD: Tensor, _ pass: Pass, tape: Tape?) -> Tensor {
        keys(of: Tensor.linear(x_TD, key, tape: tape), pass, tape: tape)
    }

    private func keys(of key_TX: Tensor, _ pass: Pass, tape: Tape?) -> Tensor {
        Tensor.indexKeys(
            key_TX, norm: keyNorm, bias: keyBias, epsilon: 1e-6, positions: pass.batch.positions, pass.rotary,
            halfSplit: halfSplit, format: keyFormat, tape: tape)
    }

    /// What it takes to choose positions for a batch.
    struct Choice {
        /// Weights whose products with the layer's input it takes: of keys, and where any row has a choice, of heads.
        let ofInput: [Weight]
        /// With the query's latent.
        let ofLatent: [Weight]
    }

    /// Nil where every row sees no more than `topK` positions and keys are not cached.
    func choice(_ batch: Batch) -> Choice? {
        if isSparse(batch) { return Choice(ofInput: [key, headWeights], ofLatent: [query]) }
        return batch.caches.isEmpty ? nil : Choice(ofInput: [key], ofLatent: [])
    }

    /// The positions of each row, or nil where every row sees no more than `topK`. Keys are cached either way.
    ///
    /// - Parameter products: those of the choice's weights, in order.
    func choose(_ choice: Choice?, products: [Tensor], _ pass: Pass) -> Selection? {
        guard let choice else { return nil }
        let batch = pass.batch
        let pages = batch.pages(
            of: keys(of: products[0], pass, tape: nil), .indexKey(layer: layer), format: keyFormat)
        if choice.ofLatent.isEmpty { return nil }
        let (q, weights) = queries(of: products[2], products[1], pass, tape: nil)
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
