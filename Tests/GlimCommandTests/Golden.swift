import Foundation
import GlimTestSupport
import Testing

/// Models to run the program with.
enum Golden {
    private static let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()

    /// The path of one of the small models of `Tests/Golden/models`.
    static func model(_ name: String) -> String { tests.appending(path: "Golden/models/\(name)").path }
    static func input(_ name: String) -> String { model(name) + "/input.jsonl" }

    /// A copy of a model, to be spoiled.
    static func copy(_ name: String) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        for file in try FileManager.default.contentsOfDirectory(atPath: model(name)) {
            try FileManager.default.copyItem(atPath: model(name) + "/" + file, toPath: folder.path(file).path)
        }
        return folder
    }

    /// A model that speaks: a token for every byte and GLM's roles, over the golden network with tied embeddings.
    ///
    /// - Parameter drafts: whether it has an MTP layer, made of its last layer.
    static func speaker(drafts: Bool = false) throws -> TemporaryFolder {
        let folder = try copy("lite_tied")
        let added = ["<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<think>", "</think>"]
        let vocabulary = 256 + added.count
        var config = try json(folder.path("config.json"))
        (config["vocab_size"], config["eos_token_id"]) = (vocabulary, [256])
        if drafts { config["num_nextn_predict_layers"] = 1 }
        try JSONSerialization.data(withJSONObject: config).write(to: folder.path("config.json"))

        var tensors = try Safetensors(folder.path("model.safetensors"))
        let embedding = try #require(tensors["model.embed_tokens.weight"])
        let row = embedding.shape[1] * 4
        let rows = (0..<vocabulary).map { $0 % embedding.shape[0] }.map {
            embedding.bytes[embedding.bytes.startIndex + $0 * row..<embedding.bytes.startIndex + ($0 + 1) * row]
        }
        tensors["model.embed_tokens.weight"] = .init(
            type: "F32", shape: [vocabulary, embedding.shape[1]], bytes: rows.reduce(Data(), +))
        if drafts {
            let count = try #require(config["num_hidden_layers"] as? Int)
            for (name, entry) in tensors.entries where name.hasPrefix("model.layers.\(count - 1).") {
                tensors["model.layers.\(count)." + name.split(separator: ".").dropFirst(3).joined(separator: ".")] =
                    entry
            }
            let norm = try #require(tensors["model.norm.weight"])
            for name in ["enorm", "hnorm", "shared_head.norm"] {
                tensors["model.layers.\(count).\(name).weight"] = norm
            }
            let width = norm.shape[0]
            // Half of each: of the token's embedding, and of the trunk's output.
            let joining = (0..<width).flatMap { i in (0..<2 * width).map { Float($0 % width == i ? 0.5 : 0) } }
            tensors["model.layers.\(count).eh_proj.weight"] = .init(
                type: "F32", shape: [width, 2 * width], bytes: joining.withUnsafeBytes { Data($0) })
        }
        try tensors.data.write(to: folder.path("model.safetensors"))

        let printable = Array(33...126) + Array(161...172) + Array(174...255)
        let others = (0...255).filter { !printable.contains($0) }
        var words: [String: Int] = [:]
        for byte in 0...255 {
            let scalar = printable.contains(byte) ? byte : 256 + others.firstIndex(of: byte)!
            words[String(Character(Unicode.Scalar(UInt32(scalar))!))] = byte
        }
        let tokenizer: [String: Any] = [
            "version": "1.0",
            "added_tokens": added.enumerated().map { i, content in
                ["id": 256 + i, "content": content, "special": !content.contains("think"), "normalized": false]
            },
            "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false, "use_regex": true],
            "decoder": ["type": "ByteLevel"],
            "model": ["type": "BPE", "vocab": words, "merges": [String]()],
        ]
        try JSONSerialization.data(withJSONObject: tokenizer).write(to: folder.path("tokenizer.json"))
        return folder
    }

    static func json(_ file: URL) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any])
    }
}
