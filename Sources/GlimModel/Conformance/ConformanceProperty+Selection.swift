import GlimTensor

// Properties of the choice: which positions, and whether attention reads them.

extension ConformanceProperty {
    static let wellFormed = ConformanceProperty(
        name: "selections are well formed",
        sentence: "A position selects min(index_topk, what it sees) positions, none of them later, in ascending order."
    ) { it in
        let (T, topK) = (try it.needBeyond(), try it.needTopK())
        let tokens = it.tokens(T)
        let ways = it.facts.readsInChunks ? [.whole, .chunks(it.oneByOne(T))] : [ConformanceFeeding.whole]
        for way in ways {
            for (layer, rows) in try it.selections(of: try it.read(tokens, way)).enumerated() {
                for (t, row) in rows.enumerated() {
                    let place = "position \(t), layer \(layer)"
                    guard row.count == min(topK, t + 1) else {
                        throw Flaw("\(place): \(row.count) positions selected, expected \(min(topK, t + 1))")
                    }
                    if let bad = row.first(where: { $0 < 0 || $0 > t }) {
                        throw Flaw("\(place): position \(bad) is selected")
                    }
                    for i in 1..<max(1, row.count) where row[i - 1] >= row[i] {
                        throw Flaw("\(place): \(ConformanceCase.excerpt(row, i)) is not ascending")
                    }
                }
            }
        }
        return "\(T) positions"
    }

    static let topScores = ConformanceProperty(
        name: "selection by index score",
        sentence:
            "Every layer with an indexer selects the positions with the highest index scores, as plainly computed "
            + "in double precision."
    ) { it in
        let (T, topK) = (try it.needBeyond(), try it.needTopK())
        let (one, _, plain) = try it.plainly()
        let tokens = one.tokens(T)
        let selections = try one.usable(try one.selections(of: try one.read(tokens)), rows: 0..<T)
        let expected = plain.read(tokens, rows: 0..<T, selections: selections)
        for (layer, scores) in expected.scores.sorted(by: { $0.key < $1.key }) {
            try one.expectTop(selections[layer], scores, topK, rows: 0..<T) { ", layer \(layer)" }
        }
        return "\(T) positions of \(expected.scores.count) layers"
    }

    static let attention = ConformanceProperty(
        name: "attention reads the selection",
        sentence: "Log-probabilities are those of a plain computation in double precision that attends to the selected "
            + "positions and to no other."
    ) { it in
        let T = try it.needBeyond()
        let (one, _, plain) = try it.plainly()
        let tokens = one.tokens(T)
        let reading = try one.read(tokens)
        let selections = try reading.selections.map { try one.usable($0, rows: 0..<T) }
        try one.expectPlain(reading, plain.read(tokens, rows: 0..<T, selections: selections).logprobs, rows: 0..<T)
        return "\(T) positions"
    }

    static let rotation = ConformanceProperty(
        name: "rotation of the indexer",
        sentence: "Index queries and keys turn in their first dimensions, neighbours together or half a width apart as "
            + "indexer_rope_interleave says, the keys after their layer norm.", isAskedOnce: true
    ) { it in
        let (T, topK) = (try it.needBeyond(), try it.needTopK())
        let (network, _) = try it.needEngine()
        for isInterleaved in [true, false] {
            let turned = network.firstLayer.changed("rotation") { $0.indexer?.ropeInterleave = isInterleaved }
            let one = try it.other(turned)
            let tokens = one.tokens(T)
            let rows = topK..<T
            let found = try one.selections(of: try one.read(tokens, rows: rows))[0]
            let readings = PlainNetwork.Rotation.allCases.compactMap { rotation in
                PlainNetwork(turned, rotation: rotation).map { (rotation, $0.read(tokens, rows: rows).scores[0] ?? []) }
            }
            let wanted: PlainNetwork.Rotation = isInterleaved ? .interleavedFirst : .halfSplitFirst
            guard let expected = readings.first(where: { $0.0 == wanted })?.1 else {
                throw Inapplicable("its first layer has experts, or queries without a latent")
            }
            // Which conventions choose as the subject does: a wrong one is named.
            let fitting = readings.filter { _, scores in
                zip(scores, found).allSatisfy { scores, row in PlainNetwork.top(topK, of: scores) == row }
            }.map(\.0)
            try one.expectTop(found, expected, topK, rows: rows) {
                " with indexer_rope_interleave \(isInterleaved)"
                    + (fitting.first.map { "; it fits: \($0.rawValue)" } ?? "")
            }
            let others = readings.filter { rotation, scores in
                rotation != wanted
                    && !zip(scores, found).contains { PlainNetwork.top(topK, of: $0) != $1 }
            }.count
            if others > 0 { throw Inapplicable("its first layer chooses alike under another convention") }
        }
        return "two conventions, \(T - topK) positions each; the others choose otherwise"
    }

