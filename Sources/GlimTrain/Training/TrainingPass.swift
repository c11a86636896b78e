public import GlimModel
public import GlimTensor

/// One forward and backward pass over the rows of an optimizer step.
public struct TrainingPass {
    /// Mean cross-entropy of the next token, nats.
    public let loss: Double
    /// The same of multi-token prediction, the mean over its steps; 0 without it.
    public let mtpLoss: Double
    /// `KL(attention ‖ indexer)` in nats, the mean over rows and indexers; 0 where none learns.
    public let indexerLoss: Double
    /// Of `loss + mtpWeight · mtpLoss + balanceWeight · balance loss`, and for the indexers' weights of the sum of
    /// their losses; in a warm-up of these alone.
    public let gradients: Gradients
    /// Tokens that each expert got in the step, by layer.
    public let expertLoad: [Int: [Int]]
    /// The largest scaled score of attention, before the softmax, of any head and layer.
    public let attentionLogitMax: Double

    /// What is summed, and how.
    public struct Options: Sendable {
        /// Rows in one micro-batch: the step's gradient is a fixed pairwise tree over these.
        public var microBatchRows = 8
        /// Weight of the multi-token prediction loss.
        public var mtpWeight = 0.3
        /// Steps of multi-token prediction; nil: one for each of its layers. Further ones use the last layer again.
        public var mtpSteps: Int?
        /// Weight of the loss that balances the experts of a sequence (GLM-4.5 report, section 2.4).
        public var balanceWeight = 1e-4
        /// Keep only the inputs of layers and compute them again on the way back: less memory, a third more work.
        public var recomputes = false
        /// What indexers learn beside the model's own loss, or instead of it. Of a model that has them; another traps.
        public var adaptation: Adaptation?

        public init() {}
    }

    /// - Parameters:
    ///   - model: with f32 weights.
    ///   - rows: with at least one target.
    public init(_ model: Model, _ rows: [PackedRow], _ options: Options) {
        precondition(options.adaptation == nil || model.config.indexer != nil, "TrainingPass: no indexers to adapt")
        let tokenCount = rows.reduce(0) { $0 + $1.tokens.count }
        let targetCount = rows.reduce(0) { $0 + $1.targetCount }
        let steps = options.mtpWeight > 0 ? model.stepCount(options.mtpSteps) : 0
        let aheadCounts = (0..<steps).map { d in
            rows.reduce(0) { sum, row in
                row.segments.indices.reduce(sum) { $0 + row.ahead($1, step: d + 1).targets.count { $0 >= 0 } }
            }
        }
        let balance = Float(options.balanceWeight / Double(max(1, tokenCount)))
        var tree = GradientTree()
        // Of a warm-up no gradient reaches anything but the indexers.
        let isRecorded = options.adaptation != .warmUp
        var (indexerLoss, indexerRows) = (0.0, 0)
        var (loss, mtpLosses) = (0.0, [Double](repeating: 0, count: steps))
        var load: [Int: [Int]] = [:]
        var attentionLogitMax = -Float.infinity
        for first in stride(from: 0, to: rows.count, by: options.microBatchRows) {
            let micro = MicroBatch(rows[first..<min(rows.count, first + options.microBatchRows)])
            let (tape, observer) = (isRecorded ? Tape() : nil, Observer())
            let indexers = options.adaptation.map { IndexerTraining($0, lossScale: 1 / Float(max(1, tokenCount))) }
            let hidden = model.hidden(
                micro.batch, tape: tape, recomputes: options.recomputes, balance: balance, observer: observer,
                indexers: indexers)
            let logprobs = Tensor.crossEntropy(
                hidden, head: model.head, targets: micro.next, lossScale: 1 / Float(max(1, targetCount)), tape: tape)
            loss -= logprobs.reduce(0.0) { $0 + Double($1) }
            var (ahead, shared): (Tensor, Selection?) = (hidden, nil)
            for d in 0..<steps {
                let step = micro.ahead(d + 1)
                if step.rows.isEmpty { break }
                shared = shared?.selectRows(step.rows)
                ahead = model.predictAhead(
                    Tensor.selectRows(ahead, step.rows, tape: tape), next: step.batch.tokens, step.batch, step: d + 1,
                    sharing: shared, tape: tape, recomputes: options.recomputes,
                    balance: balance / Float(model.useCount(step: d + 1, of: steps)), observer: observer,
                    indexers: indexers)
                if d == 0, model.config.sharesSelectionAcrossDrafts {
                    shared = observer.selections[model.config.layerCount]
                }
                let logprobs = Tensor.crossEntropy(
                    ahead, head: model.aheadHead(step: d + 1), targets: step.targets,
                    lossScale: Float(options.mtpWeight / Double(steps)) / Float(max(1, aheadCounts[d])), tape: tape)
                mtpLosses[d] -= logprobs.reduce(0.0) { $0 + Double($1) }
            }
            tape?.backward()
            var gradients = tape?.gradients ?? Gradients()
            if let indexers {
                gradients.add(indexers.gradients)
                indexerLoss += indexers.losses.sorted { $0.key < $1.key }.reduce(0) { $0 + $1.value.sum }
                indexerRows += indexers.losses.values.reduce(0) { $0 + $1.rows }
            }
            tree.push(gradients)
            attentionLogitMax = max(attentionLogitMax, observer.attentionLogitMax)
            for (layer, counts) in observer.expertLoad {
                load[layer] = load[layer].map { zip($0, counts).map(+) } ?? counts
            }
        }
        self.loss = loss / Double(max(1, targetCount))
        mtpLoss = zip(mtpLosses, aheadCounts).reduce(0) { $0 + $1.0 / Double(max(1, $1.1)) } / Double(max(1, steps))
        self.indexerLoss = indexerLoss / Double(max(1, indexerRows))
        (gradients, expertLoad, self.attentionLogitMax) = (tree.sum(), load, Double(attentionLogitMax))
    }
}

