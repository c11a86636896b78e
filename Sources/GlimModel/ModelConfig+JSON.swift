public import Foundation
import GlimCheckpoint
import GlimTensor

// Hugging Face's key names appear in this file and nowhere else. The tables below serve reading, writing and checking.

extension ModelConfig {
    typealias Key<Value> = (name: String, path: WritableKeyPath<ModelConfig, Value>, allowed: ClosedRange<Value>)
    where Value: Comparable

    // The caps are far above any model and low enough that no product of shapes overflows: the largest, bytes of all
    // experts in float32, stays below 2^61.
    static let maximumWidth = 1 << 18
    static let maximumID = Int(Int32.max)
    package static let maximumMTPLayers = 16

    /// Whole numbers every file must carry.
    static var wholeNumbers: [Key<Int>] {
        [
            ("vocab_size", \.vocabularySize, 1...1 << 24),
            ("hidden_size", \.hiddenSize, 1...1 << 17),
            ("intermediate_size", \.denseWidth, 1...maximumWidth),
            ("moe_intermediate_size", \.expertWidth, 1...maximumWidth),
            ("num_hidden_layers", \.layerCount, 1...1024),
            ("num_attention_heads", \.headCount, 1...4096),
            ("kv_lora_rank", \.latent, 1...maximumWidth),
            ("qk_nope_head_dim", \.keyPlain, 1...4096),
            ("qk_rope_head_dim", \.keyRotated, 2...4096),
            ("v_head_dim", \.valueWidth, 1...4096),
            ("n_routed_experts", \.routedExpertCount, 1...4096),
            ("num_experts_per_tok", \.expertsPerToken, 1...4096),
            ("max_position_embeddings", \.maximumPositions, 1...1 << 30),
        ]
    }

    /// Whole numbers whose absence has a meaning: (key, meaning).
    static var optionalWholeNumbers: [(key: Key<Int>, absent: Int)] {
        [
            (("n_shared_experts", \.sharedExpertCount, 1...64), 1),
            (("n_group", \.groupCount, 1...4096), 1),
            (("topk_group", \.groupsKept, 1...4096), 1),
            (("num_nextn_predict_layers", \.mtpLayerCount, 0...maximumMTPLayers), 0),
        ]
    }

    static var realNumbers: [(key: Key<Float>, absent: Float?)] {
        [
            (("rms_norm_eps", \.normEpsilon, 1e-30...1), nil),
            (("latent_norm_eps", \.latentNormEpsilon, 1e-30...1), 1e-5),
            (("routed_scaling_factor", \.routedScale, 1e-6...1e6), nil),
            (("initializer_range", \.initializerRange, 0...100), 0.02),
        ]
    }

    static var switches: [(name: String, path: WritableKeyPath<ModelConfig, Bool>, absent: Bool)] {
        [
            ("norm_topk_prob", \.normalisesExpertWeights, true),
            ("rope_interleave", \.ropeInterleave, true),
            ("tie_word_embeddings", \.tiesEmbeddings, false),
        ]
    }

    static let allowedTheta = 1.0...1e15
    static let allowedQueryLatent = 1...maximumWidth
    static let allowedIndexerHeads = 1...4096
    static let allowedIndexerWidth = 1...4096
    static let allowedTopK = 1...1 << 24
    static let allowedBlock = 1...1 << 16
}

// MARK: - Reading

extension ModelConfig {
    /// Reads `config.json` of a model's folder, or what a GGUF file says of itself.
    public init(folder: URL) throws(ConfigError) {
        if GGUFFile.isNamed(by: folder) {
            let file: GGUFFile
            do throws(CheckpointError) { file = try GGUFFile(folder) } catch { throw .weights(error) }
            try self.init(gguf: file)
            return
        }
        try self.init(file: folder.appendingPathComponent("config.json"))
    }

    /// Reads and checks one `config.json`; errors name the file.
    public init(file: URL) throws(ConfigError) {
        let bytes: [UInt8]
        do throws(CheckpointError) { bytes = try PlainFile.read(file.path, limit: 16 << 20) } catch {
            guard case .unreadable(_, let reason) = error else { throw .unreadable(path: file.path, why: "\(error)") }
            throw .unreadable(path: file.path, why: "\(reason); give a folder with a config.json in it")
        }
        do { try self.init(text: bytes) } catch { throw .inFile(path: file.path, error) }
    }

