import GlimTensor

extension ModelConfig {
    /// The same network with sparse attention.
    ///
    /// - Parameter indexer: nil: the one the model has, or ``proposedIndexer``.
    /// - Throws: `ConfigError` where the indexer does not fit, and for a model whose queries have no latent: the
    ///   indexer reads it.
    public func adapted(indexer: Indexer? = nil) throws(ConfigError) -> ModelConfig {
        let adapted = with {
            $0.family = .dsa
            $0.indexer = indexer ?? self.indexer ?? proposedIndexer
        }
        try adapted.validate()
        return adapted
    }
}

extension Model {
    /// The same model with sparse attention: its weights, the very same objects, and new indexers, normal as in a new
    /// model.
    ///
    /// Indexers that the model has already stay where the layer still has one.
    /// - Parameters:
    ///   - indexer: nil: the one the model has, or its config's ``ModelConfig/proposedIndexer``.
    ///   - seed: of the new indexers.
    /// - Throws: `ConfigError` where the indexer does not fit, for a model whose queries have no latent, and where
    ///   indexers it has are of another size.
    public func adapted(indexer: ModelConfig.Indexer? = nil, seed: UInt64) throws(ConfigError) -> Model {
        var model = self
        model.config = try config.adapted(indexer: indexer)
        if let before = config.indexer, let after = model.config.indexer {
            guard before.headCount == after.headCount else {
                throw .resized(key: "index_n_heads", from: before.headCount, to: after.headCount)
            }
            guard before.headWidth == after.headWidth else {
                throw .resized(key: "index_head_dim", from: before.headWidth, to: after.headWidth)
            }
        }
        let make = WeightMaker(isBlueprint: false, computesInBF16: false) { _ in MatrixForm() }
        var new: Set<ObjectIdentifier> = []
        func change(_ attention: inout LatentAttention, layer: Int) {
            guard model.config.indexerKind(layer: layer) == .full else {
                attention.indexer = nil
                return
            }
            let made = Indexer(model.config, layer: layer, make)
            if let before = attention.indexer {
                attention.indexer = made.with(weightsOf: before)
            } else {
                attention.indexer = made
                new.formUnion(made.weights.map { ObjectIdentifier($0) })
            }
        }
        for i in model.layers.indices { change(&model.layers[i].attention, layer: i) }
        for i in model.predictions.indices {
            change(&model.predictions[i].layer.attention, layer: config.layerCount + i)
        }
        model.initialise(model.tensors.filter { new.contains(ObjectIdentifier($0.parts[0].weight)) }, seed: seed)
        for weight in model.indexerWeights { weight.changed() }
        return model
    }
}

extension ConfigError {
    fileprivate static func resized(key: String, from before: Int, to after: Int) -> ConfigError {
        .unsupported(key: key, found: "\(after)", why: "the model has indexers already, of \(before)")
    }
}
