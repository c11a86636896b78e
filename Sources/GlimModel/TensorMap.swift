public import GlimTensor

/// One tensor of a checkpoint, and where its numbers live in the model.
///
/// The only place where Hugging Face's tensor names appear, for loading, saving, gradients and optimizers alike.
public struct CheckpointTensor: Sendable {
    /// Rows of the tensor that are one matrix of a weight (or a whole vector).
    public struct Part: Sendable {
        public let weight: Weight
        public let matrix: Int
        /// First row in the checkpoint's tensor.
        public let row: Int
        /// The checkpoint holds the matrix's transpose.
        public let isTransposed: Bool

        /// Rows it takes in the checkpoint's tensor.
        public var rowCount: Int { isTransposed ? weight.inputs : weight.outputs }
    }

    public let name: String
    public let shape: [Int]
    public let parts: [Part]
}

extension Model {
    /// Every tensor of the checkpoint, in its usual order; a tied head is not among them.
    public var tensors: [CheckpointTensor] {
        var map: [CheckpointTensor] = []
        func matrix(_ name: String, _ weight: Weight, _ index: Int = 0) {
            let part = CheckpointTensor.Part(weight: weight, matrix: index, row: 0, isTransposed: false)
            map.append(CheckpointTensor(name: name, shape: [weight.outputs, weight.inputs], parts: [part]))
        }
        func vector(_ name: String, _ weight: Weight) {
            let part = CheckpointTensor.Part(weight: weight, matrix: 0, row: 0, isTransposed: false)
            map.append(CheckpointTensor(name: name, shape: [weight.outputs], parts: [part]))
        }
        func mlp(_ prefix: String, _ mlp: MLP) {
            matrix("\(prefix).gate_proj.weight", mlp.gate)
            matrix("\(prefix).up_proj.weight", mlp.up)
            matrix("\(prefix).down_proj.weight", mlp.down)
        }
        func layer(_ index: Int, _ layer: DecoderLayer) {
            let prefix = "model.layers.\(index)"
            vector("\(prefix).input_layernorm.weight", layer.attentionNorm)
            vector("\(prefix).post_attention_layernorm.weight", layer.feedForwardNorm)
            let (attention, own) = (layer.attention, "\(prefix).self_attn")
            if let down = attention.queryDown, let norm = attention.queryNorm {
                matrix("\(own).q_a_proj.weight", down)
                vector("\(own).q_a_layernorm.weight", norm)
                matrix("\(own).q_b_proj.weight", attention.queryUp)
            } else {
                matrix("\(own).q_proj.weight", attention.queryUp)
            }
            matrix("\(own).kv_a_proj_with_mqa.weight", attention.keyDown)
            vector("\(own).kv_a_layernorm.weight", attention.keyNorm)
            map.append(
                Self.keyValueUp("\(own).kv_b_proj.weight", key: attention.keyUp, value: attention.valueUp))
            matrix("\(own).o_proj.weight", attention.output)
            if let indexer = attention.indexer {
                matrix("\(own).indexer.wq_b.weight", indexer.query)
                matrix("\(own).indexer.wk.weight", indexer.key)
                vector("\(own).indexer.k_norm.weight", indexer.keyNorm)
                vector("\(own).indexer.k_norm.bias", indexer.keyBias)
                matrix("\(own).indexer.weights_proj.weight", indexer.headWeights)
            }
            switch layer.feedForward {
            case .dense(let dense): mlp("\(prefix).mlp", dense)
            case .experts(let experts):
                matrix("\(prefix).mlp.gate.weight", experts.router)
                vector("\(prefix).mlp.gate.e_score_correction_bias", experts.bias)
                if let resident = experts.resident {
                    for e in 0..<resident.gate.count {
                        matrix("\(prefix).mlp.experts.\(e).gate_proj.weight", resident.gate, e)
                        matrix("\(prefix).mlp.experts.\(e).up_proj.weight", resident.up, e)
                        matrix("\(prefix).mlp.experts.\(e).down_proj.weight", resident.down, e)
                    }
                }
                if let shared = experts.shared { mlp("\(prefix).mlp.shared_experts", shared) }
            }
        }

        matrix("model.embed_tokens.weight", embedding)
        for (i, each) in layers.enumerated() { layer(i, each) }
        vector("model.norm.weight", norm)
        if !config.tiesEmbeddings { matrix("lm_head.weight", head) }
        for (i, prediction) in predictions.enumerated() {
            let index = config.layerCount + i
            let prefix = "model.layers.\(index)"
            vector("\(prefix).enorm.weight", prediction.embeddingNorm)
            vector("\(prefix).hnorm.weight", prediction.hiddenNorm)
            matrix("\(prefix).eh_proj.weight", prediction.projection)
            layer(index, prediction.layer)
            vector("\(prefix).shared_head.norm.weight", prediction.norm)
            if let embedding = prediction.embedding { matrix("\(prefix).embed_tokens.weight", embedding) }
            if let head = prediction.head { matrix("\(prefix).shared_head.head.weight", head) }
        }
        return map
    }

