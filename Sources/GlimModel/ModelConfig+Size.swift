/// How large a model is, part by part.
public struct ModelSize: Sendable, Equatable {
    /// Matrices and vectors that belong together, over all layers.
    public struct Part: Sendable, Equatable {
        public var name: String
        /// Numbers stored.
        public var parameterCount = 0
        /// Of these, what one token is multiplied with. The embedding is looked up and norms and biases are
        /// element-wise, so they do not count; the head does, tied or not.
        public var activeCount = 0
        /// Of the active ones, those that are stored in integers.
        public var integerCount = 0
        public var byteCount = 0
    }

    /// In the order of a forward pass; parts that a model lacks are absent.
    public internal(set) var parts: [Part] = []

    public var parameterCount: Int { parts.reduce(0) { $0 + $1.parameterCount } }
    public var activeCount: Int { parts.reduce(0) { $0 + $1.activeCount } }
    public var byteCount: Int { parts.reduce(0) { $0 + $1.byteCount } }
}

extension ModelConfig.NumberFormat {
    public var byteCount: Int { self == .float32 ? 4 : 2 }
}

extension ModelConfig {
    /// The network that generates: trunk, embedding and head. The "744B" of GLM-5 is `size.parameterCount`.
    public var size: ModelSize { size(of: trunkTensors) }

    /// The MTP layers alone, nil without any. A checkpoint holds both; transformers reads only the trunk.
    public var mtpSize: ModelSize? { mtpLayerCount == 0 ? nil : size(of: mtpTensors) }

    /// What a token adds to the cache of the trunk: in each layer the latent and the rotated key, and the indexer's
    /// key where a layer runs one.
    public func cacheBytesPerToken(_ format: NumberFormat = .bfloat16) -> Int {
        let indexerWidth = (indexer?.headWidth ?? 0) * fullIndexerCount
        return (layerCount * (latent + keyRotated) + indexerWidth) * format.byteCount
    }

    /// Trunk layers that run an indexer of their own.
    public var fullIndexerCount: Int { indexer?.kinds.count { $0 == .full } ?? 0 }
    /// Trunk layers that reuse an earlier layer's selection.
    public var sharedIndexerCount: Int { indexer?.kinds.count { $0 == .shared } ?? 0 }
}

/// `count` equal tensors of a part, as a checkpoint stores them; only their sizes.
private struct Tensors {
    enum Storage {
        /// In FP8 checkpoints one byte a number and a float32 scale a block, in those of integers these and their
        /// scales; otherwise the model's format.
        case scaled
        /// The same, but never in integers.
        case scaledInBlocks
        /// The same, but never in FP8.
        case scaledInIntegers
        /// Always the model's format.
        case plain
        case float32
    }

    var part: String
    var rows: Int
    var columns: Int
    var count: Int
    var activeCount: Int
    var storage: Storage

    init(_ part: String, _ rows: Int, _ columns: Int, _ count: Int, active: Int? = nil, _ storage: Storage = .scaled) {
        (self.part, self.rows, self.columns, self.count) = (part, rows, columns, count)
        (self.activeCount, self.storage) = (active ?? count, storage)
    }
}

extension ModelConfig {
    private func size(of tensors: [Tensors]) -> ModelSize {
        var size = ModelSize()
        for tensor in tensors where tensor.count > 0 || tensor.activeCount > 0 {
            if !size.parts.contains(where: { $0.name == tensor.part }) { size.parts.append(.init(name: tensor.part)) }
            let part = size.parts.firstIndex { $0.name == tensor.part }!
            let area = tensor.rows * tensor.columns
            size.parts[part].parameterCount += area * tensor.count
            size.parts[part].activeCount += area * tensor.activeCount
            // A tied head is the embedding, which is never in integers.
            if tensor.count > 0, integers(of: tensor) != nil {
                size.parts[part].integerCount += area * tensor.activeCount
            }
            size.parts[part].byteCount += tensor.count * byteCount(of: tensor)
        }
        return size
    }

