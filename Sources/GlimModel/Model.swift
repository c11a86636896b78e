public import GlimTensor
import Synchronization

/// A GLM-5 network: one definition for training, prefill, decode and scoring.
public struct Model: Sendable {
    public var config: ModelConfig
    /// `[W, D]`
    public let embedding: Weight
    public internal(set) var layers: [DecoderLayer]
    public let norm: Weight  // [D]
    /// `[W, D]`; the embedding itself where they are tied.
    public let head: Weight
    /// The layers of multi-token prediction, after the trunk: see ``prediction(step:)``.
    public internal(set) var predictions: [MultiTokenPrediction]
    /// Its matrices hold only what products read, rounded: see ``LoadFormat/inference``.
    var isHeldRounded = false
    private let rotary: RotaryCache

    /// A model whose weights are zeros (norms ones), for a loader or an initialiser to fill.
    ///
    /// - Parameters:
    ///   - mtpTables: what each MTP layer has of its own; none: nothing.
    ///   - isBlueprint: take no memory for matrices: to learn names and shapes.
    package init(_ config: ModelConfig, mtpTables: [ModelTables] = [], isBlueprint: Bool = false) {
        self.init(config, mtpTables: mtpTables, isBlueprint: isBlueprint) { _ in MatrixForm() }
    }

    /// - Parameters:
    ///   - isZeroed: false: the caller sets every matrix.
    ///   - source: where the routed experts of a layer come from; nil: they are held.
    ///   - form: how each matrix is held.
    init(
        _ config: ModelConfig, mtpTables: [ModelTables] = [], isBlueprint: Bool = false, isZeroed: Bool = true,
        source: ((_ layer: Int) -> any ExpertSource)? = nil, form: @escaping (MatrixRequest) -> MatrixForm
    ) {
        let make = WeightMaker(
            isBlueprint: isBlueprint, isZeroed: isZeroed, computesInBF16: config.computeType == .bfloat16,
            source: source, form: form)
        self.config = config
        embedding = make.matrix(
            "model.embed_tokens.weight", config.vocabularySize, config.hiddenSize, isLookedUp: true)
        layers = (0..<config.layerCount).map { DecoderLayer(config, layer: $0, make) }
        norm = make.vector(config.hiddenSize)
        head =
            config.tiesEmbeddings
            ? embedding : make.matrix("lm_head.weight", config.vocabularySize, config.hiddenSize)
        predictions = (0..<config.mtpLayerCount).map { i in
            let tables = i < mtpTables.count ? mtpTables[i] : ModelTables()
            return MultiTokenPrediction(config, layer: config.layerCount + i, tables: tables, make)
        }
        rotary = RotaryCache(dimensions: config.keyRotated, theta: config.ropeTheta)
    }

    /// An empty cache for one sequence.
    public func makeCache() -> Cache { Cache(CacheLayout(config)) }

    /// The trunk: tokens to hidden states after the final norm.
    ///
    /// - Parameters:
    ///   - batch: whole sequences, or the next tokens of cached ones, whose caches advance.
    ///   - tape: records the pass for gradients; needs whole sequences.
    ///   - recomputes: with a tape, keep only each layer's input and compute the layer again on the way back.
    ///   - balance: weight of the sequence-wise balance loss, per token of the step.
    ///   - indexers: are told what the indexers learn, and decide what attention reads.
    /// - Returns: `[T, D]`
    public func hidden(
        _ batch: Batch, tape: Tape? = nil, recomputes: Bool = false, balance: Float = 0, observer: Observer? = nil,
        indexers: IndexerTraining? = nil
    ) -> Tensor {
        precondition(tape == nil || batch.caches.isEmpty, "Model: gradients need whole sequences, without a cache")
        for (slice, cache) in zip(batch.slices, batch.caches) { cache.reserve(slice.count) }
        let base = Pass(
            batch: batch, rotary: rotaryTable(batch), observer: observer, balance: balance, indexers: indexers)
        var h_TD = Tensor.embedding(batch.tokens, embedding, tape: tape)
        var selection: Selection?
        for (i, layer) in layers.enumerated() {
            let next = i + 1 < layers.count ? layers[i + 1] : nil
            (h_TD, selection) = base.run([h_TD], selection, tape, recomputes: recomputes) { inputs, pass, selection in
                layer(inputs[0], pass, selection: &selection, next: next)
            }
        }
        indexers?.finish()
        for (slice, cache) in zip(batch.slices, batch.caches) { cache.advance(slice.count) }
        return Tensor.rmsNorm(h_TD, norm, epsilon: config.normEpsilon, tape: tape)
    }

    /// Logits of hidden states, natural scale.
    ///
    /// - Parameter hidden_TD: `[T, D]`, after the final norm.
    /// - Returns: `[T, W]`
    public func logits(_ hidden_TD: Tensor) -> Tensor { Tensor.linear(hidden_TD, head) }

    func rotaryTable(_ batch: Batch) -> RotaryTable {
        rotary.table(positions: Int(batch.positions.max() ?? 0) + 1)
    }

    /// Raises every weight's version, after a loader or initialiser filled them.
    func changed() { for weight in weights { weight.changed() } }
}

/// Which tables a checkpoint's MTP layer has of its own, instead of sharing the trunk's.
package struct ModelTables: Sendable {
    var embedding = false
    var head = false
    package init() {}
    init(embedding: Bool, head: Bool) { (self.embedding, self.head) = (embedding, head) }
}

/// Makes the weights of a model, each in the form that is wanted of it.
struct WeightMaker {
    let isBlueprint: Bool
    var isZeroed = true
    let computesInBF16: Bool
    /// Makes a layer of multi-token prediction.
    var isAhead = false
    /// Where the routed experts of a layer come from; nil: they are made.
    var source: ((_ layer: Int) -> any ExpertSource)?
    let form: (MatrixRequest) -> MatrixForm

    /// - Parameters:
    ///   - decides: a choice hangs on these products (experts, positions), so they are never rounded to bf16.
    ///   - isLookedUp: rows are also used as they are, so all of their bits are held.
    func matrix(
        _ tensor: String, _ outputs: Int, _ inputs: Int, count: Int = 1, decides: Bool = false,
        isLookedUp: Bool = false,
        use: MatrixRequest.Use = .linear
    ) -> Weight {
        let rounds = computesInBF16 && !decides
        let form = self.form(
            MatrixRequest(
                tensor: tensor, outputs: outputs, inputs: inputs, use: isLookedUp ? .other : use, decides: decides,
                isAhead: isAhead, isOnlyRounded: rounds && !isLookedUp))
        return form.shared
            ?? Weight(
                outputs: outputs, inputs: inputs, count: count, format: form.format, computesInBF16: rounds,
                quantization: form.quantization, isBlueprint: isBlueprint, isZeroed: isZeroed)
    }

    func vector(_ width: Int, filledWith value: Float = 1) -> Weight {
        Weight(vector: [Float](repeating: value, count: width))
    }
}

/// Rotary tables, grown when a longer sequence appears.
private final class RotaryCache: Sendable {
    private let held = Mutex<RotaryTable?>(nil)
    private let dimensions: Int
    private let theta: Double

    init(dimensions: Int, theta: Double) { (self.dimensions, self.theta) = (dimensions, theta) }

    func table(positions: Int) -> RotaryTable {
        held.withLock { held in
            if let held, held.positionCount >= positions { return held }
            var count = 1024
            while count < positions { count *= 2 }
            let table = RotaryTable(dimensions: dimensions, theta: theta, positions: count)
            held = table
            return table
        }
    }
}
