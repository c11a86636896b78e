import Foundation
import GlimModel
import GlimTestSupport
import GlimTrain
import Testing

@Suite("ModelConfig: released models") struct ReleasedConfigTests {
    @Test("the series' indexer costs about an eighth of dense attention per key: 6 heads of 24 in nano")
    func seriesIndexer() {
        let nano = ModelConfig.nano.proposedIndexer
        #expect(nano.headCount == 6 && nano.headWidth == 24)
        for depth in ModelConfig.depthRange {
            let config = ModelConfig.depth(depth)
            let indexer = config.proposedIndexer
            let attention = config.headCount * (2 * config.latent + config.keyRotated)
            let ratio = Double(attention) / Double(indexer.headCount * indexer.headWidth)
            #expect(ratio > 3 && ratio < 11, "depth \(depth): \(ratio)")
            #expect(indexer.headWidth >= config.keyRotated)
        }
    }

    @Test("GLM-5's file is the preset") func glm5() throws {
        #expect(try ModelConfig(json: Data(Fixture.glm5.utf8)) == .glm5)
        #expect(try ModelConfig.preset(named: "glm-5") == .glm5)
    }

    @Test("GLM-5.2's file is the preset, whatever its head_dim says") func glm52() throws {
        let config = try ModelConfig(json: Data(Fixture.glm52.utf8))
        #expect(config == .glm52)
        #expect(config.keyRotated == 64)
        let full = config.indexer?.kinds.indices.filter { config.indexer?.kinds[$0] == .full }
        #expect(full == [0, 1] + Array(stride(from: 2, through: 74, by: 4)))
        #expect(config.indexerKind(layer: 3) == .shared)
        #expect(config.indexerKind(layer: 78) == .full)
    }

    @Test("GLM-4.7-Flash's file is the preset") func flash() throws {
        let config = try ModelConfig(json: Data(Fixture.flash.utf8))
        #expect(config == .glm47Flash)
        #expect(config.indexerKind(layer: 0) == nil)
    }

    @Test("GLM-5 adds up to the published numbers") func glm5Size() throws {
        let size = ModelConfig.glm5.size
        #expect(size.parameterCount == 743_911_218_432)
        #expect(size.activeCount == 40_831_942_656)
        let parts = Dictionary(uniqueKeysWithValues: size.parts.map { ($0.name, $0.parameterCount) })
        #expect(
            parts == [
                "embedding": 951_582_720, "head": 951_582_720, "attention": 12_871_532_544,
                "indexers": 730_988_544, "dense MLPs": 679_477_248, "routers": 117_984_000,
                "routed experts": 724_775_731_200, "shared experts": 2_831_155_200, "norms": 1_184_256,
            ])
        let mtp = try #require(ModelConfig.glm5.mtpSize)
        #expect(size.parameterCount + mtp.parameterCount == 753_864_139_008)
        #expect(ModelConfig.glm5.cacheBytesPerToken() == 109_824)
        // Two bytes each, four for the routers' biases.
        #expect(size.byteCount == 2 * 743_911_218_432 + 2 * 256 * 75)
    }

    @Test("GLM-5.2 adds up to the published numbers, in bfloat16 and in FP8") func glm52Size() throws {
        let config = ModelConfig.glm52
        let mtp = try #require(config.mtpSize)
        #expect(config.size.parameterCount + mtp.parameterCount == 753_329_940_480)
        #expect(config.size.activeCount == 40_297_758_720)
        #expect(config.cacheBytesPerToken() == 95_232)
        #expect((config.fullIndexerCount, config.sharedIndexerCount) == (21, 57))

        let scaled = config.with { $0.scaleBlock = .init(rows: 128, columns: 128) }
        let bytes = scaled.size.byteCount + (scaled.mtpSize?.byteCount ?? 0)
        #expect(abs(Double(bytes) / 1e9 - 755.63) < 0.02)
    }

    @Test("GLM-4.7-Flash adds up to the published numbers") func flashSize() {
        let size = ModelConfig.glm47Flash.size
        let sum = 21_757_952 * 47 + 9_437_184 * 65 * 46 + 6_029_312 + 62_914_560 + 634_388_480
        let normsAndBiases = 47 * (2 * 2048 + 768 + 512) + 2048 + 46 * 64
        #expect(size.parameterCount == sum + normsAndBiases)
        #expect(abs(Double(size.activeCount) / 1e9 - 3.6) < 0.1)
        #expect(ModelConfig.glm47Flash.cacheBytesPerToken() == 47 * 576 * 2)
    }
}

