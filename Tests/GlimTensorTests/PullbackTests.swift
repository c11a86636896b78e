import Foundation
import GlimTensor
import GlimTestSupport
import Testing

@Suite("pullbacks against differences") struct PullbackTests {
    private var draw = Draw(1, "pullbacks")

    @Test("add, also of a value to itself") mutating func add() {
        let (a, b) = (draw.tensor([3, 5]), draw.tensor([3, 5]))
        GradientChecker()([a, b]) { Tensor.add($0[0], $0[1], tape: $1) }
        GradientChecker()([a]) { Tensor.add($0[0], $0[0], tape: $1) }
    }

    @Test("scale, concatenate, and rows chosen more than once or never") mutating func rearranged() {
        let (a, b) = (draw.tensor([4, 3]), draw.tensor([4, 6]))
        GradientChecker()([a]) { Tensor.scale($0[0], by: -1.75, tape: $1) }
        GradientChecker()([a, b]) { Tensor.concatenate($0[0], $0[1], tape: $1) }
        GradientChecker()([a, a]) { Tensor.concatenate($0[0], $0[0], tape: $1) }
        GradientChecker()([b]) { Tensor.selectRows($0[0], [2, 0, 2, 2], tape: $1) }
    }

    @Test("swiGLU") mutating func swiGLU() {
        let (gate, up) = (draw.tensor([3, 17], scale: 3), draw.tensor([3, 17]))
        GradientChecker()([gate, up]) { Tensor.swiGLU(gate: $0[0], up: $0[1], tape: $1) }
    }

    @Test("linear, on both sides of a panel", arguments: [(1, 1, 1), (3, 7, 5), (2, 33, 4), (5, 64, 9), (97, 3, 2)])
    func linear(rows: Int, outputs: Int, inputs: Int) {
        var draw = Draw(outputs)
        let (x, weight) = (draw.tensor([rows, inputs]), draw.weight(outputs, inputs))
        GradientChecker()([x], [weight]) { Tensor.linear($0[0], weight, tape: $1) }
    }

    @Test("one weight used twice gathers both gradients") mutating func shared() {
        let (x, weight) = (draw.tensor([3, 6]), draw.weight(6, 6))
        GradientChecker()([x], [weight]) {
            Tensor.linear(Tensor.linear($0[0], weight, tape: $1), weight, tape: $1)
        }
    }

    @Test("rmsNorm and the indexer's keys, over more rows than a block of their sums", arguments: [true, false])
    mutating func norms(halfSplit: Bool) {
        let (x, weight, bias) = (
            draw.tensor([3, 19]), Weight(vector: draw.floats(19)), Weight(vector: draw.floats(19))
        )
        let table = RotaryTable(dimensions: 2, theta: 10, positions: 600)
        GradientChecker()([x], [weight]) { Tensor.rmsNorm($0[0], weight, epsilon: 1e-2, tape: $1) }
        GradientChecker()([x], [weight, bias]) {
            Tensor.indexKeys(
                $0[0], norm: weight, bias: bias, epsilon: 1e-2, positions: [3, 0, 599], table, halfSplit: halfSplit,
                tape: $1)
        }
        let (long, narrow) = (draw.tensor([600, 2]), Weight(vector: [0.7, -1.1]))
        GradientChecker(tolerance: 3e-3)([], [narrow]) { Tensor.rmsNorm(long, narrow, epsilon: 1e-2, tape: $1) }
        GradientChecker(tolerance: 3e-3)([], [narrow]) {
            Tensor.indexKeys(
                long, norm: narrow, bias: Weight(vector: [0, 0]), epsilon: 1e-2, positions: Array(0..<600), table,
                halfSplit: halfSplit, tape: $1)
        }
    }

    @Test("several products of one input") mutating func products() {
        let (x, first, second) = (draw.tensor([3, 6]), draw.weight(5, 6), draw.weight(40, 6))
        GradientChecker()([x], [first, second]) {
            let made = Tensor.linear($0[0], [first, second], tape: $1)
            return Tensor.concatenate(made[0], made[1], tape: $1)
        }
    }

    @Test("rope in both conventions", arguments: [true, false]) func rope(halfSplit: Bool) {
        var draw = Draw(3)
        let table = RotaryTable(dimensions: 6, theta: 100, positions: 40)
        let x = draw.tensor([4, 3 * 9])
        GradientChecker()([x]) {
            Tensor.rope($0[0], heads: 3, positions: [0, 7, 39, 2], table, halfSplit: halfSplit, tape: $1)
        }
    }