    /// Reads and checks the text of one `config.json`.
    ///
    /// Keys that say nothing about the network (`use_cache`, `transformers_version`, ...) are passed over. So are
    /// `head_dim`, which GLM-5.2 fills with a number that is no head's size, and `num_key_value_heads`, nominal in MLA.
    public init(json: Data) throws(ConfigError) { try self.init(text: [UInt8](json)) }

    private init(text: [UInt8]) throws(ConfigError) {
        let file = try Fields(text)
        self.init()
        family = try file.family()
        try file.refuseUnsupported(family)

        for (name, path, allowed) in Self.wholeNumbers { self[keyPath: path] = try file.whole(name, allowed) }
        for ((name, path, allowed), absent) in Self.optionalWholeNumbers {
            self[keyPath: path] = try file.whole(name, allowed, absent: absent)
        }
        for ((name, path, allowed), absent) in Self.realNumbers {
            self[keyPath: path] = try file.real(name, allowed, absent: absent)
        }
        for (name, path, absent) in Self.switches { self[keyPath: path] = try file.flag(name) ?? absent }

        denseLayerCount = try file.denseLayerCount(of: layerCount)
        try file.checkLayerTypes(family, count: layerCount)
        queryLatent = try file.queryLatent(family)
        indexer = family == .dsa ? try file.indexer(layerCount: layerCount) : nil
        ropeTheta = try file.theta()
        endOfTextIDs = try file.identifiers("eos_token_id")
        padID = try file.identifiers("pad_token_id").first
        bosID = try file.identifiers("bos_token_id").first
        dtype = try file.dtype()
        computeType = try file.computeType()
        (scaleBlock, integerWeights) = try file.quantization()
        latentFormat = try file.keyFormat("latent_dtype", [.f32, .bf16])
        try validate()
    }
}

/// The keys of one configuration, or of an object inside it, read with the errors a person can act on.
struct Fields {
    let values: [String: JSONValue]
    /// What to put before a key's name in messages: `rope_parameters.` for instance.
    var prefix = ""

    init(_ text: [UInt8]) throws(ConfigError) {
        let value: JSONValue
        do throws(JSONReader.Problem) {
            var reader = JSONReader(text)
            value = try JSONValue(&reader)
            try reader.finish()
        } catch {
            throw .notJSON(why: text.isEmpty ? "the text is empty" : "\(error.reason), at byte \(error.offset)")
        }
        guard case .object(let values) = value else { throw .notJSON(why: "found \(value), expected an object") }
        self.values = values
    }

    init(_ values: [String: JSONValue], prefix: String) { (self.values, self.prefix) = (values, prefix) }

    /// nil for a key that is absent or null: the format does not tell these apart.
    subscript(_ key: String) -> JSONValue? {
        if let value = values[key], value != .null { value } else { nil }
    }

    func wrongType(_ key: String, _ found: JSONValue, _ expected: String) -> ConfigError {
        .wrongType(key: prefix + key, found: "\(found)", expected: expected)
    }

    func whole(_ key: String, _ allowed: ClosedRange<Int>, absent: Int? = nil) throws(ConfigError) -> Int {
        if let value = try wholeIfPresent(key, allowed) ?? absent { return value }
        throw .missing(key: prefix + key)
    }

    func wholeIfPresent(_ key: String, _ allowed: ClosedRange<Int>) throws(ConfigError) -> Int? {
        guard let value = self[key] else { return nil }
        guard case .integer(let number) = value else {
            throw wrongType(key, value, "a whole number, \(inWords(allowed))")
        }
        try check(prefix + key, number, allowed)
        return number
    }

    func real(_ key: String, _ allowed: ClosedRange<Float>, absent: Float?) throws(ConfigError) -> Float {
        guard let value = self[key] else {
            if let absent { return absent }
            throw .missing(key: prefix + key)
        }
        guard let number = value.number else { throw wrongType(key, value, "a number, \(inWords(allowed))") }
        try check(prefix + key, number, Double(allowed.lowerBound)...Double(allowed.upperBound))
        return min(max(Float(number), allowed.lowerBound), allowed.upperBound)
    }

    func real(_ key: String, _ allowed: ClosedRange<Double>) throws(ConfigError) -> Double? {
        guard let value = self[key] else { return nil }
        guard let number = value.number else { throw wrongType(key, value, "a number, \(inWords(allowed))") }
        try check(prefix + key, number, allowed)
        return number
    }

