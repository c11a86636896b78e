import Foundation
import GlimTrain
import Testing

@Suite("train recipe") struct TrainRecipeTests {
    @Test("an empty recipe is the defaults, and the defaults are valid") func defaults() throws {
        let recipe = try TrainRecipe(toml: "# nothing\n")
        #expect(recipe == TrainRecipe())
        #expect(recipe.sequenceLength == 512 && recipe.batchTokens == 8192 && recipe.rowsPerBatch(512) == 16)
        #expect(recipe.optimizer == .muonSplit && recipe.schedule == .cosine)
    }

    @Test("every key is read, and written as it was read", arguments: [TrainRecipe.Stage.pretrain, .adapt])
    func everything(stage: TrainRecipe.Stage) throws {
        let own =
            stage == .pretrain
            ? """
            preset = "micro"
            config = "a/config.json"
            depth = 12
            vocabulary_size = 16_384
            mtp_layers = 2
            """
            : """
            top_k = 512
            share_every = 4
            indexer_learning_rate = 0.01
            min_indexer_learning_rate_ratio = 0.1
            """
        let toml = """
            stage = "\(stage.rawValue)"
            \(own)
            model = 'runs/1'
            data = ["src", "docs \\"x\\""]
            out = "runs/2"
            tokenizer = "tokenizer.json"
            steps = 100
            sequence_length = 1024
            context_lengths = [1024, 4096]
            context_shares = [3, 1.5]
            mixture = ["text=0.75", "retrieval=0.25"]
            batch_tokens = 16384
            micro_batch_tokens = 4096
            recompute = true
            optimizer = "muon-split"
            learning_rate = 1e-3
            min_learning_rate_ratio = 0
            warmup_steps = 10
            warmup_ratio = 0.02
            schedule = "linear"
            weight_decay = 0.01
            beta1 = 0.8
            beta2 = 0.99
            epsilon = 1e-10
            clip = 0
            mtp_steps = 3
            mtp_weight = 0.1
            balance_rate = 0.01
            sequence_balance_weight = 0.0
            validation_fraction = 0.02
            evaluate_every = 50
            save_every = 0
            sample_every = 20
            seed = 42
            threads = 2
            """
        let recipe = try TrainRecipe(toml: toml)
        #expect(recipe.stage == stage && recipe.data == ["src", "docs \"x\""])
        if stage == .pretrain {
            #expect(recipe.preset == "micro" && recipe.config == "a/config.json" && recipe.depth == 12)
            #expect(recipe.vocabularySize == 16_384 && recipe.mtpLayers == 2)
        } else {
            #expect(recipe.topK == 512 && recipe.shareEvery == 4 && recipe.indexerLearningRate == 0.01)
            #expect(recipe.minimumIndexerLearningRateRatio == 0.1)
        }
        #expect(recipe.optimizer == .muonSplit && recipe.learningRate == 1e-3 && recipe.epsilon == 1e-10)
        #expect(recipe.mtpSteps == 3 && recipe.passOptions(length: 1024).mtpSteps == 3)
        #expect(recipe.contextLengths == [1024, 4096] && recipe.contextShares == [3, 1.5] && recipe.recompute == true)
        #expect(recipe.mixture == ["text=0.75", "retrieval=0.25"])
        #expect(recipe.minimumLearningRateRatio == 0 && recipe.seed == 42 && recipe.saveEvery == 0)
        #expect(recipe.microBatchTokens == 4096 && recipe.validationFraction == 0.02 && recipe.steps == 100)
        #expect(try TrainRecipe(toml: recipe.toml) == recipe)
        #expect(recipe.toml.split(separator: "\n").count == toml.split(separator: "\n").count)
        let json = try JSONEncoder().encode(recipe)
        #expect(try JSONDecoder().decode(TrainRecipe.self, from: json) == recipe)
    }

    @Test("minutes instead of steps, one path instead of a list, whole numbers for fractions") func lenient() throws {
        let recipe = try TrainRecipe(toml: "minutes = 5\ndata = \"src\"\nclip = 2\n")
        #expect(recipe.minutes == 5 && recipe.data == ["src"] && recipe.clip == 2)
        var odd = TrainRecipe()
        odd.out = "tab\tline\nquote\"back\\slash é 漢"
        odd.learningRate = 0.1 + 0.2
        #expect(try TrainRecipe(toml: odd.toml) == odd)
    }

