import Foundation
import GlimTestSupport
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
            let shape = try await Program.succeed("inspect", "--model", out, "--json").json
            let formats = try #require(shape["weight_formats"] as? [String: [String]])
            #expect(Set(formats.keys) == (scheme == "w4a8" ? ["int4", "int8", "full"] : ["int8", "full"]))
            #expect(formats["int8"]?.contains("lm_head") == true && formats["full"]?.contains("embed_tokens") == true)
            let table = try await Program.succeed("inspect", "--model", out).text
            #expect(table.contains("in int8     ") && table.contains("in full     "), "\(table)")
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

    @Test("killed at random moments, goes on to the same bytes", arguments: [("w8a8", false), ("w4a8", true)])
    func killed(scheme: String, isFP8: Bool) async throws {
        let folder = try TemporaryFolder(inMemory: true)
        let source = folder.path("source")
        try Tiny.saveSharded(to: source, isFP8: isFP8)
        func command(_ out: String) -> [String] {
            ["quantize", "--model", source.path, "--out", folder.path(out).path, "--scheme", scheme]
        }
        func files(_ name: String) throws -> [String: Data] {
            let names = try FileManager.default.contentsOfDirectory(atPath: folder.path(name).path)
            return try names.reduce(into: [:]) { files, file in
                files[file] = try Data(contentsOf: folder.path("\(name)/\(file)"))
            }
        }
        let began = ContinuousClock.now
        let done = try await Program.run(command("whole"))
        let length = ContinuousClock.now - began
        #expect(done.status == 0, "\(done.stderr)")
        let whole = try files("whole")
        let shardCount = whole.keys.count { $0.hasSuffix(".safetensors") }
        try #require(shardCount > 8)
        // Shards that were there at each kill.
        var (kept, round, mutator) = ([Int](), 0, Mutator(seed: KillTests.seed, number: 70))
        while kept.count < KillTests.killCount {
            let moment = length * Double(mutator.below(1000)) / 1000
            let status = try await Program.run(command("cut\(round)")) { process in
                let started = ContinuousClock.now
                while ContinuousClock.now - started < moment, !Program.hasEnded(process) {
                    try await Task.sleep(for: .milliseconds(1))
                }
                kill(process, SIGKILL)
            }
            let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path("cut\(round)").path)) ?? []
            if status == -SIGKILL { kept.append(names.count { $0.hasSuffix(".safetensors") }) }
            // Begun often, that the first shards are met too.
            if status == 0 || kept.count % 2 == 0 || kept.count == KillTests.killCount {
                // One that was killed after its last file is whole already.
                let last = try await Program.run(command("cut\(round)"))
                #expect(last.status == 0 || names.contains("config.json"), "\(last.stderr)")
                #expect(try files("cut\(round)") == whole)
                try? FileManager.default.removeItem(at: folder.path("cut\(round)"))
                round += 1
            }
        }
        print("\(scheme): killed with \(kept) of \(shardCount) shards there")
    }
}