    static let ties = ConformanceProperty(
        name: "ties",
        sentence:
            "Of positions with equal index scores the lower is selected: all scores 0 select the first positions.",
        isAskedOnce: true
    ) { it in
        let (T, topK) = (try it.needBeyond(), try it.needTopK())
        let (network, _) = try it.needEngine()
        let first = network.firstLayer
        let own = "model.layers.0.self_attn.indexer"
        guard let indexer = first.config.indexer else { throw Inapplicable("attention is dense") }

        // Without head weights every score is 0.
        let silent = [Float](repeating: 0, count: indexer.headCount * first.config.hiddenSize)
        let zero = try it.other(first.changed("all scores 0", tensors: ["\(own).weights_proj.weight": silent]))
        let rows = topK..<T
        for (t, row) in zip(rows, try zero.selections(of: try zero.read(zero.tokens(T), rows: rows))[0])
        where row != Array(0..<Int32(topK)) {
            let at = row.indices.first { row[$0] != Int32($0) } ?? 0
            throw Flaw(
                "position \(t): all scores are 0 and \(ConformanceCase.excerpt(row, at)) is selected, expected 0 … \(topK - 1)"
            )
        }

        // Keys without a rotated part are their token's alone, in any format: equal tokens are equal scores.
        let changes = ["weight", "bias"].map { part in
            let before = first.tensor("\(own).k_norm.\(part)")
            return (
                "\(own).k_norm.\(part)",
                before.indices.map { $0 < first.config.keyRotated ? 0 : before[$0] }
            )
        }
        let unturned = first.changed("without rotation", tensors: Dictionary(uniqueKeysWithValues: changes))
        let one = try it.other(unturned)
        let tokens = one.tokens(T, "few tokens", below: 6)
        guard let plain = PlainNetwork(unturned) else {
            throw Inapplicable("its first layer has experts, or queries without a latent")
        }
        let found = try one.selections(of: try one.read(tokens, rows: rows))[0]
        var compared = 0
        for (i, scores) in (plain.read(tokens, rows: rows).scores[0] ?? []).enumerated() {
            // Unequal tokens with scores that rounding could swap would decide nothing.
            let values = Set(scores).sorted()
            let least = max(1e-4, one.facts.otherScoreStep)
            let isClear = zip(values, values.dropFirst()).allSatisfy { $1 - $0 > least * (abs($0) + abs($1)) }
            guard isClear else { continue }
            let expected = PlainNetwork.top(topK, of: scores)
            compared += 1
            guard found[i] == expected else {
                let at = expected.indices.first { $0 >= found[i].count || found[i][$0] != expected[$0] } ?? 0
                throw Flaw(
                    "position \(topK + i), equal scores of equal tokens: \(ConformanceCase.excerpt(found[i], at)) selected, "
                        + "expected \(ConformanceCase.excerpt(expected, at))")
            }
        }
        guard compared > 0 else { throw Inapplicable("its scores of few tokens are too close") }
        return "\(T - topK) positions with all scores 0, \(compared) with scores of 6 tokens"
    }

    static let sharing = ConformanceProperty(
        name: "shared selections",
        sentence:
            "A layer without an indexer reads what the nearest earlier layer with one selected in the same pass, with "
            + "keys of its own."
    ) { it in
        let (T, topK) = (try it.needBeyond(), try it.needTopK())
        guard let network = it.network, let kinds = network.config.indexer?.kinds, kinds.contains(.shared) else {
            throw Inapplicable("no layer shares a selection")
        }
        let tokens = it.tokens(T)
        let ways = it.facts.readsInChunks ? [.whole, .chunks(it.oneByOne(T))] : [ConformanceFeeding.whole]
        for way in ways {
            let reading = try it.read(tokens, way)
            if let selections = reading.selections {
                var full = 0
                for layer in kinds.indices {
                    if kinds[layer] == .full {
                        if layer > 0, selections[layer][topK...] == selections[full][topK...] {
                            throw Flaw("layer \(layer) has an indexer and selects what layer \(full) selected")
                        }
                        full = layer
                        continue
                    }
                    guard let t = (0..<T).first(where: { selections[layer][$0] != selections[full][$0] }) else {
                        continue
                    }
                    let twin = kinds.indices.first { $0 != layer && selections[$0] == selections[layer] }
                    throw Flaw(
                        "position \(t): layer \(layer) does not read what layer \(full) selected"
                            + (twin.map { ", but what layer \($0) reads" } ?? ""))
                }
            }
            if it.isBuiltIn, let plain = PlainNetwork(network) {
                let selections = try reading.selections.map { try it.usable($0, rows: 0..<T) }
                try it.expectPlain(
                    reading, plain.read(tokens, rows: 0..<T, selections: selections).logprobs, rows: 0..<T)
            } else if reading.selections == nil {
                throw Inapplicable("the subject shows no selections")
            }
        }
        return "\(kinds.filter { $0 == .shared }.count) of \(kinds.count) layers share, \(T) positions"
    }

