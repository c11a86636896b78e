import Foundation
import GlimTestSupport
import Testing

@Suite("glim bench, doctor and tokenize") struct MeasuringCommandTests {
    private static let keys = [
        "tokens_per_second", "seconds", "peak_bytes", "bytes_per_token", "flops_per_token", "fraction_of_bandwidth",
        "fraction_of_peak",
    ]

    @Test("cost follows from the config alone, as the report's arithmetic has it") func cost() async throws {
        let output = try await Program.succeed("bench", "cost", "--preset", "glm-5", "--context", "131072", "--json")
        let json = try output.json
        for key in Self.keys { #expect(json[key] != nil, "\(key)") }
        let parts = try #require(json["parts"] as? [[String: Any]])
        let flops = Dictionary(
            parts.map { ($0["name"] as? String ?? "", $0["flops"] as? Double ?? 0) }, uniquingKeysWith: { $1 })
        // Per layer 8192 operations a position for the indexer, 139,264 for each of 2048 chosen ones.
        #expect(flops["indexing of positions"] == 78.0 * 8192 * 131_073)
        #expect(flops["attention over positions"] == 78.0 * 139_264 * 2048)
        #expect(json["tokens_per_second"] is NSNull)
        // The same operations in w4a8; without the indexers (9,371,648 weights a layer) and their scores, but over
        // all positions, in BF16.
        func number(_ key: String) -> Double { json[key] as? Double ?? 0 }
        let indexers: Double = 78 * (8192 * 131_073 + 2 * 9_371_648)
        let positions: Double = 78 * 139_264 * (131_073 - 2048)
        #expect(number("w4a8_sparse_flops_per_token") == number("flops_per_token"))
        #expect(number("bf16_dense_flops_per_token") - number("flops_per_token") == positions - indexers)
        for name in ["bf16_dense", "w4a8_sparse", "bf16_dense_prefill", "w4a8_sparse_prefill"] {
            for figure in ["bytes", "seconds"] { #expect(number("\(name)_\(figure)_per_token") > 0) }
        }
        for key in ["cost_ratio", "prefill_cost_ratio"] { #expect(number(key) > 0.01 && number(key) < 0.5) }
        #expect(output.text.contains("computed, not run"))
        let plain = try await Program.succeed("bench", "cost", "--preset", "nano", "--json").json
        #expect(plain["flops_per_token"] != nil && plain["cost_ratio"] == nil)
    }

    @Test("decode is measured against the machine") func decode() async throws {
        let json = try await Program.succeed(
            "bench", "decode", "--model", Golden.model("sparse"), "--context", "20", "--tokens", "8", "--json"
        ).json
        for key in Self.keys { #expect((json[key] as? Double ?? 0) > 0, "\(key)") }
    }

    @Test(
        "a preset is measured with sparse attention, beyond its longest context",
        arguments: [
            ["cost"], ["decode", "--tokens", "1"], ["prefill", "--tokens", "2"],
        ])
    func sparse(arguments: [String]) async throws {
        let output = try await Program.run(
            ["bench"] + arguments
                + ["--preset", "nano", "--top-k", "64", "--share-every", "4", "--context", "20000", "--json"])
        let json = try output.json
        let parts = try #require(json["parts"] as? [[String: Any]])
        let indexing = try #require(parts.first { $0["name"] as? String == "indexing of positions" })
        // Layers 0, 1 and 5 choose, with 6 heads of 24.
        let seen = arguments[0] == "prefill" ? 20_001.5 : 20_001.0
        #expect(indexing["flops"] as? Double == 3.0 * 2 * 144 * seen)
    }

    @Test("a sparse step is trained") func sparseTraining() async throws {
        let json = try await Program.succeed(
            "bench", "train", "--preset", "nano", "--top-k", "16", "--batch", "1", "--sequence-length", "64",
            "--recompute", "--json"
        ).json
        #expect((json["tokens_per_second"] as? Double ?? 0) > 0)
    }

    @Test(
        "sparse attention that cannot be given is one error",
        arguments: [
            ["--preset", "nano", "--share-every", "2"], ["--model", "x", "--top-k", "8"],
            ["--preset", "nano", "--top-k", "0"],
        ])
    func notSparse(arguments: [String]) async throws {
        let result = try await Program.run(["bench", "cost"] + arguments)
        #expect(result.status != 0 && result.stderr.lowercased().hasPrefix("error: "), "\(result.stderr)")
        #expect(result.stderr.contains("--top-k") || result.stderr.contains("--share-every"))
    }

    @Test(
        "threads, tokenizer and load give a row a figure",
        arguments: [
            (["threads"], 3), (["tokenizer", "--data", #filePath], 2),
            (["load", "--model", Golden.model("sparse")], 1),
        ])
    func machine(arguments: [String], count: Int) async throws {
        let output = try await Program.run(["bench"] + arguments + ["--json"])
        #expect(output.status == 0, "\(output.stderr)")
        let rows = try #require(try output.json["rows"] as? [[String: Any]])
        #expect(rows.count == count)
        for row in rows { #expect((row["measured"] as? Double ?? 0) > 0) }
    }

    @Test("doctor finds that all kernels agree") func doctor() async throws {
        let json = try await Program.succeed("doctor", "--json").json
        #expect(json["self_test"] as? Bool == true)
        #expect((json["kernels_available"] as? [String])?.last == "portable")
        #expect((json["bandwidth_bytes_per_second"] as? Double ?? 0) > 1e8)
        let checks = try #require(json["checks"] as? [[String: Any]])
        let attention = try #require(checks.first { $0["name"] as? String == "attention" })
        #expect(attention["status"] as? String == "good" && (attention["found"] as? String)?.contains("hold") ?? false)
    }

    @Test("tokenize goes there and back") func tokenize() async throws {
        let folder = try Golden.speaker()
        let text = "Zürich <|user|>\n\n🙂"
        let ids = try await Program.succeed("tokenize", "--model", folder.url.path, "--whole", input: text)
        #expect(ids.text == "[\(text.utf8.map(String.init).joined(separator: ","))]\n")
        let back = try await Program.succeed(
            "tokenize", "--model", folder.url.path, "--whole", "--decode", input: ids.text)
        #expect(back.text == text)
        let special = try await Program.succeed(
            "tokenize", "--model", folder.url.path, "--special", input: "<|user|>")
        #expect(special.text == "[259]\n")
    }
}
