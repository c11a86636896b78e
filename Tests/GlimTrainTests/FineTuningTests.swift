import Foundation
import GlimModel
import GlimTensor
import GlimTestSupport
import GlimText
import GlimTrain
import Testing

@Suite("fine-tuning", .serialized) struct FineTuningTests {
    /// A recipe from a model of this name, on sums with their answers.
    private static func recipe(_ place: RunPlace, from model: String, _ out: String, steps: Int) throws -> TrainRecipe {
        let lines = (0..<80).map { i in
            "{\"messages\": [{\"role\": \"user\", \"content\": \"f\(i)?\"}, "
                + "{\"role\": \"assistant\", \"reasoning_content\": \"\(i)\", \"content\": \"return \(i % 3)\"}]}"
        }
        let file = place.folder.appending(path: "talk.jsonl")
        try lines.joined(separator: "\n").write(to: file, atomically: true, encoding: .utf8)
        var recipe = TrainRecipe(stage: .sft)
        (recipe.data, recipe.model) = ([file.path], place.folder.appending(path: model).path)
        (recipe.out, recipe.steps) = (place.folder.appending(path: out).path, steps)
        (recipe.sequenceLength, recipe.batchTokens, recipe.microBatchTokens) = (64, 256, 64)
        (recipe.evaluateEvery, recipe.saveEvery, recipe.sampleEvery) = (4, 3, 5)
        recipe.learningRate = 5e-3
        return recipe
    }

    /// The loss of a run's model on the conversations that it did not train on, each by itself.
    private static func expectValidation(
        _ folder: URL, _ found: Double, format: Model.LoadFormat = .f32
    ) throws {
        let recipe = try JSONDecoder().decode(
            TrainRecipe.self, from: try Data(contentsOf: folder.appending(path: "recipe.json")))
        let text = try RunText(recipe) { _ in }
        let lines = Set(text.training.map(\.bytes))
        let encoder = try ConversationEncoder(Tokenizer(folder: folder), ChatTemplate(folder: folder))
        let scorer = Scorer(try Model(folder: folder, format: format))
        var (sum, count) = (0.0, 0)
        for document in text.validation {
            #expect(!lines.contains(document.bytes))
            let one = encoder.encode(try Conversation(parsing: document.bytes))
            for (logprob, isTaught) in zip(scorer.logprobs(one.tokens), one.taught.dropFirst()) where isTaught {
                (sum, count) = (sum - Double(logprob), count + 1)
            }
        }
        #expect(count > 20 && abs(sum / Double(count) - found) < 1e-6 * found, "\(found), \(sum / Double(count))")
    }

    private static func bits(_ folder: URL) throws -> [String: [UInt32]] {
        var bits: [String: [UInt32]] = [:]
        for tensor in try Model(folder: folder).tensors {
            bits[tensor.name] = tensor.numbers()?.elements.map(\.bitPattern)
        }
        return bits
    }

