import GlimTensor

/// What a token costs by arithmetic alone: operations, and bytes that must come from memory.
///
/// A multiply-add is two operations. Attention is counted in its absorbed form, as it runs here. Embedding rows, norms
/// and activations are left out: they are small beside the weights and the cache.
public struct ModelCost: Sendable, Equatable {
    public struct Part: Sendable, Equatable {
        public var name: String
        /// For one token.
        public var operations: Double
        /// For one token: shared reads are divided among the tokens that share them.
        public var bytes: Double
        /// The share of the operations that is done in integers.
        public var integerShare: Double
        /// The share that is done in bf16; the rest is in f32.
        public var bf16Share: Double

        public init(
            name: String, operations: Double, bytes: Double, integerShare: Double = 0, bf16Share: Double = 0
        ) {
            (self.name, self.operations, self.bytes) = (name, operations, bytes)
            (self.integerShare, self.bf16Share) = (integerShare, bf16Share)
        }
    }

    public var parts: [Part]

    public init(parts: [Part] = []) { self.parts = parts }

    public var operationsPerToken: Double { parts.reduce(0) { $0 + $1.operations } }
    public var bytesPerToken: Double { parts.reduce(0) { $0 + $1.bytes } }
}

extension ModelConfig {
    /// The cost of a token of inference.
    ///
    /// - Parameters:
    ///   - context: positions already in the cache of each sequence.
    ///   - tokens: new positions of each sequence that one pass computes, 1 or more: 1 in decode.
    ///   - batch: sequences that share the pass.
    ///   - bytesPerWeight: how weights are held; nil takes the checkpoint's own formats.
    ///   - bytesPerCached: of a number in the cache.
    ///   - logitsOfAll: every position has logits, as in training; otherwise the last of each sequence.
    public func inferenceCost(
        context: Int, tokens: Int = 1, batch: Int = 1, bytesPerWeight: Double? = nil, bytesPerCached: Int = 4,
        logitsOfAll: Bool = false
    ) -> ModelCost {
        let rows = tokens * batch
        var cost = ModelCost()
        for part in size.parts where part.activeCount > 0 {
            // A tied head stores nothing of its own: it is read in the embedding's format.
            let stored =
                part.parameterCount == 0
                ? Double(dtype.byteCount) : Double(part.byteCount) / Double(part.parameterCount)
            let width = bytesPerWeight ?? stored
            // A pass reads every weight once, and of the experts those that some row chose.
            let read = part.name == "routed experts" ? expertsRead(rows) * oneExpert : Double(part.activeCount)
            let share = part.name == "head" && !logitsOfAll ? 1 / Double(tokens) : 1
            let integers = Double(part.integerCount) / Double(part.activeCount)
            // Where a choice hangs on products they are never rounded.
            let rounds = productFormat == .bf16 && part.name != "routers" && part.name != "indexers"
            cost.parts.append(
                .init(
                    name: part.name, operations: 2 * Double(part.activeCount) * share,
                    bytes: read * width / Double(rows), integerShare: integers,
                    bf16Share: rounds ? 1 - integers : 0))
        }
        // Row t of a pass, from 1, sees context + t positions; a pass of many reads what its last row sees, once.
        let last = Double(context + tokens)
        let seen = Double(context) + Double(tokens + 1) / 2
        let limit = indexer?.topK ?? .max
        let attended = (1...tokens).reduce(0.0) { $0 + Double(min(context + $1, limit)) } / Double(tokens)
        let row = Double(latent + keyRotated)
        let cached = latentFormat == .f32 ? bytesPerCached : 2
        cost.parts.append(
            .init(
                name: "attention over positions",
                operations: 2 * Double(layerCount * headCount) * (row + Double(latent)) * attended,
                bytes: Double(layerCount) * row * Double(cached)
                    * (tokens == 1 ? attended : last / Double(tokens))))
        // Where everything fits the selection, nothing is scored.
        if let indexer, context + tokens > indexer.topK {
            let width = Double(fullIndexerCount * indexer.headWidth)
            let bytes =
                indexer.keyFormat == .f32
                ? width * Double(bytesPerCached)
                : 4 * Double(fullIndexerCount * indexer.keyFormat.floats(width: indexer.headWidth))
            cost.parts.append(
                .init(
                    name: "indexing of positions", operations: 2 * Double(indexer.headCount) * width * seen,
                    bytes: bytes * last / Double(tokens)))
        }
        return cost
    }

    /// The cost of a token of training: forward and twice that backward, without what is computed again.
    ///
    /// - Parameters:
    ///   - sequence: tokens of each sequence.
    ///   - tokens: tokens of a step, which share one update of every weight.
    ///   - pass: tokens of a micro-batch, which share the reading of the weights.
    ///   - mtpSteps: of multi-token prediction; nil: one for each of its layers.
    public func trainingCost(sequence: Int, tokens: Int, pass: Int, mtpSteps: Int? = nil) -> ModelCost {
        var cost = inferenceCost(
            context: 0, tokens: sequence, batch: max(1, pass / sequence), bytesPerWeight: computedWidth,
            logitsOfAll: true)
        if let mtpSize {
            // Each step is one more layer over the same positions, and the head once more.
            let attention = cost.parts.first { $0.name == "attention over positions" }?.operations ?? 0
            let steps = Double(mtpSteps ?? mtpLayerCount)
            let active = Double(mtpSize.activeCount / mtpLayerCount + vocabularySize * hiddenSize)
            cost.parts.append(
                .init(
                    name: "MTP", operations: steps * (2 * active + attention / Double(layerCount)),
                    bytes: steps * computedWidth * active / Double(pass)))
        }
        for i in cost.parts.indices {
            cost.parts[i].operations *= 3
            cost.parts[i].bytes *= 3
        }
        // AdamW reads a weight, its gradient and two averages, and writes all but the gradient.
        let parameters = Double(size.parameterCount + (mtpSize?.parameterCount ?? 0))
        cost.parts.append(.init(name: "AdamW", operations: 0, bytes: 7 * 4 * parameters / Double(tokens)))
        return cost
    }

    /// Bytes of a number as products read it.
    private var computedWidth: Double { productFormat == .bf16 ? 2 : 4 }

    /// Weights of one routed expert.
    private var oneExpert: Double { Double(3 * expertWidth * hiddenSize) }

    /// Experts of all layers that at least one of `rows` tokens chose, if choices are even.
    func expertsRead(_ rows: Int) -> Double {
        var missed = 1.0
        let each = 1 - Double(expertsPerToken) / Double(routedExpertCount)
        for _ in 0..<min(rows, 1 << 20) where missed > 1e-9 { missed *= each }
        return Double(expertLayerCount * routedExpertCount) * (1 - missed)
    }
}