    func flag(_ key: String) throws(ConfigError) -> Bool? {
        guard let value = self[key] else { return nil }
        guard case .bool(let flag) = value else { throw wrongType(key, value, "true or false") }
        return flag
    }

    func text(_ key: String) throws(ConfigError) -> String? {
        guard let value = self[key] else { return nil }
        guard case .string(let text) = value else { throw wrongType(key, value, "a string") }
        return text
    }

    func object(_ key: String) throws(ConfigError) -> Fields? {
        guard let value = self[key] else { return nil }
        guard case .object(let values) = value else { throw wrongType(key, value, "an object") }
        return Fields(values, prefix: prefix + key + ".")
    }

    /// A list of words with one entry for each of `count` layers, each one of `words`.
    func words(_ key: String, count: Int, of words: [String]) throws(ConfigError) -> [String]? {
        guard let value = self[key] else { return nil }
        let expected = "a list of " + words.map { "\"\($0)\"" }.joined(separator: " or ")
        guard case .list(let list) = value else { throw wrongType(key, value, expected) }
        guard list.count == count else {
            throw .outOfRange(
                key: prefix + key, found: "a list of \(list.count)", allowed: "\(count), one for each layer")
        }
        var result: [String] = []
        for (i, item) in list.enumerated() {
            guard case .string(let word) = item, words.contains(word) else {
                throw wrongType("\(key)[\(i)]", item, words.map { "\"\($0)\"" }.joined(separator: " or "))
            }
            result.append(word)
        }
        return result
    }

    /// One id, a list of them, or none.
    func identifiers(_ key: String) throws(ConfigError) -> [Int] {
        guard let value = self[key] else { return [] }
        let list = if case .list(let list) = value { list } else { [value] }
        var result: [Int] = []
        for item in list {
            guard case .integer(let id) = item else { throw wrongType(key, item, "a token id or a list of them") }
            try check(prefix + key, id, 0...ModelConfig.maximumID)
            result.append(id)
        }
        return result
    }
}

extension Fields {
    func family() throws(ConfigError) -> ModelConfig.Family {
        guard let name = try text("model_type") else { throw .missing(key: "model_type") }
        if let family = ModelConfig.Family(rawValue: name) { return family }
        let why =
            switch name {
            case _ where name.hasPrefix("glm5_next"):
                "GLM-5.3-Flash mixes linear attention, pooled indexing and hyper-connections, another architecture"
            case _ where name.hasPrefix("deepseek"):
                "DeepSeek's models differ in rotation (YaRN, half-split indexer) though the layout looks alike"
            default: "Glim runs " + ModelConfig.Family.allCases.map(\.rawValue).joined(separator: " and ")
            }
        throw .unsupported(key: "model_type", found: "\"\(name.prefix(80))\"", why: why)
    }

    /// Refuses what would load but compute something else.
    func refuseUnsupported(_ family: ModelConfig.Family) throws(ConfigError) {
        for key in ["attention_bias", "mlp_bias"] where try flag(key) == true {
            throw .unsupported(key: key, found: "true", why: "no linear layer of these models has a bias")
        }
        for (key, right) in [("scoring_func", "sigmoid"), ("topk_method", "noaux_tc"), ("hidden_act", "silu")] {
            if let found = try text(key), found != right {
                throw .unsupported(key: key, found: "\"\(found.prefix(80))\"", why: "these models use \"\(right)\"")
            }
        }
        if let frequency = try wholeIfPresent("moe_layer_freq", 0...1024), frequency != 1 {
            throw .unsupported(
                key: "moe_layer_freq", found: "\(frequency)", why: "every layer after the dense ones has experts (1)")
        }
        for key in ["rope_parameters", "rope_scaling"] {
            guard let rope = try object(key) else { continue }
            for name in ["rope_type", "type"] {
                if let kind = try rope.text(name), kind != "default" {
                    throw .unsupported(
                        key: rope.prefix + name, found: "\"\(kind.prefix(80))\"", why: "only \"default\" is built in")
                }
            }
        }
        for rope in [self, try object("rope_parameters") ?? self] {
            if let part = try rope.real("partial_rotary_factor", -1e9...1e9), part != 1 {
                throw .unsupported(
                    key: rope.prefix + "partial_rotary_factor", found: "\(part)",
                    why: "all of qk_rope_head_dim is rotated (1.0)")
            }
        }
    }

