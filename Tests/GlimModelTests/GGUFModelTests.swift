import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

/// Files by the gguf package, and what llama.cpp computes with them (Tools/gguf_golden.py).
@Suite("models in GGUF files") struct GGUFModelTests {
    private static let folder = Golden.folder.appending(path: "gguf")
    private static let formats = GGMLType.writable

    private static func file(_ model: String, _ name: String) -> URL { folder.appending(path: "\(model)/\(name)") }
    private static func file(_ type: GGMLType) -> URL { file("sparse", "\(type.name.lowercased()).gguf") }

    private func logits(_ model: Model, _ file: URL) throws -> (found: [Float], expected: [Float]) {
        let checkpoint = try Checkpoint(file: file)
        return (Scorer(model).logits(try checkpoint.int32s("input_ids")), try checkpoint.floats("logits"))
    }

    @Test("logits are llama.cpp's within 1e-3, whatever the numbers are stored in", arguments: formats)
    func sparse(type: GGMLType) throws {
        let model = try Model(folder: Self.file(type), format: .f32)
        let (found, expected) = try logits(model, Self.file("sparse", "\(type.name.lowercased()).logits.safetensors"))
        #expect(difference(found, expected) <= 1e-3)
    }

    private func difference(_ a: [Float], _ b: [Float]) -> Float {
        a.count == b.count ? zip(a, b).map { abs($0 - $1) }.max() ?? .nan : .nan
    }

    @Test("a dense model too, with keys and values apart or together", arguments: ["f32.gguf", "whole.gguf"])
    func dense(name: String) throws {
        let model = try Model(folder: Self.file("dense", name), format: .f32)
        let (found, expected) = try logits(model, Self.file("dense", "f32.logits.safetensors"))
        #expect(difference(found, expected) <= 1e-3)
    }

    @Test("F32 is the folder, to the bit: config, tensors", arguments: ["sparse", "dense"])
    func same(name: String) throws {
        let folder = try Model(folder: Self.folder.appending(path: name))
        let read = try Model(folder: Self.file(name, "f32.gguf"))
        // What the file does not say.
        let silent = { (config: inout ModelConfig) in (config.bosID, config.initializerRange) = (nil, 0.02) }
        #expect(read.config.with(silent) == folder.config.with(silent))
        #expect(read.tensors.map(\.name) == folder.tensors.map(\.name))
        for (a, b) in zip(read.tensors, folder.tensors) {
            #expect(a.numbers()?.elements == b.numbers()?.elements, "\(a.name)")
        }
    }

    @Test("blocks of integers stay integers, and mean the same numbers", arguments: [GGMLType.q8_0, .q4_0])
    func integers(type: GGMLType) throws {
        let stored = try Model(folder: Self.file(type), format: .inference)
        let plain = try Model(folder: Self.file(type), format: .f32)
        let expert = try #require(stored.tensors.first { $0.name.hasSuffix("experts.0.up_proj.weight") })
        #expect(expert.parts[0].weight.format == (type == .q8_0 ? .int8(group: 32) : .int4(group: 32)))
        for (a, b) in zip(stored.tensors, plain.tensors) {
            #expect(a.numbers()?.elements == b.numbers()?.elements, "\(a.name)")
        }
    }

    @Test("what is exported is what the gguf package makes of the same model", arguments: formats)
    func export(type: GGMLType) throws {
        try withTemporaryFolder { folder in
            let path = folder.appending(path: "out.gguf")
            let export = try GGUFExport(model: Self.folder.appending(path: "sparse"), type: type)
            try export.write(to: path, name: "golden", metadata: [("tokenizer.ggml.model", .string("none"))])
            let (ours, theirs) = (try GGUFFile(path), try GGUFFile(Self.file(type)))
            #expect(ours.names == theirs.names)
            #expect(export.byteCount == theirs.byteCount && export.notes.isEmpty)
            for name in theirs.names {
                #expect(ours.shape(of: name) == theirs.shape(of: name), "\(name)")
                #expect(ours.type(of: name) == theirs.type(of: name), "\(name)")
                #expect(bytes(ours, name) == bytes(theirs, name), "\(name)")
            }
            for (key, value) in theirs.metadata where key.hasPrefix("glm-dsa.") {
                #expect(ours.metadata[key] == value, "\(key)")
            }
        }
    }

