public import GlimModel
public import GlimTensor

/// One forward and backward pass over the rows of an optimizer step.
public struct TrainingPass {
    /// Mean cross-entropy of the next token, nats.
    public let loss: Double
    /// The same of multi-token prediction; 0 without it.
    public let mtpLoss: Double
    /// Of `loss + mtpWeight · mtpLoss + balanceWeight · balance loss`.
    public let gradients: Gradients
    /// Tokens that each expert got in the step, by layer.
    public let expertLoad: [Int: [Int]]
    /// The largest scaled score of attention, before the softmax, of any head and layer.
    public let attentionLogitMax: Double

    /// What is summed, and how.
    public struct Options: Sendable {
        /// Rows in one micro-batch: the step's gradient is a fixed pairwise tree over these.
        public var microBatchRows = 8
        public var mtpWeight = 0.3
        public var balanceWeight = 1e-4
        /// Keep only the inputs of layers and compute them again on the way back: less memory, a third more work.
        public var recomputes = false

        public init() {}
    }

    /// - Parameters:
    ///   - model: with f32 weights.
    ///   - rows: with at least one target.
    public init(_ model: Model, _ rows: [PackedRow], _ options: Options) {
        let tokenCount = rows.reduce(0) { $0 + $1.tokens.count }
        let targetCount = rows.reduce(0) { $0 + $1.targetCount }
        let aheadCount = rows.reduce(0) { $0 + $1.next2.count { $0 >= 0 } }
        let trainsAhead = model.prediction != nil && options.mtpWeight > 0 && aheadCount > 0
        let balance = Float(options.balanceWeight / Double(max(1, tokenCount)))
        var tree = GradientTree()
        var (loss, mtpLoss) = (0.0, 0.0)
        var load: [Int: [Int]] = [:]
        var attentionLogitMax = -Float.infinity
        for first in stride(from: 0, to: rows.count, by: options.microBatchRows) {
            let micro = MicroBatch(rows[first..<min(rows.count, first + options.microBatchRows)])
            let (tape, observer) = (Tape(), Observer())
            let hidden = model.hidden(
                micro.batch, tape: tape, recomputes: options.recomputes, balance: balance, observer: observer)
            let logprobs = Tensor.crossEntropy(
                hidden, head: model.head, targets: micro.next, lossScale: 1 / Float(max(1, targetCount)), tape: tape)
            loss -= logprobs.reduce(0.0) { $0 + Double($1) }
            if trainsAhead {
                let kept = Tensor.selectRows(hidden, micro.aheadRows, tape: tape)
                let ahead = model.predictAhead(
                    kept, next: micro.aheadInputs, micro.aheadBatch, tape: tape, balance: balance, observer: observer)
                let logprobs = Tensor.crossEntropy(
                    ahead, head: model.aheadHead, targets: micro.aheadTargets,
                    lossScale: Float(options.mtpWeight) / Float(aheadCount), tape: tape)
                mtpLoss -= logprobs.reduce(0.0) { $0 + Double($1) }
            }
            tape.backward()
            tree.push(tape.gradients)
            attentionLogitMax = max(attentionLogitMax, observer.attentionLogitMax)
            for (layer, counts) in observer.expertLoad {
                load[layer] = load[layer].map { zip($0, counts).map(+) } ?? counts
            }
        }
        (self.loss, self.mtpLoss) = (loss / Double(max(1, targetCount)), mtpLoss / Double(max(1, aheadCount)))
        (gradients, expertLoad, self.attentionLogitMax) = (tree.sum(), load, Double(attentionLogitMax))
    }
}

/// Rows side by side as one batch, and the part of them that multi-token prediction learns from.
struct MicroBatch {
    let batch: Batch
    let next: [Int32]
    /// Rows that have a next token: the MTP layer's positions.
    let aheadRows: [Int]
    let aheadInputs: [Int32]
    let aheadTargets: [Int32]
    let aheadBatch: Batch

    init(_ rows: ArraySlice<PackedRow>) {
        batch = Batch(tokens: rows.flatMap(\.tokens), lengths: rows.flatMap { $0.segments.map(\.count) })
        let (next, next2) = (rows.flatMap(\.next), rows.flatMap(\.next2))
        let kept = next.indices.filter { next[$0] >= 0 }
        // Only the last row of a segment can lack a next token, so what is kept of a segment is its beginning.
        let lengths = batch.slices.map { slice in (slice.row..<slice.row + slice.count).count { next[$0] >= 0 } }
        (self.next, aheadRows) = (next, kept)
        (aheadInputs, aheadTargets) = (kept.map { next[$0] }, kept.map { next2[$0] })
        aheadBatch = Batch(tokens: aheadInputs, lengths: lengths)
    }
}