    func theta() throws(ConfigError) -> Double {
        if let theta = try object("rope_parameters")?.real("rope_theta", ModelConfig.allowedTheta) { return theta }
        // Older files say it at the top. Without either, transformers assumes 10000, wrong for every released model.
        if let theta = try real("rope_theta", ModelConfig.allowedTheta) { return theta }
        throw .missing(key: "rope_parameters.rope_theta")
    }

    func queryLatent(_ family: ModelConfig.Family) throws(ConfigError) -> Int? {
        // Null means "no latent", absence means nothing: a file must say which.
        guard values["q_lora_rank"] != nil else { throw .missing(key: "q_lora_rank") }
        return try wholeIfPresent("q_lora_rank", ModelConfig.allowedQueryLatent)
    }

    func denseLayerCount(of layerCount: Int) throws(ConfigError) -> Int {
        if let types = try words("mlp_layer_types", count: layerCount, of: ["dense", "sparse"]) {
            let dense = types.firstIndex(of: "sparse") ?? layerCount
            if let late = types[dense...].firstIndex(of: "dense") {
                throw .unsupported(
                    key: "mlp_layer_types[\(late)]", found: "\"dense\"",
                    why: "dense layers come first, and layer \(dense) is sparse")
            }
            return dense
        }
        return min(try whole("first_k_dense_replace", 0...1024), layerCount)
    }

    func checkLayerTypes(_ family: ModelConfig.Family, count: Int) throws(ConfigError) {
        let known = family == .dsa ? ["deepseek_sparse_attention", "indexed_attention"] : ["full_attention"]
        _ = try words("layer_types", count: count, of: known)
    }

    func indexer(layerCount: Int) throws(ConfigError) -> ModelConfig.Indexer {
        ModelConfig.Indexer(
            headCount: try whole("index_n_heads", ModelConfig.allowedIndexerHeads),
            headWidth: try whole("index_head_dim", ModelConfig.allowedIndexerWidth),
            topK: try whole("index_topk", ModelConfig.allowedTopK),
            ropeInterleave: try flag("indexer_rope_interleave") ?? true,
            kinds: try indexerKinds(layerCount: layerCount),
            sharesSelectionAcrossDrafts: try flag("index_share_for_mtp_iteration") ?? false,
            keyFormat: try keyFormat("index_key_dtype", KeyFormat.allCases))
    }

    /// How keys are kept. These are keys of our own: files of others do not say.
    func keyFormat(_ key: String, _ allowed: [KeyFormat]) throws(ConfigError) -> KeyFormat {
        guard let name = try text(key) else { return .f32 }
        guard let format = allowed.first(where: { $0.rawValue == name }) else {
            throw .outOfRange(
                key: key, found: "\"\(name.prefix(80))\"",
                allowed: allowed.map(\.rawValue).joined(separator: ", "))
        }
        return format
    }

    /// The explicit list wins over the pattern, and the pattern over the rule.
    func indexerKinds(layerCount: Int) throws(ConfigError) -> [ModelConfig.Indexer.Kind] {
        let key = "index_topk_pattern"
        if let types = try words("indexer_types", count: layerCount, of: ["full", "shared"]) {
            return types.map { $0 == "full" ? .full : .shared }
        }
        if case .list = self[key], let types = try words(key, count: layerCount, of: ["full", "shared"]) {
            return types.map { $0 == "full" ? .full : .shared }
        }
        if let pattern = try text(key) {
            guard pattern.count == layerCount, pattern.allSatisfy({ "FS".contains($0) }) else {
                throw .outOfRange(
                    key: key, found: "\"\(pattern.prefix(80))\"",
                    allowed: "\(layerCount) letters, F (full) or S (shared), one for each layer")
            }
            return pattern.map { $0 == "F" ? .full : .shared }
        }
        let every = max(try whole("index_topk_freq", 0...1024, absent: 1), 1)
        let offset = try whole("index_skip_topk_offset", 0...1024, absent: 2)
        return ModelConfig.Indexer.kinds(layerCount: layerCount, every: every, offset: offset)
    }

