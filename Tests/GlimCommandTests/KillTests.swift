import Foundation
import Testing

/// SIGKILL at any moment, then `--resume`: nothing shows but the time.
@Suite("a training run that is killed", .serialized) struct KillTests {
    /// Text, and a model that trains in milliseconds.
    private func place() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        var text = ""
        for i in 0..<3000 { text += "def f\(i)(x):\n    return x + \(i * 7 % 31)\n\n" }
        _ = try folder.write(text, to: "text.py")
        _ = try folder.write(
            """
            {"model_type": "glm4_moe_lite", "vocab_size": 400, "hidden_size": 48, "intermediate_size": 64,
             "moe_intermediate_size": 24, "num_hidden_layers": 2, "first_k_dense_replace": 1, "n_routed_experts": 4,
             "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "norm_topk_prob": true,
             "routed_scaling_factor": 1.8, "scoring_func": "sigmoid", "num_attention_heads": 4,
             "num_key_value_heads": 4, "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 12,
             "qk_rope_head_dim": 8, "v_head_dim": 12, "hidden_act": "silu", "rms_norm_eps": 1e-6,
             "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "max_position_embeddings": 4096,
             "num_nextn_predict_layers": 1, "tie_word_embeddings": false, "initializer_range": 0.02}
            """, to: "config.json")
        return folder
    }

    private func arguments(_ folder: TemporaryFolder, _ out: String) -> [String] {
        [
            "train", "pretrain", "--data", folder.path("text.py").path, "--config", folder.path("config.json").path,
            "--out", folder.path(out).path, "--steps", "60", "--sequence-length", "64", "--batch-tokens", "1024",
            "--save-every", "7", "--evaluate-every", "20", "--seed", "9",
        ]
    }

    /// The log without what the clock decides.
    private func metrics(_ file: URL) throws -> [String] {
        try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map { line in
            let json = try #require(
                try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            return json.filter { $0.key != "tokens_per_second" }.sorted { $0.key < $1.key }.description
        }
    }

    @Test("at several moments, inside saves too, ends as if it had not been") func killed() async throws {
        let folder = try place()
        let done = try await Program.run(arguments(folder, "whole"))
        #expect(done.status == 0, "\(done.stderr)")
        let whole = try metrics(folder.path("whole/metrics.jsonl"))
        #expect(whole.count == 60)

        // Killed again and again, each time a little later after its start, until one attempt reaches the end.
        let arguments = arguments(folder, "cut") + ["--resume"]
        var kills = 0
        for milliseconds in stride(from: 60, to: 2000, by: 45) {
            let process = Process()
            process.executableURL = Program.url
            process.arguments = arguments
            (process.standardOutput, process.standardError) = (FileHandle.nullDevice, FileHandle.nullDevice)
            try process.run()
            try await Task.sleep(for: .milliseconds(milliseconds))
            if process.isRunning {
                kill(process.processIdentifier, SIGKILL)
                kills += 1
            }
            process.waitUntilExit()
            if process.terminationReason == .exit { break }
        }
        let last = try await Program.run(arguments)
        #expect(last.status == 0, "\(last.stderr)")
        #expect(kills > 0)
        #expect(try metrics(folder.path("cut/metrics.jsonl")) == whole)
        for name in ["model.safetensors", "samples.jsonl", "tokenizer.json"] {
            #expect(
                try Data(contentsOf: folder.path("cut/\(name)")) == Data(contentsOf: folder.path("whole/\(name)")),
                "\(name)")
        }
    }

    @Test("by Ctrl-C saves its step, says how to go on, and goes on") func interrupted() async throws {
        let folder = try place()
        var arguments = arguments(folder, "run")
        arguments[arguments.firstIndex(of: "60")!] = "100000"
        let process = Process()
        let pipe = Pipe()
        process.executableURL = Program.url
        process.arguments = arguments
        (process.standardOutput, process.standardError) = (FileHandle.nullDevice, pipe)
        try process.run()
        let log = folder.path("run/metrics.jsonl")
        while process.isRunning, (try? Data(contentsOf: log))?.isEmpty ?? true {
            try await Task.sleep(for: .milliseconds(20))
        }
        process.interrupt()
        let told = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 130)
        #expect(told.contains("go on with --resume"))
        let steps = try metrics(log).count
        let states = try FileManager.default.contentsOfDirectory(atPath: folder.path("run/training").path)
        #expect(states == ["step-\(steps)"])
    }

    @Test("goes on from another folder, keeps the recorded rows, and refuses other values")
    func otherValues() async throws {
        let folder = try place()
        var start = arguments(folder, "run")
        start[start.firstIndex(of: "60")!] = "6"
        // A path that only means something in this folder.
        start[start.firstIndex(of: folder.path("text.py").path)!] = "./text.py"
        let rows = folder.path("rows.jsonl")
        let begun = try await Program.run(start + ["--record-batches", rows.path], folder: folder.url)
        #expect(begun.status == 0, "\(begun.stderr)")
        let recorded = try Data(contentsOf: rows)
        #expect(recorded.split(separator: UInt8(ascii: "\n")).count == 6)

        let resume = ["train", "pretrain", "--out", folder.path("run").path, "--resume"]
        let again = try await Program.run(resume + ["--json", "--steps", "6", "--record-batches", rows.path])
        #expect(again.status == 0, "\(again.stderr)")
        #expect(try again.json["steps"] as? Int == 6)
        #expect(try Data(contentsOf: rows) == recorded)
        for (option, value, says) in [
            ("--steps", "7", "steps = 6, not steps = 7"),
            ("--learning-rate", "0.5", "learning_rate = 0.002, not learning_rate = 0.5"),
            ("--data", "other", "not data = "), ("--minutes", "3", "without minutes, not minutes = 3.0"),
        ] {
            let refused = try await Program.run(resume + [option, value])
            #expect(refused.status == 1 && refused.stderr.contains(says), "\(refused.stderr)")
            #expect(refused.stderr.split(separator: "\n").count == 1)
        }
        // A state without its recipe is nothing to go on from, and nothing to begin over.
        try FileManager.default.removeItem(at: folder.path("run/recipe.json"))
        let (fresh, resumed) = (try await Program.run(start, folder: folder.url), try await Program.run(resume))
        #expect(fresh.status == 1 && fresh.stderr.contains("already holds a run"), "\(fresh.stderr)")
        #expect(resumed.status == 1 && resumed.stderr.contains("recipe.json"), "\(resumed.stderr)")
    }
}
