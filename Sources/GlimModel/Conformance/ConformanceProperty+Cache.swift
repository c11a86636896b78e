import GlimTensor

// Properties of reading: what a position may hang on, and how tokens are fed.

extension ConformanceProperty {
    static let causalBelow = ConformanceProperty(
        name: "causality where everything is selected",
        sentence: "Up to index_topk tokens, another token at a position changes nothing before it."
    ) { it in
        let T = it.below
        try it.expectCausal(T, .whole, changing: [T - 1, T / 2, 1])
        if it.facts.readsInChunks { try it.expectCausal(T, .chunks([T]), changing: [T - 1, T / 2, 1]) }
        return "\(T) tokens"
    }

    static let causalBeyond = ConformanceProperty(
        name: "causality beyond index_topk",
        sentence: "Beyond index_topk tokens, another token at a position changes nothing before it."
    ) { it in
        let T = try it.needBeyond()
        let edge = it.facts.topK ?? T / 2
        try it.expectCausal(T, .whole, changing: [T - 1, T - 2, edge + 1, edge, edge - 1].filter { $0 > 0 })
        return "\(T) tokens"
    }

    static let causalInChunk = ConformanceProperty(
        name: "causality within a chunk",
        sentence:
            "Within a chunk read after a cache, another token changes nothing before it: the mask counts from where "
            + "the chunk begins."
    ) { it in
        try it.needChunks()
        let T = try it.needBeyond()
        let firsts = [5, it.below - 3, it.facts.topK.map { $0 + 9 } ?? T / 2].filter { $0 > 0 && $0 + 20 < T }
        if firsts.isEmpty { throw Inapplicable("\(T) tokens are too few for a chunk behind a cache") }
        for first in firsts {
            // One chunk that stays short, and one to the end.
            try it.expectCausal(first + 12, .chunks([first, 12]), changing: [first + 11, first + 4])
            try it.expectCausal(T, .chunks([first, T - first]), changing: [T - 1, first + 1])
        }
        return "chunks from \(firsts.map { "\($0)" }.joined(separator: ", ")) of \(T)"
    }

    static let chunks = ConformanceProperty(
        name: "chunks around index_topk",
        sentence: "One token at a time, in odd chunks, or with an edge at or beside index_topk, a sequence makes the "
            + "numbers and selections it makes whole."
    ) { it in
        let T = try it.needBeyond()
        let edge = it.facts.topK ?? T / 2
        let edges = [1, edge - 1, edge, edge + 1, 2 * edge, T - 1].filter { $0 > 0 && $0 < T }
        return try it.expectSameInChunks(
            T,
            [it.oneByOne(T), it.pieces(T, of: 7), [edge, 1, T - edge - 1]] + edges.map { [$0, T - $0] })
    }

    static let pages = ConformanceProperty(
        name: "edges of cache pages",
        sentence: "Chunks that end at, before or after a page of 64 positions make the numbers of the whole sequence."
    ) { it in
        let T = try it.needBeyond()
        let page = KeyPages.positions
        let ends = Set([page, T / page * page]).flatMap { [$0 - 1, $0, $0 + 1] }
            .filter { $0 > 0 && $0 < T }.sorted()
        return try it.expectSameInChunks(
            T, ends.map { [$0, T - $0] } + [it.pieces(T, of: page), it.pieces(T, of: page / 2 + 1)])
    }

    static let replay = ConformanceProperty(
        name: "replay",
        sentence: "The same tokens read again make the same numbers, whatever was read between."
    ) { it in
        let T = try it.needBeyond()
        let (tokens, others) = (it.tokens(T), it.tokens(T, "other tokens"))
        let before = try it.read(tokens)
        _ = try it.read(others)
        try it.expectSame(before, try it.read(tokens), "the second time")
        return "\(T) tokens"
    }