    static let draft = ConformanceProperty(
        name: "the MTP layer's own indexer",
        sentence:
            "Each step of multi-token prediction selects by its layer's own indexer, from what the step reads itself, not "
            + "what the trunk selected; later steps read the first one's selection where "
            + "index_share_for_mtp_iteration says so, and only there."
    ) { it in
        let (T, topK) = (try it.needBeyond(), try it.needTopK())
        if it.network?.config.mtpLayerCount == 0 { throw Inapplicable("no MTP layer") }
        guard it.isBuiltIn, let network = it.network else {
            try it.expectOwnDrafts(T, topK, steps: 3, "")
            return "3 steps of \(T) positions, against the trunk's selections and each other's only"
        }
        for layers in (1...network.config.mtpLayerCount).reversed() {
            for shares in [false, true] {
                let changed = network.changed("mtp") {
                    $0.mtpLayerCount = layers
                    $0.indexer?.sharesSelectionAcrossDrafts = shares
                }
                try it.other(changed).expectOwnDrafts(
                    T, topK, steps: 3,
                    " through \(layers) MTP layer\(layers == 1 ? "" : "s")\(shares ? ", shared" : "")")
            }
        }
        return "3 steps of \(T) positions through \(network.config.mtpLayerCount) layers and fewer, selections shared "
            + "and not"
    }
}

extension ConformanceCase {
    /// Selections that a plain computation can follow: every position one that its row sees.
    func usable(_ selections: [[[Int32]]], rows: Range<Int>) throws -> [[[Int32]]] {
        for (layer, selected) in selections.enumerated() {
            for (t, row) in zip(rows, selected) {
                guard !row.isEmpty, let bad = row.first(where: { $0 < 0 || $0 > t }) else {
                    if row.isEmpty { throw Flaw("position \(t), layer \(layer): nothing is selected") }
                    continue
                }
                throw Flaw("position \(t), layer \(layer): position \(bad) is selected")
            }
        }
        return selections
    }

    fileprivate func expectOwnDrafts(_ T: Int, _ topK: Int, steps: Int, _ way: String) throws {
        let tokens = tokens(T)
        guard let readings = try subject.draft(tokens, steps: steps) else {
            throw Inapplicable("the subject shows no steps of an MTP layer")
        }
        guard readings.count == steps else { throw Flaw("\(readings.count) steps came back for \(steps)\(way)") }
        let drafts = try readings.map { try selections(of: $0).first ?? [] }
        let trunk = try selections(of: try read(tokens))
        let shares = network?.config.sharesSelectionAcrossDrafts
        for (i, draft) in drafts.enumerated() {
            let (step, rows) = ("step \(i + 1)\(way)", T - i - 1)
            guard draft.count == rows else { throw Flaw("\(step): \(draft.count) rows came back for \(rows)") }
            _ = try usable([draft], rows: 0..<rows)
            if let same = trunk.indices.first(where: { trunk[$0][topK..<rows] == draft[topK...] }) {
                throw Flaw("\(step), positions \(topK) to \(rows - 1): it selects what trunk layer \(same) selected")
            }
            guard i > 0, let shares else { continue }
            if shares, let t = draft.indices.first(where: { draft[$0] != drafts[0][$0] }) {
                throw Flaw("\(step), position \(t): it does not read what step 1 selected")
            }
            if !shares, let same = (0..<i).first(where: { drafts[$0][topK..<rows] == draft[topK...] }) {
                throw Flaw("\(step), positions \(topK) to \(rows - 1): it selects what step \(same + 1) selected")
            }
        }
        guard isBuiltIn, let network, let plain = PlainNetwork(network) else { return }
        var hidden = plain.read(tokens, rows: 0..<T, selections: try usable(trunk, rows: 0..<T)).hidden
        for (i, draft) in drafts.enumerated() {
            let expected = plain.draft(tokens, step: i + 1, hidden: hidden, selection: draft)
            let selects = i == 0 || shares == false
            for scores in expected.scores.values where selects {
                try expectTop(draft, scores, topK, rows: draft.indices) { ", step \(i + 1)\(way)" }
            }
            if !readings[i].outputs.isEmpty {
                try expectPlain(readings[i], expected.logprobs, rows: draft.indices, ", step \(i + 1)\(way)")
            }
            hidden = expected.hidden
        }
    }
}