    @Test("embedding, with tokens that repeat") mutating func embedding() {
        let table = draw.weight(40, 21)
        GradientChecker()([], [table]) { Tensor.embedding([3, 39, 3, 0, 3, 33], table, tape: $1) }
    }

    // MARK: Attention

    private static let rotary = RotaryTable(dimensions: 4, theta: 100, positions: 40)

    @Test("latent keys, queries and values, over a group of heads that is not full", arguments: [true, false])
    func latent(halfSplit: Bool) {
        var draw = Draw(4)
        let (T, H, N, C, V, R) = (3, 5, 3, 6, 2, 4)
        let positions: [Int32] = [0, 1, 5]
        let norm = Weight(vector: draw.floats(C))
        GradientChecker()([draw.tensor([T, C + R])], [norm]) {
            Tensor.latentKeys(
                $0[0], norm: norm, epsilon: 1e-2, positions: positions, Self.rotary, halfSplit: halfSplit, tape: $1)
        }
        let keyUp = draw.weight(C, N, count: H)
        GradientChecker()([draw.tensor([T, H * (N + R)])], [keyUp]) {
            Tensor.latentQueries(
                $0[0], keyUp: keyUp, positions: positions, Self.rotary, halfSplit: halfSplit, tape: $1)
        }
        let valueUp = draw.weight(V, C, count: H)
        GradientChecker()([draw.tensor([T, H, C])], [valueUp]) {
            Tensor.latentValues($0[0], valueUp: valueUp, tape: $1)
        }
    }

    @Test("dense attention over several sequences, heads 1 to 6", arguments: [1, 4, 6]) func dense(heads: Int) {
        attention(heads: heads, lengths: [3, 1, 5], topK: nil)
    }

    @Test("attention over selected positions", arguments: [1, 4, 6]) func selected(heads: Int) {
        attention(heads: heads, lengths: [2, 6], topK: 3)
    }

    private func attention(heads H: Int, lengths: [Int], topK: Int?) {
        var draw = Draw(H, "attention")
        let (T, W, C) = (lengths.reduce(0, +), 7, 5)
        let slices = Batch.slices(lengths)
        var selection: Selection?
        if let topK {
            let chosen = Selection(rows: T, topK: topK)
            for slice in slices {
                for t in 0..<slice.count {
                    guard t >= topK else {
                        chosen.count[slice.row + t] = -1
                        continue
                    }
                    let positions = draw.shuffled(Array(0...t)).prefix(topK).sorted()
                    chosen.count[slice.row + t] = Int32(topK)
                    for (i, p) in positions.enumerated() { chosen.row(slice.row + t)[i] = Int32(p) }
                }
            }
            selection = chosen
        }
        GradientChecker()([draw.tensor([T, H, W]), draw.tensor([T, W])]) { [selection] inputs, tape in
            Tensor.attention(
                inputs[0], keys: inputs[1], pages: slices.map { KeyPages(rows: $0, of: inputs[1]) }, slices: slices,
                selection: selection, valueWidth: C, scale: 0.6, tape: tape)
        }
    }

