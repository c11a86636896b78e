import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimTestSupport
import GlimTrain
import Testing

/// The exactness contract over random small networks: the numbers of a token depend on its own history and the
/// weights, and on nothing else, to the bit.
@Suite("exactness") struct ExactnessTests {
    static let seeds = Array(0..<42)

    @Test("the random configs are valid, and hold every part of the network") func configs() throws {
        let configs = Self.seeds.map(Tiny.shortKeys)
        for config in configs { try config.validate() }
        let parts: [(name: String, isIn: (ModelConfig) -> Bool)] = [
            ("no query latent", { $0.queryLatent == nil }),
            ("a shared indexer", { $0.indexer.map { $0.kinds.contains(.shared) } ?? false }),
            ("fewer groups kept than there are", { $0.groupsKept < $0.groupCount }),
            ("a tied head", { $0.tiesEmbeddings }), ("an MTP layer", { $0.mtpLayerCount == 1 }),
            ("two MTP layers", { $0.mtpLayerCount == 2 }),
            ("a selection that steps of MTP share", { $0.mtpLayerCount > 0 && $0.sharesSelectionAcrossDrafts }),
            ("dense layers only", { $0.denseLayerCount == $0.layerCount }),
            ("experts only", { $0.denseLayerCount == 0 }),
            ("products in bf16, dense attention", { $0.computeType == .bfloat16 && $0.family == .lite }),
            ("products in bf16, sparse attention", { $0.computeType == .bfloat16 && $0.family == .dsa }),
            ("latents in bf16, dense attention", { $0.latentFormat == .bf16 && $0.family == .lite }),
            ("latents in bf16, sparse attention", { $0.latentFormat == .bf16 && $0.family == .dsa }),
            ("index keys in bf16", { $0.indexer?.keyFormat == .bf16 }),
            (
                "index keys in int8, shared",
                { $0.indexer.map { $0.keyFormat == .int8 && $0.kinds.contains(.shared) } ?? false }
            ),
            ("a group of heads that is not full", { $0.headCount > 4 && $0.headCount % 4 != 0 }),
        ]
        for part in parts {
            let count = configs.filter(part.isIn).count
            #expect(count > 0, "\(part.name)")
        }
    }

    /// A network and a few sequences, one of them longer than a page.
    private struct Case {
        let model: Model
        let sequences: [[Int32]]
        /// Logits of each row of each sequence, by the training forward of that sequence alone on one thread.
        let expected: [[Float]]
        var draw: Draw

        init(_ seed: Int) {
            model = Tiny.model(Tiny.shortKeys(seed), seed)
            var draw = Draw(seed, "sequences")
            let vocabulary = model.config.vocabularySize
            var sequences = [draw.tokens(draw.integer(66...150), below: vocabulary)]
            for _ in 0..<draw.integer(1...3) { sequences.append(draw.tokens(draw.integer(1...40), below: vocabulary)) }
            let made = model
            expected = Machine.alone(threads: 1) {
                sequences.map { tokens in
                    made.logits(made.hidden(Batch(tokens: tokens, lengths: [tokens.count]))).elements
                }
            }
            (self.sequences, self.draw) = (sequences, draw)
        }

        /// Rows `range` of a sequence.
        func rows(_ sequence: Int, _ range: Range<Int>) -> [Float] {
            let width = model.config.vocabularySize
            return Array(expected[sequence][range.lowerBound * width..<range.upperBound * width])
        }
    }

    @Test("sequences packed together in any order keep their numbers", arguments: seeds) func packed(seed: Int) {
        var it = Case(seed)
        for threads in 1...4 {
            let order = it.draw.shuffled(Array(it.sequences.indices))
            let tokens = order.flatMap { it.sequences[$0] }
            let logits = Machine.alone(threads: threads) {
                it.model.logits(it.model.hidden(Batch(tokens: tokens, lengths: order.map { it.sequences[$0].count })))
            }.elements
            expectSame(logits, order.flatMap { it.expected[$0] }, "\(threads) threads, order \(order)")
        }
    }

    @Test("one token at a time makes the training forward's numbers", arguments: seeds) func decoded(seed: Int) {
        var it = Case(seed)
        let threads = it.draw.integer(1...3)
        for (s, tokens) in it.sequences.enumerated() where s != 1 {
            Machine.alone(threads: threads) {
                expectSame(
                    Scorer(it.model, mode: .decode).logits(tokens), it.expected[s], "\(threads) threads, sequence \(s)")
            }
        }
    }