    func dtype() throws(ConfigError) -> ModelConfig.NumberFormat {
        for key in ["dtype", "torch_dtype"] {
            guard let name = try text(key) else { continue }
            if let format = ModelConfig.NumberFormat(rawValue: name) { return format }
            let known = ModelConfig.NumberFormat.allCases.map(\.rawValue).joined(separator: ", ")
            throw .unsupported(key: key, found: "\"\(name.prefix(80))\"", why: "known formats: \(known)")
        }
        return .float32
    }

    func computeType() throws(ConfigError) -> ModelConfig.ComputeType {
        let key = "compute_dtype"
        guard let name = try text(key) else { return .float32 }
        if let type = ModelConfig.ComputeType(rawValue: name) { return type }
        let known = ModelConfig.ComputeType.allCases.map(\.rawValue).joined(separator: ", ")
        throw .unsupported(key: key, found: "\"\(name.prefix(80))\"", why: "known: \(known)")
    }

    func quantization() throws(ConfigError) -> (ModelConfig.ScaleBlock?, ModelConfig.IntegerWeights?) {
        guard let plan = try object("quantization_config") else { return (nil, nil) }
        guard let method = try plan.text("quant_method") else { throw .missing(key: plan.prefix + "quant_method") }
        switch method {
        case "fp8": return (try plan.scaleBlock(), nil)
        case "compressed-tensors": return (nil, try ModelConfig.IntegerWeights(plan))
        default:
            throw .unsupported(
                key: plan.prefix + "quant_method", found: "\"\(method.prefix(80))\"",
                why: "\"fp8\" and \"compressed-tensors\" can be read")
        }
    }

    private func scaleBlock() throws(ConfigError) -> ModelConfig.ScaleBlock {
        let key = "weight_block_size"
        guard let value = self[key] else { throw .missing(key: prefix + key) }
        guard case .list(let sides) = value, sides.count == 2, case .integer(let rows) = sides[0],
            case .integer(let columns) = sides[1]
        else { throw wrongType(key, value, "two whole numbers, [128, 128] for instance") }
        try check(prefix + key + "[0]", rows, ModelConfig.allowedBlock)
        try check(prefix + key + "[1]", columns, ModelConfig.allowedBlock)
        return ModelConfig.ScaleBlock(rows: rows, columns: columns)
    }
}

// MARK: - Checking

private func inWords<Value>(_ range: ClosedRange<Value>) -> String {
    range.lowerBound == range.upperBound ? "\(range.lowerBound)" : "\(range.lowerBound) to \(range.upperBound)"
}

private func check<Value>(_ key: String, _ found: Value, _ allowed: ClosedRange<Value>) throws(ConfigError) {
    guard allowed.contains(found) else {
        throw .outOfRange(key: key, found: "\(found)", allowed: inWords(allowed))
    }
}

extension ModelConfig {
    /// Checks every range, and every relation between two fields, under the key a file would use.
    public func validate() throws(ConfigError) {
        for (name, path, allowed) in Self.wholeNumbers { try check(name, self[keyPath: path], allowed) }
        for ((name, path, allowed), _) in Self.optionalWholeNumbers { try check(name, self[keyPath: path], allowed) }
        for ((name, path, allowed), _) in Self.realNumbers { try check(name, self[keyPath: path], allowed) }
        try check("rope_parameters.rope_theta", ropeTheta, Self.allowedTheta)
        try check("first_k_dense_replace", denseLayerCount, 0...layerCount)
        for id in endOfTextIDs + [padID, bosID].compactMap(\.self) {
            try check("eos_token_id, pad_token_id, bos_token_id", id, 0...Self.maximumID)
        }
        guard keyRotated.isMultiple(of: 2) else {
            throw .outOfRange(key: "qk_rope_head_dim", found: "\(keyRotated)", allowed: "even numbers, for pairs turn")
        }
        try validateExperts()
        try validateAttention()
    }

    private func validateExperts() throws(ConfigError) {
        guard routedExpertCount.isMultiple(of: groupCount) else {
            throw .outOfRange(
                key: "n_group", found: "\(groupCount)", allowed: "divisors of n_routed_experts, \(routedExpertCount)")
        }
        let groupSize = routedExpertCount / groupCount
        guard groupCount == 1 || groupSize >= 2 else {
            throw .outOfRange(
                key: "n_group", found: "\(groupCount)", allowed: "1 to \(routedExpertCount / 2), two experts each")
        }
        try check("topk_group", groupsKept, 1...groupCount)
        try check("num_experts_per_tok", expertsPerToken, 1...groupSize * groupsKept)
    }

