import Foundation
import GlimTestSupport
import GlimTrain
import Testing

@Suite("fuzz: recipes and the files of a run", .serialized) struct RunFileFuzzTests {
    @Test("damaged recipes in TOML") func recipes() throws {
        let every = """
            stage = "pretrain"
            preset = "micro"
            config = "a/config.json"
            model = 'runs/1'
            data = ["src", "docs \\"x\\""]
            vocabulary_size = 16_384
            steps = 100
            sequence_length = 1024
            context_lengths = [1024, 2048]
            context_shares = [2, 1]
            mixture = ["text=0.75", "retrieval=0.25"]
            batch_tokens = 16384
            learning_rate = 1e-3
            min_learning_rate_ratio = 0
            schedule = "linear"
            beta2 = 0.99
            clip = 0
            validation_fraction = 0.02
            evaluate_every = 50
            seed = 42
            """
        let fuzz = Fuzz(
            "recipe",
            [every, TrainRecipe().toml, "steps = 3\ndata = \"x\"\n"].map { MutableFile(Array($0.utf8), .toml) })
        try withTemporaryFolder { folder in
            let file = folder.appending(path: "some.toml")
            let outcome = fuzz.run(says: "some.toml") { bytes in
                try Data(bytes).write(to: file)
                let recipe = try TrainRecipe(file: file)
                #expect(try TrainRecipe(toml: recipe.toml) == recipe)
                #expect(recipe.rowsPerBatch(recipe.longestRow) > 0 && recipe.microBatchCount > 0)
                let steps = recipe.steps ?? 1
                for step in [1, steps] { #expect(recipe.learningRate(step: step, of: steps).isFinite) }
            }
            #expect(outcome.accepted > 50 && outcome.refused > 200)
        }
    }

    @Test("a damaged record of a run that goes on") func records() throws {
        try withTemporaryFolder { folder in
            var recipe = TrainRecipe()
            (recipe.out, recipe.steps, recipe.data) = (folder.path, 30, ["/data/a", "b"])
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            let fuzz = Fuzz("record", [MutableFile([UInt8](try encoder.encode(recipe)), .json)])
            let outcome = fuzz.run(says: folder.path) { bytes in
                try Data(bytes).write(to: folder.appending(path: "recipe.json"))
                // One that is whole but of another kind of run is refused in other words.
                do { _ = try StageRun(recipe, resumes: true) { _ in } } catch let error as RunError {
                    let says = ["stage is", "optimizer "].contains { error.description.hasPrefix($0) }
                    if !says { throw error }
                }
            }
            #expect(outcome.accepted > 50 && outcome.refused > 200)
        }
    }

    @Test("a damaged state, and a damaged log") func states() throws {
        let state = Array(
            #"{"step":12,"tokens":12288,"position":{"stage":0,"taken":[17],"sources":[{"epoch":0,"row":17}]},"fingerprint":17293822569102704640}"#
                .utf8)
        let fuzz = Fuzz("state", [MutableFile(state, .json)])
        try withTemporaryFolder { folder in
            let outcome = fuzz.run(says: folder.path) { bytes in
                try Data(bytes).write(to: folder.appending(path: "state.json"))
                let state = try TrainingState(folder: folder, totalSteps: 100)
                #expect((0...100).contains(state.step) && state.tokens >= 0)
            }
            #expect(outcome.accepted > 50 && outcome.refused > 200)

            let line = StepMetrics(
                step: 3, tokens: 300, loss: 1.5, mtpLoss: .nan, learningRate: 1e-3, gradientNorm: 0.5,
                tokensPerSecond: 1e4, validationLoss: 2, extras: ["x": 1]
            ).jsonLine
            let text = Array((line + "\n" + line.replacing("\"step\":3", with: "\"step\":4") + "\n").utf8)
            let file = folder.appending(path: "metrics.jsonl")
            let logs = Fuzz("metrics", [MutableFile(text, .json)]).run(says: "metrics.jsonl") { bytes in
                try Data(bytes).write(to: file)
                let read = try MetricsLog.read(file: file)
                try MetricsLog.truncate(file: file, toStep: 3)
                let kept = try MetricsLog.read(file: file)
                #expect(kept.count <= read.count && kept.allSatisfy { $0.step <= 3 })
                _ = LossCurve(title: "x", metrics: read).svg()
            }
            // A log is never refused: what is no line of it is left out.
            #expect(logs.refused == 0)
        }
    }
}
