import Foundation
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

@Suite("calibration") struct CalibrationTests {
    @Test("a rotated model computes what it did", arguments: 0..<12) func rotation(seed: Int) {
        let config = Tiny.wideConfig(seed).with { $0.computeType = .float32 }
        let (model, rotated) = (Tiny.model(config, seed), Tiny.model(config, seed))
        var draw = Draw(seed, "tokens")
        // No more than attention sees anyway: where it chooses, rounding may decide between ties.
        let tokens = draw.tokens(min(20, config.indexer?.topK ?? 20), below: config.vocabularySize)
        let before = Scorer(model).logits(tokens)
        #expect(rotated.rotate(seed: 5) == (config.mtpLayerCount == 0 && !config.tiesEmbeddings))
        expectClose(Scorer(rotated).logits(tokens), before, within: 2e-4)
        let changed = zip(model.tensors, rotated.tensors).count { $0.numbers()!.elements != $1.numbers()!.elements }
        #expect(changed > 0)
    }

    @Test(
        "a calibrated model is saved as it is, and no worse than one that is rounded",
        arguments: [Scheme.Name.w4a8, .w8a8])
    func calibrated(name: Scheme.Name) throws {
        var draw = Draw(3, "text")
        // Dense attention: which positions one chooses hangs on the last bits.
        let config = Tiny.wideConfig(9).with {
            ($0.computeType, $0.expertWidth, $0.hiddenSize, $0.initializerRange) = (.float32, 64, 96, 0.1)
            ($0.layerCount, $0.denseLayerCount, $0.routedExpertCount, $0.groupCount) = (2, 1, 4, 1)
            ($0.groupsKept, $0.expertsPerToken) = (1, 2)
        }
        let sequences = (0..<6).map { _ in draw.tokens(40, below: config.vocabularySize) }
        try withTemporaryFolder { folder in
            let (plain, quantised) = (folder.appending(path: "plain"), folder.appending(path: "quantised"))
            // Inputs of very different size, as norms of trained models make them.
            let model = Tiny.model(config, 4)
            for layer in model.layers {
                for norm in [layer.attentionNorm, layer.feedForwardNorm] {
                    let moved = norm.rows().elements.enumerated().map { $0 % 11 == 3 ? 12 * $1 : $1 }
                    moved.withUnsafeBufferPointer { norm.set($0) }
                    norm.changed()
                }
            }
            try model.save(to: plain)
            let result = try Calibration(
                folder: plain, Scheme(name), sequences: Array(sequences.prefix(4)), heldOut: Array(sequences.suffix(2)))
            #expect(result.before.perplexityBefore == result.after.perplexityBefore)
            #expect(result.after.divergence < result.before.divergence, "\(result.after), \(result.before)")
            #expect(result.after.agreement > 0.5 && result.after.tokenCount == 78)
            for module in result.modules {
                #expect(module.before.error > 0 && module.after.error < 1.1 * module.before.error, "\(module)")
                #expect(module.bits == 8 || module.name.hasSuffix(".mlp.experts") && name == .w4a8)
            }
            try result.model.save(to: quantised)
            let loaded = try Model(folder: quantised)
            #expect(loaded.config == result.model.config)
            for tokens in sequences {
                expectSame(Scorer(loaded, mode: .decode).logits(tokens), Scorer(result.model).logits(tokens))
            }
            let again = try Calibration(
                folder: plain, Scheme(name), sequences: Array(sequences.prefix(4)), heldOut: Array(sequences.suffix(2)))
            #expect(again.modules == result.modules && again.after == result.after)
        }
    }

    @Test("a comparison with itself finds no difference") func itself() {
        let model = Tiny.model(4)
        let tokens = (0..<30).map { Int32($0 * 5 % model.config.vocabularySize) }
        let same = ModelComparison(model, model, [tokens, Array(tokens.prefix(2))])
        #expect(same.divergence == 0 && same.agreement == 1 && same.tokenCount == 30)
        let logprobs = Scorer(model).logprobs(tokens) + Scorer(model).logprobs(Array(tokens.prefix(2)))
        let expected = exp(-logprobs.reduce(0.0) { $0 + Double($1) } / 30)
        #expect(abs(same.perplexityBefore / expected - 1) < 1e-9 && same.perplexityAfter == same.perplexityBefore)
    }
}
