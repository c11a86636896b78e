import Foundation
import GlimModel
import GlimTrain

/// A folder with text and a tiny config, removed at the end.
final class RunPlace {
    let folder = FileManager.default.temporaryDirectory.appending(path: "glim-run-\(UUID().uuidString)")
    init() throws {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var text = ""
        for i in 0..<400 { text += "def f\(i)(x):\n    return x + \(i % 7)\n\n" }
        for part in 0..<12 {
            try (text + "# part \(part)\n").write(
                to: folder.appending(path: "text\(part).py"), atomically: true, encoding: .utf8)
        }
        try Self.config.json.write(to: folder.appending(path: "config.json"))
    }
    deinit { try? FileManager.default.removeItem(at: folder) }

    func recipe(_ out: String, steps: Int) -> TrainRecipe {
        var recipe = TrainRecipe()
        (recipe.sequenceLength, recipe.batchTokens, recipe.microBatchTokens) = (32, 256, 64)
        recipe.data = (0..<12).map { folder.appending(path: "text\($0).py").path }
        recipe.config = folder.appending(path: "config.json").path
        (recipe.out, recipe.steps, recipe.vocabularySize) = (folder.appending(path: out).path, steps, 384)
        (recipe.evaluateEvery, recipe.saveEvery, recipe.sampleEvery) = (4, 3, 5)
        return recipe
    }

    /// A later stage, from the model of an earlier run.
    func recipe(_ stage: TrainRecipe.Stage, from model: String, _ out: String, steps: Int) -> TrainRecipe {
        var recipe = TrainRecipe(stage: stage)
        let text = self.recipe(out, steps: steps)
        (recipe.data, recipe.out, recipe.steps) = (text.data, text.out, steps)
        (recipe.evaluateEvery, recipe.saveEvery, recipe.sampleEvery) = (4, 3, 5)
        recipe.model = folder.appending(path: model).path
        recipe.batchTokens = 256
        recipe.useOneLength()
        recipe.contextLengths = stage == .adapt ? [128] : [32, 64, 128]
        return recipe
    }

    /// Small enough to train in milliseconds.
    static var config: ModelConfig {
        var config = ModelConfig.depth(2)
        (config.vocabularySize, config.hiddenSize, config.denseWidth, config.expertWidth) = (384, 32, 48, 24)
        (config.headCount, config.queryLatent, config.latent, config.valueWidth) = (2, 24, 16, 12)
        (config.keyPlain, config.keyRotated, config.routedExpertCount, config.mtpLayerCount) = (12, 8, 4, 1)
        config.maximumPositions = 64
        return config
    }
}
