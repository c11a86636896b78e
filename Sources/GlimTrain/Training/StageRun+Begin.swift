import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimText

/// What a run begins with: text, tokenizer, model, rows.
extension StageRun {
    /// Reads tokens from text; learns a tokenizer where there is none yet.
    func makeMaterial(_ text: RunText) throws -> RunMaterial {
        let tokenizer = try makeTokenizer(text.training)
        if recipe.stage == .sft, let folder = recipe.model {
            let template = try ChatTemplate(model: URL(filePath: folder))
            let material = try RunMaterial(
                conversations: text, tokenizer, template, rowLength: recipe.longestRow, threads: recipe.threads)
            if !material.unreadMembers.isEmpty {
                let names = material.unreadMembers.sorted { $0.key < $1.key }.map { "\"\($0.key)\" in \($0.value)" }
                say("not read, for nothing has that name: \(names.joined(separator: ", ")) of the lines")
            }
            let totals = material.text.report.totals
            if totals.skippedTooLong + totals.skippedUntaught > 0 {
                say(
                    "left out: \(totals.skippedTooLong) lines longer than a row of \(recipe.longestRow) tokens, "
                        + "\(totals.skippedUntaught) that teach nothing; data.json names them")
            }
            say(
                "\(material.store.tokenCount) training tokens in \(material.store.documentCount) conversations and texts, "
                    + "\(material.store.targetCount) of them taught, with the template of \(template.rawValue); "
                    + "\(material.validation.documentCount) more validate")
            return material
        }
        let material = RunMaterial(text, tokenizer, threads: recipe.threads)
        say(
            "\(material.store.tokenCount) training tokens in \(material.store.documentCount) documents, "
                + "\(material.tokenizer.vocabularySize) entries")
        return material
    }

    func makeTokenizer(_ documents: [Document]) throws -> Tokenizer {
        let own = run.appending(path: "tokenizer.json")
        if resumes, FileManager.default.fileExists(atPath: own.path) { return try Tokenizer(file: own) }
        if let path = recipe.tokenizer ?? recipe.model {
            let place = URL(filePath: path)
            let isFolder = (try? place.resourceValues(forKeys: [.isDirectoryKey]))?.isDirectory ?? false
            let isModel = isFolder || GGUFFile.isNamed(by: place)
            let tokenizer = isModel ? try Tokenizer(model: place) : try Tokenizer(file: place)
            guard tokenizer.id(of: .endOfText) != nil else {
                throw RunError("\(path) has no <|endoftext|> token, which ends each document")
            }
            return tokenizer
        }
        let entries = try recipe.vocabularySize ?? baseConfig().vocabularySize
        say("training a tokenizer of \(entries) entries")
        var trainer = TokenizerTrainer(vocabularySize: entries, threads: recipe.threads)
        // Each digit for itself: from so few tokens nobody learns what the digits of 999 numbers are.
        trainer.pattern = .qwen2
        trainer.add(documents.lazy.map(\.bytes))
        // What is built for the rows counts as it will there, so that its words are whole tokens; but no more than the
        // text, where there is less of that in the rows, or none.
        let mixture = try recipe.dataMixture()
        if mixture.builtShare > 0 {
            let sample = mixture.builtSample(of: documents, byteCount: Self.builtSampleBytes, seed: recipe.seed)
            let bytes = documents.reduce(0) { $0 + $1.bytes.count }
            let wanted = Double(bytes) * min(1, mixture.builtShare / (1 - mixture.builtShare))
            for _ in 0..<max(1, Int(wanted / Double(Self.builtSampleBytes))) { trainer.add(sample) }
        }
        return try trainer.train()
    }

    private static let builtSampleBytes = 1 << 19

    // MARK: The model