extension Model {
    /// Steps of multi-token prediction, where so many are asked for: none without a layer.
    fileprivate func stepCount(_ steps: Int?) -> Int { predictions.isEmpty ? 0 : steps ?? predictions.count }

    /// How many steps run the layer of a step. They share its balance loss, so that it weighs as much as any layer's.
    fileprivate func useCount(step: Int, of steps: Int) -> Int {
        step < predictions.count ? 1 : max(1, steps - predictions.count + 1)
    }
}

/// Rows side by side as one batch.
struct MicroBatch {
    let batch: Batch
    let next: [Int32]
    private let rows: ArraySlice<PackedRow>

    init(_ rows: ArraySlice<PackedRow>) {
        batch = Batch(tokens: rows.flatMap(\.tokens), lengths: rows.flatMap { $0.segments.map(\.count) })
        (next, self.rows) = (rows.flatMap(\.next), rows)
    }

    /// A step of multi-token prediction: the beginning of each segment, as far as the tokens it reads are known.
    struct Ahead {
        /// Of the step before, whose beginnings are as long or one longer; of the first step those of the batch.
        var rows: [Int] = []
        /// `batch.tokens` are what the rows read.
        var batch: Batch
        var targets: [Int32] = []
    }

    /// - Parameter step: from 1.
    func ahead(_ step: Int) -> Ahead {
        var (kept, inputs, targets, lengths): ([Int], [Int32], [Int32], [Int]) = ([], [], [], [])
        var first = 0
        for row in rows {
            for segment in row.segments.indices {
                let ahead = row.ahead(segment, step: step)
                kept += first..<first + ahead.inputs.count
                inputs += ahead.inputs
                targets += ahead.targets
                lengths.append(ahead.inputs.count)
                first += row.aheadCount(segment, step: step - 1)
            }
        }
        return Ahead(rows: kept, batch: Batch(tokens: inputs, lengths: lengths), targets: targets)
    }
}
