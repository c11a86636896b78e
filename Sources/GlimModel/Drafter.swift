package import GlimTensor

// Step d, from 1, at row i takes step d - 1's output at row i (of step 0 the trunk's) and token i + d, and predicts token
// i + d + 1. So a new token gives each step one more row, d before the token's own.

/// Guesses the next tokens of one sequence with multi-token prediction, by the very computation that trained it: every
/// step has a cache of its own, which holds its rows of all earlier positions, as a training batch does.
///
/// Steps may be more than were trained: the last layer serves them too.
package struct Drafter {
    let model: Model
    /// Tokens that the trunk has read and the steps know.
    package private(set) var count = 0
    /// Of each step. Rows beyond `count - d` were of guesses, and go when the step runs next.
    private let caches: [Cache]
    /// For each step its next row's input, which lacks the token it belongs with.
    private var waiting: [Tensor?]
    /// What the first step chose in the rows that later steps still have to come to, where they share it.
    private var chosen: [[Int32]?] = []

    package init(_ model: Model, depth: Int) {
        precondition(depth >= 1 && !model.predictions.isEmpty, "Drafter: \(model.predictions.count) MTP layers")
        self.model = model
        caches = (1...depth).map { d in
            let layer = model.config.layerCount + min(d, model.predictions.count) - 1
            return Cache(CacheLayout(model.config, layers: layer..<layer + 1))
        }
        waiting = Array(repeating: nil, count: depth)
    }

    private var depth: Int { caches.count }

    /// Takes note of tokens that the trunk has read.
    ///
    /// - Parameter hidden: `[T, D]`, what it made of them.
    package mutating func read(_ tokens: some Collection<Int32>, _ hidden: Tensor) {
        precondition(hidden.shape.rows == tokens.count, "Drafter: \(hidden.shape) of \(tokens.count) tokens")
        if tokens.isEmpty { return }
        var out: Tensor? = hidden
        for d in 1...depth {
            guard let inputs = Self.joined(waiting[d - 1], out) else { break }
            let rows = inputs.shape.rows - 1
            waiting[d - 1] = Tensor.selectRows(inputs, [rows])
            out = rows == 0 ? nil : run(d, Tensor.selectRows(inputs, Array(0..<rows)), tokens.suffix(rows))
        }
        advance(tokens.count)
    }

    /// Guesses as many tokens as there are steps.
    ///
    /// - Parameters:
    ///   - last: the newest token, which the trunk has not read.
    ///   - tokens: read by the trunk and not yet noted: they take the same passes.
    ///   - hidden: `[T, D]`, what it made of those; nil without any.
    ///   - choose: from the `[1, W]` logits of a step the token that it guesses.
    package mutating func draft(
        after last: Int32, reading tokens: some Collection<Int32>, _ hidden: Tensor?,
        choose: (_ logits: Tensor, _ step: Int) -> Int32
    ) -> [Int32] {
        precondition((hidden?.shape.rows ?? 0) == tokens.count, "Drafter: hidden states of \(tokens.count) tokens")
        var known = Array(tokens) + [last]
        var out = hidden
        for d in 1...depth {
            guard let inputs = Self.joined(waiting[d - 1], out) else {
                preconditionFailure("Drafter: nothing was read")
            }
            // The last d rows hang on what the trunk has not read.
            let next = inputs.shape.rows - d
            waiting[d - 1] = next < 0 ? nil : Tensor.selectRows(inputs, [next])
            let rows = run(d, inputs, known.suffix(inputs.shape.rows))
            let newest = Tensor.selectRows(rows, [rows.shape.rows - 1])
            known.append(choose(Tensor.linear(newest, model.aheadHead(step: d)), d))
            out = rows
        }
        advance(tokens.count)
        return known.suffix(depth)
    }

    /// The next rows of a step.
    private mutating func run(_ d: Int, _ inputs: Tensor, _ tokens: some Collection<Int32>) -> Tensor {
        let (cache, first) = (caches[d - 1], max(0, count - d))
        cache.truncate(to: first)
        let (batch, observer) = (Batch([(Array(tokens), cache)]), Observer())
        let rows = first..<first + inputs.shape.rows
        let out = model.predictAhead(
            inputs, next: batch.tokens, batch, step: d, sharing: d == 1 ? nil : shared(rows), observer: observer)
        if d == 1, model.config.sharesSelectionAcrossDrafts {
            let selection = observer.selections[model.config.layerCount]
            chosen.removeLast(max(0, firstChosen + chosen.count - first))
            chosen += rows.indices.map { selection?[$0 - first] }
        }
        return out
    }

    /// The row of the first entry of `chosen`.
    private var firstChosen: Int { max(0, count - depth) }

    private func shared(_ rows: Range<Int>) -> Selection? {
        guard model.config.sharesSelectionAcrossDrafts, let indexer = model.config.indexer else { return nil }
        let choices = rows.map { chosen[$0 - firstChosen] }
        return choices.contains { $0 != nil } ? Selection(choices, topK: indexer.topK) : nil
    }

    private mutating func advance(_ more: Int) {
        let before = firstChosen
        count += more
        chosen.removeFirst(min(chosen.count, firstChosen - before))
    }

    private static func joined(_ a: Tensor?, _ b: Tensor?) -> Tensor? {
        guard let a, let b else { return a ?? b }
        let both = Tensor(uninitialized: [a.shape.rows + b.shape.rows, a.shape.last])
        both.replaceRows(from: 0, with: a)
        both.replaceRows(from: a.shape.rows, with: b)
        return both
    }
}
