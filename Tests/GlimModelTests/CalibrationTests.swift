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
        let probes = sequences.map { ProbeBatch($0) }
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
                folder: plain, Scheme(name), Array(probes.prefix(4)), heldOut: Array(probes.suffix(2)))
            #expect(result.before.perplexityBefore == result.after.perplexityBefore)
            #expect(result.after.divergence < result.before.divergence, "\(result.after), \(result.before)")
            #expect(result.after.agreement > 0.5 && result.after.tokenCount == 78)
            for module in result.modules {
                #expect(module.before.error > 0 && module.after.error < 1.1 * module.before.error, "\(module)")
                #expect(module.bits == 8 || module.name.hasSuffix(".mlp.experts") && name == .w4a8)
            }
            struct Stop: Error {}
            let conversion = try Conversion(plain, to: quantised, Scheme(name))
            // At any moment it may be stopped, and leaves nothing.
            for moment in [0, 5, 20] {
                var checks = 0
                #expect(throws: Stop.self) {
                    try conversion.write {
                        try Calibration(
                            folder: plain, Scheme(name), Array(probes.prefix(4)), heldOut: Array(probes.suffix(2)),
                            check: {
                                checks += 1
                                if checks > moment { throw Stop() }
                            })
                    }
                }
                #expect(checks == moment + 1 && !FileManager.default.fileExists(atPath: quantised.path))
            }
            _ = try conversion.write { result }
            let loaded = try Model(folder: quantised)
            #expect(loaded.config == result.model.config)
            for tokens in sequences {
                expectSame(Scorer(loaded, mode: .decode).logits(tokens), Scorer(result.model).logits(tokens))
            }
            let again = try Calibration(
                folder: plain, Scheme(name), Array(probes.prefix(4)), heldOut: Array(probes.suffix(2)))
            #expect(again.modules == result.modules && again.after == result.after)
        }
    }

    @Test("a comparison with itself finds no difference") func itself() throws {
        let model = Tiny.model(4)
        let tokens = (0..<30).map { Int32($0 * 5 % model.config.vocabularySize) }
        let same = try ModelComparison(model, model, [ProbeBatch(tokens), ProbeBatch(Array(tokens.prefix(2)))])
        #expect(same.divergence == 0 && same.agreement == 1 && same.tokenCount == 30 && same.standardError == 0)
        let logprobs = Scorer(model).logprobs(tokens) + Scorer(model).logprobs(Array(tokens.prefix(2)))
        let expected = exp(-logprobs.reduce(0.0) { $0 + Double($1) } / 30)
        #expect(abs(same.perplexityBefore / expected - 1) < 1e-9 && same.perplexityAfter == same.perplexityBefore)
    }

    @Test("a comparison is of what counts, sequence by sequence", arguments: [false, true])
    func counted(isAhead: Bool) throws {
        let config = Tiny.wideConfig(9).with { ($0.mtpLayerCount, $0.computeType) = (1, .float32) }
        let (before, after) = (Tiny.model(config, 1), Tiny.model(config, 2))
        var draw = Draw(8, "tokens")
        let sequences = [17, 1, 2, 30].map { draw.tokens($0, below: config.vocabularySize) }
        // Every third token does not count; after the last of a sequence none is known.
        let next = sequences.map { tokens in
            tokens.indices.map { $0 + 1 < tokens.count && $0 % 3 != 1 ? tokens[$0 + 1] : -1 }
        }
        let probe = ProbeBatch(
            tokens: sequences.flatMap(\.self), lengths: sequences.map(\.count), next: next.flatMap(\.self))
        let found = try ModelComparison(.init(before, [probe], ahead: isAhead), after)
        // The same one sequence after the other, in softmaxes written out.
        func logprobs(_ model: Model, _ tokens: [Int32]) -> [[Double]] {
            var hidden = model.hidden(Batch(tokens: tokens, lengths: [tokens.count]))
            if isAhead {
                let read = Array(tokens.dropFirst())
                hidden = model.predictAhead(
                    Tensor.selectRows(hidden, Array(read.indices)), next: read,
                    Batch(tokens: read, lengths: [read.count]))
            }
            let logits = model.logits(hidden)
            return (0..<logits.shape.rows).map { row in
                let values = logits.elements[row * config.vocabularySize..<(row + 1) * config.vocabularySize]
                let sum = log(values.reduce(0) { $0 + exp(Double($1)) })
                return values.map { Double($0) - sum }
            }
        }
        var (p, q, divergence, same): ([Double], [Double], Double, Double) = ([], [], 0, 0)
        for (tokens, next) in zip(sequences, next) where !isAhead || tokens.count > 1 {
            let (a, b) = (logprobs(before, tokens), logprobs(after, tokens))
            for (row, token) in next.dropFirst(isAhead ? 1 : 0).enumerated() where token >= 0 {
                p.append(a[row][Int(token)])
                q.append(b[row][Int(token)])
                divergence += zip(a[row], b[row]).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
                same += a[row].firstIndex(of: a[row].max()!) == b[row].firstIndex(of: b[row].max()!) ? 1 : 0
            }
        }
        let count = Double(p.count)
        try #require(found.tokenCount == p.count && p.count > 20)
        let (nats, lost) = (-p.reduce(0, +) / count, -q.reduce(0, +) / count)
        let squares = zip(p, q).reduce(0) { $0 + ($1.0 - $1.1 - lost + nats) * ($1.0 - $1.1 - lost + nats) }
        #expect(abs(found.perplexityBefore / exp(nats) - 1) < 1e-5 && abs(found.perplexityAfter / exp(lost) - 1) < 1e-5)
        #expect(abs(found.standardError / (squares.squareRoot() / count) - 1) < 1e-4)
        #expect(abs(found.divergence / (divergence / count) - 1) < 1e-4 && found.agreement == same / count)
    }

    @Test("a layer of multi-token prediction is measured by what it predicts") func ahead() throws {
        let config = Tiny.wideConfig(9).with {
            ($0.mtpLayerCount, $0.computeType, $0.layerCount, $0.denseLayerCount) = (1, .float32, 2, 1)
        }
        var draw = Draw(6, "text")
        let probes = (0..<5).map { _ in ProbeBatch(draw.tokens(40, below: config.vocabularySize)) }
        try withTemporaryFolder { folder in
            try Tiny.model(config, 4).save(to: folder)
            let result = try Calibration(
                folder: folder, Scheme(.w4a8), Array(probes.prefix(3)), heldOut: Array(probes.suffix(2)))
            let modules = result.modules.filter { $0.name.hasPrefix("model.layers.2.") }
            #expect(modules.count > 4 && modules.count < result.modules.count)
            for module in modules where !module.name.contains("indexer") {
                #expect(module.before.divergence > 0 && module.after.divergence > 0, "\(module)")
            }
            // Its own prediction is of the token after the next: one less of each row.
            #expect(result.ahead?.tokenCount == 76 && result.after.tokenCount == 78)
            #expect(modules.allSatisfy { $0.bits == 8 })
        }
    }
}
