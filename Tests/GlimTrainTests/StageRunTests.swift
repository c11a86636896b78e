import Foundation
import GlimModel
import GlimTensor
import GlimTestSupport
import GlimText
import GlimTrain
import Testing

@Suite("a run of a stage", .serialized) struct StageRunTests {
    @Test("a run makes a folder that loads, with metrics, samples and a curve") func makesModel() throws {
        let place = try RunPlace()
        var run = try StageRun(place.recipe("run", steps: 6), resumes: false) { _ in }
        let summary = try run.train()
        #expect(summary.steps == 6 && summary.tokens == 6 * 256 && !summary.wasInterrupted)
        #expect(summary.validationBitsPerByte.map { $0 > 0 && $0 < 9 } ?? false)
        let folder = place.folder.appending(path: "run")
        let (model, tokenizer) = (try Model(folder: folder), try Tokenizer(folder: folder))
        var generator = Generator(model, sampler: Sampler(seed: 5))
        generator.feed(tokenizer.encode("def f"))
        #expect(generator.next() != nil)
        for name in ["metrics.jsonl", "samples.jsonl", "loss.svg", "recipe.json", "tokenizer_config.json"] {
            #expect(FileManager.default.fileExists(atPath: folder.appending(path: name).path), "\(name)")
        }
        #expect(throws: RunError.self) {
            _ = try StageRun(place.recipe("run", steps: 6), resumes: false) { _ in }
        }
    }

    @Test("Muon's momentum and AdamW's averages are saved under the tensors' names") func muonState() throws {
        let place = try RunPlace()
        var recipe = place.recipe("run", steps: 2)
        recipe.optimizer = .muonSplit
        var run = try StageRun(recipe, resumes: false) { _ in }
        #expect(try run.train().steps == 2)
        let folder = place.folder.appending(path: "run/training/step-2")
        // The header is JSON at the head of the file.
        let bytes = try Data(contentsOf: folder.appending(path: "model.safetensors")).prefix(100_000)
        let header = String(decoding: bytes, as: UTF8.self)
        func has(_ kind: String, _ tensor: String) -> Bool { header.contains("\"\(kind).\(tensor).weight\"") }
        let muons = ["self_attn.q_b_proj", "self_attn.kv_b_proj", "mlp.experts.3.down_proj"]
        for tensor in muons.map({ "model.layers.1.\($0)" }) + ["model.layers.2.eh_proj"] {
            #expect(has("muon.momentum", tensor) && !has("adamw.mean", tensor) && !has("adamw.square", tensor))
        }
        for tensor in ["model.layers.1.mlp.gate", "lm_head", "model.embed_tokens", "model.norm"] {
            #expect(has("adamw.mean", tensor) && has("adamw.square", tensor) && !has("muon.momentum", tensor))
        }
    }

    @Test("a new model gets the MTP layers asked for; steps that do not fit them are one error") func mtp() throws {
        let place = try RunPlace()
        var recipe = place.recipe("run", steps: 2)
        (recipe.mtpLayers, recipe.mtpSteps) = (2, 3)
        var run = try StageRun(recipe, resumes: false) { _ in }
        _ = try run.train()
        #expect(try Model(folder: place.folder.appending(path: "run")).predictions.count == 2)
        for (layers, steps, why) in [(0, 2, "no MTP layer"), (3, 2, "3 MTP layers")] {
            var recipe = place.recipe("other", steps: 2)
            (recipe.mtpLayers, recipe.mtpSteps) = (layers, steps)
            var run = try StageRun(recipe, resumes: false) { _ in }
            let error = #expect(throws: RunError.self) { _ = try run.train() }
            #expect(error.map { "\($0)".contains(why) } ?? false)
        }
        var further = place.recipe("further", steps: 2)
        (further.model, further.config, further.mtpLayers) = (place.folder.appending(path: "run").path, nil, 1)
        var again = try StageRun(further, resumes: false) { _ in }
        #expect(throws: RunError.self) { _ = try again.train() }
    }

    @Test("other data is refused on resume") func otherData() throws {
        let place = try RunPlace()
        var run = try StageRun(place.recipe("run", steps: 3), resumes: false) { _ in }
        _ = try run.train()
        try "something else entirely\n".write(
            to: place.folder.appending(path: "text3.py"), atomically: true, encoding: .utf8)
        var again = try StageRun(place.recipe("run", steps: 3), resumes: true) { _ in }
        #expect(throws: RunError.self) { _ = try again.train() }
    }

    @Test("a recipe.json that someone spoiled is one error", arguments: ["\"depth\" : 1", "\"steps\" : 0"])
    func spoiledRecipe(line: String) throws {
        let place = try RunPlace()
        var run = try StageRun(place.recipe("run", steps: 2), resumes: false) { _ in }
        _ = try run.train()
        let file = place.folder.appending(path: "run/recipe.json")
        let json = try String(contentsOf: file, encoding: .utf8).replacing("\"steps\" : 2", with: line)
        try json.write(to: file, atomically: true, encoding: .utf8)
        let error = #expect(throws: RunError.self) {
            _ = try StageRun(place.recipe("run", steps: 2), resumes: true) { _ in }
        }
        #expect(error.map { "\($0)".contains("recipe.json") && "\($0)".contains("is not within") } ?? false)
    }

    @Test("a loss that is no number says which step is saved") func notANumber() throws {
        let place = try RunPlace()
        var recipe = place.recipe("run", steps: 40)
        // Without clipping and with such a rate the weights are soon beyond f32.
        (recipe.learningRate, recipe.clip, recipe.warmupSteps, recipe.saveEvery) = (10, 0, 0, 0)
        recipe.weightDecay = 10
        recipe.beta1 = 0
        var run = try StageRun(recipe, resumes: false) { _ in }
        let error = #expect(throws: RunError.self) { _ = try run.train() }
        #expect(error.map { "\($0)".contains("no step is saved") } ?? false, "\(error.map { "\($0)" } ?? "")")
    }

    @Test("what was not measured is null in JSON") func summaryJSON() throws {
        let place = try RunPlace()
        var run = try StageRun(place.recipe("run", steps: 1), resumes: false) { _ in }
        var summary = try run.train()
        (summary.finalLoss, summary.validationBitsPerByte) = (.nan, nil)
        let text = String(decoding: try JSONEncoder().encode(summary), as: UTF8.self)
        #expect(text.contains("\"final_loss\":null") && text.contains("\"val_bits_per_byte\":null"))
    }

    @Test("mid-training has the same number of tokens in every step, in rows that grow, and grows the model's context")
    func midtrain() throws {
        let place = try RunPlace()
        var first = try StageRun(place.recipe("dense", steps: 2), resumes: false) { _ in }
        _ = try first.train()
        let recipe = place.recipe(.midtrain, from: "dense", "long", steps: 6)
        let rows = place.folder.appending(path: "rows.jsonl")
        var run = try StageRun(recipe, resumes: false, recording: .init(batches: rows)) { _ in }
        let summary = try run.train()
        #expect(summary.steps == 6 && summary.tokens == 6 * 256)
        let folder = place.folder.appending(path: "long")
        #expect(try ModelConfig(folder: folder).maximumPositions == 128)
        let metrics = try MetricsLog.read(file: folder.appending(path: "metrics.jsonl"))
        #expect(metrics.map(\.tokens) == (1...6).map { 256 * $0 })
        #expect(metrics.last?.extras["val_bits_per_byte_128"].map { $0.isFinite } ?? false)
        // From a fifth of the peak to a twentieth, of steps of 256 tokens.
        let peak = 1e-2 * (256.0 / 8192).squareRoot()
        #expect(metrics.last.map { abs($0.learningRate - peak / 20) < 1e-12 } ?? false)
        let lengths = try String(contentsOf: rows, encoding: .utf8).split(separator: "\n").dropFirst().map { line in
            let json = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            let rows = try #require(json["rows"] as? [[String: Any]])
            return rows.map { ($0["tokens"] as? [Int])?.count ?? 0 }
        }
        #expect(lengths == [32, 32, 64, 64, 128, 128].map { Array(repeating: $0, count: 256 / $0) })
        #expect(FileManager.default.fileExists(atPath: folder.appending(path: "data.json").path))
    }

    @Test("adaptation warms the indexers up alone, then trains everything, and writes a sparse model") func adapt()
        throws
    {
        let place = try RunPlace()
        var first = try StageRun(place.recipe("dense", steps: 2), resumes: false) { _ in }
        _ = try first.train()
        var recipe = place.recipe(.adapt, from: "dense", "sparse", steps: 6)
        recipe.mtpWeight = 0
        var untaught = try StageRun(recipe, resumes: false) { _ in }
        let refusal = #expect(throws: RunError.self) { _ = try untaught.train() }
        #expect(refusal.map { "\($0)".contains("mtp_weight is 0") } ?? false)
        recipe.mtpWeight = 0.3
        (recipe.topK, recipe.warmupSteps, recipe.shareEvery) = (16, 3, 2)
        let warm = place.folder.appending(path: "warm")
        var run = try StageRun(recipe, resumes: false, recording: .init(warmedUpModel: warm)) { _ in }
        #expect(try run.train().steps == 6)
        let folder = place.folder.appending(path: "sparse")
        let config = try ModelConfig(folder: folder)
        #expect(config.family == .dsa && config.indexer?.topK == 16 && config.maximumPositions == 128)
        let metrics = try MetricsLog.read(file: folder.appending(path: "metrics.jsonl"))
        #expect(metrics.allSatisfy { $0.extras["indexer_loss"].map { $0.isFinite && $0 > 0 } ?? false })
        #expect(metrics[0].learningRate == 5e-3 && abs(metrics[2].learningRate - 2e-4) < 1e-12)
        let rate = 5e-4 * (256.0 / 8192).squareRoot()
        #expect(metrics[3...].allSatisfy { abs($0.learningRate - rate) < 1e-12 })
        // The warm-up left everything else as it was.
        let dense = try Model(folder: place.folder.appending(path: "dense"))
        let (warmed, sparse) = (try Model(folder: warm), try Model(folder: folder))
        func bits(_ model: Model, _ name: String) -> [UInt32]? {
            model.tensors.first { $0.name == name }?.numbers()?.elements.map(\.bitPattern)
        }
        for tensor in dense.tensors { #expect(bits(warmed, tensor.name) == bits(dense, tensor.name), "\(tensor.name)") }
        #expect(bits(sparse, "model.norm.weight") != bits(dense, "model.norm.weight"))
        var again = try StageRun(
            place.recipe(.adapt, from: "sparse", "twice", steps: 2), resumes: false
        ) { _ in }
        let error = #expect(throws: RunError.self) { _ = try again.train() }
        #expect(error.map { "\($0)".contains("sparse attention already") } ?? false)
    }

    @Test("later stages want a model", arguments: [TrainRecipe.Stage.midtrain, .adapt])
    func wantsModel(stage: TrainRecipe.Stage) throws {
        let place = try RunPlace()
        var recipe = place.recipe(stage, from: "none", "run", steps: 2)
        recipe.model = nil
        let error = #expect(throws: RunError.self) { _ = try StageRun(recipe, resumes: false) { _ in } }
        #expect(error.map { "\($0)".contains("--model") } ?? false)
    }
}