    @Test("batches that mix prefill and decode of several caches keep the numbers", arguments: seeds)
    func mixed(seed: Int) {
        var it = Case(seed)
        for round in 0..<2 {
            let caches = it.sequences.map { _ in it.model.makeCache() }
            let most = it.draw.pick([3, 17, 70])
            while true {
                var turns: [(sequence: Int, range: Range<Int>)] = []
                for s in it.draw.shuffled(Array(it.sequences.indices)) {
                    let first = caches[s].count
                    // Sometimes none, often a single token, sometimes a chunk.
                    let wanted = it.draw.chance(0.2) ? 0 : it.draw.chance(0.4) ? 1 : it.draw.integer(1...most)
                    let end = min(it.sequences[s].count, first + wanted)
                    if end > first { turns.append((s, first..<end)) }
                }
                if turns.isEmpty {
                    if zip(caches, it.sequences).allSatisfy({ $0.count == $1.count }) { break }
                    continue
                }
                let batch = Batch(turns.map { (Array(it.sequences[$0.sequence][$0.range]), caches[$0.sequence]) })
                let logits = Machine.alone(threads: it.draw.integer(1...4)) {
                    it.model.logits(it.model.hidden(batch)).elements
                }
                expectSame(
                    logits, turns.flatMap { it.rows($0.sequence, $0.range) }, "round \(round), turns \(turns)")
            }
        }
    }

    @Test("a cache that was cut and extended again holds no trace of what was cut", arguments: seeds)
    func truncated(seed: Int) {
        var it = Case(seed)
        let (tokens, cache) = (it.sequences[0], it.model.makeCache())
        func feed(_ tokens: [Int32]) -> [Float] {
            var logits: [Float] = []
            var first = 0
            for count in it.draw.parts(of: tokens.count, upTo: 50) {
                let batch = Batch([(Array(tokens[first..<first + count]), cache)])
                logits += it.model.logits(it.model.hidden(batch)).elements
                first += count
            }
            return logits
        }
        for _ in 0..<4 {
            let keep = it.draw.integer(0...tokens.count)
            if cache.count < keep { _ = feed(Array(tokens[cache.count..<keep])) }
            cache.truncate(to: keep)
            _ = feed(it.draw.tokens(it.draw.integer(1...80), below: it.model.config.vocabularySize))
            cache.truncate(to: keep)
            expectSame(feed(Array(tokens[keep...])), it.rows(0, keep..<tokens.count), "cut at \(keep)")
            cache.truncate(to: it.draw.integer(0...keep))
        }
    }

    @Test("weights stored in bf16 and the same widened to f32 make the same numbers", arguments: seeds.prefix(14))
    func halves(seed: Int) throws {
        let it = Case(seed)
        try withTemporaryFolder { folder in
            let tensors = it.model.tensors
            let declarations = tensors.map { TensorDeclaration($0.name, $0.shape.count == 2 ? .bf16 : .f32, $0.shape) }
            try CheckpointWriter(folder: folder).write(declarations) { declaration, sink in
                let tensor = tensors.first { $0.name == declaration.name }
                try sink.append(tensor?.numbers()?.elements ?? [])
            }
            let checkpoint = try Checkpoint(folder: folder)
            let stored = try Model(it.model.config, checkpoint, format: .asStored)
            let widened = try Model(it.model.config, checkpoint, format: .f32)
            #expect(stored.head.format == .bf16 && widened.head.format == .f32)
            for tokens in it.sequences {
                let expected = Scorer(widened).logits(tokens)
                expectSame(Scorer(stored).logits(tokens), expected, "training forward")
                expectSame(Scorer(stored, mode: .decode).logits(tokens), expected, "decoding")
                expectSame(Scorer(stored, mode: .chunked(13)).logits(tokens), expected, "chunks")
            }
        }
    }

    @Test("log-probabilities of a generated sequence equal the scorer's", arguments: seeds.prefix(12))
    func generated(seed: Int) {
        var it = Case(seed)
        let prompt = Array(it.sequences[0].prefix(it.draw.integer(1...30)))
        var runs: [[GeneratedToken]] = []
        for threads in 1...3 {
            runs.append(
                Machine.alone(threads: threads) {
                    var generator = Generator(it.model, sampler: Sampler(temperature: 0.9, topP: 0.95, seed: 5))
                    generator.feed(prompt)
                    return (0..<40).compactMap { _ in generator.next() }
                })
        }
        #expect(runs[0].count == 40 && runs[0] == runs[1] && runs[0] == runs[2])
        #expect(runs[0].map(\.position) == Array(prompt.count..<prompt.count + 40))
        let whole = prompt + runs[0].map(\.id)
        for mode in [ScoreMode.train, .chunked(9)] {
            expectSame(
                Array(Scorer(it.model, mode: mode).logprobs(whole).dropFirst(prompt.count - 1)), runs[0].map(\.logprob),
                "\(mode)")
        }
    }