    private func validateAttention() throws(ConfigError) {
        if let queryLatent {
            try check("q_lora_rank", queryLatent, Self.allowedQueryLatent)
        } else if family == .dsa {
            throw .unsupported(key: "q_lora_rank", found: "null", why: "the indexer reads the queries' latent")
        }
        guard (indexer != nil) == (family == .dsa) else {
            throw .unsupported(
                key: "model_type", found: "\"\(family.rawValue)\"",
                why: indexer == nil ? "it needs an indexer, and none is given" : "it has no indexer, and one is given")
        }
        if let scaleBlock {
            try check("quantization_config.weight_block_size[0]", scaleBlock.rows, Self.allowedBlock)
            try check("quantization_config.weight_block_size[1]", scaleBlock.columns, Self.allowedBlock)
        }
        for group in integerWeights?.groups ?? [] where group.bits != 8 && group.bits != 4 {
            throw .outOfRange(key: "quantization_config.num_bits", found: "\(group.bits)", allowed: "8 and 4")
        }
        guard let indexer else { return }
        try check("index_n_heads", indexer.headCount, Self.allowedIndexerHeads)
        try check("index_head_dim", indexer.headWidth, Self.allowedIndexerWidth)
        try check("index_topk", indexer.topK, Self.allowedTopK)
        guard keyRotated <= indexer.headWidth else {
            throw .outOfRange(
                key: "index_head_dim", found: "\(indexer.headWidth)",
                allowed: "\(keyRotated) (qk_rope_head_dim) or more, for that part is rotated")
        }
        guard indexer.kinds.count == layerCount else {
            throw .outOfRange(
                key: "indexer_types", found: "a list of \(indexer.kinds.count)",
                allowed: "\(layerCount), one for each layer")
        }
        guard indexer.kinds.first == .full else {
            throw .unsupported(
                key: "indexer_types[0]", found: "\"shared\"", why: "layer 0 has no earlier layer to share with")
        }
    }
}

// MARK: - Writing

extension ModelConfig {
    /// A `config.json` that transformers 5.23 reads with the same meaning: sorted keys, two spaces, a final newline.
    public var json: Data {
        var values: [String: JSONValue] = [
            "architectures": .list([.string(family == .dsa ? "GlmMoeDsaForCausalLM" : "Glm4MoeLiteForCausalLM")]),
            "attention_bias": .bool(false),
            "attention_dropout": .real(0),
            "bos_token_id": bosID.map(JSONValue.integer) ?? .null,
            "compute_dtype": .string(computeType.rawValue),
            "dtype": .string(dtype.rawValue),
            "eos_token_id": endOfTextIDs.isEmpty ? .null : .list(endOfTextIDs.map(JSONValue.integer)),
            "first_k_dense_replace": .integer(denseLayerCount),
            "head_dim": .integer(keyRotated),
            "hidden_act": .string("silu"),
            "mlp_layer_types": .list((0..<layerCount).map { .string(isDense(layer: $0) ? "dense" : "sparse") }),
            "model_type": .string(family.rawValue),
            "moe_layer_freq": .integer(1),
            "num_key_value_heads": .integer(headCount),
            "pad_token_id": padID.map(JSONValue.integer) ?? .null,
            "q_lora_rank": queryLatent.map(JSONValue.integer) ?? .null,
            "qk_head_dim": .integer(keyWidth),
            "rope_parameters": .object(["rope_theta": .real(ropeTheta), "rope_type": .string("default")]),
            "scoring_func": .string("sigmoid"),
            "topk_method": .string("noaux_tc"),
            "transformers_version": .string("5.23.0"),
            "use_cache": .bool(true),
        ]
        for (name, path, _) in Self.wholeNumbers { values[name] = .integer(self[keyPath: path]) }
        for ((name, path, _), _) in Self.optionalWholeNumbers { values[name] = .integer(self[keyPath: path]) }
        for ((name, path, _), _) in Self.realNumbers { values[name] = JSONValue(self[keyPath: path]) }
        for (name, path, _) in Self.switches { values[name] = .bool(self[keyPath: path]) }
        if latentFormat != .f32 { values["latent_dtype"] = .string(latentFormat.rawValue) }
        if let indexer {
            values["index_n_heads"] = .integer(indexer.headCount)
            values["index_head_dim"] = .integer(indexer.headWidth)
            values["index_topk"] = .integer(indexer.topK)
            values["index_share_for_mtp_iteration"] = .bool(indexer.sharesSelectionAcrossDrafts)
            values["indexer_rope_interleave"] = .bool(indexer.ropeInterleave)
            if indexer.keyFormat != .f32 { values["index_key_dtype"] = .string(indexer.keyFormat.rawValue) }
            values["indexer_types"] = .list(indexer.kinds.map { .string($0.rawValue) })
        }
        if let scaleBlock {
            values["quantization_config"] = .object([
                "activation_scheme": .string("dynamic"), "fmt": .string("e4m3"), "quant_method": .string("fp8"),
                "weight_block_size": .list([.integer(scaleBlock.rows), .integer(scaleBlock.columns)]),
            ])
        }
        if let integerWeights { values["quantization_config"] = integerWeights.json }
        return Data((JSONValue.object(values).pretty() + "\n").utf8)
    }
}