    @Test(
        "what is wrong is named, with its line",
        arguments: [
            ("steps = \"ten\"", 1, "steps", "expected an integer, found the string \"ten\""),
            ("steps = 1.5", 1, "steps", "expected an integer, found the number 1.5"),
            ("\nsteps = 0", 2, "steps", "0 is not within 1...1099511627776"),
            ("learning_rate = true", 1, "learning_rate", "expected a number, found a boolean"),
            ("learning_rate = nan", 1, "learning_rate", "nan is not within 0.0...10.0"),
            ("learning_rate = -inf", 1, "learning_rate", "-inf is not within 0.0...10.0"),
            ("# learning_rate = 1\n\nlearning_rate = -1", 3, "learning_rate", "-1.0 is not within 0.0...10.0"),
            ("optimizer = \"adam\"", 1, "optimizer", "\"adam\" is not one of adamw, muon, muon-split"),
            ("stage = 3", 1, "stage", "expected a string, found the integer 3"),
            ("data = [1]", 1, "data", "expected an array of strings, found an array of numbers"),
            ("data = [\"\"]", 1, "data", "an empty path"),
            ("out = \"\"", 1, "out", "an empty string"),
            ("seed = -1", 1, "seed", "-1 is negative"),
            (
                "sequence_length = 1024\nbatch_tokens = 512", 2, "batch_tokens",
                "512 is less than a row (sequence_length = 1024)"
            ),
            (
                "context_lengths = [512, 1000]", 1, "context_lengths",
                "a step (batch_tokens = 8192) is not whole rows of 1000"
            ),
            ("context_lengths = [512, \"a\"]", 1, "context_lengths", "expected an array of integers, found an array"),
            ("context_lengths = [1]", 1, "context_lengths", "1 is not within 2...1048576"),
            ("context_shares = [1]", 1, "context_shares", "1 shares for 0 context_lengths"),
            ("recompute = 1", 1, "recompute", "expected true or false, found the integer 1"),
            ("mixture = [\"text\"]", 1, "mixture", "\"text\" is not of the form"),
            ("mixture = [\"texts=1\"]", 1, "mixture", "\"texts\" is not one of text, repository"),
            ("mixture = [\"text=0\"]", 1, "mixture", "all shares are 0"),
            ("mixture = [\"text=1\", \"text=1\"]", 1, "mixture", "text is there twice"),
            ("steps = 5\nminutes = 1", 2, "minutes", "give steps or minutes, not both"),
            ("micro_batch_tokens = 9000", 1, "micro_batch_tokens", "9000 is not within 512...8192, a row to a batch"),
            ("steps = 5\nwarmup_steps = 6", 2, "warmup_steps", "6 is more than steps = 5"),
            ("learning_rat = 1", 1, "learning_rat", "unknown key; did you mean learning_rate?"),
            ("lr = 1", 1, "lr", "unknown key; known keys are stage, preset"),
            ("batch-tokens = 1", 1, "batch-tokens", "unknown key; did you mean batch_tokens?"),
            ("warmup = 1", 1, "warmup", "unknown key; did you mean warmup_steps?"),
            ("a = 1\n[optimizer]\nname = 1", 1, "a", "unknown key"),
            ("[optimizer]\nname = 1", 1, "optimizer", "expected a string, found a table"),
            ("\"learning rate\" = 1", 1, "learning rate", "unknown key; did you mean learning_rate?"),
            ("\noptimizer.name = 1", 2, "optimizer", "expected a string, found a table"),
            ("[[data]]", 1, "data", "expected an array of strings"),
            (String(repeating: "k", count: 999) + " = 1", 1, String(repeating: "k", count: 999), "unknown key"),
            ("depth = 1979-05-27", 1, "depth", "expected an integer, found a date"),
        ] as [(String, Int, String, String)])
    func wrong(toml: String, line: Int, key: String, why: String) throws {
        let error = try #require(throws: RecipeError.self) { try TrainRecipe(toml: toml, file: "run.toml") }
        #expect(error.line == line && error.key == key)
        #expect("\(error)".hasPrefix("run.toml:\(line): \(key): \(why)"), "\(error)")
        #expect(!"\(error)".contains("\n"))
    }

