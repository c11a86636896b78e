import Foundation
import GlimTestSupport
import Testing

@Suite("wrong usage and bad input") struct UsageTests {
    private static let sparse = Golden.model("sparse")

    @Test(
        "wrong usage answers 2 and says how it is done",
        arguments: [
            ["generate"], ["generate", "--model", "x"], ["generate", "--model", "x", "--prompt", "a", "--tokens", "1"],
            ["generate", "--model", "x", "--tokens", "1", "--temperature", "-1"],
            ["generate", "--model", "x", "--tokens", "1", "--temperature", "nan"],
            ["generate", "--model", "x", "--tokens", "1", "--top-p", "0"],
            ["generate", "--model", "x", "--tokens", "1", "--top-k=-1"],
            ["generate", "--model", "x", "--tokens", "1", "--min-p", "1.5"],
            ["generate", "--model", "x", "--tokens", "1", "--repetition-penalty", "0"],
            ["generate", "--model", "x", "--tokens", "1", "--presence-penalty", "nan"],
            ["generate", "--model", "x", "--tokens", "1", "--stop", ""],
            ["generate", "--model", "x", "--tokens", "1", "--seed", "-1"],
            ["generate", "--model", "x", "--tokens", "1", "--max-tokens", "-1"],
            ["score", "--model", "x", "--input", "y", "--output", "z", "--mode", "chunked:0"],
            ["score", "--model", "x", "--input", "y", "--output", "z", "--threads", "0"],
            ["chat", "--model", "x", "--max-tokens", "0"], ["bench", "sleep", "--preset", "nano"],
            ["bench", "kernels", "--preset", "nano"], ["bench", "threads", "--data", "x"], ["bench", "cost"],
            ["bench", "cost", "--preset", "nano", "--context", "-1"],
            ["inspect", "--preset", "nano", "--depth", "3"], ["nonsense"], ["doctor", "--nonsense"],
            ["bench", "decode", "--preset", "nano", "--recompute"], ["train", "pretrain", "--depth", "1"],
            ["train", "pretrain", "--depth", "97"], ["train", "pretrain", "--sequence-length", "0"],
            ["train", "pretrain", "--steps", "0"], ["train", "pretrain", "--steps", "3", "--minutes", "1"],
            ["train", "midtrain", "--sequence-length", "64", "--context-lengths", "64", "128"],
            ["train", "midtrain", "--context-lengths", "64", "--context-shares", "1", "2"],
            ["train", "midtrain", "--mixture", "text"], ["train", "adapt", "--top-k", "0"],
            ["train", "adapt", "--preset", "nano"], ["train", "pretrain", "--top-k", "8"],
            ["train", "sft", "--preset", "nano"], ["train", "sft", "--mixture", "text=1"],
            ["quickstart", "--minutes", "0"], ["eval", "ruler", "--model", "x", "--lengths", "9"],
            ["eval", "ruler", "--model", "x", "--samples", "9223372036854775807"],
        ])
    func usage(arguments: [String]) async throws {
        let output = try await Program.run(arguments)
        #expect(output.status == 2)
        #expect(output.stdout.isEmpty && output.stderr.contains("Usage:"))
    }

    @Test(
        "what is misspelt is what is said",
        arguments: [
            (["generat", "--model", "x"], "'generat'"), (["help", "nonsense"], "'nonsense'"),
            (["generate", "--model", "x", "--promt", "y"], "'--promt'"),
            (["generate", "--model", "x", "--prompt", "y", "--temperature", "-1"], "--temperature is -1"),
            (["chat", "--model", "x", "--drafts", "-1"], "--drafts is -1"),
        ])
    func misspelt(arguments: [String], says: String) async throws {
        let output = try await Program.run(arguments)
        #expect(output.status == 2 && output.stderr.contains(says), "\(output.stderr)")
    }

    @Test(
        "help and the version answer 0",
        arguments: [["help"], ["--help"], ["--version"], ["help", "generate"], ["help", "bench", "decode"], []])
    func help(arguments: [String]) async throws {
        let output = try await Program.run(arguments)
        #expect(output.status == 0 && !output.stdout.isEmpty && output.stderr.isEmpty)
    }

