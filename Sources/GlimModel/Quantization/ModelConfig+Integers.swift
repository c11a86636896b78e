extension ModelConfig {
    /// What a file says of matrices in integers, in the words of the compressed-tensors library. Advice only: which
    /// tensors are integers, and how many of them share a scale, is decided by the tensors' headers.
    public struct IntegerWeights: Sendable, Equatable {
        /// Modules of one format.
        public struct Group: Sendable, Equatable {
            /// Names of modules, or "re:" and a regular expression.
            public var targets: [String]
            /// Of a weight, 8 or 4. What it meets has 8.
            public var bits: Int
            /// Inputs that share a scale, of weights and of each token; nil: all of a row.
            public var size: Int?

            public init(targets: [String], bits: Int, size: Int?) {
                (self.targets, self.bits, self.size) = (targets, bits, size)
            }
        }

        public var groups: [Group]
        /// Linear modules that are not quantised, named as targets are.
        public var ignored: [String]

        public init(groups: [Group], ignored: [String]) { (self.groups, self.ignored) = (groups, ignored) }
    }
}

extension ModelConfig.IntegerWeights.Group {
    /// How the library calls the layout of its tensors.
    fileprivate var layout: String { bits == 8 ? "int-quantized" : "pack-quantized" }
}

// MARK: - Reading

extension ModelConfig.IntegerWeights {
    /// - Parameter plan: the file's `quantization_config`.
    init(_ plan: Fields) throws(ConfigError) {
        guard let groups = try plan.object("config_groups") else { throw .missing(key: plan.prefix + "config_groups") }
        self.groups = []
        for name in groups.values.keys.sorted() {
            guard let group = try groups.object(name) else { continue }
            self.groups.append(try Group(group, layout: try plan.text("format")))
        }
        if let scheme = plan["kv_cache_scheme"] {
            throw .unsupported(
                key: plan.prefix + "kv_cache_scheme", found: "\(scheme)",
                why: "the cache of these models is not quantised")
        }
        ignored = try plan.texts("ignore") ?? []
    }
}

extension ModelConfig.IntegerWeights.Group {
    /// - Parameter layout: of the file, where the group names none.
    fileprivate init(_ group: Fields, layout: String?) throws(ConfigError) {
        targets = try group.texts("targets") ?? []
        guard let weights = try group.object("weights") else { throw .missing(key: group.prefix + "weights") }
        guard let inputs = try group.object("input_activations") else {
            // Of weights alone, which would meet inputs as they are.
            throw .missing(key: group.prefix + "input_activations")
        }
        bits = try weights.whole("num_bits", 1...64, absent: 8)
        guard bits == 8 || bits == 4 else {
            throw .outOfRange(key: weights.prefix + "num_bits", found: "\(bits)", allowed: "8 and 4")
        }
        size = try weights.groupSize(oneScaleARow: "channel")
        let inputBits = try inputs.whole("num_bits", 1...64, absent: 8)
        guard inputBits == 8 else {
            throw .outOfRange(key: inputs.prefix + "num_bits", found: "\(inputBits)", allowed: "8")
        }
        guard try inputs.flag("dynamic") == true else {
            throw .unsupported(
                key: inputs.prefix + "dynamic", found: "false", why: "inputs are quantised by their own largest numbers"
            )
        }
        let inputSize = try inputs.groupSize(oneScaleARow: "token")
        guard inputSize == size else {
            throw .unsupported(
                key: inputs.prefix + "group_size", found: inputSize.map { "\($0)" } ?? "none",
                why: "inputs share scales in the groups that weights do, \(size.map { "\($0)" } ?? "whole rows")")
        }
        if let layout = try group.text("format") ?? layout, layout != self.layout, layout != "mixed-precision" {
            throw .unsupported(
                key: group.prefix + "format", found: "\"\(layout.prefix(80))\"",
                why: "weights of \(bits) bits are read in \"\(self.layout)\"")
        }
    }
}

extension Fields {
    /// Numbers that share a scale: nil for all of a row.
    fileprivate func groupSize(oneScaleARow name: String) throws(ConfigError) -> Int? {
        if let type = try text("type"), type != "int" {
            throw .unsupported(key: prefix + "type", found: "\"\(type.prefix(80))\"", why: "\"int\" can be read")
        }
        if try flag("symmetric") == false {
            throw .unsupported(key: prefix + "symmetric", found: "false", why: "integers are read without a zero point")
        }
        let strategy = try text("strategy") ?? "group"
        if strategy == name { return nil }
        guard strategy == "group" else {
            throw .unsupported(
                key: prefix + "strategy", found: "\"\(strategy.prefix(80))\"",
                why: "\"group\" and \"\(name)\" can be read")
        }
        return try whole("group_size", 32...ModelConfig.maximumWidth)
    }

    fileprivate func texts(_ key: String) throws(ConfigError) -> [String]? {
        guard let value = self[key] else { return nil }
        guard case .list(let list) = value else { throw wrongType(key, value, "a list of strings") }
        var texts: [String] = []
        for (i, item) in list.enumerated() {
            guard case .string(let text) = item else { throw wrongType("\(key)[\(i)]", item, "a string") }
            texts.append(text)
        }
        return texts
    }
}

// MARK: - Writing

extension ModelConfig.IntegerWeights {
    /// The file's `quantization_config`.
    var json: JSONValue {
        let layouts = Set(groups.map(\.layout))
        return .object([
            "config_groups": .object(
                Dictionary(uniqueKeysWithValues: groups.enumerated().map { ("group_\($0)", $1.json) })),
            "format": .string(layouts.count == 1 ? layouts.first ?? "" : "mixed-precision"),
            "global_compression_ratio": .null, "ignore": .list(ignored.map { .string($0) }), "kv_cache_scheme": .null,
            "quant_method": .string("compressed-tensors"), "quantization_status": .string("compressed"),
        ])
    }
}

extension ModelConfig.IntegerWeights.Group {
    fileprivate var json: JSONValue {
        func arguments(_ bits: Int, oneScaleARow: String, isDynamic: Bool) -> JSONValue {
            .object([
                "dynamic": .bool(isDynamic), "group_size": size.map { .integer($0) } ?? .null,
                "num_bits": .integer(bits), "strategy": .string(size == nil ? oneScaleARow : "group"),
                "symmetric": .bool(true), "type": .string("int"),
            ])
        }
        return .object([
            "format": .string(layout), "input_activations": arguments(8, oneScaleARow: "token", isDynamic: true),
            "output_activations": .null, "targets": .list(targets.map { .string($0) }),
            "weights": arguments(bits, oneScaleARow: "channel", isDynamic: false),
        ])
    }
}
