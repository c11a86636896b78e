import ArgumentParser
import Foundation
import GlimCheckpoint
import GlimModel

/// What a model is made of, from its `config.json` and the sizes of its files; no tensor is read.
struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the shape of a model and where its parameters are.",
        discussion: """
            Give exactly one of --model, --config, --preset and --depth. Parameters are counted from the config; of \
            the weights only the files' sizes are looked at, so a damaged file does not show.
            """)

    @Option(help: "Folder with config.json and *.safetensors, or GGUF file.") var model: String?
    @Option(help: "A config.json.") var config: String?
    @Option(help: "A known shape: \(ModelConfig.presetNames.joined(separator: ", ")).") var preset: String?
    @Option(
        help: """
            The model of our own series with this many layers, \
            \(ModelConfig.depthRange.lowerBound) to \(ModelConfig.depthRange.upperBound).
            """) var depth: Int?
    @Flag(help: "Print one JSON object instead of the table.") var json = false

    func validate() throws {
        guard [model, config, preset, depth.map(String.init)].count(where: { $0 != nil }) == 1 else {
            throw ValidationError("Give exactly one of --model, --config, --preset and --depth.")
        }
        if let depth, !ModelConfig.depthRange.contains(depth) {
            let range = ModelConfig.depthRange
            throw ValidationError("--depth is \(depth), not within \(range.lowerBound)...\(range.upperBound).")
        }
    }

    func run() throws {
        let report = try Report(config: load(), bytesOnDisk: model.flatMap(weightBytes(inFolder:)))
        let title = model ?? config ?? preset ?? "depth \(depth ?? 0)"
        try emit((json ? report.line : report.text(title: title)) + "\n")
    }

    private func load() throws(ConfigError) -> ModelConfig {
        if let model { return try ModelConfig(folder: URL(fileURLWithPath: model)) }
        if let config { return try ModelConfig(file: URL(fileURLWithPath: config)) }
        if let preset { return try ModelConfig.preset(named: preset) }
        return ModelConfig.depth(depth ?? ModelConfig.depthRange.lowerBound)
    }

    /// The sum of the safetensors files' sizes, nil without any; of a GGUF file that of its tensors. Links are followed: caches are made of them.
    private func weightBytes(inFolder path: String) -> Int? {
        let folder = URL(fileURLWithPath: path)
        if GGUFFile.isNamed(by: folder) { return (try? GGUFFile(folder))?.byteCount }
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        let sizes = names.filter { $0.hasSuffix(".safetensors") }.compactMap { name in
            let file = folder.appendingPathComponent(name).resolvingSymlinksInPath()
            let attributes = try? FileManager.default.attributesOfItem(atPath: file.path)
            return (attributes?[.size] as? NSNumber)?.intValue
        }
        return sizes.isEmpty ? nil : sizes.reduce(0, +)
    }
}

private struct Report {
    let config: ModelConfig
    let size: ModelSize
    let mtpSize: ModelSize?
    let bytesOnDisk: Int?

    init(config: ModelConfig, bytesOnDisk: Int?) {
        (self.config, self.bytesOnDisk) = (config, bytesOnDisk)
        (size, mtpSize) = (config.size, config.mtpSize)
    }

    var bytes: Int { bytesOnDisk ?? size.byteCount + (mtpSize?.byteCount ?? 0) }

    // MARK: for programs

    private struct Facts: Encodable {
        struct Layers: Encodable {
            var total: Int
            var dense: Int
            var expert: Int
            var mtp: Int
            var fullIndexer: Int
            var sharedIndexer: Int

            enum CodingKeys: String, CodingKey {
                case total, dense, expert, mtp
                case fullIndexer = "indexer_full"
                case sharedIndexer = "indexer_shared"
            }
        }
        var family: String
        var totalParameters: Int
        var activeParameters: Int
        var mtpParameters: Int
        var parameters: [String: Int]
        var bytes: Int
        var cacheBytesPerToken: Int
        var cacheFormat: String
        var layers: Layers
        /// Of a quantised model: by "int4", "int8" and "full".
        var weightFormats: [String: [String]]?

        enum CodingKeys: String, CodingKey {
            case parameters, bytes, layers
            case family = "model_type"
            case totalParameters = "total_parameters"
            case activeParameters = "active_parameters"
            case mtpParameters = "mtp_parameters"
            case cacheBytesPerToken = "cache_bytes_per_token"
            case cacheFormat = "cache_format"
            case weightFormats = "weight_formats"
        }
    }