@Suite("ModelConfig: our series") struct SeriesTests {
    @Test("presets are as large as they claim", arguments: [("nano", 10, 4), ("micro", 60, 20), ("mini", 400, 100)])
    func sizes(name: String, total: Double, active: Double) throws {
        let size = try ModelConfig.preset(named: name).size
        #expect(abs(Double(size.parameterCount) / 1e6 / total - 1) < 0.05)
        #expect(abs(Double(size.activeCount) / 1e6 / active - 1) < 0.05)
    }

    @Test("nano is the network the issue asks for") func nano() {
        let nano = ModelConfig.nano
        #expect((nano.family, nano.vocabularySize, nano.hiddenSize) == (.lite, 4096, 256))
        #expect((nano.headCount, nano.latent, nano.keyRotated) == (8, 64, 16))
        #expect((nano.routedExpertCount, nano.expertsPerToken) == (16, 2))
        #expect((nano.normEpsilon, nano.latentNormEpsilon) == (1e-6, 1e-6))
        #expect((nano.size.parameterCount, nano.size.activeCount) == (10_084_816, 3_870_720))
        #expect(nano.mtpSize?.parameterCount == 1_590_736)
    }

    @Test("every depth is valid, larger than the one before, and of widths the kernels like")
    func everyDepth() throws {
        var last = 0
        for depth in ModelConfig.depthRange {
            let config = ModelConfig.depth(depth)
            try config.validate()
            #expect(config.size.parameterCount > last)
            last = config.size.parameterCount
            for width in [config.hiddenSize, config.denseWidth, config.expertWidth, config.latent] {
                #expect(width.isMultiple(of: 32))
            }
        }
    }

    @Test("an unknown preset is answered with the known ones") func unknown() {
        let error = #expect(throws: ConfigError.self) { try ModelConfig.preset(named: "giant") }
        #expect(error?.description.contains("nano, micro, mini, glm-5, glm-5.2, glm-4.7-flash") == true)
    }

    @Test("a tied head stores nothing and multiplies all the same") func tied() {
        let tied = ModelConfig.nano.with { $0.tiesEmbeddings = true }
        #expect(tied.size.parameterCount == ModelConfig.nano.size.parameterCount - 4096 * 256)
        #expect(tied.size.activeCount == ModelConfig.nano.size.activeCount)
    }

    @Test("the largest shape that is allowed can still be counted") func largest() throws {
        var config = ModelConfig()
        config.vocabularySize = 1 << 24
        config.hiddenSize = 1 << 17
        (config.denseWidth, config.expertWidth) = (1 << 18, 1 << 18)
        (config.queryLatent, config.latent) = (1 << 18, 1 << 18)
        (config.layerCount, config.denseLayerCount) = (1024, 0)
        (config.headCount, config.keyPlain, config.keyRotated, config.valueWidth) = (4096, 4096, 4096, 4096)
        (config.routedExpertCount, config.expertsPerToken, config.sharedExpertCount) = (4096, 4096, 64)
        config.indexer = .init(
            headCount: 4096, headWidth: 4096, topK: 1 << 24, kinds: ModelConfig.Indexer.kinds(layerCount: 1024))
        config.dtype = .float32
        try config.validate()
        #expect(config.size.byteCount > 0)
        #expect((config.mtpSize?.byteCount ?? 0) > 0)
    }
}

@Suite("ModelConfig: reading") struct ConfigReadingTests {
    @Test("IndexShare's rule gives the published pattern") func indexShare() {
        let kinds = ModelConfig.Indexer.kinds(layerCount: 12, every: 4, offset: 3)
        #expect(kinds.map { $0 == .full ? "F" : "S" }.joined() == "FFFSSSFSSSFS")
        #expect(ModelConfig.Indexer.kinds(layerCount: 5) == [.full, .full, .full, .full, .full])
    }

