import Foundation
import GlimTestSupport
import Testing

@Suite("glim conformance") struct ConformanceCommandTests {
    private static func properties(_ arguments: [String]) async throws -> (
        json: [String: Any], status: [String: String]
    ) {
        let output = try await Program.run(["conformance"] + arguments + ["--json"])
        let json = try output.json
        #expect(output.status == (json["failed"] as? Int == 0 ? 0 : 1), "\(output.text)\(output.stderr)")
        let properties = try #require(json["properties"] as? [[String: Any]])
        for property in properties {
            #expect((property["sentence"] as? String)?.isEmpty == false && property["seconds"] is Double)
            #expect((property["detail"] as? String)?.isEmpty == false)
        }
        let status = Dictionary(
            properties.map { ($0["name"] as? String ?? "", $0["status"] as? String ?? "") }, uniquingKeysWith: { $1 })
        #expect(status.count == properties.count)
        for (key, word) in [("passed", "passed"), ("failed", "failed"), ("not_asked", "not asked")] {
            #expect(json[key] as? Int == status.values.filter { $0 == word }.count, "\(key)")
        }
        return (json, status)
    }

    @Test("without a model everything is asked of this engine, and holds") func builtIn() async throws {
        let (_, status) = try await Self.properties([])
        #expect(status.count == 18 && status.values.allSatisfy { $0 == "passed" }, "\(status)")
    }

    @Test("a sparse checkpoint is asked what can be asked of it") func sparse() async throws {
        let (json, status) = try await Self.properties(["--model", Golden.model("sparse")])
        #expect(json["failed"] as? Int == 0)
        #expect(status["chunks around index_topk"] == "passed", "\(status)")
        #expect(status["selections are well formed"] == "passed", "\(status)")
        #expect(status["needle recall"] == "not asked", "\(status)")
    }

    @Test("of a dense checkpoint only reading is asked") func dense() async throws {
        let (_, status) = try await Self.properties(["--model", Golden.model("lite")])
        #expect(status["causality where everything is selected"] == "passed", "\(status)")
        #expect(status["selections are well formed"] == "not asked", "\(status)")
    }

    @Test("what is not asked of a model has a line that says why") func notAsked() async throws {
        let output = try await Program.succeed("conformance", "--model", Golden.model("lite"))
        let lines = output.text.split(separator: "\n")
        for name in ["selections are well formed", "ties", "shared selections", "the MTP layer's own indexer"] {
            let line = try #require(lines.first { $0.contains(name) })
            #expect(line.hasPrefix("- ") && line.hasSuffix("not asked: attention is dense: there is no indexer"))
        }
        let count = lines.count { $0.hasPrefix("- ") }
        #expect(count > 0 && lines.last?.contains(", 0 failed, \(count) not asked, ") == true)
    }

    @Test("where a property does not hold the answer is 1, with the line that says where") func damaged() async throws {
        // A norm that is not a number: no reading equals another.
        let folder = try TemporaryFolder()
        for file in try FileManager.default.contentsOfDirectory(atPath: Golden.model("sparse")) {
            try FileManager.default.copyItem(
                at: URL(filePath: Golden.model("sparse")).appending(path: file), to: folder.path(file))
        }
        let file = folder.path("model.safetensors")
        var data = try Data(contentsOf: file)
        let start = 8 + data.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        let header = try #require(try JSONSerialization.jsonObject(with: data[8..<start]) as? [String: Any])
        let norm = try #require(header["model.norm.weight"] as? [String: Any])
        let place = try #require(norm["data_offsets"] as? [Int])
        data.replaceSubrange(
            start + place[0]..<start + place[1], with: [UInt8](repeating: 0xFF, count: place[1] - place[0]))
        try data.write(to: file)

        let output = try await Program.run(["conformance", "--model", folder.url.path])
        #expect(output.status == 1, "\(output.text)")
        let failed = output.text.split(separator: "\n").filter { $0.hasPrefix("FAIL  ") }
        #expect(failed.contains { $0.contains("replay") && $0.contains("position 0") }, "\(output.text)")
        #expect(output.stderr.hasPrefix("error: \(failed.count) of 18 properties do not hold"), "\(output.stderr)")
        let (json, status) = try await Self.properties(["--model", folder.url.path])
        #expect(json["failed"] as? Int == failed.count && status["replay"] == "failed")
    }

    @Test("people get a line a property, and the sum") func lines() async throws {
        let output = try await Program.succeed("conformance", "--model", Golden.model("sparse"))
        let lines = output.text.split(separator: "\n")
        #expect(lines.count == 19 && lines.dropLast().allSatisfy { $0.hasPrefix("ok ") || $0.hasPrefix("- ") })
        #expect(lines.last?.contains("0 failed") == true)
    }

    @Test("a folder that is no model answers 1 with one line") func noModel() async throws {
        let folder = try TemporaryFolder()
        let output = try await Program.run(["conformance", "--model", folder.url.path, "--json"])
        #expect(output.status == 1 && output.stdout.isEmpty && output.stderr.contains("config.json"))
    }
}
