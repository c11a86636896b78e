public import Foundation
import GlimCheckpoint
public import GlimModel

extension Tiny {
    /// A config like `config(_:)`, with widths that have groups of 128, 64 and 32 inputs, and some that have none.
    public static func wideConfig(_ seed: Int) -> ModelConfig {
        var draw = Draw(seed, "wide config")
        return config(seed).with {
            $0.hiddenSize = draw.pick([64, 96, 128, 192, 50])
            $0.denseWidth = draw.pick([128, 160, 70])
            $0.expertWidth = draw.pick([32, 64, 128, 40])
            if $0.queryLatent != nil { $0.queryLatent = draw.pick([32, 64, 36]) }
            $0.valueWidth = draw.pick([16, 32, 24])
            // Numbers of ordinary size in wider rows.
            $0.initializerRange /= 3
        }
    }

    /// A model of such a config in a folder, f32.
    public static func saveWide(_ seed: Int, to folder: URL) throws -> ModelConfig {
        let config = wideConfig(seed)
        try model(config, seed).save(to: folder)
        return config
    }

    /// A random model with experts in many shards, in bf16, or in FP8 with a scale for each block: megabytes, that a
    /// program takes a while to quantise.
    public static func saveSharded(to folder: URL, isFP8: Bool) throws {
        let config = ModelConfig.depth(3).with {
            ($0.vocabularySize, $0.hiddenSize, $0.denseWidth, $0.expertWidth) = (512, 256, 512, 128)
            ($0.dtype, $0.scaleBlock) = (.bfloat16, isFP8 ? .init(rows: 128, columns: 128) : nil)
        }
        var draw = Draw(isFP8 ? 1 : 2, "sharded")
        var shards: [[TensorDeclaration]] = [[]]
        for tensor in Model(config, isBlueprint: true).tensors {
            if shards[shards.count - 1].count > 3 { shards.append([]) }
            let isScaled = isFP8 && tensor.shape.count == 2 && tensor.name.contains("proj")
            shards[shards.count - 1].append(TensorDeclaration(tensor.name, isScaled ? .f8E4M3 : .bf16, tensor.shape))
            if isScaled {
                let blocks = tensor.shape.map { ($0 + 127) / 128 }
                shards[shards.count - 1].append(TensorDeclaration("\(tensor.name)_scale_inv", .f32, blocks))
            }
        }
        _ = try CheckpointWriter(folder: folder).writeShards(shards) { _ in
            false
        } provide: { declaration, sink in
            let count = declaration.shape.reduce(1, *)
            if declaration.dtype == .f8E4M3 {
                // Any code but those of NaN.
                let codes = (0..<count).map { _ in UInt8(draw.integer(0...126) + 128 * draw.integer(0...1)) }
                try codes.withUnsafeBytes { try sink.append(bytes: $0) }
            } else {
                try sink.append(draw.floats(count, scale: 0.2).map { $0 + 0.001 })
            }
        } wrote: { _ in
            true
        }
        try config.json.write(to: folder.appending(path: "config.json"))
    }
}
