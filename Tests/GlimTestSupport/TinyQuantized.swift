public import Foundation
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
}