    @Test(
        "what is not TOML is an error with its line",
        arguments: [
            "steps = \n", "steps", "steps = 1\nsteps = 2", "x = 99999999999999999999", "a = [1,", "\"", "= 1",
            "a = 1 b = 2",
        ])
    func notTOML(text: String) throws {
        let error = try #require(throws: RecipeError.self) { try TrainRecipe(toml: text, file: "run.toml") }
        #expect(error.line != nil && error.why.hasPrefix("not valid TOML"), "\(error)")
        #expect(!"\(error)".contains("\n"))
    }

    @Test("files that are none, or no text") func files() throws {
        let folder = try TemporaryFolder()
        #expect(throws: RecipeError.self) { try TrainRecipe(file: folder.url.appending(path: "none.toml")) }
        #expect(throws: RecipeError.self) { try TrainRecipe(file: folder.url) }
        for bytes: [UInt8] in [[0xFF, 0xFE, 0x41], Array("steps = 1\0".utf8)] {
            let path = try folder.write("bad.toml", bytes)
            #expect(throws: RecipeError.self) { try TrainRecipe(file: URL(filePath: path)) }
        }
        let path = try folder.write("good.toml", "seed = 7\n")
        #expect(try TrainRecipe(file: URL(filePath: path)).seed == 7)
    }

    @Test("each stage has its defaults, where the file names it or the command does") func stages() throws {
        let midtrain = try TrainRecipe(toml: "stage = \"midtrain\"\n")
        #expect(midtrain == TrainRecipe(stage: .midtrain) && midtrain.contextLengths == [2048, 8192])
        #expect(try TrainRecipe(toml: "context_lengths = [64, 128, 256]", stage: .midtrain).contextShares.isEmpty)
        #expect(try TrainRecipe(toml: "", stage: .adapt) == TrainRecipe(stage: .adapt))
        #expect(try TrainRecipe(toml: midtrain.toml) == midtrain)
        let short = try TrainRecipe(toml: "stage = \"midtrain\"\nsequence_length = 1024\n")
        #expect(short.rowLengths == [1024] && short.stepTokens == 8192)
        #expect(try TrainRecipe(toml: short.toml) == short)
        // One course: a fifth of the peak, then a twentieth.
        #expect(midtrain.peakLearningRate == 2e-3 && TrainRecipe(stage: .adapt).peakLearningRate == 2.5e-4)
        #expect(abs(midtrain.learningRate(step: 100, of: 100) - 5e-4) < 1e-12)
    }

    @Test(
        "a key of another stage is refused with its line",
        arguments: [
            ("pretrain", "top_k = 8", "adapt"), ("midtrain", "share_every = 2", "adapt"),
            ("adapt", "preset = \"nano\"", "pretrain"), ("sft", "top_k = 8", "adapt"),
            ("sft", "mtp_layers = 1", "pretrain"), ("midtrain", "vocabulary_size = 4096", "pretrain"),
        ])
    func otherStage(stage: String, line: String, owner: String) throws {
        let error = #expect(throws: RecipeError.self) { try TrainRecipe(toml: "stage = \"\(stage)\"\n\(line)\n") }
        #expect(error?.line == 2 && error?.why == "a value of \(owner), and this is \(stage); leave it out")
    }

    @Test("a record without a key has the default of its stage there, and all else as it is written") func record()
        throws
    {
        var recipe = TrainRecipe(stage: .adapt)
        (recipe.learningRate, recipe.seed, recipe.clip, recipe.data) = (0.1 + 0.2, .max, 2, ["a"])
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        var json = String(decoding: try encoder.encode(recipe), as: UTF8.self)
        #expect(try JSONDecoder().decode(TrainRecipe.self, from: Data(json.utf8)) == recipe)
        for (key, value) in [("share_every", "1"), ("context_lengths", "[2048,8192]"), ("schedule", "\"constant\"")] {
            let cut = json.replacing(",\"\(key)\":\(value)", with: "")
            #expect(cut != json)
            json = cut
        }
        #expect(try JSONDecoder().decode(TrainRecipe.self, from: Data(json.utf8)) == recipe)
    }