    @Test("the list wins over the pattern, and the pattern over the rule") func indexerKinds() throws {
        let rule = #""index_topk_freq": 2, "index_skip_topk_offset": 1"#
        let pattern = #", "index_topk_pattern": "FSSF""#
        let list = #", "indexer_types": ["full", "full", "shared", "shared"]"#
        func kinds(_ keys: String) throws -> String {
            let config = try Fixture.tiny(adding: keys)
            return config.indexer!.kinds.map { $0 == .full ? "F" : "S" }.joined()
        }
        #expect(try kinds(rule) == "FSFS")
        #expect(try kinds(rule + pattern) == "FSSF")
        #expect(try kinds(rule + pattern + list) == "FFSS")
        #expect(try kinds(#""index_topk_pattern": ["full", "shared", "full", "full"]"#) == "FSFF")
        #expect(try kinds(#""indexer_types": null, "index_topk_pattern": null, "index_topk_freq": null"#) == "FFFF")
        #expect(throws: ConfigError.self) { try kinds(#""index_topk_freq": 2, "index_skip_topk_offset": 0"#) }
    }

    @Test("dense layers come from the list, else from the count") func denseLayers() throws {
        #expect(try Fixture.tiny().denseLayerCount == 1)
        let list = #""mlp_layer_types": ["dense", "dense", "sparse", "sparse"]"#
        #expect(try Fixture.tiny(adding: list).denseLayerCount == 2)
        #expect(try Fixture.tiny(replacing: ["first_k_dense_replace": "9"]).denseLayerCount == 4)
    }

