import GlimTensor

// Properties at a distance: arithmetic past 2^17 keys, and finding what was planted.

extension ConformanceProperty {
    /// Where counts and positions of 16 and 17 bits end.
    private static let far = 1 << 17

    static let long = ConformanceProperty(
        name: "arithmetic past 2^17 keys",
        sentence: "With more than 131,072 keys in the cache, scores, selection and attention are those of a plain "
            + "computation.", isAskedOnce: true
    ) { it in
        let topK = try it.needTopK()
        let (one, plain) = try it.longCase()
        // The cache, a chunk across the edge, and single tokens.
        let (first, T) = (far - 4, far + 8)
        let tokens = one.tokens(T, "long")
        let rows = first..<T
        let reading = try one.read(tokens, .chunks([first, 8, 1, 1, 1, 1]), rows: rows)
        let selections = try reading.selections.map { try one.usable($0, rows: rows) }
        let expected = plain.read(tokens, rows: rows, selections: selections)
        if let selections {
            try one.expectTop(selections[0], expected.scores[0] ?? [], topK, rows: rows)
        }
        try one.expectPlain(reading, expected.logprobs, rows: rows)
        return "positions \(first) to \(T - 1)"
    }

    static let planted = ConformanceProperty(
        name: "recall by index score",
        sentence:
            "A token whose index score is among the highest is selected wherever it lies, the first position and past "
            + "2^17 included.", isAskedOnce: true
    ) { it in
        let topK = try it.needTopK()
        let T = try it.needBeyond()
        let (one, plain) = try it.longCase()
        var recalls: [String] = []
        for length in [T, far + 72] {
            let last = length - 1
            // A read finds at most topK: no more than half of them are planted.
            let all = [0, 1, 63, 64, length / 3, length / 2, length * 2 / 3, length - 64, length - 9]
            let places = all.prefix(max(1, topK / 2))
            let candidates = Array(0..<Int32(min(512, one.facts.vocabularySize)))
            let asking = one.tokens(1, "planted")[0]
            let scores = places.map { plain.scores(of: candidates, at: $0, asking: asking, at: last) }
            // What lies around the planted tokens scores low.
            let sums = candidates.indices.map { i in scores.reduce(0) { $0 + $1[i] } }
            let low = candidates.indices.sorted { sums[$0] < sums[$1] }.prefix(max(1, candidates.count / 8))
            var tokens = one.tokens(length, "planted", below: low.count).map { candidates[low[Int($0)]] }
            tokens[last] = asking
            for (place, scores) in zip(places, scores) {
                tokens[place] = Int32(scores.indices.max { scores[$0] < scores[$1] } ?? 0)
            }
            let reading = try one.read(tokens, .chunks([last, 1]), rows: last..<length)
            let found = try one.selections(of: reading)[0][0]
            let whole = plain.read(tokens, rows: last..<length).scores[0]?[0] ?? []
            let expected = PlainNetwork.top(topK, of: whole)
            // Of scores that are equal within rounding either may be chosen: what clearly leads must be.
            let least = expected.map { whole[Int($0)] }.min() ?? 0
            let doubt = max(one.facts.scoreRounding, one.facts.otherScoreStep) * abs(whole.max() ?? 0)
            let leading = places.filter { whole[$0] > least + doubt }
            if let missed = leading.first(where: { !found.contains(Int32($0)) }) {
                throw Flaw(
                    "position \(last): key \(missed) with index score \(Float(whole[missed])) is not selected, though "
                        + "\(Float(least)) is enough")
            }
            guard leading.count > places.count / 2 else {
                throw Inapplicable("no token's index score leads over \(length) positions")
            }
            recalls.append("\(leading.count)/\(leading.count) at \(length)")
        }
        return recalls.joined(separator: ", ")
    }

    static let needles = ConformanceProperty(
        name: "needle recall",
        sentence:
            "In a network built to retrieve planted tokens, every needle is found at any distance, beyond index_topk and "
            + "past 2^17.", isAskedOnce: true
    ) { it in
        guard it.isBuiltIn else { throw Inapplicable("a property of the engine: run without a model") }
        _ = try it.needTopK()
        let isQuantized = it.network?.integers("lm_head.weight") != nil
        let needles = NeedleNetwork.network
        let one = try it.other(isQuantized ? needles.inIntegers(feedForwardBits: 8) : needles)
        var recalls: [String] = []
        let shortest = 3 * ConformanceNetwork.topK
        for length in [shortest, 200, far + 40] where length <= one.facts.longest {
            let asked = NeedleNetwork.count
            let last = length - asked - 1
            let places = [0, 1, last / 5, last / 3, last / 2, last * 2 / 3, last - 1]
            var tokens = (0..<length - asked).map { NeedleNetwork.filler($0 * 7) }
            for (j, place) in places.enumerated() { tokens[place] = NeedleNetwork.needle(j) }
            tokens += (0..<asked).map { NeedleNetwork.asking($0) }
            // Half of the questions in one chunk, the others by token.
            let rows = length - asked..<length
            let feeding: ConformanceFeeding =
                one.facts.readsInChunks
                ? .chunks([rows.lowerBound, 4] + [Int](repeating: 1, count: asked - 4)) : .whole
            let reading = try one.read(tokens, feeding, rows: rows)
            let answers = reading.outputs.map { row in Int32(row.indices.max { row[$0] < row[$1] } ?? 0) }
            let missed = (0..<asked).filter { answers[$0] != NeedleNetwork.needle($0) }
            recalls.append("\(asked - missed.count)/\(asked) at \(length)")
            if let j = missed.first {
                let seen =
                    reading.selections.map { $0[0][j].contains(Int32(places[j])) ? ", though selected" : "" } ?? ""
                throw Flaw(
                    "recall \(recalls.joined(separator: ", ")): position \(rows.lowerBound + j) does not find the needle at "
                        + "\(places[j])\(seen)")
            }
        }
        return recalls.joined(separator: ", ")
    }

    /// All of them, in the order in which a wrong engine is best understood.
    static let all: [ConformanceProperty] = [
        causalBelow, causalBeyond, causalInChunk, replay, chunks, pages, denseWhereAllFits, denseWhereRaised,
        wellFormed,
        topScores, rotation, ties, attention, sharing, draft, long, planted, needles,
    ]
}

extension ConformanceCase {
    /// The first layer's case, if 131,072 keys are affordable.
    fileprivate func longCase() throws -> (ConformanceCase, PlainNetwork) {
        let (network, _) = try needEngine()
        let first = network.firstLayer
        guard let plain = PlainNetwork(first) else {
            throw Inapplicable("its first layer has experts, or queries without a latent")
        }
        let config = first.config
        let keys = Double(config.hiddenSize * (config.latent + config.keyRotated))
        let scores = Double(config.indexer.map { $0.headCount * $0.headWidth } ?? 0)
        guard keys < 1e6, scores < 2e3, config.hiddenSize <= 1024 else {
            throw Inapplicable("131,072 keys of its width are too much work")
        }
        let one = try other(first)
        guard one.facts.longest > 1 << 17, one.facts.readsInChunks else {
            throw Inapplicable("the subject reads at most \(one.facts.longest) tokens in seconds")
        }
        return (one, plain)
    }
}