    @Test("context stages share the steps, and the last one always has the last step") func contextStages() {
        var recipe = TrainRecipe(stage: .midtrain)
        (recipe.contextLengths, recipe.contextShares) = ([512, 2048, 8192], [5, 3, 2])
        let counts = (1...10).map { recipe.contextStage(step: $0, of: 10) }
        #expect(counts == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
        for total in 1...7 { #expect(recipe.contextStage(step: total, of: total) == 2) }
        #expect(
            recipe.rowLengths.map { recipe.rowsPerBatch($0) * $0 } == [8192, 8192, 8192] && recipe.stepTokens == 8192)
        // A row that is longer than a step is one.
        recipe.batchTokens = 2048
        #expect(recipe.rowLengths.map { recipe.rowsPerBatch($0) } == [4, 1, 1])
        #expect(recipe.stepTokens == 0.8 * 2048 + 0.2 * 8192)
        #expect(throws: Never.self) { try recipe.validate() }
    }

    @Test("long passes compute layers again unless told otherwise") func recompute() {
        var recipe = TrainRecipe(stage: .adapt)
        #expect(!recipe.passOptions(length: 8192).recomputes)
        (recipe.contextLengths, recipe.batchTokens) = ([32_768], 32_768)
        #expect(recipe.passOptions(length: 32_768).recomputes)
        recipe.recompute = false
        #expect(!recipe.passOptions(length: 32_768).recomputes)
    }

    @Test("a recipe built in code is checked as well") func validate() {
        var recipe = TrainRecipe()
        recipe.learningRate = .nan
        let error = #expect(throws: RecipeError.self) { try recipe.validate() }
        #expect(error.map { "\($0)" } == "learning_rate: nan is not within 0.0...10.0")
        recipe = TrainRecipe()
        recipe.sequenceLength = 0
        #expect(throws: RecipeError.self) { try recipe.validate() }
    }

    @Test(
        "what TOML allows in a line is read",
        arguments: [
            ("seed = 0x2A # a comment", 42), ("seed = 0b1_0", 2), ("seed = 0o17", 15),
            ("\"seed\" = +1_000\r\n", 1000), ("\u{FEFF}  'seed'=7", 7),
        ])
    func forms(text: String, seed: UInt64) throws {
        #expect(try TrainRecipe(toml: text).seed == seed)
    }

    @Test("strings and lists in every form") func strings() throws {
        let recipe = try TrainRecipe(
            toml: #"""
                data = [ # one
                  'a\b', "c\u00e9\t\U0001F600",
                  """
                d "e"
                  f""", '''g''', ]
                out = """x\
                   y"""
                clip = 1_0.5e-1
                """#)
        #expect(recipe.data == ["a\\b", "c\u{e9}\t\u{1F600}", "d \"e\"\n  f", "g"])
        #expect(recipe.out == "xy" && recipe.clip == 1.05)
    }

    @Test(
        "what is no TOML, however wild, is refused by its line",
        arguments: [
            ("seed = 1\n[{\"\":x}]= 1\n", 2, "expected a key"), ("[", 1, "expected a key"),
            ("[[ ,", 1, "expected a key"), ("x = [ }", 1, "expected a value"), ("x = ,", 1, "expected a value"),
            ("x = [1 2]", 1, "a comma"), ("x = {", 1, "unknown key"),
            ("a = \"\u{1}\"", 1, "control"), ("# \u{1}", 1, "control"), ("x = \"\\ud800\"", 1, "not valid TOML"),
            ("\nx = \'\'\'\n\na", 2, "does not end"), ("x = 01", 1, "not valid TOML"),
            ("x = 1__0", 1, "not valid TOML"),
            ("x = 1.", 1, "not valid TOML"), ("x = 0x", 1, "not valid TOML"),
            ("x = 0xFFFFFFFFFFFFFFFFFF", 1, "not valid TOML"), ("x = 1 [{\"\":y}]", 1, "end of the line"),
            ("a = 1\n\n\na.b = 1", 1, "unknown key"), ("steps = 1\nsteps.b = 1", 2, "found a table"),
            (String(repeating: "a.", count: 300_000) + "steps = 1", 1, "unknown key"),
            ("steps = {" + String(repeating: "a.", count: 300_000) + "a = 1}", 1, "found a table"),
            ("data = " + String(repeating: "[", count: 300_000), 1, "other things than strings"),
            ("steps = " + String(repeating: "{a=", count: 300_000), 1, "found a table"),
        ] as [(String, Int, String)])
    func hostile(text: String, line: Int, why: String) {
        let error = #expect(throws: RecipeError.self) { try TrainRecipe(toml: text) }
        #expect(error?.line == line && error?.description.contains(why) == true, "\(error?.description ?? "")")
    }
}