    var line: String {
        get throws {
            try Facts(
                family: config.family.rawValue, totalParameters: size.parameterCount,
                activeParameters: size.activeCount, mtpParameters: mtpSize?.parameterCount ?? 0,
                parameters: Dictionary(
                    size.parts.map { ($0.name.lowercased().replacing(" ", with: "_"), $0.parameterCount) },
                    uniquingKeysWith: +),
                bytes: bytes, cacheBytesPerToken: config.cacheBytesPerToken(.bfloat16), cacheFormat: "bfloat16",
                layers: .init(
                    total: config.layerCount, dense: config.denseLayerCount, expert: config.expertLayerCount,
                    mtp: config.mtpLayerCount, fullIndexer: config.fullIndexerCount,
                    sharedIndexer: config.sharedIndexerCount),
                weightFormats: config.integerWeights.map { weights in
                    Dictionary(uniqueKeysWithValues: weights.modulesByFormat.map { ($0.format, $0.modules) })
                }
            ).jsonLine
        }
    }

    // MARK: for people

    func text(title: String) -> String {
        ([title, ""] + shape + [""] + table + [""] + sums).joined(separator: "\n")
    }

    private var shape: [String] {
        let c = config
        var lines = [
            "family      \(c.family.rawValue), \(c.dtype.rawValue)"
                + (c.computeType == .bfloat16 ? ", products in bfloat16" : "")
                + (c.scaleBlock.map { ", FP8 in blocks of \($0.rows) x \($0.columns)" } ?? "")
                + (c.integerWeights.map { ", quantised to " + integers($0) } ?? ""),
            "layers      \(c.layerCount): \(c.denseLayerCount) dense, \(c.expertLayerCount) with experts"
                + (c.mtpLayerCount == 0 ? "" : "; \(c.mtpLayerCount) more for multi-token prediction"),
            "width       \(c.hiddenSize); dense MLP \(c.denseWidth), expert \(c.expertWidth)",
            "attention   \(c.headCount) heads; key \(c.keyPlain) + \(c.keyRotated) rotated, value \(c.valueWidth); "
                + "latents \(c.queryLatent.map(String.init) ?? "none") (queries), \(c.latent) (keys and values)",
        ]
        if let indexer = c.indexer {
            lines.append(
                "indexer     \(indexer.headCount) heads of \(indexer.headWidth), keeps \(indexer.topK) positions; "
                    + "\(c.fullIndexerCount) layers choose, \(c.sharedIndexerCount) share")
        }
        lines.append(
            "experts     \(c.routedExpertCount), \(c.expertsPerToken) for each token, and \(c.sharedExpertCount) shared"
                + (c.groupCount == 1 ? "" : "; \(c.groupsKept) of \(c.groupCount) groups"))
        lines.append(
            "vocabulary  \(c.vocabularySize)\(c.tiesEmbeddings ? ", head tied to the embedding" : "")")
        lines.append("positions   \(c.maximumPositions), RoPE base \(c.ropeTheta)")
        for (format, modules) in c.integerWeights?.modulesByFormat ?? [] {
            lines.append(
                "in \(format)".padding(toLength: 12, withPad: " ", startingAt: 0) + modules.joined(separator: ", "))
        }
        return lines
    }

    /// Such as "int4, int8".
    private func integers(_ weights: ModelConfig.IntegerWeights) -> String {
        Set(weights.groups.map(\.bits)).sorted().map { "int\($0)" }.joined(separator: ", ")
    }

    private var table: [String] {
        func row(_ name: String, _ total: Int, _ active: Int) -> String {
            name.padding(toLength: 16, withPad: " ", startingAt: 0)
                + [total, active].map { grouped($0).leftPadded(to: 20) }.joined()
        }
        return ["parameters".padding(toLength: 16, withPad: " ", startingAt: 0)]
            .map { $0 + "stored".leftPadded(to: 20) + "active for a token".leftPadded(to: 20) }
            + size.parts.map { row($0.name, $0.parameterCount, $0.activeCount) }
            + [row("sum", size.parameterCount, size.activeCount)]
            + (mtpSize.map { [row("and for MTP", $0.parameterCount, $0.activeCount)] } ?? [])
    }

    private var sums: [String] {
        [
            "\(short(size.parameterCount)) parameters, \(short(size.activeCount)) active",
            "\(grouped(bytes)) bytes " + (bytesOnDisk == nil ? "by this count, MTP included" : "on disk"),
            "\(grouped(config.cacheBytesPerToken(.bfloat16))) bytes of cache for each token in bfloat16 "
                + "(in f32, as glim keeps it, twice that)",
        ]
    }

    private func grouped(_ number: Int) -> String {
        let digits = Array(String(number))
        return digits.indices.map { i in
            (i > 0 && (digits.count - i).isMultiple(of: 3) ? "," : "") + String(digits[i])
        }.joined()
    }

    private func short(_ number: Int) -> String {
        let (value, unit) =
            switch number {
            case 1_000_000_000...: (Double(number) / 1e9, "B")
            case 1_000_000...: (Double(number) / 1e6, "M")
            default: (Double(number) / 1e3, "k")
            }
        return String(format: value < 100 ? "%.2f" : "%.0f", value) + unit
    }
}

extension String {
    fileprivate func leftPadded(to width: Int) -> String {
        String(repeating: " ", count: max(width - count, 0)) + self
    }
}