    @Test("values are listed in a line, or each with what it means") func values() async throws {
        for command in ["convert", "bench", "score", "template", "quantize"] {
            let output = try await Program.succeed("help", command)
            let blanks = output.text.split(separator: "\n").filter {
                $0.trimmingCharacters(in: .whitespaces).hasSuffix(" -")
            }
            #expect(blanks.isEmpty, "\(command): \(blanks)")
        }
        #expect(try await Program.succeed("help", "convert").text.contains("f32, f16, bf16, q8_0, q4_0"))
    }

    @Test(
        "each stage of training shows the options that it has",
        arguments: [
            ("pretrain", ["--preset", "--depth", "--mtp-layers"], ["--context-lengths", "--top-k"]),
            (
                "midtrain", ["--context-lengths", "--context-shares", "--mixture", "--recompute"],
                ["--preset", "--top-k"]
            ),
            (
                "adapt", ["--top-k", "--share-every", "--save-warmed-up", "--warmup-steps"],
                ["--preset", "--context-shares"]
            ),
            ("sft", ["--model", "--sequence-length", "--warmup-steps"], ["--preset", "--context-lengths", "--top-k"]),
        ])
    func stageHelp(stage: String, has: [String], hasNot: [String]) async throws {
        let output = try await Program.run(["help", "train", stage])
        #expect(output.status == 0)
        for option in has + ["--recipe", "--resume", "--threads"] {
            #expect(output.text.contains(option), "\(option)")
        }
        for option in hasNot { #expect(!output.text.contains(option), "\(option)") }
    }

    @Test("stages after pre-training say that they want a model", arguments: ["midtrain", "adapt"])
    func wantsModel(stage: String) async throws {
        let folder = try TemporaryFolder()
        try await expectError(["train", stage, "--out", folder.path("run").path], "--model")
        try await expectError(["train", stage, "--model", "/none", "--out", folder.path("run").path], "/none")
    }

    @Test(
        "a prompt that cannot be used answers 1 with one line",
        arguments: [
            ("", "not a token id"), ("1,,2", "not a token id"), ("1,two", "\"two\""), ("1,61", "0..<61"),
            ("-1", "0..<61"),
            ("99999999999", "not a token id"),
            (Array(repeating: "1", count: 4097).joined(separator: ","), "4096"),
        ])
    func badTokens(tokens: String, says: String) async throws {
        try await expectError(["generate", "--model", Self.sparse, "--tokens", tokens], says)
    }

    @Test("a text needs a tokenizer that fits") func badTokenizer() async throws {
        try await expectError(["generate", "--model", Self.sparse, "--prompt", "a"], "tokenizer.json")
        try await expectError(["chat", "--model", Self.sparse], "tokenizer.json")
        let folder = try Golden.copy("lite")
        let speaker = try Golden.speaker()
        try FileManager.default.copyItem(at: speaker.path("tokenizer.json"), to: folder.path("tokenizer.json"))
        try await expectError(["generate", "--model", folder.url.path, "--prompt", "zzz"], "0..<96")
        try await expectError(["chat", "--model", folder.url.path], "96")
        _ = try folder.write("{\"model\": 3}", to: "tokenizer.json")
        try await expectError(["generate", "--model", folder.url.path, "--prompt", "a"], "tokenizer.json")
    }

    @Test("a folder that is no model answers 1 with one line") func badModels() async throws {
        let folder = try TemporaryFolder()
        let generate = { (folder: TemporaryFolder) in ["generate", "--model", folder.url.path, "--tokens", "1"] }
        try await expectError(generate(folder), "config.json")
        try await expectError(["inspect", "--model", folder.url.path], "config.json")
        try await expectError(["bench", "decode", "--model", folder.url.path], "config.json")
        try await expectError(["generate", "--model", "", "--tokens", "1"], "config.json")
        for (junk, says) in [("", "config.json"), ("[1]", "config.json"), ("{\"hidden_size\": 1e99}", "config.json")] {
            _ = try folder.write(junk, to: "config.json")
            try await expectError(generate(folder), says)
        }
        let spoiled = try Golden.copy("lite")
        let weights = spoiled.path("model.safetensors")
        let whole = try Data(contentsOf: weights)
        for length in [0, 7, 8, 100, whole.count - 1] {
            try whole.prefix(length).write(to: weights)
            try await expectError(generate(spoiled), "model.safetensors")
        }
        try FileManager.default.removeItem(at: weights)
        try await expectError(generate(spoiled), "safetensors")
    }

    @Test(
        "input that is not lines of tokens answers 1 with one line",
        arguments: [
            ("", "no lines"), ("\n \n", "no lines"), ("nonsense", ":1"), ("{\"id\": \"a\", \"tokens\": []}", "empty"),
            ("{\"id\": \"a\", \"tokens\": [61]}", "0..<61"), ("{\"id\": \"a\", \"tokens\": [1.5]}", ":1"),
            ("{\"id\":\"a\",\"tokens\":[1]}\n{\"id\":\"a\",\"tokens\":[1]}", "twice"),
        ])
    func badInput(text: String, says: String) async throws {
        let folder = try TemporaryFolder()
        let input = try folder.write(text, to: "in")
        for command in ["score", "grad"] {
            try await expectError(
                [command, "--model", Self.sparse, "--input", input, "--output", folder.path("out").path], says)
        }
        #expect(!FileManager.default.fileExists(atPath: folder.path("out").path))
    }

    @Test("what cannot be computed or written answers 1 with one line") func impossible() async throws {
        let folder = try TemporaryFolder()
        let (lite, input) = (Golden.model("lite"), Golden.input("lite"))
        try await expectError(
            ["score", "--model", lite, "--input", input, "--output", folder.path("out").path, "--what", "selection"],
            "dense")
        try await expectError(
            ["score", "--model", lite, "--input", "/none", "--output", folder.path("o").path], "/none")
        try await expectError(
            ["score", "--model", lite, "--input", input, "--output", folder.path("no/such/out").path], "no/such")
        let one = try folder.write("{\"id\": \"a\", \"tokens\": [1]}", to: "one")
        try await expectError(
            ["grad", "--model", lite, "--input", one, "--output", folder.path("o").path], "two tokens")
        try await expectError(["bench", "decode", "--preset", "glm-5"], "GiB")
        try await expectError(["bench", "cost", "--preset", "none"], "none")
        try await expectError(["bench", "decode", "--model", lite, "--context", "4096"], "the model's context is 4096")
        try await expectError(
            ["bench", "decode", "--preset", "nano", "--context", "16777216", "--batch", "65536"],
            "nano with a cache of")
    }

    @Test("a wrong value of train is named as the option it came from, or the key and line of its file")
    func badRecipe() async throws {
        let folder = try TemporaryFolder()
        let output = try await Program.run(["train", "pretrain", "--sequence-length", "0"])
        #expect(output.stderr.contains("--sequence-length: 0 is not within 2..."), "\(output.stderr)")
        let recipe = try folder.write("seed = 1\ndepth = 1\n", to: "r.toml")
        try await expectError(["train", "pretrain", "--recipe", recipe], "r.toml:2: depth: 1 is not within 2...96")
        let good = try folder.write("seed = 1\n", to: "good.toml")
        let mixed = try await Program.run(["train", "pretrain", "--recipe", good, "--steps", "0"])
        #expect(mixed.status == 2 && mixed.stderr.contains("--steps: 0"), "\(mixed.stderr)")
    }

    @Test("a model that memory cannot hold is refused before any is taken") func tooLarge() async throws {
        let folder = try TemporaryFolder()
        let text = try folder.write("some text\n", to: "text.txt")
        let out = folder.path("run")
        let arguments = ["train", "pretrain", "--data", text, "--out", out.path, "--preset", "glm-5"]
        try await expectError(arguments, "GiB")
        // Nothing was begun, so the mended command works in the same folder.
        #expect(!FileManager.default.fileExists(atPath: out.path + "/recipe.json"))
    }

    private func expectError(
        _ arguments: [String], _ says: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let output = try await Program.run(arguments)
        #expect(output.status == 1, "\(arguments)", sourceLocation: sourceLocation)
        #expect(output.stdout.isEmpty, sourceLocation: sourceLocation)
        #expect(output.stderr.hasPrefix("error: ") && output.stderr.hasSuffix("\n"), sourceLocation: sourceLocation)
        #expect(output.stderr.split(separator: "\n").count == 1, "\(output.stderr)", sourceLocation: sourceLocation)
        #expect(output.stderr.contains(says), "\(output.stderr)", sourceLocation: sourceLocation)
    }
}
