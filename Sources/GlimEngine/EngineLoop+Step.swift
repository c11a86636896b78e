import GlimModel
import GlimTensor

extension EngineLoop {
    /// What a request has in a pass.
    private struct Part {
        let live: LiveRequest
        let cache: Cache
        let tokens: [Int32]
        /// The last of them, which are guesses.
        let drafts: [Int32]
        /// Its rows of the pass.
        let rows: Range<Int>
        /// It reads what is known, rather than what was drawn last.
        let isPrompt: Bool
        /// Its newest token is among them: something is drawn.
        let draws: Bool

        /// Rows whose logits are wanted: of the newest token, and of the drafts behind it.
        var drawnRows: Range<Int> { draws ? rows.upperBound - 1 - drafts.count..<rows.upperBound : 0..<0 }
    }

    /// One pass over everything in a step, and what is drawn from it.
    func perform(_ step: Scheduler.Step) {
        if endsBroken() { return }
        let clock = ContinuousClock()
        let parts = parts(of: step, drafts: guess(for: step))
        tree.makeRoom(
            parts.reduce(0) {
                $0 + Cache.pageCount($1.cache.count + $1.tokens.count) - Cache.pageCount($1.cache.count)
            })
        let began = clock.now
        let observer = Observer()
        let hidden = model.hidden(Batch(parts.map { ($0.tokens, $0.cache) }), observer: observer)
        if endsBroken() { return }
        let drawn = draw(parts, hidden)
        if step.prefills.isEmpty {
            costs.record(rows: parts.reduce(0) { $0 + $1.rows.count }, seconds: (clock.now - began) / .seconds(1))
        }
        note(observer)
        metrics.steps += 1
        for (part, drawn) in zip(parts, drawn) {
            // Where nothing could be drawn the newest token counts as not read: its request ends, and does not need it.
            let rejected = drawn.map { part.drafts.count - ($0.tokens.count - 1) } ?? 0
            let kept = part.tokens.count - rejected
            metrics.readTokens += kept
            part.cache.truncate(to: part.cache.count - rejected)
            if part.isPrompt { keepPrompt(part) }
            if part.draws, drawn == nil {
                finish(part.live, .length)
                continue
            }
            noteForDrafts(part, hidden, kept: kept)
            scheduler.advance(part.live.id, read: kept, drawn: drawn?.tokens.count ?? 0)
            if let drawn { take(drawn, of: part) }
        }
    }

    /// Ends all requests where experts cannot be read.
    private func endsBroken() -> Bool {
        guard let failure = experts?.failure else { return false }
        metrics.failure = "\(failure)"
        // Whoever learns of it by a request may ask at once.
        publishMetrics()
        fail(.experts("\(failure)"))
        return true
    }

    private func parts(of step: Scheduler.Step, drafts: [Int: [Int32]]) -> [Part] {
        var (parts, row): ([Part], Int) = ([], 0)
        func add(_ id: Int, _ count: Int, _ drafts: [Int32], isPrompt: Bool) {
            let live = requests[id]!
            guard let cache = live.cache else { preconditionFailure("EngineLoop: request \(id) has no pages") }
            let end = cache.count + count
            let tokens = live.tokens[cache.count..<end] + drafts
            parts.append(
                Part(
                    live: live, cache: cache, tokens: Array(tokens), drafts: drafts, rows: row..<row + tokens.count,
                    isPrompt: isPrompt, draws: end == live.tokens.count))
            row += tokens.count
        }
        for decode in step.decodes {
            add(decode.id, 1, drafts[decode.id] ?? [], isPrompt: requests[decode.id]?.usage.tokens == 0)
        }
        for prefill in step.prefills { add(prefill.id, prefill.rows, [], isPrompt: true) }
        return parts
    }

    // MARK: Drawing

    /// What each part draws; nil for those that only read.
    private func draw(_ parts: [Part], _ hidden: Tensor) -> [DrawnTokens?] {
        var results = [DrawnTokens?](repeating: nil, count: parts.count)
        let drawing = parts.indices.filter { parts[$0].draws && parts[$0].live.request.maxTokens > 0 }
        if drawing.isEmpty { return results }
        let logits = model.logits(Tensor.selectRows(hidden, drawing.flatMap { Array(parts[$0].drawnRows) }))
        let sums = Tensor.logSumExp(logits)
        var firsts = [0]
        for i in drawing { firsts.append(firsts[firsts.count - 1] + parts[i].drawnRows.count) }
        let version = metrics.version
        results.withUnsafeMutableBufferPointer { results in
            // A vocabulary is large: requests draw side by side, each from its own rows.
            ThreadPool.shared.run(drawing.count) { k in
                let part = parts[drawing[k]]
                results[drawing[k]] = part.live.draw(
                    logits, logSums: sums, first: firsts[k], drafts: part.drafts, version: version)
            }
        }
        return results
    }

