public import Foundation
import GlimCheckpoint
import GlimModel

extension Tiny {
    /// A random model in bf16 of which nearly all is experts, 200 MB of them: whatever keeps it within less memory has
    /// something to do. Written in a moment, for its numbers are drawn once and lie in each tensor from another place on.
    public static func saveExperts(to folder: URL) throws {
        let config = ModelConfig.depth(3).with {
            ($0.vocabularySize, $0.hiddenSize, $0.denseWidth, $0.expertWidth) = (512, 512, 512, 256)
            ($0.routedExpertCount, $0.expertsPerToken, $0.mtpLayerCount, $0.dtype) = (128, 4, 0, .bfloat16)
        }
        var draw = Draw(3, "experts")
        // Between 1/32 and 1/16, and below zero as often.
        let numbers = (0..<1 << 18 | 5).map { _ in
            UInt16(draw.integer(0...1) << 15 | 0x7A << 7 | draw.integer(0...127))
        }
        let tensors = Model(config, isBlueprint: true).tensors.map { TensorDeclaration($0.name, .bf16, $0.shape) }
        var start = 0
        try CheckpointWriter(folder: folder).write(tensors) { tensor, sink in
            var left = tensor.shape.reduce(1, *)
            if tensor.shape.count < 2 { return try sink.append([Float](repeating: 1, count: left)) }
            start = (start + 7919) % numbers.count
            var next = start
            while left > 0 {
                let part = numbers[next..<min(numbers.count, next + left)]
                try part.withUnsafeBytes { try sink.append(bytes: $0) }
                (left, next) = (left - part.count, 0)
            }
        }
        try config.json.write(to: folder.appending(path: "config.json"))
    }
}