    static let denseWhereAllFits = ConformanceProperty(
        name: "dense where everything is selected",
        sentence:
            "Up to index_topk tokens, sparse attention makes the numbers of dense attention with the same weights."
    ) { it in
        let topK = try it.needTopK()
        guard topK == it.below else { throw Inapplicable("index_topk of \(topK) tokens is too much work") }
        let dense = try it.other(try it.needEngine().0.dense)
        let tokens = it.tokens(topK)
        let expected = try dense.read(tokens)
        try it.expectSameOutputs(expected, try it.read(tokens), "sparse")
        if it.facts.readsInChunks {
            try it.expectSameOutputs(expected, try it.read(tokens, .chunks(it.oneByOne(topK))), "sparse, by token")
        }
        return "\(topK) tokens"
    }

    static let denseWhereRaised = ConformanceProperty(
        name: "dense where index_topk is raised",
        sentence: "With index_topk raised to the length, sparse attention is dense; raised to one less, only the last "
            + "position differs."
    ) { it in
        _ = try it.needTopK()
        let T = try it.needBeyond()
        let (network, _) = try it.needEngine()
        let tokens = it.tokens(T)
        let expected = try it.other(network.dense).read(tokens)
        for topK in [T + 5, T, T - 1] {
            let raised = try it.other(network.selecting(topK))
            let found = try raised.read(tokens)
            try it.expectSameOutputs(expected, found, rows: 0..<min(T, topK), "with index_topk \(topK)")
            for (layer, rows) in (found.selections ?? []).enumerated() where rows[T - 1].count != min(T, topK) {
                throw Flaw(
                    "position \(T - 1), layer \(layer): \(rows[T - 1].count) positions read with index_topk \(topK)")
            }
        }
        return "\(T) tokens"
    }
}

extension ConformanceCase {
    /// One token at a time; where that takes too long, at the end only.
    func oneByOne(_ T: Int) -> [Int] {
        let first = max(0, T - 136)
        return (first > 0 ? [first] : []) + [Int](repeating: 1, count: T - first)
    }

    func pieces(_ T: Int, of count: Int) -> [Int] {
        // The first piece of a long sequence is long.
        let first = max(0, T - 136) / count * count
        return (first > 0 ? [first] : [])
            + stride(from: first, to: T, by: count).map { min(count, T - $0) }
    }

    fileprivate func expectSameInChunks(_ T: Int, _ ways: [[Int]]) throws -> String {
        try needChunks()
        let tokens = tokens(T)
        let whole = try read(tokens)
        for chunks in ways {
            let text = chunks.count > 4 ? "\(chunks.prefix(3).map { "\($0)" }.joined(separator: ", ")), …" : nil
            try expectSame(
                whole, try read(tokens, .chunks(chunks)),
                "in chunks of \(text ?? chunks.map { "\($0)" }.joined(separator: ", "))")
        }
        return "\(T) tokens in \(ways.count) ways"
    }

    /// - Parameter positions: those beyond a short sequence are passed over.
    fileprivate func expectCausal(_ T: Int, _ feeding: ConformanceFeeding, changing positions: [Int]) throws {
        let tokens = tokens(T)
        let before = try read(tokens, feeding)
        for position in positions where position < T {
            var others = tokens
            others[position] = (others[position] + 1) % Int32(facts.vocabularySize)
            let after = try read(others, feeding)
            let way = if case .chunks(let chunks) = feeding { ", read in chunks of \(chunks)" } else { "" }
            try expectSame(
                before, after, rows: 0..<position, "after token \(position) of \(T) was changed\(way)")
            guard before.outputs[position] != after.outputs[position] else {
                throw Flaw("position \(position): its own token was changed, and its output was not")
            }
        }
    }

    fileprivate func expectSameOutputs(
        _ dense: ConformanceReading, _ sparse: ConformanceReading, rows: Range<Int>? = nil, _ what: String
    ) throws {
        let outputs = { (reading: ConformanceReading) in ConformanceReading(outputs: reading.outputs, selections: nil) }
        try expectSame(outputs(dense), outputs(sparse), rows: rows, what)
    }
}