    func baseConfig() throws -> ModelConfig {
        var config = try givenConfig()
        if let layers = recipe.mtpLayers, layers != config.mtpLayerCount {
            if let folder = recipe.model {
                throw RunError("mtp_layers is \(layers), but \(folder) has \(config.mtpLayerCount); leave it out")
            }
            config.mtpLayerCount = layers
        }
        if let steps = recipe.mtpSteps, !(1...steps).contains(config.mtpLayerCount) {
            throw RunError(
                config.mtpLayerCount == 0
                    ? "mtp_steps is \(steps), but the model has no MTP layer; give mtp_layers = 1 as well"
                    : "mtp_steps is \(steps): the model has \(config.mtpLayerCount) MTP layers; train as many steps or more"
            )
        }
        config.maximumPositions = max(config.maximumPositions, recipe.longestRow)
        guard recipe.stage == .adapt else { return config }
        if let folder = recipe.model, config.indexer != nil {
            throw RunError("\(folder) has sparse attention already; adapt starts from a model with dense attention")
        }
        if recipe.mtpWeight == 0, config.mtpLayerCount > 0 {
            throw RunError("mtp_weight is 0, with which the new indexer of the MTP layer learns nothing; give more")
        }
        return try config.adapted(indexer: indexer(for: config))
    }

    private func givenConfig() throws -> ModelConfig {
        if let folder = recipe.model { return try ModelConfig(folder: URL(filePath: folder)) }
        if let file = recipe.config { return try ModelConfig(file: URL(filePath: file)) }
        if let depth = recipe.depth { return ModelConfig.depth(depth) }
        return try ModelConfig.preset(named: recipe.preset)
    }

    /// What adaptation gives a dense model.
    private func indexer(for config: ModelConfig) -> ModelConfig.Indexer {
        var indexer = config.proposedIndexer
        indexer.topK = recipe.topK ?? max(1, recipe.longestRow / 16)
        indexer.kinds = ModelConfig.Indexer.kinds(layerCount: config.layerCount, every: recipe.shareEvery)
        return indexer
    }

    func makeConfig(_ tokenizer: Tokenizer) throws -> ModelConfig {
        var config = try baseConfig()
        if recipe.model == nil {
            // Whole panels of the head: 32 outputs.
            if let size = recipe.vocabularySize { config.vocabularySize = size }
            if tokenizer.vocabularySize > config.vocabularySize || recipe.tokenizer != nil {
                config.vocabularySize = (tokenizer.vocabularySize + 31) / 32 * 32
            }
            config.dtype = .float32
        } else if tokenizer.vocabularySize > config.vocabularySize {
            throw RunError("the tokenizer has \(tokenizer.vocabularySize) entries, the model \(config.vocabularySize)")
        }
        if let type = recipe.computeType { config.computeType = type }
        if recipe.quantize != nil { config.keepsShortKeys() }
        let stops: [ControlToken] = [.endOfText, .user, .observation]
        config.endOfTextIDs = stops.compactMap { tokenizer.id(of: $0).map { Int($0) } }
        config.padID = Int(tokenizer.endOfText)
        try config.validate()
        return config
    }

    func checkMemory(_ config: ModelConfig) throws {
        let name = recipe.model ?? recipe.config ?? recipe.depth.map { "depth \($0)" } ?? recipe.preset
        try MemoryRoom.check(
            MemoryRoom.byteCount(of: config, microBatches: recipe.microBatchCount), of: "training \(name)",
            advice: "use a smaller shape")
    }

    func makeModel(_ config: ModelConfig) throws -> Model {
        guard let folder = recipe.model else { return Model(config, seed: recipe.seed) }
        if recipe.quantize == nil, try ModelConfig(folder: URL(filePath: folder)).integerWeights != nil {
            say("note: \(folder) is quantised; training goes on from what its integers stand for, and writes floats")
        }
        var model = try Model(
            folder: URL(filePath: folder), format: .f32, computeType: recipe.computeType,
            scheme: recipe.quantize.map { Scheme($0) })
        if recipe.stage == .adapt { model = try model.adapted(indexer: config.indexer, seed: recipe.seed) }
        model.config = config.with { $0.mtpLayerCount = model.config.mtpLayerCount }
        return model
    }
}
