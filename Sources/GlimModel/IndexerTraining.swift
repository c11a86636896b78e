public import GlimTensor

/// How a model with dense attention becomes one with sparse attention (DeepSeek-V3.2 report, section 2.1.1; GLM-5
/// report, section 2.1.1).
public enum Adaptation: Sendable, CaseIterable {
    /// Attention stays dense, and only the indexers learn: from all positions.
    case warmUp
    /// Attention reads what the indexers choose; they learn from that, and everything else from its own loss.
    case sparse
}

/// What the indexers learn from one pass, beside it: they see detached inputs and a constant target, so their loss is a
/// computation of its own, a layer at a time.
///
/// An indexer is held against the attention of its own layer and of those that share its selection, each with the same
/// weight (IndexCache, section 3.2).
public final class IndexerTraining {
    /// Which positions attention reads, and indexers learn from.
    public let stage: Adaptation
    /// What gradients are multiplied by.
    public let lossScale: Float
    /// `KL(p ‖ softmax(I))` in nats, summed over rows, by layer of the indexer; means over layers that share it. An MTP
    /// layer that serves several steps has the rows of all that chose.
    public private(set) var losses: [Int: (sum: Double, rows: Int)] = [:]
    /// Of `lossScale` times the sum of `losses`: of the indexers' weights only.
    public private(set) var gradients = Gradients()
    private var current: Group?

    /// An indexer and the layers that use its choice.
    private struct Group {
        let layer: Int
        let (q, weights, keys): (Tensor, Tensor, Tensor)
        let scale: Float
        let tape: Tape
        var served = 0
        var loss = 0.0
        var gradients: (dq: Tensor, dweights: Tensor, dkeys: Tensor)?
    }

    /// - Parameter lossScale: 1 over the rows of a step, for means over rows.
    public init(_ stage: Adaptation, lossScale: Float) { (self.stage, self.lossScale) = (stage, lossScale) }

    /// Starts with a layer that has an indexer.
    ///
    /// - Returns: the positions that its attention reads; nil is all.
    func choose(_ indexer: Indexer, _ x_TD: Tensor, _ latent_TQ: Tensor, _ pass: Pass) -> Selection? {
        finish()
        let (tape, slices) = (Tape(), pass.batch.slices)
        precondition(pass.batch.caches.isEmpty, "IndexerTraining: needs whole sequences, without a cache")
        let (q, weights) = indexer.queries(x_TD, latent_TQ, pass, tape: tape)
        let keys = indexer.keys(x_TD, pass, tape: tape)
        current = Group(
            layer: indexer.layer, q: q, weights: weights, keys: keys, scale: indexer.scale, tape: tape)
        guard stage == .sparse, indexer.isSparse(pass.batch) else { return nil }
        return Tensor.select(
            q, weights: weights,
            pages: slices.map { KeyPages(indexKeys: $0, of: keys, format: indexer.keyFormat) }, slices: slices,
            topK: indexer.topK, scale: indexer.scale)
    }

    /// Holds the indexer in use against what a layer's attention did.
    func learn(_ attention: AttentionRecord, _ pass: Pass, selection: Selection?) {
        guard var group = current else { preconditionFailure("IndexerTraining: no indexer came before") }
        current = nil
        let loss = Tensor.indexerLoss(
            group.q, weights: group.weights, keys: group.keys, scale: group.scale, attention: attention,
            slices: pass.batch.slices, selection: selection)
        group.served += 1
        group.loss += loss.rows.reduce(0, +)
        if let before = group.gradients {
            Tensor.accumulate(loss.dq, into: before.dq)
            Tensor.accumulate(loss.dweights, into: before.dweights)
            Tensor.accumulate(loss.dkeys, into: before.dkeys)
        } else {
            group.gradients = (loss.dq, loss.dweights, loss.dkeys)
        }
        current = group
    }

    /// Ends the last group: the layers that share its choice are through.
    func finish() {
        guard let group = current, let (dq, dweights, dkeys) = group.gradients else { return }
        current = nil
        let scale = lossScale / Float(group.served)
        group.tape.backward(from: [
            (group.q, Tensor.scale(dq, by: scale)), (group.weights, Tensor.scale(dweights, by: scale)),
            (group.keys, Tensor.scale(dkeys, by: scale)),
        ])
        gradients.add(group.tape.gradients)
        let before = losses[group.layer] ?? (0, 0)
        losses[group.layer] = (before.sum + group.loss / Double(group.served), before.rows + group.q.shape.rows)
    }
}
