import GlimCheckpoint

// llama.cpp's keys appear in this file, and in the one that writes them.

extension ModelConfig {
    /// What the metadata of a GGUF file says: architecture `glm-dsa`, or `deepseek2` where it is GLM-4.7-Flash's network.
    ///
    /// There is one epsilon for all RMS norms.
    init(gguf file: GGUFFile) throws(ConfigError) {
        do { try self.init(fields: GGUFFields(file), file) } catch { throw .inFile(path: file.path, error) }
    }

    private init(fields: GGUFFields, _ file: GGUFFile) throws(ConfigError) {
        self.init()
        family = fields.architecture == GGUFKeys.sparse ? .dsa : .lite
        try fields.refuseUnsupported(file)
        let width = 1...Self.maximumWidth
        mtpLayerCount = try fields.whole("nextn_predict_layers", 0...Self.maximumMTPLayers, absent: 0)
        layerCount = try fields.whole("block_count", 1...1024 + Self.maximumMTPLayers) - mtpLayerCount
        // Checked here, for lists of this length are made before everything is.
        guard (1...1024).contains(layerCount) else {
            throw .outOfRange(
                key: fields.prefix + "block_count", found: "\(layerCount) beside those of multi-token prediction",
                allowed: "1 to 1024")
        }
        maximumPositions = try fields.whole("context_length", 1...1 << 30)
        hiddenSize = try fields.whole("embedding_length", 1...1 << 17)
        denseWidth = try fields.whole("feed_forward_length", width)
        expertWidth = try fields.whole("expert_feed_forward_length", width)
        denseLayerCount = min(try fields.whole("leading_dense_block_count", 0...1024, absent: 0), layerCount)
        headCount = try fields.whole("attention.head_count", 1...4096)
        queryLatent = try fields.wholeIfPresent("attention.q_lora_rank", Self.allowedQueryLatent)
        latent = try fields.whole("attention.kv_lora_rank", width)
        keyRotated = try fields.whole("rope.dimension_count", 2...4096)
        // Files that keep heads as one latent say what one of them would be under keys of their own.
        let ending = fields.has("attention.key_length_mla") ? "_mla" : ""
        keyPlain = try fields.whole("attention.key_length\(ending)", width) - keyRotated
        valueWidth = try fields.whole("attention.value_length\(ending)", width)
        routedExpertCount = try fields.whole("expert_count", 1...4096)
        expertsPerToken = try fields.whole("expert_used_count", 1...4096)
        sharedExpertCount = try fields.whole("expert_shared_count", 0...64, absent: 1)
        groupCount = max(1, try fields.whole("expert_group_count", 0...4096, absent: 1))
        groupsKept = max(1, try fields.whole("expert_group_used_count", 0...4096, absent: 1))
        routedScale = try fields.real("expert_weights_scale", absent: 1)
        if routedScale == 0 { routedScale = 1 }  // llama.cpp's word for none
        normalisesExpertWeights = try fields.flag("expert_weights_norm", absent: false)
        normEpsilon = try fields.real("attention.layer_norm_rms_epsilon")
        latentNormEpsilon = normEpsilon
        ropeTheta = Double(try fields.real("rope.freq_base"))
        indexer = family == .dsa ? try fields.indexer(layerCount: layerCount, context: maximumPositions) : nil
        guard let embedding = file.shape(of: "token_embd.weight"), embedding.count == 2 else {
            throw .missing(key: "the tensor token_embd.weight")
        }
        vocabularySize = embedding[0]
        tiesEmbeddings = file.shape(of: "output.weight") == nil
        endOfTextIDs = try fields.ids(["eos", "eot", "eom"])
        padID = try fields.ids(["padding"]).first
        bosID = try fields.ids(["bos"]).first
        dtype =
            switch file.type(of: "blk.0.attn_output.weight") {
            case .bf16: .bfloat16
            case .f16: .float16
            default: .float32
            }
        try validate()
    }
}

/// The architectures whose files are read and written.
enum GGUFKeys {
    static let sparse = "glm-dsa"
    static let dense = "deepseek2"
    /// llama.cpp's number for sigmoid.
    static let sigmoid = 2
}

/// The metadata of one file, with errors that a person can act on.
private struct GGUFFields {
    let metadata: [String: GGUFValue]
    let architecture: String
    var prefix: String { architecture + "." }

