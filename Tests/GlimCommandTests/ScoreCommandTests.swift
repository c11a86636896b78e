import Foundation
import GlimTestSupport
import Testing

@Suite("glim score, grad and inspect") struct ScoreCommandTests {
    @Test("every mode and any number of threads write the same bytes", arguments: ["sparse", "lite", "bf16_shards"])
    func modes(model: String) async throws {
        let folder = try TemporaryFolder()
        var first: Data?
        for (mode, threads) in [("train", "1"), ("train", "2"), ("decode", "2"), ("chunked:7", "1")] {
            let output = folder.path("\(mode)-\(threads).safetensors")
            _ = try await Program.succeed(
                "score", "--model", Golden.model(model), "--input", Golden.input(model), "--output", output.path,
                "--mode", mode, "--threads", threads)
            let data = try Data(contentsOf: output)
            #expect(data == first ?? data, "\(mode) with \(threads) threads")
            first = data
        }
    }

    @Test("log-probabilities of score and of grad are the same to the bit") func logprobs() async throws {
        let folder = try TemporaryFolder()
        let (model, input) = (Golden.model("mtp"), Golden.input("mtp"))
        _ = try await Program.succeed(
            "score", "--model", model, "--input", input, "--output", folder.path("s").path, "--what", "logprobs")
        for threads in ["1", "2"] {
            _ = try await Program.succeed(
                "grad", "--model", model, "--input", input, "--output", folder.path(threads).path, "--threads",
                threads)
        }
        let (scored, gradients) = (try Safetensors(folder.path("s")), try Safetensors(folder.path("1")))
        for (id, entry) in scored.entries { #expect(gradients["\(id).logprobs"]?.bytes == entry.bytes) }
        #expect(gradients["loss"]?.shape == [])
        #expect(gradients["model.embed_tokens.weight"] != nil)
        #expect(!gradients.entries.keys.contains { $0.contains("indexer") })
        #expect(try Data(contentsOf: folder.path("1")) == Data(contentsOf: folder.path("2")))
    }

    @Test("a selection is ascending and padded with -1") func selection() async throws {
        let folder = try TemporaryFolder()
        let output = folder.path("out")
        _ = try await Program.succeed(
            "score", "--model", Golden.model("sparse"), "--input", Golden.input("sparse"), "--output", output.path,
            "--what", "selection")
        let layer = try #require(try Safetensors(output)["a.layer.0"])
        #expect(layer.type == "I32" && layer.shape[1] == 16)
        let rows = layer.floats.map { Int32(bitPattern: $0.bitPattern) }
        #expect(rows[0] == 0 && rows[1] == -1)
        let last = rows.suffix(16)
        #expect(zip(last, last.dropFirst()).allSatisfy { $0 < $1 })
    }

    @Test("inspect counts parameters of a folder and of a preset") func inspect() async throws {
        let folder = try await Program.succeed("inspect", "--model", Golden.model("lite"), "--json").json
        #expect((folder["total_parameters"] as? Int ?? 0) > 1000)
        #expect(folder["cache_bytes_per_token"] is Int && folder["bytes"] is Int)
        let preset = try await Program.succeed("inspect", "--preset", "glm-5", "--json").json
        #expect((preset["total_parameters"] as? Int).map { $0 / 1_000_000_000 } == 743)
        #expect((preset["active_parameters"] as? Int).map { $0 / 1_000_000_000 } == 40)
    }
}
