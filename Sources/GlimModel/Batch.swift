public import GlimTensor

/// What one forward pass computes: rows of tokens, divided into sequences.
///
/// Training, prefill and decode differ only in what a batch holds: whole sequences, chunks, or single tokens. The
/// value of a row depends on its own sequence up to its position and on nothing else in the batch.
public struct Batch: Sendable {
    /// Token ids, T of them.
    public let tokens: [Int32]
    /// The sequences, covering the rows in order.
    public let slices: [SequenceSlice]
    /// The position of each row in its sequence.
    public let positions: [Int32]
    /// The cache of each slice's sequence, or none: then every slice is a whole sequence.
    public let caches: [Cache]

    /// Whole sequences, without a cache: the training forward.
    ///
    /// - Parameters:
    ///   - tokens: all rows.
    ///   - lengths: of the sequences, in order; they sum to the rows.
    public init(tokens: [Int32], lengths: [Int]) {
        precondition(lengths.reduce(0, +) == tokens.count, "Batch: lengths \(lengths) for \(tokens.count) tokens")
        var slices: [SequenceSlice] = []
        var row = 0
        for length in lengths where length > 0 {
            slices.append(SequenceSlice(row: row, count: length, position: 0))
            row += length
        }
        self.init(tokens: tokens, slices: slices, caches: [])
    }

    /// The next tokens of sequences whose earlier ones are in caches.
    public init(_ next: [(tokens: [Int32], cache: Cache)]) {
        var (tokens, slices, caches): ([Int32], [SequenceSlice], [Cache]) = ([], [], [])
        for (more, cache) in next where !more.isEmpty {
            slices.append(SequenceSlice(row: tokens.count, count: more.count, position: cache.count))
            tokens += more
            caches.append(cache)
        }
        precondition(Set(caches.map { ObjectIdentifier($0) }).count == caches.count, "Batch: one cache twice")
        self.init(tokens: tokens, slices: slices, caches: caches)
    }

    package init(tokens: [Int32], slices: [SequenceSlice], caches: [Cache]) {
        (self.tokens, self.slices, self.caches) = (tokens, slices, caches)
        positions = slices.flatMap { slice in (0..<slice.count).map { Int32(slice.position + $0) } }
    }
}

/// What a pass wants beside its result, and what it reports.
public final class Observer {
    /// Tokens that each expert got, by layer; of a layer that ran several times the sum.
    public private(set) var expertLoad: [Int: [Int]] = [:]
    /// Positions that sparse attention chose, by full indexer layer; nil where every row saw all.
    public internal(set) var selections: [Int: Selection] = [:]
    /// The largest scaled score of attention, before the softmax, of any head and layer; -infinity without one.
    public private(set) var attentionLogitMax = -Float.infinity

    public init() {}

    func see(attentionLogit: Float) { attentionLogitMax = max(attentionLogitMax, attentionLogit) }

    func add(_ load: [Int], layer: Int) {
        expertLoad[layer] = expertLoad[layer].map { zip($0, load).map(+) } ?? load
    }
}

/// What every layer of one pass shares.
package struct Pass {
    let batch: Batch
    let rotary: RotaryTable
    let tape: Tape?
    let observer: Observer?
    /// Weight of the sequence-wise balance loss, per token of the step.
    let balance: Float
    /// Layers with an indexer read the given positions, as those without do.
    let keepsSelection: Bool
    /// Where indexers learn.
    let indexers: IndexerTraining?

    package init(
        batch: Batch, rotary: RotaryTable, tape: Tape? = nil, observer: Observer? = nil, balance: Float = 0,
        keepsSelection: Bool = false, indexers: IndexerTraining? = nil
    ) {
        (self.batch, self.rotary, self.tape, self.observer, self.balance) = (batch, rotary, tape, observer, balance)
        (self.keepsSelection, self.indexers) = (keepsSelection, indexers)
    }
}

extension Pass {
    /// Runs one layer of this pass, once, or with `recomputes` and a tape again on the way back.
    ///
    /// - Parameters:
    ///   - inputs: what gradients flow back to.
    ///   - selection: what the layer before left.
    ///   - body: the layer; it uses the selection or replaces it.
    /// - Returns: the layer's output, and the selection that it left.
    func run(
        _ inputs: [Tensor], _ selection: Selection?, _ tape: Tape?, recomputes: Bool,
        _ body: @escaping ([Tensor], Pass, inout Selection?) -> Tensor
    ) -> (output: Tensor, selection: Selection?) {
        var chosen = selection
        guard recomputes, let tape else {
            let output = body(inputs, with(tape), &chosen)
            return (output, chosen)
        }
        // The second run reads the positions that the first chose: they are kept, for choosing costs the most.
        let output = tape.recompute(inputs) { inputs, tape in
            guard let tape else { return body(inputs, self, &chosen) }
            // Whoever counts or learns has done so.
            let again = Pass(batch: batch, rotary: rotary, tape: tape, balance: balance, keepsSelection: true)
            var kept = chosen
            return body(inputs, again, &kept)
        }
        return (output, chosen)
    }

    private func with(_ tape: Tape?) -> Pass {
        Pass(
            batch: batch, rotary: rotary, tape: tape, observer: observer, balance: balance,
            keepsSelection: keepsSelection, indexers: indexers)
    }
}