    @Test("a dense and a sparse model learn what is taught, and stay what they are", arguments: [false, true])
    func learns(isSparse: Bool) throws {
        let place = try RunPlace()
        var first = try StageRun(place.recipe("base", steps: 2), resumes: false) { _ in }
        _ = try first.train()
        if isSparse {
            var recipe = place.recipe(.adapt, from: "base", "sparse", steps: 2)
            (recipe.topK, recipe.warmupSteps) = (16, 1)
            var second = try StageRun(recipe, resumes: false) { _ in }
            _ = try second.train()
        }
        let from = isSparse ? "sparse" : "base"
        var run = try StageRun(Self.recipe(place, from: from, "sft", steps: 40), resumes: false) { _ in }
        let summary = try run.train()
        #expect(summary.steps == 40 && summary.tokens == 40 * 256)
        let folder = place.folder.appending(path: "sft")
        let metrics = try MetricsLog.read(file: folder.appending(path: "metrics.jsonl"))
        let validation = metrics.compactMap(\.validationLoss)
        #expect(metrics[39].loss < 0.6 * metrics[0].loss, "\(metrics[0].loss) to \(metrics[39].loss)")
        #expect(validation[validation.count - 1] < 0.8 * validation[0], "\(validation)")
        #expect(metrics[39].extras.keys.allSatisfy { !$0.hasPrefix("val_bits_per_byte_") })
        let config = try ModelConfig(folder: folder)
        #expect(config.family == (try ModelConfig(folder: place.folder.appending(path: from))).family)
        // Indexers learn in adaptation only.
        let (before, after) = (try Self.bits(place.folder.appending(path: from)), try Self.bits(folder))
        for (name, bits) in before where name.contains(".indexer.") { #expect(after[name] == bits, "\(name)") }
        #expect(before.keys.contains { $0.contains(".indexer.") } == isSparse)
        try Self.expectValidation(folder, validation[validation.count - 1])
        let samples = try String(contentsOf: folder.appending(path: "samples.jsonl"), encoding: .utf8)
        #expect(samples.contains("[gMASK]<sop><|user|>f") && samples.contains("<|assistant|><think>"))
    }

    @Test("a run that is cut goes on to the same model and the same numbers") func resumes() throws {
        let place = try RunPlace()
        var first = try StageRun(place.recipe("base", steps: 2), resumes: false) { _ in }
        _ = try first.train()
        let (whole, cut) = (place.folder.appending(path: "whole"), place.folder.appending(path: "cut"))
        // What a killed process leaves: the save of step 3, and lines up to step 4.
        var run = try StageRun(Self.recipe(place, from: "base", "whole", steps: 9), resumes: false) { line in
            if line.hasPrefix("step 4:") { try? FileManager.default.copyItem(at: whole, to: cut) }
        }
        _ = try run.train()
        #expect(FileManager.default.fileExists(atPath: cut.appending(path: "training/step-3").path))
        var again = try StageRun(Self.recipe(place, from: "base", "cut", steps: 9), resumes: true) { _ in }
        #expect(try again.train().steps == 9)
        #expect(try Self.bits(whole) == Self.bits(cut))
        func losses(_ folder: URL) throws -> [Double] {
            try MetricsLog.read(file: folder.appending(path: "metrics.jsonl")).map(\.loss)
        }
        #expect(try losses(whole) == losses(cut))
    }

    @Test(
        "training for integers saves what it measured, and a cut run goes on to the same file",
        arguments: Scheme.Name.allCases)
    func quantised(scheme: Scheme.Name) throws {
        let place = try RunPlace()
        var first = try StageRun(place.recipe("base", steps: 2), resumes: false) { _ in }
        _ = try first.train()
        let (whole, cut) = (place.folder.appending(path: "whole"), place.folder.appending(path: "cut"))
        func recipe(_ out: String) throws -> TrainRecipe {
            var recipe = try Self.recipe(place, from: "base", out, steps: 12)
            recipe.quantize = scheme
            return recipe
        }
        var run = try StageRun(recipe("whole"), resumes: false) { line in
            if line.hasPrefix("step 8:") { try? FileManager.default.copyItem(at: whole, to: cut) }
        }
        _ = try run.train()
        let metrics = try MetricsLog.read(file: whole.appending(path: "metrics.jsonl"))
        #expect(metrics[11].loss < 0.9 * metrics[0].loss, "\(metrics[0].loss) to \(metrics[11].loss)")
        // The folder holds integers, and they are what was validated.
        let model = try Model(folder: whole)
        #expect(model.layers[1].experts?.resident?.up.format.bits == (scheme == .w4a8 ? 4 : 8))
        try Self.expectValidation(whole, metrics[11].validationLoss ?? .nan, format: .asStored)
        var again = try StageRun(recipe("cut"), resumes: true) { _ in }
        #expect(try again.train().steps == 12)
        for file in ["model.safetensors", "config.json"] {
            let (found, expected) = (cut.appending(path: file), whole.appending(path: file))
            #expect(try Data(contentsOf: found) == Data(contentsOf: expected), "\(file)")
        }
        // What one was trained on goes on as numbers.
        var more = try StageRun(Self.recipe(place, from: "whole", "more", steps: 1), resumes: false) { _ in }
        _ = try more.train()
        #expect(try Model(folder: place.folder.appending(path: "more")).layers[1].experts?.resident?.up.format == .f32)
        let error = #expect(throws: RecipeError.self) { try TrainRecipe(toml: "quantize = \"w4a8\"") }
        #expect(error?.key == "quantize")
        let other = #expect(throws: RecipeError.self) { try TrainRecipe(toml: "quantize = \"w2a8\"", stage: .sft) }
        #expect(other?.description.contains("w8a8, w4a8") == true)
    }

    @Test("a folder's own chat template is used, and stays with the model") func template() throws {
        let place = try RunPlace()
        var first = try StageRun(place.recipe("base", steps: 1), resumes: false) { _ in }
        _ = try first.train()
        // All that tells GLM-5.3's template from the others.
        let jinja = "[gMASK]<sop><arg_key>Reasoning Effort 'low'"
        let name = "chat_template.jinja"
        try jinja.write(to: place.folder.appending(path: "base/\(name)"), atomically: true, encoding: .utf8)
        let said = Locked<[String]>([])
        var run = try StageRun(Self.recipe(place, from: "base", "sft", steps: 1), resumes: false) { line in
            said.withLock { $0.append(line) }
        }
        _ = try run.train()
        #expect(said.withLock { $0.contains { $0.contains("template of glm-5.3") } })
        #expect(try ChatTemplate(folder: place.folder.appending(path: "sft")) == .glm53)
        #expect(try String(contentsOf: place.folder.appending(path: "sft/\(name)"), encoding: .utf8) == jinja)
    }

    @Test("without a model or data it does not begin, and a mixture is refused") func wants() throws {
        let place = try RunPlace()
        for (change, says) in [
            ({ (recipe: inout TrainRecipe) in recipe.model = nil }, "--model"),
            ({ (recipe: inout TrainRecipe) in recipe.data = [] }, "--data"),
        ] {
            var recipe = try Self.recipe(place, from: "base", "sft", steps: 1)
            change(&recipe)
            let error = #expect(throws: RunError.self) { _ = try StageRun(recipe, resumes: false) { _ in } }
            #expect(error.map { "\($0)".contains(says) } ?? false)
        }
        let error = #expect(throws: RecipeError.self) { try TrainRecipe(toml: "mixture = [\"text=1\"]", stage: .sft) }
        #expect(error?.key == "mixture" && error?.line == 1)
        #expect(TrainRecipe(stage: .sft).peakLearningRate == TrainRecipe().peakLearningRate / 10)
        #expect(TrainRecipe(stage: .sft).longestRow == 1024)
    }
}