    private func bytes(_ file: GGUFFile, _ name: String) -> [UInt8] {
        file.bytes(of: name)?.withUnsafeBytes { [UInt8]($0) } ?? []
    }

    @Test("any golden model comes back to the bit", arguments: Golden.models) func roundTrip(name: String) throws {
        let golden = try GoldenModel(name)
        try withTemporaryFolder { folder in
            // One epsilon and neighbours that rotate are all that the format can say.
            let config = try ModelConfig(folder: golden.folder).with {
                $0.latentNormEpsilon = $0.normEpsilon
                $0.ropeInterleave = true
                $0.indexer?.ropeInterleave = true
            }
            let source = folder.appending(path: "source")
            try FileManager.default.copyItem(at: golden.folder, to: source)
            try config.json.write(to: source.appending(path: "config.json"))
            let path = folder.appending(path: "out.gguf")
            try GGUFExport(model: source, type: .f32).write(to: path, name: name, metadata: [])
            let (before, after) = (try Model(folder: source, format: .f32), try Model(folder: path, format: .f32))
            #expect(before.config.mtpLayerCount == after.config.mtpLayerCount || before.config.family == .lite)
            for line in golden.lines {
                #expect(Scorer(before).logits(line.tokens) == Scorer(after).logits(line.tokens), "\(line.id)")
            }
            // And from there to a folder again.
            let back = folder.appending(path: "back")
            try FolderExport(model: path).write(to: back)
            let again = try Model(folder: back, format: .f32)
            #expect(again.tensors.map(\.name) == after.tensors.map(\.name))
            for (a, b) in zip(again.tensors, after.tensors) {
                #expect(a.numbers()?.elements == b.numbers()?.elements, "\(a.name)")
            }
        }
    }

    @Test("what the format has no words for is refused") func refused() throws {
        let epsilon = #expect(throws: GGUFExportError.self) {
            try GGUFExport(model: GoldenModel("sparse").folder, type: .f32)
        }
        #expect(epsilon?.description.contains("latent_norm_eps") == true)
        try withTemporaryFolder { folder in
            let config = try ModelConfig(folder: Self.folder.appending(path: "sparse")).with {
                $0.ropeInterleave = false
            }
            try config.json.write(to: folder.appending(path: "config.json"))
            try FileManager.default.copyItem(
                at: Self.file("sparse", "model.safetensors"), to: folder.appending(path: "model.safetensors"))
            #expect(throws: GGUFExportError.self) { try GGUFExport(model: folder, type: .f32) }
        }
    }

    @Test("metadata that is missing, of another model or out of range is one error that names it") func metadata()
        throws
    {
        let good = try GGUFFile(Self.file(.q4_0))
        try withTemporaryFolder { folder in
            let path = folder.appending(path: "some.gguf")
            func error(_ key: String, _ value: GGUFValue?) throws -> String {
                var metadata = good.metadata
                metadata[key] = value
                try GGUFWriter.write(
                    metadata.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) },
                    [GGUFDeclaration("token_embd.weight", .f32, [96, 32])], to: path
                ) { _, sink in
                    try [Float](repeating: 0, count: 96 * 32).withUnsafeBufferPointer { try sink.append($0) }
                }
                do {
                    _ = try ModelConfig(folder: path)
                    return "accepted"
                } catch { return "\(error)" }
            }
            #expect(try error("unknown", .integer(1)) == "accepted")
            let damages: [(String, GGUFValue?)] = [
                ("general.architecture", .string("llama")), ("glm-dsa.block_count", nil),
                ("glm-dsa.block_count", .integer(1 << 60)), ("glm-dsa.block_count", .string("2")),
                ("glm-dsa.nextn_predict_layers", .integer(2)), ("glm-dsa.expert_gating_func", .integer(1)),
                ("glm-dsa.rope.scaling.type", .string("yarn")), ("glm-dsa.rope.freq_base", .bool(true)),
                ("glm-dsa.attention.indexer.types", .bools([true])), ("tokenizer.ggml.eos_token_id", .integer(-1)),
            ]
            for (key, value) in damages {
                let text = try error(key, value)
                let names = key.contains("nextn") ? "block_count" : key
                #expect(text.contains("some.gguf") && text.contains(names) && !text.contains("\n"), "\(key): \(text)")
            }
        }
    }
}