    @Test("theta may stand in either place, and nowhere is an error") func theta() throws {
        #expect(try Fixture.tiny(replacing: ["rope_parameters": #"{"rope_theta": 5000.5}"#]).ropeTheta == 5000.5)
        #expect(try Fixture.tiny(replacing: ["rope_parameters": nil, "rope_theta": "8e6"]).ropeTheta == 8e6)
        #expect(throws: ConfigError.missing(key: "rope_parameters.rope_theta")) {
            try Fixture.tiny(replacing: ["rope_parameters": nil])
        }
    }

    @Test("ids may be one, several or none") func identifiers() throws {
        #expect(try Fixture.tiny(replacing: ["eos_token_id": "7"]).endOfTextIDs == [7])
        #expect(try Fixture.tiny(replacing: ["eos_token_id": "[7, 8]"]).endOfTextIDs == [7, 8])
        #expect(try Fixture.tiny(replacing: ["eos_token_id": "null"]).endOfTextIDs == [])
        #expect(try Fixture.tiny(replacing: ["pad_token_id": "3", "bos_token_id": "null"]).padID == 3)
    }

    @Test("what is absent has its documented meaning") func defaults() throws {
        let config = try Fixture.tiny()
        #expect(config.latentNormEpsilon == 1e-5)
        #expect(config.mtpLayerCount == 0)
        #expect(config.ropeInterleave)
        #expect(config.indexer?.ropeInterleave == true)
        #expect(config.sharedExpertCount == 1)
        #expect((config.groupCount, config.groupsKept) == (1, 1))
        #expect(config.dtype == .float32)
        #expect(try Fixture.tiny(replacing: ["torch_dtype": "\"float16\""]).dtype == .float16)
    }

    @Test("FP8's block is read") func scaleBlock() throws {
        let plan = #""quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 64], "fmt": "e4m3"}"#
        #expect(try Fixture.tiny(adding: plan).scaleBlock == .init(rows: 128, columns: 64))
    }

    @Test("only a lite model may do without the queries' latent") func queryLatent() throws {
        let lite = try Fixture.tiny(replacing: ["model_type": "\"glm4_moe_lite\"", "q_lora_rank": "null"])
        #expect(lite.queryLatent == nil)
        #expect(lite.indexer == nil)
        #expect(throws: ConfigError.self) { try Fixture.tiny(replacing: ["q_lora_rank": "null"]) }
    }

    @Test("what is written is read back the same", arguments: ModelConfig.presetNames)
    func roundTrip(name: String) throws {
        let config = try ModelConfig.preset(named: name).with {
            $0.endOfTextIDs = [1, 2]
            $0.bosID = 0
            $0.normEpsilon = 3.1e-6
            $0.ropeTheta = 123_456.75
            $0.scaleBlock = .init(rows: 128, columns: 128)
        }
        let json = config.json
        let again = try ModelConfig(json: json)
        #expect(again == config)
        #expect(again.json == json)
    }

    @Test("weights in integers are written as compressed-tensors has them, and read back the same") func integers()
        throws
    {
        let weights = ModelConfig.IntegerWeights(
            groups: [
                .init(targets: [#"re:^model\.layers\.[0-9]+\.mlp\.experts\.[0-9]+\.up_proj$"#], bits: 4, size: 64),
                .init(targets: ["lm_head", "re:.*o_proj"], bits: 8, size: 128),
                .init(targets: ["re:.*q_a_proj"], bits: 8, size: nil),
            ], ignored: [#"re:^a "b" \.c$"#])
        let config = ModelConfig.nano.with { $0.integerWeights = weights }
        #expect(try ModelConfig(json: config.json) == config)
        let text = String(decoding: config.json, as: UTF8.self)
        let words = [
            #""quant_method": "compressed-tensors""#, #""format": "mixed-precision""#, #""format": "pack-quantized""#,
            #""strategy": "channel""#, #""strategy": "token""#, #""quantization_status": "compressed""#,
            #"mlp\\.experts"#, #"\"b\""#,
        ]
        for word in words { #expect(text.contains(word), "\(word)") }
        // Other engines may leave out what goes without saying.
        let plan = #"""
            "quantization_config": {"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups":
            {"g": {"targets": ["Linear"], "weights": {"num_bits": 8, "strategy": "channel"},
            "input_activations": {"num_bits": 8, "dynamic": true, "strategy": "token"}}}}
            """#
        let read = try Fixture.tiny(adding: plan).integerWeights
        #expect(read == .init(groups: [.init(targets: ["Linear"], bits: 8, size: nil)], ignored: []))
        let sizes = [config, ModelConfig.nano.with { $0.dtype = .bfloat16 }].map(\.size)
        let bytes = sizes.map { size in size.parts.first { $0.name == "routed experts" }!.byteCount }
        #expect(3 * bytes[0] < bytes[1] && sizes[0].byteCount < sizes[1].byteCount)
    }

    @Test("a real number is written with a point, for transformers refuses 1 where it wants 1.0") func realNumbers() {
        let text = String(decoding: ModelConfig.nano.with { $0.routedScale = 1 }.json, as: UTF8.self)
        #expect(text.contains(#""routed_scaling_factor": 1.0,"#))
        #expect(text.contains(#""rope_theta": 10000.0,"#))
        #expect(text.contains(#""rms_norm_eps": 1e-06,"#))
    }

    @Test("files and folders are read, and errors name them") func files() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("glim-config-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        func message() -> String {
            do { return "\(try ModelConfig(folder: folder).hiddenSize)" } catch { return "\(error)" }
        }
        let file = folder.appendingPathComponent("config.json")
        #expect(message().hasPrefix("cannot read \(file.path): No such file"))
        try Data().write(to: file)
        #expect(message() == "\(file.path): not a configuration in JSON: the text is empty")
        try Data("[1]".utf8).write(to: file)
        #expect(message() == "\(file.path): not a configuration in JSON: found a list of 1, expected an object")
        try ModelConfig.nano.json.write(to: file)
        #expect(message() == "256")
        try FileManager.default.removeItem(at: file)
        try FileManager.default.createDirectory(at: file, withIntermediateDirectories: true)
        #expect(message().hasPrefix("cannot read \(file.path): a folder;"))
    }
}

@Suite("ModelConfig: refusals") struct ConfigRefusalTests {
    /// Key, its value in the file, and words the message must hold.
    static let refusals: [(key: String, value: String?, words: [String])] = [
        ("model_type", nil, ["model_type is missing"]),
        ("model_type", "\"glm5_next\"", ["model_type", "glm5_next", "GLM-5.3-Flash"]),
        ("model_type", "\"deepseek_v32\"", ["deepseek_v32", "DeepSeek"]),
        ("model_type", "\"llama\"", ["llama", "glm_moe_dsa and glm4_moe_lite"]),
        ("model_type", "7", ["model_type is 7, expected a string"]),
        ("attention_bias", "true", ["attention_bias is true", "bias"]),
        ("attention_bias", "0", ["attention_bias is 0, expected true or false"]),
        ("mlp_bias", "true", ["mlp_bias is true"]),
        ("scoring_func", "\"softmax\"", ["scoring_func is \"softmax\"", "sigmoid"]),
        ("topk_method", "\"greedy\"", ["topk_method is \"greedy\"", "noaux_tc"]),
        ("hidden_act", "\"gelu\"", ["hidden_act is \"gelu\"", "silu"]),
        ("moe_layer_freq", "2", ["moe_layer_freq is 2"]),
        ("rope_parameters", #"{"rope_theta": 1e4, "rope_type": "yarn"}"#, ["rope_parameters.rope_type is \"yarn\""]),
        ("rope_scaling", #"{"type": "linear"}"#, ["rope_scaling.type is \"linear\""]),
        ("partial_rotary_factor", "0.5", ["partial_rotary_factor is 0.5"]),
        ("rope_parameters", #"{"rope_theta": "big"}"#, ["rope_parameters.rope_theta", "\"big\"", "a number"]),
        ("rope_parameters", #"{"rope_theta": 1e400}"#, ["rope_parameters.rope_theta"]),
        ("rope_parameters", "[]", ["rope_parameters is a list of 0, expected an object"]),
        ("hidden_size", nil, ["hidden_size is missing"]),
        ("hidden_size", "null", ["hidden_size is missing"]),
        ("hidden_size", "0", ["hidden_size is 0, allowed: 1 to 131072"]),
        ("hidden_size", "-4", ["hidden_size is -4"]),
        ("hidden_size", "2.5", ["hidden_size is 2.5, expected a whole number"]),
        ("hidden_size", "1e400", ["hidden_size", "expected a whole number"]),
        ("hidden_size", "99999999999999999999999", ["hidden_size", "expected a whole number"]),
        ("hidden_size", "9223372036854775807", ["hidden_size is 9223372036854775807, allowed"]),
        ("hidden_size", "\"64\"", ["hidden_size is the string \"64\""]),
        ("hidden_size", "true", ["hidden_size is true"]),
        ("hidden_size", "[64]", ["hidden_size is a list of 1"]),
        ("hidden_size", "{}", ["hidden_size is an object"]),
        ("num_hidden_layers", "100000000", ["num_hidden_layers is 100000000, allowed: 1 to 1024"]),
        ("qk_rope_head_dim", "7", ["qk_rope_head_dim is 7", "even"]),
        ("n_group", "3", ["n_group is 3", "n_routed_experts, 8"]),
        ("n_group", "8", ["n_group is 8", "two experts"]),
        ("topk_group", "2", ["topk_group is 2, allowed: 1"]),
        ("num_experts_per_tok", "9", ["num_experts_per_tok is 9, allowed: 1 to 8"]),
        ("index_head_dim", "4", ["index_head_dim is 4", "8 (qk_rope_head_dim) or more"]),
        ("index_topk", nil, ["index_topk is missing"]),
        ("index_topk_pattern", "\"SFFF\"", ["indexer_types[0] is \"shared\"", "layer 0"]),
        ("index_topk_pattern", "\"FFF\"", ["index_topk_pattern", "4 letters"]),
        ("index_topk_pattern", "\"FFXF\"", ["index_topk_pattern", "F (full) or S (shared)"]),
        ("indexer_types", #"["full"]"#, ["indexer_types is a list of 1, allowed: 4"]),
        ("indexer_types", #"["full", "full", "full", "half"]"#, ["indexer_types[3]", "\"half\""]),
        ("mlp_layer_types", #"["dense", "sparse", "sparse"]"#, ["mlp_layer_types is a list of 3, allowed: 4"]),
        (
            "mlp_layer_types", #"["dense", "sparse", "dense", "sparse"]"#,
            ["mlp_layer_types[2]", "dense layers come first"]
        ),
        ("layer_types", #"["full_attention", "a", "b", "c"]"#, ["layer_types[0]", "indexed_attention"]),
        ("first_k_dense_replace", nil, ["first_k_dense_replace is missing"]),
        ("rms_norm_eps", "0", ["rms_norm_eps is 0.0, allowed"]),
        ("rms_norm_eps", "-1e-5", ["rms_norm_eps is -1e-05"]),
        ("rms_norm_eps", "1e-300", ["rms_norm_eps is 1e-300"]),
        ("latent_norm_eps", "\"small\"", ["latent_norm_eps is the string \"small\""]),
        ("routed_scaling_factor", "1e39", ["routed_scaling_factor is 1e+39"]),
        ("num_nextn_predict_layers", "17", ["num_nextn_predict_layers is 17, allowed: 0 to 16"]),
        ("tie_word_embeddings", "1", ["tie_word_embeddings is 1, expected true or false"]),
        ("eos_token_id", "-1", ["eos_token_id is -1"]),
        ("eos_token_id", "[1, \"a\"]", ["eos_token_id is the string \"a\""]),
        ("dtype", "\"int3\"", ["dtype is \"int3\"", "bfloat16"]),
        ("q_lora_rank", nil, ["q_lora_rank is missing"]),
        ("quantization_config", #"{"quant_method": "nvfp4"}"#, ["quantization_config.quant_method is \"nvfp4\""]),
        ("quantization_config", #"{"quant_method": "fp8"}"#, ["quantization_config.weight_block_size is missing"]),
        (
            "quantization_config", #"{"quant_method": "fp8", "weight_block_size": [0, 1]}"#,
            ["weight_block_size[0] is 0"]
        ),
        (
            "quantization_config", #"{"quant_method": "compressed-tensors"}"#,
            ["quantization_config.config_groups is missing"]
        ),
        (
            "quantization_config", integers(#""num_bits": 3, "strategy": "channel""#, inputs),
            ["config_groups.g.weights.num_bits is 3", "8 and 4"]
        ),
        (
            "quantization_config", integers(#""num_bits": 8, "strategy": "block""#, inputs),
            ["weights.strategy is \"block\"", "\"channel\""]
        ),
        (
            "quantization_config", integers(#""num_bits": 8, "strategy": "channel", "symmetric": false"#, inputs),
            ["weights.symmetric is false"]
        ),
        (
            "quantization_config", integers(#""num_bits": 8, "strategy": "channel", "type": "float""#, inputs),
            ["weights.type is \"float\""]
        ),
        (
            "quantization_config", integers(#""num_bits": 8, "strategy": "group", "group_size": 64"#, inputs),
            ["input_activations.group_size is none", "64"]
        ),
        (
            "quantization_config", integers(#""num_bits": 8, "strategy": "channel""#, "null"),
            ["input_activations is missing"]
        ),
        (
            "quantization_config",
            integers(#""num_bits": 8, "strategy": "channel""#, #"{"num_bits": 8, "strategy": "token"}"#),
            ["input_activations.dynamic is false"]
        ),
        (
            "quantization_config",
            integers(#""num_bits": 4, "strategy": "channel""#, inputs, format: "int-quantized"),
            ["config_groups.g.format is \"int-quantized\"", "\"pack-quantized\""]
        ),
        (
            "quantization_config", #"{"quant_method": "fp8", "weight_block_size": 128}"#,
            ["weight_block_size is 128, expected two whole numbers"]
        ),
    ]

    private static let inputs = #"{"num_bits": 8, "dynamic": true, "strategy": "token"}"#

    /// A plan with one group.
    private static func integers(_ weights: String, _ inputs: String, format: String = "mixed-precision") -> String {
        #"{"quant_method": "compressed-tensors", "config_groups": {"g": {"targets": ["Linear"], "format": "\#(format)", "#
            + #""weights": {\#(weights)}, "input_activations": \#(inputs)}}}"#
    }

    @Test("names the key, what was found and what is right, in one line", arguments: refusals.indices)
    func refusal(index: Int) {
        let (key, value, words) = Self.refusals[index]
        let error = #expect(throws: ConfigError.self) { try Fixture.tiny(replacing: [key: value]) }
        let message = error?.description ?? ""
        for word in words { #expect(message.contains(word), "\(message)") }
        #expect(!message.contains("\n") && message.count < 300)
    }

    @Test(
        "malformed text is one line, never a page of Foundation's",
        arguments: ["", "{", "[]", "null", "{\"a\": 1e}", "{\"model_type\": \"glm_moe_dsa\"", "\u{0}", "3"])
    func malformed(text: String) {
        let error = #expect(throws: ConfigError.self) { try ModelConfig(json: Data(text.utf8)) }
        #expect(error?.description.contains("\n") == false)
    }

    @Test("neither deep nesting nor broken UTF-8 traps") func hostile() {
        for depth in [100, 400, 600, 100_000] {
            let nested = String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
            _ = try? Fixture.tiny(adding: "\"extra\": \(nested)")
            let objects = String(repeating: "{\"a\":", count: depth) + "1" + String(repeating: "}", count: depth)
            #expect(throws: ConfigError.self) { try ModelConfig(json: Data(objects.utf8)) }
        }
        #expect(throws: ConfigError.self) { try ModelConfig(json: Data([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d])) }
    }

    @Test("a wrong value made in code is found too") func madeInCode() {
        #expect(throws: ConfigError.self) { try ModelConfig.nano.with { $0.family = .dsa }.validate() }
        #expect(throws: ConfigError.self) { try ModelConfig.glm5.with { $0.layerCount = 77 }.validate() }
        #expect(throws: ConfigError.self) { try ModelConfig.nano.with { $0.denseLayerCount = 7 }.validate() }
        #expect(throws: ConfigError.self) { try ModelConfig.nano.with { $0.hiddenSize = .max }.validate() }
        #expect(throws: ConfigError.self) { try ModelConfig.nano.with { $0.groupCount = 0 }.validate() }
        #expect(throws: ConfigError.self) { try ModelConfig.nano.with { $0.ropeTheta = .nan }.validate() }
        #expect(throws: ConfigError.self) { try ModelConfig.nano.with { $0.padID = -1 }.validate() }
    }

    @Test("fuzz: damaged files are refused in a line, and what is accepted can be counted, written and costed")
    func fuzz() throws {
        let sources = [Fixture.glm52, Fixture.flash, Fixture.tinyText(replacing: [:])]
        let fuzz = Fuzz("config", sources.map { MutableFile(Array($0.utf8), .json) }, count: 4000)
        try withTemporaryFolder { folder in
            let file = folder.appending(path: "config.json")
            let outcome = fuzz.run(says: file.path) { bytes in
                try Data(bytes).write(to: file)
                let config = try ModelConfig(folder: folder)
                #expect(config.size.byteCount > 0 && config.cacheBytesPerToken() > 0)
                #expect(MemoryRoom.byteCount(of: config, microBatches: 1 << 20) > 0)
                #expect(config.inferenceCost(context: 1 << 20).operationsPerToken > 0)
                #expect(config.trainingCost(sequence: 1 << 16, tokens: 1 << 20, pass: 1 << 16).operationsPerToken > 0)
                #expect((try? ModelConfig(json: config.json)) == config)
            }
            #expect(outcome.accepted > 50 && outcome.refused > 500)
        }
    }
}

// MARK: - Fixtures

private enum Fixture {
    /// The published file, less the keys that say nothing about the network.
    static let glm5 = """
        {
          "architectures": ["GlmMoeDsaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
          "dtype": "bfloat16", "eos_token_id": [154820, 154827, 154829], "ep_size": 1, "first_k_dense_replace": 3,
          "head_dim": 64, "hidden_act": "silu", "hidden_size": 6144, "index_head_dim": 128, "index_n_heads": 32,
          "index_topk": 2048, "indexer_rope_interleave": true, "initializer_range": 0.02,
          "intermediate_size": 12288, "kv_lora_rank": 512, "max_position_embeddings": 202752,
          "model_type": "glm_moe_dsa", "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 1,
          "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 64,
          "num_experts_per_tok": 8, "num_hidden_layers": 78, "num_key_value_heads": 64,
          "num_nextn_predict_layers": 1, "pad_token_id": 154820, "pretraining_tp": 1, "q_lora_rank": 2048,
          "qk_head_dim": 256, "qk_nope_head_dim": 192, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-05,
          "rope_interleave": true, "rope_parameters": {"rope_theta": 1000000, "rope_type": "default"},
          "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "tie_word_embeddings": false, "topk_group": 1,
          "topk_method": "noaux_tc", "transformers_version": "5.0.2.dev0", "use_cache": true, "v_head_dim": 256,
          "vocab_size": 154880
        }
        """

    static let glm52: String = {
        let indexers = (0..<78).map { $0 < 3 || ($0 - 2) % 4 == 0 ? "\"full\"" : "\"shared\"" }
        let types = Array(repeating: "\"deepseek_sparse_attention\"", count: 78)
        let layers = Array(repeating: "\"dense\"", count: 3) + Array(repeating: "\"sparse\"", count: 75)
        let more = """
            ,
              "index_topk_freq": 4, "index_skip_topk_offset": 3, "index_topk_pattern": null,
              "index_share_for_mtp_iteration": true, "moe_router_dtype": "float32",
              "indexer_types": [\(indexers.joined(separator: ", "))],
              "layer_types": [\(types.joined(separator: ", "))],
              "mlp_layer_types": [\(layers.joined(separator: ", "))]
            }
            """
        return String(glm5.dropLast(2))
            .replacingOccurrences(of: "\"head_dim\": 64", with: "\"head_dim\": 192")
            .replacingOccurrences(of: "\"rope_theta\": 1000000", with: "\"rope_theta\": 8000000")
            .replacingOccurrences(of: "202752", with: "1048576") + more
    }()

    static let flash = """
        {
          "architectures": ["Glm4MoeLiteForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
          "dtype": "bfloat16", "eos_token_id": [154820, 154827, 154829], "first_k_dense_replace": 1,
          "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 10240,
          "kv_lora_rank": 512, "max_position_embeddings": 202752, "model_type": "glm4_moe_lite",
          "moe_intermediate_size": 1536, "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 1,
          "norm_topk_prob": true, "num_attention_heads": 20, "num_experts_per_tok": 4, "num_hidden_layers": 47,
          "num_key_value_heads": 20, "num_nextn_predict_layers": 1, "pad_token_id": 154820,
          "partial_rotary_factor": 1.0, "q_lora_rank": 768, "qk_nope_head_dim": 192, "qk_rope_head_dim": 64,
          "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 1000000, "routed_scaling_factor": 1.8,
          "scoring_func": "sigmoid", "tie_word_embeddings": false, "topk_group": 1, "topk_method": "noaux_tc",
          "v_head_dim": 256, "vocab_size": 154880
        }
        """

    /// The least a `glm_moe_dsa` file must say: four layers, eight experts.
    private static let tinyKeys = [
        "model_type": "\"glm_moe_dsa\"", "vocab_size": "64", "hidden_size": "32", "intermediate_size": "48",
        "moe_intermediate_size": "16", "num_hidden_layers": "4", "first_k_dense_replace": "1",
        "num_attention_heads": "2", "q_lora_rank": "16", "kv_lora_rank": "16", "qk_nope_head_dim": "8",
        "qk_rope_head_dim": "8", "v_head_dim": "8", "n_routed_experts": "8", "num_experts_per_tok": "2",
        "routed_scaling_factor": "2.5", "rms_norm_eps": "1e-5", "rope_parameters": "{\"rope_theta\": 10000.0}",
        "max_position_embeddings": "128", "index_n_heads": "4", "index_head_dim": "16", "index_topk": "16",
    ]

    /// nil takes a key away.
    static func tinyText(replacing changes: [String: String?], adding more: String = "") -> String {
        let keys = changes.reduce(into: tinyKeys) { $0[$1.key] = $1.value }
        let lines = keys.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value)" } + (more.isEmpty ? [] : [more])
        return "{" + lines.joined(separator: ", ") + "}"
    }

    static func tiny(replacing changes: [String: String?] = [:], adding more: String = "") throws -> ModelConfig {
        try ModelConfig(json: Data(tinyText(replacing: changes, adding: more).utf8))
    }
}
