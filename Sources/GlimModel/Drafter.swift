package import GlimTensor

// Step d, from 1, at row i takes step d - 1's output at row i (of step 0 the trunk's) and token i + d, and predicts token
// i + d + 1. So a new token gives each step one more row, d before the token's own.

/// Guesses the next tokens of one sequence with multi-token prediction, by the very computation that trained it: every
/// step has a cache of its own, which holds its rows of all earlier positions, as a training batch does.
///
/// It may come to a sequence late: it then begins with the first token that it is told of, as if nothing had been
/// before. What it guesses may be worse for it, what the trunk draws is the same. So prefixes that are kept and shared
/// hold the trunk's rows only: the last rows of a step hang on tokens beyond them, and each step would add a layer's
/// rows to every page.
///
/// Steps may be more than were trained: the last layer serves them too. Several sequences take their turns in the same
/// passes: see ``Turn``.
package struct Drafter {
    let model: Model
    /// Tokens that the trunk has read and the steps know.
    package private(set) var count = 0
    /// Of each step. Rows beyond `count - d` were of guesses, and go when the step runs next.
    fileprivate let caches: [Cache]
    /// For each step its next row's input, which lacks the token it belongs with.
    fileprivate var waiting: [Tensor?]
    /// What the first step chose in the rows that later steps still have to come to, where they share it.
    fileprivate var chosen: [[Int32]?] = []

    package init(_ model: Model, depth: Int) {
        precondition(depth >= 1 && !model.predictions.isEmpty, "Drafter: \(model.predictions.count) MTP layers")
        self.model = model
        caches = (1...depth).map { d in
            let layer = model.config.layerCount + min(d, model.predictions.count) - 1
            return Cache(CacheLayout(model.config, layers: layer..<layer + 1))
        }
        waiting = Array(repeating: nil, count: depth)
    }

    /// Tokens that it can guess at a time.
    package var depth: Int { caches.count }

    /// Takes note of tokens that the trunk has read.
    ///
    /// - Parameter hidden: `[T, D]`, what it made of them.
    package mutating func read(_ tokens: some Collection<Int32>, _ hidden: Tensor) {
        if tokens.isEmpty { return }
        var turns = [Turn(self, reading: tokens, hidden)]
        Self.take(&turns) { _, _, _ in [] }
        self = turns[0].drafter
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
        var turns = [Turn(self, after: last, depth: depth, reading: tokens, hidden)]
        Self.take(&turns) { logits, _, step in [choose(logits, step)] }
        self = turns[0].drafter
        return turns[0].drafts
    }

    /// The row of the first entry of `chosen`.
    private var firstChosen: Int { max(0, count - depth) }

    /// Makes room for the next rows of a step; returns the number of the first.
    fileprivate func begin(step d: Int) -> Int {
        let first = max(0, count - d)
        caches[d - 1].truncate(to: first)
        return first
    }

    /// Keeps what the first step chose, from row `first` on.
    fileprivate mutating func keep(_ choices: [[Int32]?], from first: Int) {
        chosen.removeLast(max(0, firstChosen + chosen.count - first))
        chosen += choices
    }

    /// What the first step chose for rows of a later one.
    fileprivate func choices(_ rows: Range<Int>) -> [[Int32]?] { rows.map { chosen[$0 - firstChosen] } }

    fileprivate mutating func advance(_ more: Int) {
        let before = firstChosen
        count += more
        chosen.removeFirst(min(chosen.count, firstChosen - before))
    }
}

// MARK: - Several sequences at a time

extension Drafter {
    /// What one sequence brings to a round of passes, and what it takes away.
    package struct Turn {
        package fileprivate(set) var drafter: Drafter
        /// What was guessed.
        package private(set) var drafts: [Int32] = []
        private let last: Int32?
        private let depth: Int
        private let tokens: [Int32]
        /// The step before's rows that this round made.
        private var out: Tensor?

        /// Reads tokens, as ``Drafter/read(_:_:)`` does, and guesses nothing.
        package init(_ drafter: Drafter, reading tokens: some Collection<Int32>, _ hidden: Tensor) {
            self.init(drafter, last: nil, depth: 0, Array(tokens), hidden)
        }

        /// Reads tokens and guesses some.
        ///
        /// - Parameters:
        ///   - last: the newest token, which the trunk has not read.
        ///   - depth: how many to guess: the drafter's depth or fewer.
        ///   - hidden: nil without tokens.
        package init(
            _ drafter: Drafter, after last: Int32, depth: Int, reading tokens: some Collection<Int32>, _ hidden: Tensor?
        ) {
            self.init(drafter, last: last, depth: depth, Array(tokens), hidden)
        }

        private init(_ drafter: Drafter, last: Int32?, depth: Int, _ tokens: [Int32], _ hidden: Tensor?) {
            precondition(
                (hidden?.shape.rows ?? 0) == tokens.count && (0...drafter.depth).contains(depth),
                "Drafter: \(depth) guesses, hidden states of \(tokens.count) tokens")
            (self.drafter, self.last, self.depth, self.tokens, out) = (drafter, last, depth, tokens, hidden)
        }

        fileprivate func guesses(step d: Int) -> Bool { d <= depth }

        /// The rows that a step has to compute, and the token ahead of each; nil where there is none.
        fileprivate mutating func inputs(step d: Int) -> (rows: Tensor, tokens: [Int32])? {
            // Rows that hang on guesses end with the guessing.
            if d == depth + 1, depth > 0, let made = out { out = Self.prefix(made, made.shape.rows - depth) }
            guard let inputs = Self.joined(drafter.waiting[d - 1], out) else {
                precondition(!guesses(step: d), "Drafter: nothing was read")
                return nil
            }
            let count = inputs.shape.rows
            if guesses(step: d) {
                // The last d rows hang on what the trunk has not read.
                drafter.waiting[d - 1] = count < d ? nil : Tensor.selectRows(inputs, [count - d])
                return (inputs, Array((tokens + [last!] + drafts).suffix(count)))
            }
            drafter.waiting[d - 1] = Tensor.selectRows(inputs, [count - 1])
            out = nil
            return Self.prefix(inputs, count - 1).map { ($0, Array(tokens.suffix(count - 1))) }
        }

        fileprivate mutating func made(_ rows: Tensor) { out = rows }

        fileprivate mutating func guess(_ token: Int32) { drafts.append(token) }

        fileprivate mutating func finish() { drafter.advance(tokens.count) }

        private static func prefix(_ rows: Tensor, _ count: Int) -> Tensor? {
            count > 0 ? Tensor.selectRows(rows, Array(0..<count)) : nil
        }

        private static func joined(_ a: Tensor?, _ b: Tensor?) -> Tensor? {
            guard let a, let b else { return a ?? b }
            return Tensor.stacked([a, b])
        }
    }

