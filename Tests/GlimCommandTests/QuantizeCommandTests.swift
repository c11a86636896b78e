import Foundation
import Testing

@Suite("glim quantize", .serialized) struct QuantizeCommandTests {
    @Test("writes a model that runs, and reports what it cost", arguments: ["w8a8", "w4a8"])
    func quantize(scheme: String) async throws {
        let folder = try TinyRun.place()
        let dense = try await Program.run(TinyRun.arguments(folder, "dense") + ["--steps", "20"])
        #expect(dense.status == 0, "\(dense.stderr)")
        let source = ["quantize", "--model", folder.path("dense").path, "--scheme", scheme, "--json"]
        let text = ["--calibration", folder.path("text.py").path]
        for (name, more) in [("rounded", [String]()), ("calibrated", text)] {
            let out = folder.path(name).path
            let done = try await Program.run(source + ["--out", out] + more)
            #expect(done.status == 0, "\(done.stderr)")
            let json = try done.json
            let (before, after) = (json["bytes_before"] as? Int ?? 0, json["bytes_after"] as? Int ?? 0)
            #expect(after > 0 && after < before && json["scheme"] as? String == scheme)
            let modules = try #require(json["modules"] as? [[String: Any]])
            #expect(modules.contains { $0["name"] as? String == "lm_head" && $0["bits"] as? Int == 8 })
            #expect(modules.allSatisfy { $0["error_before"] is Double && $0["error_after"] is Double })
            if !more.isEmpty {
                let (first, last) = (json["perplexity_before"] as? Double, json["perplexity_after"] as? Double)
                #expect(abs((last ?? 0) / (first ?? 1) - 1) < 0.05, "\(json)")
                #expect(json["kl_divergence"] is Double && json["top1_agreement"] is Double)
                #expect(modules.allSatisfy { $0["kl_after"] is Double && $0["top1_before"] is Double })
            }
            // Training forward and decoding agree to the bit.
            let lines = try folder.write("{\"id\": \"a\", \"tokens\": [1, 2, 3, 300, 5, 6, 7]}\n", to: "lines.jsonl")
            var logits: [Data] = []
            for mode in ["train", "decode", "chunked:3"] {
                let file = folder.path("\(name).\(mode).safetensors").path
                _ = try await Program.succeed(
                    "score", "--model", out, "--input", lines, "--output", file, "--mode", mode, "--threads",
                    "\(logits.count + 1)")
                logits.append(try Data(contentsOf: URL(filePath: file)))
            }
            #expect(logits[0] == logits[1] && logits[0] == logits[2])
            _ = try await Program.succeed(
                "generate", "--model", out, "--prompt", "def f", "--max-tokens", "4", "--json")
            let again = try await Program.run(source + ["--out", out] + more)
            #expect(again.status == 1 && again.stderr.contains("holds a model already"), "\(again.stderr)")
        }
        let twice = try await Program.run([
            "quantize", "--model", folder.path("rounded").path, "--out", folder.path("x").path, "--scheme", scheme,
        ])
        #expect(twice.status == 1 && twice.stderr.contains("is quantised already"), "\(twice.stderr)")
        let wrong = try await Program.run(["quantize", "--model", "a", "--out", "b", "--scheme", "w2a2"])
        #expect(wrong.status == 2, "\(wrong.stderr)")
    }
}
