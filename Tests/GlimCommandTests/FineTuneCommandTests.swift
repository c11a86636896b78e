import Foundation
import GlimTestSupport
import Testing

@Suite("glim train sft", .serialized) struct FineTuneCommandTests {
    @Test("what it makes can be talked with, in the template of the model it came from") func talk() async throws {
        let folder = try TinyRun.place()
        let dense = try await Program.run(TinyRun.arguments(folder, "dense") + ["--steps", "2"])
        #expect(dense.status == 0, "\(dense.stderr)")
        // All that tells GLM-5.2's template from the others.
        let jinja = "[gMASK]<sop> <arg_key> Reasoning Effort: defer_loading"
        _ = try folder.write(jinja, to: "dense/chat_template.jinja")
        let done = try await Program.run(
            TinyRun.arguments(folder, "talker", stage: "sft")
                + ["--steps", "4", "--sequence-length", "128", "--evaluate-every", "2", "--json"])
        #expect(done.status == 0 && done.stderr.contains("with the template of glm-5.2"), "\(done.stderr)")
        let json = try done.json
        #expect(json["steps"] as? Int == 4 && json["tokens"] as? Int == 4 * 1024)
        #expect(json["final_loss"] is Double && json["val_bits_per_byte"] is Double)
        #expect(try String(contentsOf: folder.path("talker/chat_template.jinja"), encoding: .utf8) == jinja)

        let saved = folder.path("saved.txt")
        for (mode, opening) in [("interleaved", "<think>"), ("off", "<think></think>")] {
            _ = try await Program.succeed(
                "chat", "--model", folder.path("talker").path, "--max-tokens", "3", "--thinking", mode,
                input: "f1?\n/save \(saved.path)\n")
            let text = String(decoding: try Data(contentsOf: saved), as: UTF8.self)
            #expect(text.contains("<|user|>f1?<|assistant|>\(opening)"), "\(text)")
            #expect(text.hasPrefix("[gMASK]<sop>"))
        }
    }

    @Test("what it cannot learn from is one error") func errors() async throws {
        let folder = try TinyRun.place()
        let dense = try await Program.run(TinyRun.arguments(folder, "dense") + ["--steps", "1"])
        #expect(dense.status == 0, "\(dense.stderr)")
        let good = "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}\n"
        let bad = try folder.write(good + "{\"messages\": [{\"role\": \"assistant\", \"content\": 1}]}\n", to: "bad")
        let model = ["train", "sft", "--model", folder.path("dense").path]
        for (arguments, says) in [
            (model + ["--data", bad], "bad:2 is not a conversation: messages[0].content is 1; expected"),
            (model + ["--data", folder.path("text.py").path], "text.py:1 is not a conversation: not JSON"),
            (model, "give JSON lines with messages with --data"),
            (["train", "sft", "--data", bad], "give its folder with --model"),
        ] {
            let output = try await Program.run(arguments + ["--out", folder.path("out").path])
            #expect(output.status == 1 && output.stderr.contains(says), "\(output.stderr)")
            #expect(output.stderr.split(separator: "\n").count { $0.hasPrefix("error: ") } == 1)
            #expect(!FileManager.default.fileExists(atPath: folder.path("out").path))
        }
    }
}