    /// Takes the turns of several sequences of one model together, a pass for each step.
    ///
    /// - Parameter choose: from the `[n, W]` logits of a step the token that each of the n turns, by their numbers,
    ///   guesses.
    package static func take(
        _ turns: inout [Turn], choose: (_ logits: Tensor, _ turns: [Int], _ step: Int) -> [Int32]
    ) {
        guard let model = turns.first?.drafter.model else { return }
        for d in 1...(turns.map(\.drafter.depth).max() ?? 1) {
            var rows = StepRows()
            for i in turns.indices where d <= turns[i].drafter.depth {
                if let (inputs, tokens) = turns[i].inputs(step: d) {
                    rows.append(i, inputs, tokens, turns[i].drafter, d)
                }
            }
            if rows.turns.isEmpty { continue }
            let out = rows.run(model, step: d, &turns)
            for (i, range) in zip(rows.turns, rows.ranges) { turns[i].made(Tensor.selectRows(out, Array(range))) }
            let guessing = zip(rows.turns, rows.ranges).filter { turns[$0.0].guesses(step: d) }
            if guessing.isEmpty { continue }
            let newest = Tensor.selectRows(out, guessing.map { $0.1.upperBound - 1 })
            let logits = Tensor.linear(newest, model.aheadHead(step: d))
            let guessed = choose(logits, guessing.map(\.0), d)
            for ((i, _), token) in zip(guessing, guessed) { turns[i].guess(token) }
        }
        for i in turns.indices { turns[i].finish() }
    }

    /// The rows of one step, of all turns that have some.
    private struct StepRows {
        var turns: [Int] = []
        /// Of the pass, for each turn.
        var ranges: [Range<Int>] = []
        private var firsts: [Int] = []
        private var inputs: [Tensor] = []
        private var next: [(tokens: [Int32], cache: Cache)] = []

        mutating func append(_ turn: Int, _ rows: Tensor, _ tokens: [Int32], _ drafter: Drafter, _ d: Int) {
            let start = ranges.last?.upperBound ?? 0
            turns.append(turn)
            ranges.append(start..<start + tokens.count)
            firsts.append(drafter.begin(step: d))
            inputs.append(rows)
            next.append((tokens, drafter.caches[d - 1]))
        }

        func run(_ model: Model, step d: Int, _ all: inout [Turn]) -> Tensor {
            let (batch, observer) = (Batch(next), Observer())
            let shares = model.config.sharesSelectionAcrossDrafts
            var sharing: Selection?
            if shares, d > 1, let indexer = model.config.indexer {
                var choices: [[Int32]?] = []
                for (i, turn) in turns.enumerated() {
                    choices += all[turn].drafter.choices(firsts[i]..<firsts[i] + ranges[i].count)
                }
                sharing = choices.contains { $0 != nil } ? Selection(choices, topK: indexer.topK) : nil
            }
            let out = model.predictAhead(
                Tensor.stacked(inputs), next: batch.tokens, batch, step: d, sharing: sharing, observer: observer)
            if shares, d == 1 {
                let selection = observer.selections[model.config.layerCount]
                for (i, turn) in turns.enumerated() {
                    all[turn].drafter.keep(ranges[i].map { selection?[$0] }, from: firsts[i])
                }
            }
            return out
        }
    }
}

extension Tensor {
    /// The rows of several tensors of one width, one after another.
    fileprivate static func stacked(_ parts: [Tensor]) -> Tensor {
        if parts.count == 1 { return parts[0] }
        let all = Tensor(uninitialized: [parts.reduce(0) { $0 + $1.shape.rows }, parts[0].shape.last])
        var row = 0
        for part in parts {
            all.replaceRows(from: row, with: part)
            row += part.shape.rows
        }
        return all
    }
}