    @Test("attention over longer sequences is the formula, forward and backward", arguments: [nil, 20])
    func longAttention(topK: Int?) {
        // Blocks of keys, pages and pieces of tokens all end inside these sequences.
        var draw = Draw(11)
        let (H, W, C, scale) = (5, 12, 8, Float(0.4))
        let lengths = [150, 3, 70]
        let (slices, T) = (Batch.slices(lengths), lengths.reduce(0, +))
        let (q, keys, dout) = (draw.tensor([T, H, W]), draw.tensor([T, W]), draw.tensor([T, H, C]))
        let selection = topK.map { topK in
            let chosen = Selection(rows: T, topK: topK)
            for slice in slices {
                for t in 0..<slice.count {
                    chosen.count[slice.row + t] = t < topK ? -1 : Int32(topK)
                    guard t >= topK else { continue }
                    let positions = draw.shuffled(Array(0...t)).prefix(topK).sorted()
                    for (i, p) in positions.enumerated() { chosen.row(slice.row + t)[i] = Int32(p) }
                }
            }
            return chosen
        }
        let tape = Tape()
        let (fq, fkeys) = (tape.follow(q), tape.follow(keys))
        let out = Tensor.attention(
            fq, keys: fkeys, pages: slices.map { KeyPages(rows: $0, of: keys) }, slices: slices, selection: selection,
            valueWidth: C, scale: scale, tape: tape)
        tape.backward(from: [(out, dout)])

        let (qs, ks, ds) = (q.elements, keys.elements, dout.elements)
        var expected = [Float](repeating: 0, count: T * H * C)
        var (dq, dkeys) = ([Double](repeating: 0, count: T * H * W), [Double](repeating: 0, count: T * W))
        for slice in slices {
            for t in 0..<slice.count {
                let row = slice.row + t
                let seen = selection?[row].map { $0.map { Int($0) } } ?? Array(0...t)
                for h in 0..<H {
                    let (iq, io) = (Grouped.index(row, h, T, H, W), Grouped.index(row, h, T, H, C))
                    func key(_ s: Int, _ i: Int) -> Double { Double(ks[(slice.row + s) * W + i]) }
                    var p = seen.map { s in
                        exp(Double(scale) * (0..<W).reduce(0.0) { $0 + Double(qs[iq + $1]) * key(s, $1) })
                    }
                    let total = p.reduce(0, +)
                    p = p.map { $0 / total }
                    let o = (0..<C).map { c in zip(seen, p).reduce(0.0) { $0 + $1.1 * key($1.0, c) } }
                    for c in 0..<C { expected[io + c] = Float(o[c]) }
                    let dp = seen.map { s in (0..<C).reduce(0.0) { $0 + Double(ds[io + $1]) * key(s, $1) } }
                    let mean = zip(p, dp).reduce(0.0) { $0 + $1.0 * $1.1 }
                    for (j, s) in seen.enumerated() {
                        let dscore = p[j] * (dp[j] - mean) * Double(scale)
                        for i in 0..<W {
                            dq[iq + i] += dscore * key(s, i)
                            dkeys[(slice.row + s) * W + i] += dscore * Double(qs[iq + i])
                        }
                        for c in 0..<C { dkeys[(slice.row + s) * W + c] += p[j] * Double(ds[io + c]) }
                    }
                }
            }
        }
        expectClose(out.elements, expected, within: 1e-5, "outputs")
        expectClose(tape.gradient(of: fq)!.elements, dq.map { Float($0) }, within: 1e-5, "queries")
        expectClose(tape.gradient(of: fkeys)!.elements, dkeys.map { Float($0) }, within: 1e-5, "keys")
    }

    @Test("index scores are the formula, forward and backward") mutating func indexScores() {
        // ReLU has corners, which differences would cross: the formula in double instead.
        let (T, I, X, scale) = (70, 5, 9, Float(0.33))
        let (q, weights, keys) = (draw.tensor([T, I * X]), draw.tensor([T, I]), draw.tensor([T, X]))
        let dscores = draw.tensor([T, T])
        let tape = Tape()
        let followed = [q, weights, keys].map { tape.follow($0) }
        let scores = Tensor.indexScores(followed[0], weights: followed[1], keys: followed[2], scale: scale, tape: tape)
        tape.backward(from: [(scores, dscores)])

        let (qs, ws, ks, ds) = (q.elements, weights.elements, keys.elements, dscores.elements)
        var expected = [Float](repeating: -.infinity, count: T * T)
        var (dq, dw, dk) = (
            [Float](repeating: 0, count: T * I * X), [Float](repeating: 0, count: T * I),
            [Float](repeating: 0, count: T * X)
        )
        for t in 0..<T {
            for s in 0...t {
                var sum = 0.0
                for h in 0..<I {
                    let at = (t * I + h) * X
                    let dot = (0..<X).reduce(0.0) { $0 + Double(qs[at + $1]) * Double(ks[s * X + $1]) } * Double(scale)
                    guard dot > 0 else { continue }
                    sum += Double(ws[t * I + h]) * dot
                    dw[t * I + h] += ds[t * T + s] * Float(dot)
                    let slope = ds[t * T + s] * ws[t * I + h] * scale
                    for i in 0..<X {
                        dq[at + i] += slope * ks[s * X + i]
                        dk[s * X + i] += slope * qs[at + i]
                    }
                }
                expected[t * T + s] = Float(sum)
            }
        }
        let finite = expected.indices.filter { expected[$0].isFinite }
        #expect(scores.elements.indices.filter { scores.elements[$0].isFinite } == finite)
        expectClose(finite.map { scores.elements[$0] }, finite.map { expected[$0] }, within: 1e-5, "scores")
        for (i, gradient) in [dq, dw, dk].enumerated() {
            expectClose(tape.gradient(of: followed[i])!.elements, gradient, within: 2e-5, "input \(i)")
        }
    }

