import Foundation
import GlimTestSupport
import Testing

/// A training run of a second, and what it must leave behind.
enum TinyRun {
    /// Text, conversations, and a model that trains in milliseconds.
    static func place() throws -> TemporaryFolder {
        let folder = try TemporaryFolder(inMemory: true)
        var text = ""
        for i in 0..<3000 { text += "def f\(i)(x):\n    return x + \(i * 7 % 31)\n\n" }
        _ = try folder.write(text, to: "text.py")
        let talk = (0..<300).map { i in
            """
            {"messages": [{"role": "user", "content": "f\(i)?"}, {"role": "assistant", "reasoning_content": "\(i)",
            "content": "", "tool_calls": [{"name": "run", "arguments": {"x": \(i)}, "error": \(i % 3 == 0)}]},
            {"role": "tool", "content": "\(i * 7 % 31)"}, {"role": "assistant", "content": "return x + \(i * 7 % 31)"}]}
            """.replacing("\n", with: " ")
        }
        _ = try folder.write(talk.joined(separator: "\n"), to: "talk.jsonl")
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

    /// - Parameter stage: those after pre-training start from the run "dense".
    static func arguments(_ folder: TemporaryFolder, _ out: String, stage: String = "pretrain") -> [String] {
        let data = stage == "sft" ? "talk.jsonl" : "text.py"
        let common = [
            "--data", folder.path(data).path, "--out", folder.path(out).path, "--batch-tokens", "1024", "--seed",
            "9",
        ]
        guard stage == "pretrain" else { return ["train", stage, "--model", folder.path("dense").path] + common }
        return ["train", stage, "--config", folder.path("config.json").path] + common + [
            "--steps", "60", "--sequence-length", "64", "--save-every", "7", "--evaluate-every", "20",
        ]
    }

    /// The log without what the clock decides.
    static func metrics(_ file: URL) throws -> [String] {
        try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map { line in
            let json = try #require(
                try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            return json.filter { $0.key != "tokens_per_second" }.sorted { $0.key < $1.key }.description
        }
    }

    /// Everything a run leaves behind, by its path in the folder.
    private static func files(_ run: URL) throws -> [String: Data] {
        let names = try FileManager.default.subpathsOfDirectory(atPath: run.path)
        return try names.reduce(into: [:]) { files, name in
            var isFolder: ObjCBool = false
            let file = run.appending(path: name)
            guard FileManager.default.fileExists(atPath: file.path, isDirectory: &isFolder), !isFolder.boolValue else {
                return
            }
            files[name] = try Data(contentsOf: file)
        }
    }

    /// The same files with the same bytes, but for what the clock decides and the name of the folder.
    static func expectSame(_ run: URL, _ whole: URL) throws {
        let (found, expected) = (try files(run), try files(whole))
        // Nor does anything lie about that a killed process had under a temporary name.
        #expect(found.keys.sorted() == expected.keys.sorted())
        for (name, bytes) in expected where !["metrics.jsonl", "recipe.json"].contains(name) {
            #expect(found[name] == bytes, "\(name)")
        }
        #expect(try metrics(run.appending(path: "metrics.jsonl")) == metrics(whole.appending(path: "metrics.jsonl")))
    }
}