    private func byteCount(of tensor: Tensors) -> Int {
        let area = tensor.rows * tensor.columns
        switch tensor.storage {
        case .float32: return 4 * area
        case .scaled, .scaledInBlocks:
            guard let block = scaleBlock else { break }
            let (down, across) = (tensor.rows + block.rows - 1, tensor.columns + block.columns - 1)
            return area + 4 * (down / block.rows) * (across / block.columns)
        case .plain, .scaledInIntegers: break
        }
        if let group = integers(of: tensor) {
            return area * group.bits / 8 + 4 * tensor.rows * max(1, tensor.columns / (group.size ?? tensor.columns))
        }
        return dtype.byteCount * area
    }

    /// What a matrix is quantised to, by the first group that names any of its kind: routed experts, or others.
    private func integers(of tensor: Tensors) -> IntegerWeights.Group? {
        guard tensor.storage == .scaled || tensor.storage == .scaledInIntegers else { return nil }
        let isExpert = tensor.part == "routed experts"
        return integerWeights?.groups.first { group in
            group.targets.contains { $0.replacing("\\", with: "").contains(".experts.") == isExpert }
        }
    }

    private var trunkTensors: [Tensors] {
        [Tensors("embedding", vocabularySize, hiddenSize, 1, active: 0, .plain)]
            + layerTensors(dense: denseLayerCount, expert: expertLayerCount, indexers: fullIndexerCount)
            + [
                Tensors("norms", 1, hiddenSize, 1, active: 0, .plain),
                // A tied head stores nothing and multiplies all the same.
                Tensors("head", vocabularySize, hiddenSize, tiesEmbeddings ? 0 : 1, active: 1, .scaledInIntegers),
            ]
    }

    private var mtpTensors: [Tensors] {
        [Tensors("joining", hiddenSize, 2 * hiddenSize, mtpLayerCount, .scaledInIntegers)]
            + layerTensors(dense: 0, expert: mtpLayerCount, indexers: indexer == nil ? 0 : mtpLayerCount)
            + [Tensors("norms", 3, hiddenSize, mtpLayerCount, active: 0, .plain)]
    }

    private func layerTensors(dense: Int, expert: Int, indexers: Int) -> [Tensors] {
        let layers = dense + expert
        var list: [Tensors] = []

        if let queryLatent {
            list.append(Tensors("attention", queryLatent, hiddenSize, layers))
            list.append(Tensors("attention", headCount * keyWidth, queryLatent, layers))
        } else {
            list.append(Tensors("attention", headCount * keyWidth, hiddenSize, layers))
        }
        list.append(Tensors("attention", latent + keyRotated, hiddenSize, layers))
        list.append(Tensors("attention", headCount * (keyPlain + valueWidth), latent, layers, .scaledInBlocks))
        list.append(Tensors("attention", hiddenSize, headCount * valueWidth, layers))

        if let indexer, let queryLatent {
            list.append(Tensors("indexers", indexer.headCount * indexer.headWidth, queryLatent, indexers))
            list.append(Tensors("indexers", indexer.headWidth, hiddenSize, indexers, .scaledInBlocks))
            list.append(Tensors("indexers", indexer.headCount, hiddenSize, indexers, .plain))
        }

        func mlp(_ part: String, width: Int, count: Int, active: Int) {
            list.append(Tensors(part, width, hiddenSize, 2 * count, active: 2 * active))
            list.append(Tensors(part, hiddenSize, width, count, active: active))
        }
        mlp("dense MLPs", width: denseWidth, count: dense, active: dense)
        list.append(Tensors("routers", routedExpertCount, hiddenSize, expert, .plain))
        list.append(Tensors("routers", 1, routedExpertCount, expert, active: 0, .float32))
        mlp("routed experts", width: expertWidth, count: expert * routedExpertCount, active: expert * expertsPerToken)
        mlp("shared experts", width: sharedWidth, count: expert, active: expert)

        list.append(Tensors("norms", 1, 2 * hiddenSize + (queryLatent ?? 0) + latent, layers, active: 0, .plain))
        list.append(Tensors("norms", 2, indexer?.headWidth ?? 0, indexers, active: 0, .plain))
        return list
    }
}
