import Foundation
import GlimTestSupport
import Testing

@Suite("glim sft-data and glim eval reasoning") struct ReasoningCommandTests {
    private func lines(_ file: URL) throws -> [[String: Any]] {
        try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
    }

    private func names(_ folder: borrowing TemporaryFolder) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.url.path).sorted()
    }

    @Test("demonstrations: the lines that were asked for, the same for the same seed") func demonstrations()
        async throws
    {
        let folder = try TemporaryFolder()
        func write(_ name: String, _ arguments: String...) async throws -> Program.Output {
            let output = try await Program.run(
                ["sft-data", "--out", folder.path(name).path, "--count", "200", "--json"] + arguments)
            try #require(output.status == 0, "\(output.stderr)")
            return output
        }
        let first = try await write("a", "--level", "medium", "--tasks", "letters", "stories", "--seed", "3")
        let json = try first.json
        let lines = try lines(folder.path("a"))
        #expect(lines.count == 200 && json["conversations"] as? Int == 200 && json["seed"] as? Int == 3)
        let messages = lines.flatMap { $0["messages"] as? [[String: Any]] ?? [] }
        let questions = messages.filter { $0["role"] as? String == "user" }.compactMap { $0["content"] as? String }
        #expect(json["questions"] as? Int == questions.count && questions.count > 200)
        #expect(questions.allSatisfy { !$0.hasPrefix("What is") && !$0.hasPrefix("Make") && !$0.hasPrefix("Sort") })
        let modes = try #require(json["modes"] as? [String: Int])
        #expect(Set(modes.keys) == ["interleaved", "preserved", "turn-level", "off"])
        #expect(modes.values.reduce(0, +) == 200)
        #expect(lines.count { $0["enable_thinking"] as? Bool == false } >= modes["off"]!)
        #expect(messages.contains { $0["reasoning_content"] is String })

        _ = try await write("b", "--level", "medium", "--tasks", "letters", "stories", "--seed", "3", "--threads", "1")
        _ = try await write("c", "--level", "medium", "--tasks", "letters", "stories", "--seed", "4")
        _ = try await write("d", "--seed", "3")
        let files = try ["a", "b", "c", "d"].map { try Data(contentsOf: folder.path($0)) }
        #expect(files[0] == files[1] && files[0] != files[2] && files[0] != files[3])

        // A line is what glim template reads.
        let speaker = try Golden.speaker()
        for line in String(decoding: files[0], as: UTF8.self).split(separator: "\n").prefix(3) {
            let input = try folder.write(String(line), to: "line.json")
            let rendered = try await Program.succeed("template", "--model", speaker.url.path, "--input", input)
            #expect(rendered.text.hasPrefix("[gMASK]<sop><|user|>") && rendered.text.contains("</think>"))
        }
    }

    @Test("a model that is never right is said so, the same on any number of threads, and nothing is written")
    func sampling() async throws {
        let (model, folder) = (try Golden.speaker(), try TemporaryFolder())
        let old = try folder.write("kept\n", to: "out.jsonl")
        var results: [[String: Any]] = []
        for threads in ["1", "3"] {
            let output = try await Program.run([
                "sft-data", "--out", old, "--model", model.url.path, "--samples", "2", "--max-tokens", "9", "--count",
                "3", "--tasks", "letters", "--seed", "5", "--threads", threads, "--json",
            ])
            #expect(output.status == 1 && output.stderr.contains("answered none of the 3 questions right"))
            #expect(output.stderr.contains("sft-data  question 3/3  kept 0  right 0.0%"), "\(output.stderr)")
            #expect(output.text.contains("questions 3, kept 0\nright: 0.0% of 6 answers"), "\(output.text)")
            results.append(try output.json)
        }
        for key in ["questions", "kept", "samples", "pass_at_1", "pass_at_n", "tokens", "seed"] {
            #expect(results[0][key] as? Double == results[1][key] as? Double && results[0][key] is Double, "\(key)")
        }
        #expect(results[0]["samples"] as? Int == 6 && (6...54).contains(results[0]["tokens"] as? Int ?? 0))
        #expect(try String(contentsOfFile: old, encoding: .utf8) == "kept\n" && names(folder) == ["out.jsonl"])
    }

    @Test("a disk without room and a kill leave what was there, and nothing beside it") func atomic() async throws {
        let folder = try TemporaryFolder()
        let out = try folder.write("kept\n", to: "out.jsonl")
        let full = try await Program.shell(
            "(ulimit -f 4; $GLIM sft-data --out $D/out.jsonl --count 100) 2>&1 | cat", folder)
        #expect(full.text.hasPrefix("error: ") && full.text.contains("File too large"), "\(full.text)")
        #expect(try String(contentsOfFile: out, encoding: .utf8) == "kept\n" && names(folder) == ["out.jsonl"])
        let status = try await Program.run(["sft-data", "--out", out, "--count", "1000000", "--level", "hard"]) {
            process in
            try await Task.sleep(for: .milliseconds(300))
            kill(process, SIGKILL)
        }
        #expect(status == -SIGKILL)
        #expect(try String(contentsOfFile: out, encoding: .utf8) == "kept\n" && names(folder) == ["out.jsonl"])
    }

    @Test("a base model is asked, and the command gives the same again") func evaluation() async throws {
        let folder = try TinyRun.place()
        let trained = try await Program.run(TinyRun.arguments(folder, "run") + ["--steps", "4"])
        try #require(trained.status == 0, "\(trained.stderr)")
        let model = folder.path("run").path
        let output = try await Program.run([
            "eval", "reasoning", "--model", model, "--level", "medium", "--samples", "2", "--max-tokens", "6",
            "--seed", "3", "--json",
        ])
        try #require(output.status == 0, "\(output.stderr)")
        #expect(output.stderr.contains("reasoning  question 10/10  stories"), "\(output.stderr)")
        let json = try output.json
        let cells = try #require(json["cells"] as? [[String: Any]])
        #expect(cells.map { $0["task"] as? String } == ["arithmetic", "countdown", "ordering", "letters", "stories"])
        for result in cells.map({ $0["result"] as? [String: Any] }) + [json["total"] as? [String: Any]] {
            #expect(result?["score"] as? Double == 0 && (result?["high"] as? Double ?? 0) > 0.2)
        }
        #expect((json["total"] as? [String: Any])?["samples"] as? Int == 10)
        #expect(json["level"] as? String == "medium" && json["seed"] as? Int == 3 && json["samples"] as? Int == 2)
        #expect(json["max_tokens"] as? Int == 6 && json["thinking"] as? Bool == true)
        let command = try #require(json["command"] as? String)
        #expect(
            command == "glim eval reasoning --model \(model) --level medium --samples 2 --max-tokens 6 --seed 3")
        let text = output.text.split(separator: "\n")
        #expect(text.count == 8 && text[5].hasPrefix("total ") && text[5].contains("  0.0%  (0.0 to "), "\(text)")
        #expect(text[6] == "again: \(command)")
        let again = try await Program.run(command.split(separator: " ").dropFirst().map(String.init) + ["--json"])
        #expect(again.stdout == output.stdout, "\(again.stderr)")
        let atOnce = try await Program.run([
            "eval", "reasoning", "--model", model, "--samples", "1", "--max-tokens", "6", "--no-thinking", "--json",
        ])
        #expect(try atOnce.json["thinking"] as? Bool == false)
        #expect((try atOnce.json["command"] as? String)?.hasSuffix("--max-tokens 6 --no-thinking --seed 0") == true)
    }

    @Test(
        "wrong usage answers 2",
        arguments: [
            (["sft-data"], "--out"), (["sft-data", "--out", "x", "--level", "extreme"], "medium"),
            (["sft-data", "--out", "x", "--tasks", "chess"], "arithmetic"),
            (["sft-data", "--out", "x", "--count", "0"], "--count is 0"),
            (["sft-data", "--out", "x", "--count", "1000001"], "1...1000000"),
            (["sft-data", "--out", "x", "--samples", "2"], "--model"),
            (["sft-data", "--out", "x", "--max-tokens", "2"], "--model"),
            (["sft-data", "--out", "x", "--temperature", "2"], "--model"),
            (["sft-data", "--out", "x", "--model", "y", "--samples", "0"], "--samples is 0"),
            (["sft-data", "--out", "x", "--model", "y", "--temperature", "nan"], "--temperature is nan"),
            (["sft-data", "--out", "x", "--model", "y", "--max-tokens", "0"], "--max-tokens is 0"),
            (["eval", "reasoning"], "--model"),
            (["eval", "reasoning", "--model", "x", "--samples", "0"], "samples is 0"),
            (["eval", "reasoning", "--model", "x", "--max-tokens", "0"], "--max-tokens is 0"),
            (["eval", "reasoning", "--model", "x", "--level", "0"], "medium"),
        ])
    func usage(arguments: [String], says: String) async throws {
        let output = try await Program.run(arguments)
        #expect(output.status == 2 && output.stdout.isEmpty, "\(output.stderr)")
        #expect(output.stderr.contains(says) && output.stderr.contains("Usage:"), "\(output.stderr)")
    }

    @Test("a folder that cannot be asked answers 1 with one line") func badModels() async throws {
        let folder = try TemporaryFolder()
        let out = folder.path("out").path
        let (sparse, none) = (Golden.model("sparse"), folder.path("none").path)
        for (arguments, says) in [
            (["eval", "reasoning", "--model", sparse], "tokenizer.json"),
            (["eval", "reasoning", "--model", none], "config.json"),
            (["sft-data", "--out", out, "--model", sparse], "tokenizer.json"),
            (["sft-data", "--out", folder.path("no/such").path, "--model", none], "/no"),
        ] {
            let output = try await Program.run(arguments)
            #expect(output.status == 1 && output.stdout.isEmpty)
            #expect(output.stderr.hasPrefix("error: ") && output.stderr.split(separator: "\n").count == 1)
            #expect(output.stderr.contains(says), "\(output.stderr)")
        }
        #expect(try names(folder).isEmpty)
    }
}
