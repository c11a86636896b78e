import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

/// Drafting with multi-token prediction: another order of work, never another number.
@Suite("drafting") struct DraftingTests {
    static let seeds = Array(0..<24)

    /// A random model with one MTP layer or three, of every kind of attention.
    private func model(_ seed: Int, _ change: (inout ModelConfig) -> Void = { _ in }) -> Model {
        var config = Tiny.config(seed)
        config.mtpLayerCount = seed % 3 == 2 ? 3 : 1
        change(&config)
        return Tiny.model(config, seed)
    }

    @Test("the models have every kind of attention") func models() {
        let configs = Self.seeds.map { model($0).config }
        #expect(configs.contains { $0.indexer == nil } && configs.contains { $0.computeType == .bfloat16 })
        for isShared in [false, true] {
            #expect(configs.contains { $0.indexer != nil && $0.sharesSelectionAcrossDrafts == isShared })
        }
        #expect(configs.contains { $0.sharesSelectionAcrossDrafts && $0.mtpLayerCount == 3 })
    }

    /// Feeds in pieces, draws with checks of the cache, feeds again in the middle of what was verified, and draws again.
    private func run(_ model: Model, _ sampler: Sampler, stops: Set<Int32>, drafts: Int, _ draw: Draw)
        -> (tokens: [[GeneratedToken]], statistics: DraftStatistics)
    {
        var (draw, pieces) = (draw, Draw(drafts, "pieces"))
        var generator = Generator(model, sampler: sampler, stops: stops, drafts: drafts)
        var tokens: [[GeneratedToken]] = []
        for _ in 0..<3 {
            let prompt = draw.tokens(draw.integer(1...60), below: model.config.vocabularySize)
            let count = draw.integer(1...40)
            var first = 0
            for piece in pieces.parts(of: prompt.count, upTo: 25) {
                generator.feed(Array(prompt[first..<first + piece]))
                first += piece
            }
            var turn: [GeneratedToken] = []
            while turn.count < count, let token = generator.next() {
                // The token itself is in the cache once its successor is drawn.
                #expect(generator.cache.count == token.position)
                turn.append(token)
            }
            tokens.append(turn)
        }
        return (tokens, generator.draftStatistics)
    }

    @Test("tokens and log-probabilities are those without drafts, to the bit", arguments: seeds)
    func lossless(seed: Int) {
        let model = model(seed) { $0.maximumPositions = seed % 5 == 0 ? 100 : 1024 }
        let draw = Draw(seed, "drafting")
        var accepted = 0
        for (i, temperature) in [0, 0.8, 6].enumerated() {
            let sampler = Sampler(temperature: temperature, topP: i == 2 ? 0.9 : 1, seed: UInt64(seed))
            let free = run(model, sampler, stops: [], drafts: 0, draw).tokens
            // Something drawn in the middle stops, often within drafts that were right.
            let stop = free[1].count > 4 ? [free[1][free[1].count / 2].id] : [Int32]()
            for stops in [[], Set(stop)] {
                let expected = run(model, sampler, stops: stops, drafts: 0, draw)
                #expect(expected.statistics.steps == 0)
                for drafts in [1 + seed % 2, 3, 6] {
                    let found = Machine.alone(threads: 1 + seed % 3) {
                        run(model, sampler, stops: stops, drafts: drafts, draw)
                    }
                    #expect(found.tokens == expected.tokens, "\(drafts) drafts, temperature \(temperature)")
                    accepted += found.statistics.accepted.reduce(0, +)
                }
            }
        }
        // Nearly even distributions draw by the shared random numbers alone.
        #expect(accepted > 0)
    }

    @Test("what a step computes while drafting is the training forward's, to the bit", arguments: seeds)
    func exact(seed: Int) {
        let model = model(seed)
        var draw = Draw(seed, "drafter")
        let (depth, width) = (5, model.config.vocabularySize)
        let tokens = draw.tokens(draw.integer(70...140), below: width)
        let hidden = model.hidden(Batch(tokens: tokens, lengths: [tokens.count]))
        // Of each step, its logits of the rows that know their token.
        var expected: [[Float]] = []
        var (rows, first) = (hidden, Selection?.none)
        for step in 1...depth {
            let (kept, next, observer) = (tokens.count - step, Array(tokens.dropFirst(step)), Observer())
            rows = model.predictAhead(
                Tensor.selectRows(rows, Array(0..<kept)), next: next, Batch(tokens: next, lengths: [kept]), step: step,
                sharing: first?.selectRows(Array(0..<kept)), observer: observer)
            if step == 1 { first = observer.selections[model.config.layerCount] }
            expected.append(Tensor.linear(rows, model.aheadHead(step: step)).elements)
        }

        var drafter = Drafter(model, depth: depth)
        while drafter.count < tokens.count - depth - 1 {
            let count = min(draw.pick([1, 2, 3, 20]), tokens.count - depth - 1 - drafter.count)
            let range = drafter.count..<drafter.count + count
            let (piece, made) = (tokens[range], Tensor.selectRows(hidden, Array(range)))
            let isKnown = draw.chance(0.4)
            if isKnown { drafter.read(piece, made) }
            // Once with tokens that never come, once with those that do.
            let (last, vocabulary) = (range.upperBound, width)
            var wrong = draw
            _ = drafter.draft(
                after: tokens[last], reading: isKnown ? [] : piece, isKnown ? nil : made,
                choose: { _, _ in wrong.tokens(1, below: vocabulary)[0] })
            var found: [[Float]] = []
            let drafts = drafter.draft(after: tokens[last], reading: [], nil) { logits, step in
                found.append(logits.elements)
                return tokens[last + step]
            }
            #expect(drafts == Array(tokens[last + 1...last + depth]) && drafter.count == last)
            for (d, logits) in found.enumerated() {
                // The row of the last token that was read.
                let row = (last - 1) * width
                expectSame(logits, Array(expected[d][row..<row + width]), "step \(d + 1) after \(last) tokens")
            }
        }
    }