    /// `kv_b_proj`: for each head N rows that carry keys, then V rows that carry values.
    private static func keyValueUp(_ name: String, key: Weight, value: Weight) -> CheckpointTensor {
        let (N, V) = (key.inputs, value.outputs)
        let parts = (0..<key.count).flatMap { h in
            [
                CheckpointTensor.Part(weight: key, matrix: h, row: h * (N + V), isTransposed: true),
                CheckpointTensor.Part(weight: value, matrix: h, row: h * (N + V) + N, isTransposed: false),
            ]
        }
        return CheckpointTensor(name: name, shape: [key.count * (N + V), value.inputs], parts: parts)
    }

    /// Every weight once, in checkpoint order.
    public var weights: [Weight] {
        var seen: Set<ObjectIdentifier> = []
        return tensors.flatMap(\.parts).map(\.weight).filter { seen.insert(ObjectIdentifier($0)).inserted }
    }

    /// The layers of the trunk, then those of multi-token prediction: numbered as in the checkpoint.
    private var allLayers: [DecoderLayer] { layers + predictions.map(\.layer) }

    /// The routers' correction biases: moved by load balancing, never by an optimizer.
    public var routerBiases: [(layer: Int, bias: Weight)] {
        allLayers.enumerated().compactMap { i, layer in layer.experts.map { (layer: i, bias: $0.bias) } }
    }

    /// The indexers' weights, which the language-model loss does not reach.
    public var indexerWeights: [Weight] {
        allLayers.compactMap(\.attention.indexer).flatMap(\.weights)
    }
}

extension CheckpointTensor {
    /// The integers that products with the matrix are in; nil for none.
    public var integerFormat: Weight.Format? { parts.count == 1 ? parts[0].weight.quantization : nil }

    /// The matrix in those integers: as it is kept, or quantised now.
    public func integers() -> IntegerMatrix? {
        integerFormat.flatMap { _ in parts[0].weight.integers(matrix: parts[0].matrix) }
    }

    /// The numbers as the checkpoint lays them out, or those of a gradient set; nil where the set has none.
    public func numbers(in gradients: Gradients? = nil) -> Tensor? {
        let first = parts[0]
        if parts.count == 1, !first.isTransposed {
            if let gradients {
                return gradients[first.weight].map { first.weight.rows(matrix: first.matrix, of: $0) }
            }
            return first.weight.rows(matrix: first.matrix)
        }
        let whole = Tensor(uninitialized: [shape[0], shape[1]])
        for part in parts {
            var source: Tensor?
            if let gradients {
                guard let gradient = gradients[part.weight] else { return nil }
                source = gradient
            }
            let rows = part.weight.rows(matrix: part.matrix, of: source, transposed: part.isTransposed)
            whole.replaceRows(from: part.row, with: rows)
        }
        return whole
    }

    /// Fills the weights from the checkpoint's numbers; `changed()` is the caller's.
    ///
    /// - Parameter target: numbers in a weight's layout to fill instead of the weight's own: optimizer state.
    package func fill(from numbers: UnsafeBufferPointer<Float>, _ target: (Weight) -> Tensor? = { _ in nil }) {
        let width = shape.count == 2 ? shape[1] : 1
        for part in parts {
            let rows = UnsafeBufferPointer(rebasing: numbers[part.row * width..<(part.row + part.rowCount) * width])
            part.weight.set(
                rows, matrix: part.matrix, transposed: part.isTransposed, numbers: target(part.weight))
        }
    }
}