    // MARK: Experts

    /// Logits whose order within a row no small step changes.
    private func apart(_ rows: Int, _ experts: Int, _ draw: inout Draw) -> Tensor {
        Tensor(
            (0..<rows).flatMap { _ in draw.shuffled(Array(0..<experts)).map { Float($0) * 0.5 - 1.2 } },
            [rows, experts])
    }

    @Test("the router's weights", arguments: [(1, false), (2, true), (3, true), (3, false)])
    func route(perToken: Int, normalises: Bool) {
        var draw = Draw(perToken)
        let rule = RouterRule(
            expertsPerToken: perToken, groupCount: 1, groupsKept: 1, scale: 1.7, normalises: normalises)
        let bias = Weight(vector: [0, 0.01, -0.01, 0.02, 0])
        GradientChecker()([apart(4, 5, &draw)]) {
            Tensor.route($0[0], bias: bias, rule, slices: Batch.slices([4]), tape: $1).weights
        }
    }

    @Test("the router's balance loss, sequence by sequence") mutating func balance() {
        let (E, K, lengths) = (5, 2, [3, 4, 1])
        let (slices, T) = (Batch.slices(lengths), lengths.reduce(0, +))
        let rule = RouterRule(expertsPerToken: K, groupCount: 1, groupsKept: 1, scale: 1, normalises: true)
        let (bias, strength) = (Weight(vector: [Float](repeating: 0, count: E)), Float(0.5))
        let loss: ([Tensor]) -> Double = { inputs in
            let experts = Tensor.route(inputs[0], bias: bias, rule, slices: slices).experts
            let p = inputs[0].elements.map { 1 / (1 + exp(-Double($0))) }
            var total = 0.0
            for slice in slices {
                for e in 0..<E {
                    let rows = slice.row..<slice.row + slice.count
                    let chosen = experts[rows.lowerBound * K..<rows.upperBound * K].filter { Int($0) == e }.count
                    let f = Double(E * chosen) / Double(K * slice.count)
                    let P = rows.reduce(0.0) { $0 + p[$1 * E + e] / p[$1 * E..<($1 + 1) * E].reduce(0, +) }
                    total += Double(strength) * f * P
                }
            }
            return total
        }
        GradientChecker(extra: loss)([apart(T, E, &draw)]) {
            Tensor.route($0[0], bias: bias, rule, slices: slices, balance: strength, tape: $1).weights
        }
    }

    @Test("a mixture with experts that nobody chose, with gradients into the router") mutating func mixture() {
        let (T, D, F, E) = (5, 4, 3, 6)
        let experts = ExpertWeights(
            gate: draw.weight(F, D, count: E), up: draw.weight(F, D, count: E), down: draw.weight(D, F, count: E))
        // Experts 1 and 4 are out of everybody's reach.
        let bias = Weight(vector: [0, -9, 0, 0, -9, 0])
        let rule = RouterRule(expertsPerToken: 2, groupCount: 1, groupsKept: 1, scale: 1.5, normalises: true)
        let logits = apart(T, E, &draw)
        let routing = Tensor.route(logits, bias: bias, rule, slices: Batch.slices([T]))
        #expect(routing.load[1] == 0 && routing.load[4] == 0 && routing.load.reduce(0, +) == 2 * T)
        GradientChecker()([draw.tensor([T, D]), logits], [experts.gate, experts.up, experts.down]) { inputs, tape in
            let routing = Tensor.route(inputs[1], bias: bias, rule, slices: Batch.slices([T]), tape: tape)
            return Tensor.mixture(inputs[0], routing, experts, tape: tape)
        }
    }

