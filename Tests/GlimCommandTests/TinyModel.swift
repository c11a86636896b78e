import Foundation
import GlimTestSupport
import Testing

/// A model that takes a moment to convert.
enum TinyModel {
    /// Some 40 MB of the golden sparse model's shape with a large vocabulary, and a tokenizer.
    static func large(in folder: TemporaryFolder) throws -> String {
        let golden = URL(filePath: #filePath).appending(path: "../../Golden/gguf/sparse").standardizedFileURL
        let model = folder.path("large")
        try FileManager.default.createDirectory(at: model, withIntermediateDirectories: true)
        var config = try #require(
            try JSONSerialization.jsonObject(with: Data(contentsOf: golden.appending(path: "config.json")))
                as? [String: Any])
        let rows = 160_000
        config["vocab_size"] = rows
        try JSONSerialization.data(withJSONObject: config).write(to: model.appending(path: "config.json"))
        var tensors = try Safetensors(golden.appending(path: "model.safetensors"))
        for name in ["model.embed_tokens.weight", "lm_head.weight"] {
            let tensor = try #require(tensors[name])
            let width = tensor.shape[1]
            let numbers = (0..<rows * width).map { Float(($0 &* 7919) % 4001 - 2000) / 2000 }
            tensors[name] = .init(
                type: "F32", shape: [rows, width], bytes: numbers.withUnsafeBytes { Data($0) })
        }
        try tensors.data.write(to: model.appending(path: "model.safetensors"))
        let speaker = try Golden.speaker()
        try FileManager.default.copyItem(
            at: speaker.path("tokenizer.json"), to: model.appending(path: "tokenizer.json"))
        return model.path
    }
}
