import Foundation
import GlimTestSupport
import Testing

/// `--memory` and `glim plan`: the same replies in less memory, and one error that says the least.
@Suite("glim with little memory") struct MemoryCommandTests {
    /// What the error of too little memory says is enough.
    private static func least(_ arguments: [String]) async throws -> Int {
        let refused = try await Program.run(arguments + ["--memory", "1MiB"])
        #expect(refused.status == 1 && refused.stderr.hasPrefix("error: "), "\(refused.stderr)")
        let words = refused.stderr.split(separator: " ")
        let place = try #require(words.firstIndex(of: "least"))
        return try #require(Int(words[place + 1]))
    }

    @Test("a model that does not fit says the same, from disk, and what is held is counted") func generate()
        async throws
    {
        let folder = try TemporaryFolder()
        try Tiny.saveSharded(to: folder.url, isFP8: false)
        let arguments = [
            "generate", "--model", folder.url.path, "--tokens", "1,2,3,4,5", "--max-tokens", "12", "--json",
        ]
        let whole = try await Program.run(arguments).json
        // A process takes a little more or less from one time to the next.
        let memory = try await Self.least(arguments) + 2 << 20
        let output = try await Program.run(arguments + ["--memory", "\(memory)"])
        #expect(output.status == 0, "\(output.stderr)")
        let streamed = try output.json
        #expect(streamed["tokens"] as? [Int] == whole["tokens"] as? [Int])
        #expect(streamed["logprobs"] as? [Double] == whole["logprobs"] as? [Double])
        #expect((streamed["expert_bytes_read"] as? Int ?? 0) > 0 && whole["expert_bytes_read"] == nil)
        #expect(output.stderr.contains("experts: "))
        #expect(FileManager.default.fileExists(atPath: folder.path("expert-counts.json").path))
        // More than it needs: nothing is read twice.
        let ample = try await Program.run(arguments + ["--memory", "4GiB"])
        #expect(try ample.json["tokens"] as? [Int] == whole["tokens"] as? [Int])
        #expect(try ample.json["expert_bytes_read"] == nil)
    }

    @Test(
        "what a process has in memory stays within the limit, of a model that is larger",
        .enabled("the system does not tell") { FileManager.default.fileExists(atPath: "/proc/self/status") })
    func resident() async throws {
        let folder = try TemporaryFolder()
        try Tiny.saveExperts(to: folder.url)
        let tokens = (1...60).map(String.init).joined(separator: ",")
        let generate = ["generate", "--model", folder.url.path, "--tokens", tokens, "--max-tokens", "16", "--json"]
        let memory = try await Self.least(generate) + 24 << 20
        let whole = try await Program.run(generate).json
        let streamed = try await Program.run(generate + ["--memory", "\(memory)"]).json
        #expect((streamed["expert_bytes_read"] as? Int ?? 0) > 100 << 20)
        #expect(streamed["tokens"] as? [Int] == whole["tokens"] as? [Int])
        #expect(streamed["logprobs"] as? [Double] == whole["logprobs"] as? [Double])

        // The program's own account of what it had: whoever looks from outside may come too late.
        let bench = ["bench", "decode", "--model", folder.url.path, "--context", "100", "--tokens", "4", "--json"]
        let (room, all) = (try await Self.least(bench) + 24 << 20, try await Program.run(bench).json)
        let limited = try await Program.run(bench + ["--memory", "\(room)"]).json
        #expect(all["peak_bytes"] as? Int ?? 0 > room, "\(all)")
        #expect(limited["peak_bytes"] as? Int ?? .max < room && limited["expert_hit_rate"] as? Double ?? 2 < 1)
        #expect(limited["peak_rss_bytes"] as? Int ?? .max < room, "\(limited), \(room)")
    }

    @Test("plan says what fits where and how fast it will be") func plan() async throws {
        let glm5 = try await Program.succeed(
            "plan", "--preset", "glm-5", "--memory", "64GiB", "--disk-bandwidth", "3GB", "--json")
        let json = try glm5.json
        #expect(json["streamed"] as? Bool == true && json["memory_bytes"] as? Int == 64 << 30)
        for key in ["decode_tokens_per_second", "prefill_tokens_per_second", "hit_rate", "read_bytes_per_token"] {
            #expect((json[key] as? Double ?? 0) > 0, "\(key)")
        }
        let parts = try #require(json["parts"] as? [[String: Any]]).reduce(0) { $0 + ($1["bytes"] as? Int ?? 0) }
        #expect(parts + (json["held_expert_bytes"] as? Int ?? .max / 2) <= 64 << 30)
        #expect((json["assumptions"] as? [String])?.count ?? 0 > 3 && json["helps_most"] as? String != nil)
        #expect(glm5.text.contains("what would help") && glm5.text.contains("evenly"))
        let fits = try await Program.succeed("plan", "--preset", "nano", "--memory", "2GiB", "--json").json
        #expect(fits["streamed"] as? Bool == false && fits["hit_rate"] as? Double == 1)
        let folder = try TemporaryFolder()
        try Tiny.saveSharded(to: folder.url, isFP8: false)
        let arguments = ["plan", "--model", folder.url.path, "--context", "64", "--json"]
        let memory = try await Self.least(arguments) + 2 << 20
        let output = try await Program.run(arguments + ["--memory", "\(memory)"])
        #expect(output.status == 0, "\(output.stderr)")
        let own = try output.json
        #expect(own["streamed"] as? Bool == true && (own["read_bytes_per_second"] as? Double ?? 0) > 0)
    }

    @Test(
        "what cannot be is one error",
        arguments: [
            (["plan", "--preset", "glm-5", "--memory", "8GiB"], 1), (["plan", "--preset", "glm-5"], 2),
            (["plan", "--preset", "glm-5", "--memory", "much"], 2), (["plan", "--memory", "8GiB"], 2),
            (["plan", "--preset", "glm-5", "--memory", "64GiB", "--context", "999999"], 1),
            (["bench", "decode", "--preset", "nano", "--memory", "8GiB"], 2),
        ] as [([String], Int32)])
    func refused(arguments: [String], status: Int32) async throws {
        let output = try await Program.run(arguments)
        #expect(output.status == status && output.stderr.lowercased().hasPrefix("error: "), "\(output.stderr)")
        if status == 1 { #expect(output.stderr.split(separator: "\n").count == 1) }
    }
}