    init(_ file: GGUFFile) throws(ConfigError) {
        metadata = file.metadata
        let key = "general.architecture"
        guard let name = metadata[key]?.string else { throw .missing(key: key) }
        guard [GGUFKeys.sparse, GGUFKeys.dense].contains(name) else {
            throw .unsupported(
                key: key, found: "\"\(name.prefix(80))\"",
                why: "Glim runs \(GGUFKeys.sparse), and \(GGUFKeys.dense) where it is GLM-4.7-Flash's network")
        }
        architecture = name
    }

    /// Refuses what would load but compute something else.
    func refuseUnsupported(_ file: GGUFFile) throws(ConfigError) {
        let key = "rope.scaling.type"
        if let scaling = metadata[prefix + key], scaling != .string("none") {
            throw .unsupported(key: prefix + key, found: "\(scaling)", why: "positions are not scaled here")
        }
        // Files from before there were several ways to choose experts have no such key; those of a sigmoid have biases.
        let gating = "expert_gating_func"
        let hasBias = file.names.contains { $0.hasSuffix(GGUFNames.routerBias) }
        let way = try wholeIfPresent(gating, 0...64) ?? (hasBias ? GGUFKeys.sigmoid : 1)
        guard way == GGUFKeys.sigmoid else {
            throw .unsupported(
                key: prefix + gating, found: "\(way)", why: "experts are chosen by sigmoids here (\(GGUFKeys.sigmoid))")
        }
    }

    func has(_ key: String) -> Bool { metadata[prefix + key] != nil }

    func wholeIfPresent(_ key: String, _ allowed: ClosedRange<Int>) throws(ConfigError) -> Int? {
        guard let value = metadata[prefix + key] else { return nil }
        guard let number = value.integer else {
            throw .wrongType(key: prefix + key, found: "\(value)", expected: "a whole number")
        }
        guard allowed.contains(number) else {
            throw .outOfRange(
                key: prefix + key, found: "\(number)", allowed: "\(allowed.lowerBound) to \(allowed.upperBound)")
        }
        return number
    }

    func whole(_ key: String, _ allowed: ClosedRange<Int>, absent: Int? = nil) throws(ConfigError) -> Int {
        guard let number = try wholeIfPresent(key, allowed) ?? absent else { throw .missing(key: prefix + key) }
        return number
    }

    func real(_ key: String, absent: Float? = nil) throws(ConfigError) -> Float {
        switch metadata[prefix + key] {
        case .real(let number): return Float(number)
        case .integer(let number): return Float(number)
        case let other?: throw .wrongType(key: prefix + key, found: "\(other)", expected: "a number")
        case nil:
            guard let absent else { throw .missing(key: prefix + key) }
            return absent
        }
    }

    func flag(_ key: String, absent: Bool) throws(ConfigError) -> Bool {
        switch metadata[prefix + key] {
        case .bool(let flag): return flag
        case let other?: throw .wrongType(key: prefix + key, found: "\(other)", expected: "true or false")
        case nil: return absent
        }
    }

    /// The ids of these tokens, those that the file names, each once.
    func ids(_ roles: [String]) throws(ConfigError) -> [Int] {
        var ids: [Int] = []
        for role in roles {
            let key = "tokenizer.ggml.\(role)_token_id"
            guard let value = metadata[key] else { continue }
            guard let id = value.integer, (0...ModelConfig.maximumID).contains(id) else {
                throw .wrongType(key: key, found: "\(value)", expected: "a token id")
            }
            if !ids.contains(id) { ids.append(id) }
        }
        return ids
    }

    /// Its rotation is interleaved, as llama.cpp computes it for this architecture.
    func indexer(layerCount: Int, context: Int) throws(ConfigError) -> ModelConfig.Indexer {
        let key = "attention.indexer.types"
        // Without a list llama.cpp takes a long context for the sign of GLM-5.2, which shares.
        var kinds = ModelConfig.Indexer.kinds(layerCount: layerCount, every: context >= 1 << 20 ? 4 : 1, offset: 3)
        switch metadata[prefix + key] {
        case .bools(let list) where list.count >= layerCount:
            kinds = list.prefix(layerCount).map { $0 ? .full : .shared }
        case nil: break
        case let other?:
            throw .wrongType(
                key: prefix + key, found: "\(other)", expected: "a list of \(layerCount) switches, one for each layer")
        }
        return ModelConfig.Indexer(
            headCount: try whole("attention.indexer.head_count", ModelConfig.allowedIndexerHeads),
            headWidth: try whole("attention.indexer.key_length", ModelConfig.allowedIndexerWidth),
            topK: try whole("attention.indexer.top_k", ModelConfig.allowedTopK), kinds: kinds)
    }
}