/// JSON as it stands in a file. Whole and real numbers stay apart, for transformers refuses `1` where it wants `1.0`,
/// and Foundation's encoder writes the one for the other.
enum JSONValue: Equatable, CustomStringConvertible {
    case null
    case bool(Bool)
    case integer(Int)
    case real(Double)
    /// A number too large for a Double; no error of its own, since it may stand under a key nobody reads.
    case unrepresentable
    case string(String)
    case list([JSONValue])
    case object([String: JSONValue])

    init(_ number: Float) { self = .real(Double("\(number)") ?? Double(number)) }  // 1e-05, not 9.99999974e-06

    /// Recurses as deep as the reader lets it, which is not deep.
    init(_ reader: inout JSONReader) throws(JSONReader.Problem) {
        switch reader.nextKind() {
        case .object:
            var values: [String: JSONValue] = [:]
            try reader.beginObject()
            while let key = try reader.nextKey() {
                // Two values for one key: which of them counts depends on the program that reads.
                let value = try JSONValue(&reader)
                guard values.updateValue(value, forKey: key) == nil else {
                    throw reader.problem("the key \"\(key.prefix(80))\" appears twice")
                }
            }
            self = .object(values)
        case .array:
            var list: [JSONValue] = []
            try reader.beginArray()
            while try reader.nextElement() { list.append(try JSONValue(&reader)) }
            self = .list(list)
        case .string: self = .string(try reader.string())
        case .word: self = try reader.word().map(JSONValue.bool) ?? .null
        case .number:
            let spelling = try reader.number()
            if let whole = Int(spelling) {
                self = .integer(whole)
            } else if let real = Double(spelling), real.isFinite {
                // 6144.0 is a whole number too, to whoever wants one; beyond 2^53 it may have been rounded.
                self = Int(exactly: real).flatMap { abs(real) < 0x1p53 ? JSONValue.integer($0) : nil } ?? .real(real)
            } else {
                self = .unrepresentable
            }
        case nil: throw reader.problem("expected a value")
        }
    }

    var number: Double? {
        switch self {
        case .integer(let number): Double(number)
        case .real(let number): number
        default: nil
        }
    }

    /// What to tell a person who finds this where something else should be.
    var description: String {
        switch self {
        case .null: "null"
        case .bool(let flag): "\(flag)"
        case .integer(let number): "\(number)"
        case .real(let number): "\(number)"
        case .unrepresentable: "a number no computer word holds"
        case .string(let text): "the string \"\(text.count > 40 ? text.prefix(40) + "..." : text[...])\""
        case .list(let list): "a list of \(list.count)"
        case .object: "an object"
        }
    }

    func pretty(indent: String = "") -> String {
        let inner = indent + "  "
        switch self {
        case .null, .bool, .integer, .real: return description
        case .unrepresentable: return "null"
        case .string(let text): return text.json
        case .list(let list):
            if list.isEmpty { return "[]" }
            return "[\n" + list.map { inner + $0.pretty(indent: inner) }.joined(separator: ",\n") + "\n\(indent)]"
        case .object(let values):
            if values.isEmpty { return "{}" }
            let lines = values.sorted { $0.key < $1.key }.map { key, value in
                "\(inner)\(key.json): \(value.pretty(indent: inner))"
            }
            return "{\n" + lines.joined(separator: ",\n") + "\n\(indent)}"
        }
    }
}
