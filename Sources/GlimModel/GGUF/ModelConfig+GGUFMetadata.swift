import GlimCheckpoint

extension ModelConfig {
    /// What a GGUF file says of its model, in llama.cpp's words. A latent counts as the one key and value head that it is
    /// in absorbed attention.
    func ggufMetadata(name: String, _ type: GGMLType) -> [(key: String, value: GGUFValue)] {
        let architecture = family == .dsa ? GGUFKeys.sparse : GGUFKeys.dense
        var metadata: [(key: String, value: GGUFValue)] = [
            ("general.architecture", .string(architecture)), ("general.name", .string(name)),
            ("general.file_type", .integer(Self.fileType(type))), ("general.quantization_version", .integer(2)),
        ]
        func add(_ key: String, _ value: GGUFValue) { metadata.append(("\(architecture).\(key)", value)) }
        add("block_count", .integer(layerCount + mtpLayerCount))
        add("context_length", .integer(maximumPositions))
        add("vocab_size", .integer(vocabularySize))
        add("embedding_length", .integer(hiddenSize))
        add("feed_forward_length", .integer(denseWidth))
        add("leading_dense_block_count", .integer(denseLayerCount))
        add("attention.head_count", .integer(headCount))
        add("attention.head_count_kv", .integer(1))
        if let queryLatent { add("attention.q_lora_rank", .integer(queryLatent)) }
        add("attention.kv_lora_rank", .integer(latent))
        add("attention.key_length", .integer(latent + keyRotated))
        add("attention.value_length", .integer(latent))
        add("attention.key_length_mla", .integer(keyWidth))
        add("attention.value_length_mla", .integer(valueWidth))
        add("attention.layer_norm_rms_epsilon", .real(Double(normEpsilon)))
        add("rope.dimension_count", .integer(keyRotated))
        add("rope.freq_base", .real(ropeTheta))
        add("expert_count", .integer(routedExpertCount))
        add("expert_used_count", .integer(expertsPerToken))
        add("expert_shared_count", .integer(sharedExpertCount))
        add("expert_group_count", .integer(groupCount))
        add("expert_group_used_count", .integer(groupsKept))
        add("expert_feed_forward_length", .integer(expertWidth))
        add("expert_weights_scale", .real(Double(routedScale)))
        add("expert_weights_norm", .bool(normalisesExpertWeights))
        add("expert_gating_func", .integer(GGUFKeys.sigmoid))
        if mtpLayerCount > 0 { add("nextn_predict_layers", .integer(mtpLayerCount)) }
        if let indexer {
            add("attention.indexer.head_count", .integer(indexer.headCount))
            add("attention.indexer.key_length", .integer(indexer.headWidth))
            add("attention.indexer.top_k", .integer(indexer.topK))
            // Of the layers of multi-token prediction, which have their own, llama.cpp wants no word.
            add("attention.indexer.types", .bools(indexer.kinds.map { $0 == .full }))
        }
        return metadata
    }

    /// llama.cpp's number for files whose matrices are mostly in a format.
    private static func fileType(_ type: GGMLType) -> Int {
        switch type {
        case .f32: 0
        case .f16: 1
        case .q4_0: 2
        case .q8_0: 7
        case .q6_K: 18
        case .bf16: 32
        }
    }
}