    // MARK: Gradients

    /// One training step's gradient: the next token, balance, and tokens further ahead where there are MTP layers, one
    /// more than there are layers.
    private func gradients(_ it: Case, recomputes: Bool) -> (gradients: Gradients, logprobs: [Float]) {
        let (tokens, lengths) = (it.sequences.flatMap { $0 }, it.sequences.map(\.count))
        let next = it.sequences.flatMap { $0.dropFirst() + [-1] }
        let batch = Batch(tokens: tokens, lengths: lengths)
        let tape = Tape()
        let hidden = it.model.hidden(batch, tape: tape, recomputes: recomputes, balance: 1e-3)
        var logprobs = Tensor.crossEntropy(
            hidden, head: it.model.head, targets: next, lossScale: 1 / Float(tokens.count), tape: tape)
        func ahead(_ distance: Int, or none: Int32) -> [Int32] {
            it.sequences.flatMap { $0.dropFirst(distance) + [Int32](repeating: none, count: min(distance, $0.count)) }
        }
        let (count, observer) = (it.model.predictions.count, Observer())
        var rows = hidden
        for step in 1..<(count == 0 ? 1 : count + 2) {
            rows = it.model.predictAhead(
                rows, next: ahead(step, or: 0), batch, step: step, sharing: observer.selections[it.model.layers.count],
                tape: tape, balance: 1e-3, observer: step == 1 ? observer : nil)
            logprobs += Tensor.crossEntropy(
                rows, head: it.model.head, targets: ahead(step + 1, or: -1), lossScale: 0.3 / Float(tokens.count),
                tape: tape)
        }
        tape.backward()
        return (tape.gradients, logprobs)
    }

    private func expectSame(_ a: Gradients, _ b: Gradients, _ model: Model, _ what: String) {
        for tensor in model.tensors {
            GlimTestSupport.expectSame(a.numbers(tensor), b.numbers(tensor), "\(tensor.name), \(what)")
        }
    }

    private func expectSame(
        _ a: [Float], _ b: [Float], _ what: @autoclosure () -> String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        GlimTestSupport.expectSame(a, b, what(), sourceLocation: sourceLocation)
    }

    @Test("gradients are the same bits for any threads and with recomputation", arguments: seeds)
    func training(seed: Int) {
        let it = Case(seed)
        let (first, logprobs) = Machine.alone(threads: 1) { gradients(it, recomputes: false) }
        #expect(logprobs.allSatisfy { $0.isFinite })
        for (threads, recomputes) in [(2, false), (3, true), (4, false), (1, true)] {
            let (again, sameLogprobs) = Machine.alone(threads: threads) { gradients(it, recomputes: recomputes) }
            expectSame(again, first, it.model, "\(threads) threads, recomputes: \(recomputes)")
            expectSame(sameLogprobs, logprobs, "log-probabilities")
        }
        for tensor in it.model.tensors {
            let isLearned = !tensor.name.contains(".indexer.") && !tensor.name.hasSuffix("e_score_correction_bias")
            #expect((tensor.numbers(in: first) != nil) == isLearned, "\(tensor.name)")
            #expect(first.numbers(tensor).allSatisfy { $0.isFinite }, "\(tensor.name)")
        }
    }

    @Test("the gradient of micro-batches is the same bits for any threads", arguments: seeds.prefix(10))
    func microBatches(seed: Int) {
        var it = Case(seed)
        let sequences =
            it.sequences
            + (0..<3).map { _ in it.draw.tokens(it.draw.integer(1...20), below: it.model.config.vocabularySize) }
        let first = Machine.alone(threads: 1) { LossGradient(it.model, sequences) }
        for threads in 2...4 {
            let again = Machine.alone(threads: threads) { LossGradient(it.model, sequences) }
            #expect(again.loss == first.loss && again.logprobs == first.logprobs)
            expectSame(again.gradients, first.gradients, it.model, "\(threads) threads")
        }
    }
}
