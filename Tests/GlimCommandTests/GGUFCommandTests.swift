import Foundation
import GlimTestSupport
import Testing

@Suite("GGUF files on the command line", .serialized) struct GGUFCommandTests {
    private static let folder = URL(filePath: #filePath).appending(path: "../../Golden/gguf").standardizedFileURL

    @Test("a model that speaks goes to GGUF and back, and says the same") func speaks() async throws {
        let speaker = try Golden.speaker()
        let (file, back) = (speaker.path("out.gguf").path, speaker.path("back").path)
        var config = try #require(
            try JSONSerialization.jsonObject(with: Data(contentsOf: speaker.path("config.json"))) as? [String: Any])
        // One epsilon for all norms: the format has no more.
        config["latent_norm_eps"] = config["rms_norm_eps"]
        try JSONSerialization.data(withJSONObject: config).write(to: speaker.path("config.json"))
        let made = try await Program.succeed(
            "convert", "--model", speaker.url.path, "--out", file, "--type", "f32", "--json")
        #expect(try made.json["bytes"] as? Int ?? 0 > 0)
        _ = try await Program.succeed("convert", "--model", file, "--to", "folder", "--out", back)

        func answers(_ model: String) async throws -> [Data] {
            let generated = try await Program.succeed(
                "generate", "--model", model, "--prompt", "a word", "--max-tokens", "8", "--temperature", "0", "--json")
            let tokens = try #require(generated.json["tokens"] as? [Int])
            let ids = try await Program.succeed(
                "tokenize", "--model", model, "--special", "--whole", input: "<|user|>two words\n\u{e9}")
            let prompt = try speaker.write("{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}", to: "p.json")
            let template = try await Program.succeed("template", "--model", model, "--input", prompt, "--json")
            let chat = try await Program.succeed("chat", "--model", model, "--max-tokens", "4", input: "hi\n")
            let inspected = try await Program.succeed("inspect", "--model", model, "--json")
            let size = try #require(inspected.json["total_parameters"] as? Int)
            return [Data("\(tokens) \(size)".utf8), ids.stdout, template.stdout, chat.stdout]
        }
        let expected = try await answers(speaker.url.path)
        #expect(try await answers(file) == expected)
        #expect(try await answers(back) == expected)
    }

    @Test("scoring a GGUF file is scoring its folder") func score() async throws {
        let folder = try TemporaryFolder()
        let lines = try folder.write("{\"id\": \"a\", \"tokens\": [1, 2, 3, 90, 5, 6, 7]}\n", to: "lines.jsonl")
        var results: [Data] = []
        for model in ["sparse", "sparse/f32.gguf"] {
            let out = folder.path("out.safetensors").path
            _ = try await Program.succeed(
                "score", "--model", Self.folder.appending(path: model).path, "--input", lines, "--output", out)
            results.append(try Data(contentsOf: URL(filePath: out)))
        }
        #expect(results[0] == results[1])
        // Blocks of integers run as integers, and a model of them is not quantised a second time without a word.
        for type in ["q8_0", "q4_0", "bf16", "f16"] {
            let generated = try await Program.succeed(
                "generate", "--model", Self.folder.appending(path: "sparse/\(type).gguf").path, "--tokens", "1,2,3",
                "--max-tokens", "3", "--json")
            #expect((try generated.json["tokens"] as? [Int])?.isEmpty == false)
        }
    }

    @Test("what cannot be is one line that says so") func errors() async throws {
        let folder = try TemporaryFolder()
        let good = Self.folder.appending(path: "sparse/f32.gguf")
        let bytes = try Data(contentsOf: good)
        func expect(_ status: Int32, _ says: String, _ arguments: String...) async throws {
            let output = try await Program.run(arguments)
            #expect(output.status == status && output.stderr.contains(says), "\(arguments): \(output.stderr)")
            if status == 1 { #expect(output.stderr.split(separator: "\n").count == 1) }
        }
        let short = folder.path("short.gguf")
        try bytes.prefix(bytes.count / 2).write(to: short)
        for command in [["inspect"], ["generate", "--tokens", "1"], ["generate", "--prompt", "a"]] {
            let output = try await Program.run(command + ["--model", short.path])
            #expect(output.status == 1 && output.stderr.contains("short.gguf") && output.stderr.contains("cut short"))
            #expect(output.stderr.split(separator: "\n").count == 1, "\(output.stderr)")
        }
        try await expect(1, "holds none", "tokenize", "--model", good.path)
        try await expect(1, "no.gguf", "inspect", "--model", folder.path("no.gguf").path)
        let out = folder.path("out.gguf").path
        try await expect(2, "--type", "convert", "--model", good.path, "--out", out, "--type", "q5_0")
        try await expect(2, "--type", "convert", "--model", good.path, "--out", out, "--to", "folder", "--type", "f16")
        try await expect(
            1, "cannot be written", "convert", "--model", good.path, "--out", folder.path("none/out.gguf").path)
        let model = folder.path("model").path
        _ = try await Program.succeed("convert", "--model", good.path, "--to", "folder", "--out", model)
        try await expect(1, "holds a model", "convert", "--model", good.path, "--to", "folder", "--out", model)
        #expect(!FileManager.default.fileExists(atPath: out))
    }
}