    @Test("several sequences that take their turns together guess what each would alone", arguments: seeds)
    func together(seed: Int) {
        let model = model(seed)
        var draw = Draw(seed, "together")
        let (width, depth) = (model.config.vocabularySize, 3)
        let all = (0..<4).map { _ in draw.tokens(120, below: width) }
        let hidden = all.map { model.hidden(Batch(tokens: $0, lengths: [$0.count])) }
        var alone = all.map { _ in Drafter(model, depth: depth) }
        var shared = alone.map { _ in Drafter(model, depth: depth) }
        for _ in 0..<12 {
            var (turns, indices, expected): ([Drafter.Turn], [Int], [[[Float]]]) = ([], [], [])
            for i in draw.shuffled(Array(all.indices)) where draw.chance(0.7) {
                let first = shared[i].count
                let more = draw.integer(first == 0 ? 1...4 : 0...4)
                let (piece, made) = (all[i][first..<first + more], rows(hidden[i], first..<first + more))
                // Fewer guesses than there are steps, or none.
                let guesses = draw.integer(0...depth)
                indices.append(i)
                var logits: [[Float]] = []
                if guesses == 0 {
                    if more > 0 { alone[i].read(piece, made!) }
                    turns.append(
                        more > 0
                            ? .init(shared[i], reading: piece, made!)
                            : .init(shared[i], after: 0, depth: 0, reading: [], nil))
                } else {
                    // Alone it guesses all it can: the first are the same.
                    _ = alone[i].draft(after: all[i][first + more], reading: piece, made) { values, step in
                        if step <= guesses { logits.append(values.elements) }
                        return Int32(step % width)
                    }
                    turns.append(
                        .init(shared[i], after: all[i][first + more], depth: guesses, reading: piece, made))
                }
                expected.append(logits)
            }
            var found = turns.map { _ in [[Float]]() }
            Drafter.take(&turns) { logits, which, step in
                for (row, turn) in which.enumerated() { found[turn].append(Tensor.selectRows(logits, [row]).elements) }
                return which.map { _ in Int32(step % width) }
            }
            for (turn, i) in indices.enumerated() {
                shared[i] = turns[turn].drafter
                #expect(shared[i].count == alone[i].count && turns[turn].drafts.count == expected[turn].count)
                for (a, b) in zip(found[turn], expected[turn]) { expectSame(a, b, "sequence \(i)") }
            }
        }
    }

    private func rows(_ hidden: Tensor, _ range: Range<Int>) -> Tensor? {
        range.isEmpty ? nil : Tensor.selectRows(hidden, Array(range))
    }

    @Test("a copy of a generator goes on from where it was made") func copies() {
        let model = model(5)
        var generator = Generator(model, sampler: Sampler(temperature: 3, seed: 2), stops: [], drafts: 4)
        generator.feed([1, 2, 3, 4, 5])
        for _ in 0..<7 { _ = generator.next() }
        let (before, count) = (generator, generator.cache.count)
        func reply() -> [GeneratedToken?] {
            generator.feed([3, 2, 1])
            return (0..<20).map { _ in generator.next() }
        }
        let expected = reply()
        generator = before
        generator.cache.truncate(to: count)
        #expect(reply() == expected)
    }

    @Test("acceptance is counted by position: 0.8, 0.7 and 0.6 make 2.696 tokens a step") func statistics() {
        // By hand: 1 + 0.8 + 0.56 + 0.336.
        var statistics = DraftStatistics(depth: 3)
        #expect(statistics.acceptance == [nil, nil, nil] && statistics.tokensPerStep == nil)
        for i in 0..<1000 {
            let accepted = i < 336 ? 3 : i < 560 ? 2 : i < 800 ? 1 : 0
            statistics.record(tried: min(3, accepted + 1), accepted: accepted, tokens: accepted + 1)
        }
        #expect(statistics.acceptance == [0.8, 0.7, 0.6] && statistics.tokensPerStep == 2.696)
    }

    @Test("drafts without an MTP layer are a caller's mistake, which traps") func noLayer() async {
        await #expect(processExitsWith: .failure) {
            let config = Tiny.config(1).with { $0.mtpLayerCount = 0 }
            _ = Generator(Tiny.model(config, 1), sampler: Sampler(), drafts: 1)
        }
    }
}