    @Test("a value that many operations read gathers all their gradients") mutating func gathered() {
        let (T, D) = (4, 6)
        let (weight, norm) = (draw.weight(D, D), Weight(vector: draw.floats(D)))
        let experts = ExpertWeights(
            gate: draw.weight(3, D, count: 2), up: draw.weight(3, D, count: 2), down: draw.weight(D, 3, count: 2))
        let rule = RouterRule(expertsPerToken: 1, groupCount: 1, groupsKept: 1, scale: 1, normalises: false)
        let routing = Tensor.route(
            apart(T, 2, &draw), bias: Weight(vector: [0, 0]), rule, slices: Batch.slices([T]))
        GradientChecker()([draw.tensor([T, D])], [weight, norm, experts.down]) { inputs, tape in
            let x = inputs[0]
            let a = Tensor.add(
                Tensor.rmsNorm(x, norm, epsilon: 1e-2, tape: tape), Tensor.linear(x, weight, tape: tape), tape: tape)
            let b = Tensor.add(
                Tensor.mixture(x, routing, experts, tape: tape), Tensor.linear(a, weight, tape: tape), tape: tape)
            return Tensor.add(Tensor.add(a, x, tape: tape), Tensor.add(b, x, tape: tape), tape: tape)
        }
    }

    // MARK: Loss

    @Test("cross-entropy, over targets some of which are masked", arguments: [5, 33]) func loss(vocabulary: Int) {
        var draw = Draw(vocabulary)
        let (T, D, lossScale) = (6, 4, Float(0.37))
        let head = draw.weight(vocabulary, D, scale: 2)
        let targets: [Int32] = [0, -1, Int32(vocabulary - 1), 2, -1, 2]
        // The operation's result is not a tensor: its loss is all in `extra`.
        let checker = GradientChecker(extra: { inputs in
            -Double(lossScale)
                * Tensor.crossEntropy(inputs[0], head: head, targets: targets).reduce(0.0) { $0 + Double($1) }
        })
        checker([draw.tensor([T, D])], [head]) { inputs, tape in
            let logprobs = Tensor.crossEntropy(
                inputs[0], head: head, targets: targets, lossScale: lossScale, tape: tape)
            #expect(logprobs[1] == 0 && logprobs[4] == 0)
            return Tensor(zeros: [1])
        }
    }

    @Test("cross-entropy in pieces, over a vocabulary of which few rows are held at once") mutating func pieces() {
        let (T, D, V) = (41, 2, 65_000)
        let (hidden, head) = (draw.tensor([T, D], scale: 2), draw.weight(V, D, scale: 2))
        let targets = draw.tokens(T, below: V)
        let tape = Tape()
        let followed = tape.follow(hidden)
        let logprobs = Tensor.crossEntropy(followed, head: head, targets: targets, lossScale: 0.5, tape: tape)
        tape.backward()
        let (x, w) = (hidden.elements, head.rows().elements)
        var (dx, dw) = ([Double](repeating: 0, count: T * D), [Double](repeating: 0, count: V * D))
        for t in 0..<T {
            let (first, second) = (Double(x[2 * t]), Double(x[2 * t + 1]))
            let logits = (0..<V).map { v in first * Double(w[2 * v]) + second * Double(w[2 * v + 1]) }
            let lse = log(logits.reduce(0) { $0 + exp($1) })
            #expect(abs(logits[Int(targets[t])] - lse - Double(logprobs[t])) < 1e-4)
            for v in 0..<V {
                let d = 0.5 * (exp(logits[v] - lse) - (v == Int(targets[t]) ? 1 : 0))
                for i in 0..<D {
                    dx[t * D + i] += d * Double(w[v * D + i])
                    dw[v * D + i] += d * Double(x[t * D + i])
                }
            }
        }
        expectClose(tape.gradient(of: followed)!.elements, dx.map { Float($0) }, within: 1e-4)
        expectClose(head.rows(of: tape.gradients[head]!).elements, dw.map { Float($0) }, within: 1e-5)
        expectSame(Tensor.crossEntropy(hidden, head: head, targets: targets), logprobs, "without a tape")
        let lse = Tensor.logSumExp(Tensor.linear(hidden, head))
        let logits = Tensor.linear(hidden, head).elements
        expectSame((0..<T).map { logits[$0 * V + Int(targets[$0])] - lse[$0] }, logprobs, "as generation computes them")
    }
}

/// What tests of operations share.
enum Batch {
    static func slices(_ lengths: [Int]) -> [SequenceSlice] {
        var row = 0
        return lengths.map { length in
            defer { row += length }
            return SequenceSlice(row: row, count: length, position: 0)
        }
    }
}

/// The layout of tensors `[T, H, width]` that attention reads and writes: groups of four heads, each `[T, heads, width]`.
enum Grouped {
    static func index(_ t: Int, _ h: Int, _ T: Int, _ H: Int, _ width: Int) -> Int {
        let group = h / 4
        return group * 4 * T * width + (t * min(4, H - group * 4) + h % 4) * width
    }
}