    /// Hands out what was drawn, and ends the request if nothing follows.
    private func take(_ drawn: DrawnTokens, of part: Part) {
        let live = part.live
        live.tokens += drawn.tokens.map(\.id)
        live.count(drawn)
        metrics.drawnTokens += drawn.tokens.count
        if options.drafts > 0 {
            let tried = min(part.drafts.count, drawn.tokens.count)
            let accepted = zip(drawn.tokens, part.drafts).prefix { $0.id == $1 }.count
            live.usage.drafts.record(tried: tried, accepted: accepted, tokens: drawn.tokens.count)
            live.depth.record(tried: tried, accepted: accepted, tokens: drawn.tokens.count)
            metrics.draftsTried += tried
            metrics.draftsAccepted += accepted
        }
        for token in drawn.tokens { live.sink.send(.token(token)) }
        if drawn.ending == .stop {
            finish(live, .stop)
        } else if drawn.ending == .deadEnd {
            fail(live, .nothingAllowed(position: live.tokens.count))
        } else if live.left == 0 {
            finish(live, .length)
        } else if live.tokens.count > model.config.maximumPositions {
            finish(live, .context)
        } else if options.drafts > 0 {
            wantDrafts(live, part.cache)
        }
    }

    /// A chunk of a prompt was read.
    private func keepPrompt(_ part: Part) {
        keepFullPages(part.live, part.cache)
        if part.draws { keepEnd(of: part.live, part.cache) }
        part.live.sink.send(.reading(done: part.cache.count, of: part.live.tokens.count))
    }

    // MARK: Guessing ahead

    /// The drafts of a step, by request.
    private func guess(for step: Scheduler.Step) -> [Int: [Int32]] {
        var (turns, guessing): ([Drafter.Turn], [LiveRequest]) = ([], [])
        for decode in step.decodes where decode.drafts > 0 {
            guard let live = requests[decode.id], live.drafter != nil || live.unread != nil else { continue }
            let drafter = live.drafter ?? Drafter(model, depth: options.drafts)
            turns.append(
                Drafter.Turn(
                    drafter, after: live.tokens[live.tokens.count - 1], depth: decode.drafts,
                    reading: live.unread?.tokens ?? [], live.unread?.hidden))
            guessing.append(live)
        }
        if turns.isEmpty { return [:] }
        let clock = ContinuousClock()
        let began = clock.now
        var guessed = [[Int32]](repeating: [], count: turns.count)
        Drafter.take(&turns) { logits, which, _ in
            var tokens = [Int32](repeating: 0, count: which.count)
            let before = guessed
            logits.withElements { values in
                let width = logits.shape.last
                tokens.withUnsafeMutableBufferPointer { tokens in
                    ThreadPool.shared.run(which.count) { k in
                        tokens[k] = guessing[which[k]].guess(
                            UnsafeBufferPointer(rebasing: values[k * width..<(k + 1) * width]), after: before[which[k]])
                    }
                }
            }
            for (turn, token) in zip(which, tokens) { guessed[turn].append(token) }
            return tokens
        }
        costs.record(guesses: guessed.reduce(0) { $0 + $1.count }, seconds: (clock.now - began) / .seconds(1))
        var drafts: [Int: [Int32]] = [:]
        for (live, turn) in zip(guessing, turns) {
            (live.drafter, live.unread) = (turn.drafter, nil)
            drafts[live.id] = turn.drafts
        }
        return drafts
    }

    /// Leaves to the drafter what the trunk has read.
    private func noteForDrafts(_ part: Part, _ hidden: Tensor, kept: Int) {
        let live = part.live
        guard options.drafts > 0 else { return }
        // Of a prompt its end is enough.
        let skipped = part.isPrompt ? max(0, live.tokens.count - Self.draftWindow - (part.cache.count - kept)) : 0
        guard skipped < kept else { return }
        let rows = part.rows.lowerBound + skipped..<part.rows.lowerBound + kept
        let read = (tokens: Array(part.tokens[skipped..<kept]), hidden: Tensor.selectRows(hidden, Array(rows)))
        if part.isPrompt, live.drafter != nil || seemsToPay(live) {
            var drafter = live.drafter ?? Drafter(model, depth: options.drafts)
            drafter.read(read.tokens, read.hidden)
            (live.drafter, live.unread) = (drafter, nil)
            return
        }
        if let unread = live.unread { live.drafter?.read(unread.tokens, unread.hidden) }
        live.unread = read
    }

    private func seemsToPay(_ live: LiveRequest) -> Bool {
        draftCosts(sequences: scheduler.decodingCount + 1).map { live.depth.next($0) > 0 } ?? true
    }

    private func draftCosts(sequences: Int) -> DraftDepth.Costs? {
        options.draftCosts ?? costs.costs(sequences: sequences)
    }

    /// Asks for as many drafts as pay, within what may still be drawn and read.
    private func wantDrafts(_ live: LiveRequest, _ cache: Cache) {
        // The first passes are without, to know what one costs.
        guard let costs = draftCosts(sequences: scheduler.decodingCount) else { return }
        let depth = live.depth.next(costs)
        if depth == 0 { live.drafter = nil }
        let room = model.config.maximumPositions - cache.count
        scheduler.want(live.id, drafts: max(0, min(depth, room - 1, live.left - 1)))
    }
}
