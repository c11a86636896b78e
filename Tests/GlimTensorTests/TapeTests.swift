import Foundation
import GlimTensor
import GlimTestSupport
import Testing

@Suite("tape and gradients") struct TapeTests {
    private var draw = Draw(2, "tape")

    @Test("recomputed, also within what is recomputed, gradients are the same bits") mutating func recompute() {
        let (x, weight, norm) = (draw.tensor([5, 8]), draw.weight(8, 8), Weight(vector: draw.floats(8)))
        let seed = draw.tensor([5, 8])
        func block(_ x: Tensor, _ tape: Tape?) -> Tensor {
            Tensor.add(
                x, Tensor.linear(Tensor.rmsNorm(x, norm, epsilon: 1e-5, tape: tape), weight, tape: tape), tape: tape)
        }
        func inner(_ x: Tensor, _ tape: Tape?) -> Tensor {
            tape?.recompute([x]) { block($0[0], $1) } ?? block(x, nil)
        }
        func gradients(_ body: (Tensor, Tape) -> Tensor) -> [[Float]] {
            let tape = Tape()
            let followed = tape.follow(x)
            tape.backward(from: [(body(followed, tape), seed)])
            return [tape.gradient(of: followed)!, tape.gradients[weight]!, tape.gradients[norm]!].map(\.elements)
        }
        let plain = gradients { block(block(block($0, $1), $1), $1) }
        let scoped = gradients { x, tape in
            let once = tape.recompute([x]) { block($0[0], $1) }
            return tape.recompute([once]) { block(inner($0[0], $1), $1) }
        }
        for (a, b) in zip(scoped, plain) { expectSame(a, b) }
        #expect(plain[1].contains { $0 != 0 })
    }

    @Test("a recomputed body keeps nothing until the way back") func recomputeMemory() async {
        await #expect(processExitsWith: .success) {
            let x = Tensor(zeros: [1024, 64])
            let bytes = 1024 * 64 * 4
            func chain(_ x: Tensor, _ tape: Tape?) -> Tensor {
                (0..<10).reduce(x) { x, _ in Tensor.scale(x, by: 2, tape: tape) }
            }
            let tape = Tape()
            let before = BufferPool.liveBytes
            let followed = tape.follow(x)
            let y = tape.recompute([followed]) { chain($0[0], $1) }
            #expect(BufferPool.liveBytes == before + bytes)
            tape.backward(from: [(y, x)])
            #expect(BufferPool.liveBytes == before + 2 * bytes)  // y and the gradient
            withExtendedLifetime((y, x, tape)) {}
        }
    }

    @Test("a frozen weight gets no gradient, and gradients flow through it") mutating func frozen() {
        let (x, weight, norm) = (draw.tensor([3, 4]), draw.weight(4, 4), Weight(vector: draw.floats(4)))
        let experts = ExpertWeights(
            gate: draw.weight(2, 4, count: 2), up: draw.weight(2, 4, count: 2), down: draw.weight(4, 2, count: 2))
        let all = [weight, norm, experts.gate, experts.up, experts.down]
        let rule = RouterRule(expertsPerToken: 1, groupCount: 1, groupsKept: 1, scale: 1, normalises: true)
        let routing = Tensor.route(
            draw.tensor([3, 2]), bias: Weight(vector: [0, 0]), rule,
            slices: [SequenceSlice(row: 0, count: 3, position: 0)])
        func run() -> (dx: [Float], gradients: Gradients) {
            let tape = Tape()
            let followed = tape.follow(x)
            var y = Tensor.rmsNorm(followed, norm, epsilon: 1e-5, tape: tape)
            y = Tensor.mixture(Tensor.linear(y, weight, tape: tape), routing, experts, tape: tape)
            let logprobs = Tensor.crossEntropy(y, head: weight, targets: [0, 1, 2], tape: tape)
            #expect(logprobs.allSatisfy { $0 < 0 })
            tape.backward()
            return (tape.gradient(of: followed)!.elements, tape.gradients)
        }
        let free = run()
        for weight in all { weight.isFrozen = true }
        let fixed = run()
        expectSame(fixed.dx, free.dx)
        for weight in all { #expect(free.gradients[weight] != nil && fixed.gradients[weight] == nil) }
    }

    @Test("a weight learns from values that no tape follows") mutating func untracked() {
        let (x, norm, bias, matrix) = (
            draw.tensor([5, 4]), Weight(vector: draw.floats(4)), Weight(vector: draw.floats(4)), draw.weight(4, 4)
        )
        GradientChecker()([], [norm]) { Tensor.rmsNorm(x, norm, epsilon: 1e-3, tape: $1) }
        GradientChecker()([], [matrix]) { Tensor.linear(x, matrix, tape: $1) }
        let table = RotaryTable(dimensions: 2, theta: 10, positions: 8)
        GradientChecker()([], [norm, bias]) {
            Tensor.indexKeys(
                x, norm: norm, bias: bias, epsilon: 1e-3, positions: [0, 1, 2, 3, 4], table, halfSplit: false, tape: $1)
        }
        let narrow = Weight(vector: [0.5, -2])
        GradientChecker()([], [narrow]) {
            Tensor.latentKeys(
                x, norm: narrow, epsilon: 1e-3, positions: [0, 1, 2, 3, 4], table, halfSplit: false, tape: $1)
        }
    }

    @Test("the gradient that a caller hands in is not changed") mutating func seeds() {
        let (x, weight, seed) = (draw.tensor([3, 3]), draw.weight(3, 3), draw.tensor([3, 3]))
        let before = seed.elements
        let tape = Tape()
        let followed = tape.follow(x)
        let y = Tensor.add(followed, Tensor.linear(followed, weight, tape: tape), tape: tape)
        tape.backward(from: [(y, seed), (y, seed)])
        expectSame(seed.elements, before)
        GradientChecker()([x]) { Tensor.add($0[0], Tensor.linear($0[0], weight, tape: $1), tape: $1) }
    }

    @Test("what nothing uses costs nothing on the way back") mutating func unused() {
        let (x, weight) = (draw.tensor([3, 3]), draw.weight(3, 3))
        let tape = Tape()
        let followed = tape.follow(x)
        _ = Tensor.linear(followed, weight, tape: tape)
        tape.backward(from: [(Tensor.scale(followed, by: 2, tape: tape), x)])
        #expect(tape.gradients[weight] == nil)
        expectSame(tape.gradient(of: followed)!.elements, x.elements.map { 2 * $0 })
    }

    @Test("a tape that never goes back frees what it kept") func dropped() async {
        await #expect(processExitsWith: .success) {
            let (x, weight) = (Tensor(zeros: [8, 8]), Weight(outputs: 8, inputs: 8))
            let before = BufferPool.liveBytes
            for _ in 0..<3 {
                let tape = Tape()
                let y = Tensor.linear(Tensor.linear(tape.follow(x), weight, tape: tape), weight, tape: tape)
                let z = tape.recompute([y]) { Tensor.scale($0[0], by: 2, tape: $1) }
                _ = Tensor.swiGLU(gate: z, up: y, tape: tape)
            }
            #expect(BufferPool.liveBytes == before)
            withExtendedLifetime((x, weight)) {}
        }
    }

    // MARK: Sets of gradients

    /// A set that holds one number for one vector, by way of a tape: the gradient of `weight` in y = 1 · weight.
    private func set(_ value: Float, _ weight: Weight) -> Gradients {
        let tape = Tape()
        let x = tape.follow(Tensor([1], [1, 1]))
        let y = Tensor.rmsNorm(x, weight, epsilon: 0, tape: tape)
        tape.backward(from: [(y, Tensor([value], [1, 1]))])
        return tape.gradients
    }

    @Test("micro-batches add up as ((0+1)+(2+3))+4, to the bit", arguments: 0...9) func tree(count: Int) {
        let bias = Weight(vector: [0])
        // Rounding shows the order: each of the small ones is lost next to 1, their sums are not.
        let values: [Float] = [1] + (0..<8).map { (1 + Float($0) / 8) * 0x1p-25 }
        func sum(_ range: Range<Int>) -> Float {
            guard range.count > 1 else { return values[range.lowerBound] }
            var half = 1
            while 2 * half < range.count { half *= 2 }
            let middle = range.lowerBound + half
            return sum(range.lowerBound..<middle) + sum(middle..<range.upperBound)
        }
        var tree = GradientTree()
        for value in values.prefix(count) { tree.push(set(value, bias)) }
        let found = tree.sum()[bias]?.elements
        guard count > 0 else {
            #expect(found == nil)
            return
        }
        expectSame(found ?? [], [sum(0..<min(count, values.count))])
        #expect(tree.sum()[bias] == nil)
        if count == 5 {
            let (a, b) = (values[0] + values[1], values[2] + values[3])
            expectSame(found ?? [], [(a + b) + values[4]])
            #expect(((((values[0] + values[1]) + values[2]) + values[3]) + values[4]) != (a + b) + values[4])
        }
    }

    @Test("adding one set to another leaves every other copy as it was") func values() {
        let (bias, other) = (Weight(vector: [0]), Weight(vector: [0]))
        let (one, two, apart) = (set(1, bias), set(2, bias), set(5, other))
        var sum = one
        sum.add(two)
        sum.add(apart)
        sum.add(apart)
        #expect(sum[bias]?.elements == [3] && sum[other]?.elements == [10])
        #expect(one[bias]?.elements == [1] && two[bias]?.elements == [2] && apart[other]?.elements == [5])
        var tree = GradientTree()
        tree.push(one)
        tree.push(two)
        #expect(tree.sum()[bias]?.elements == [3])
        #expect(one[bias]?.elements == [1])
        #expect(sum.sumOfSquares([bias, other]) == 109)

        // Nobody else holds this one: it is added to where it is.
        var alone = set(1, bias)
        let address = alone[bias]?.pointer
        alone.add(two)
        #expect(alone[bias]?.elements == [3] && alone[bias]?.pointer == address)
    }

    @Test("a gradient's sum of squares is exact enough over many pieces, and counts no padding") mutating func squares()
    {
        let (x, weight) = (draw.tensor([1, 700]), draw.weight(33, 700))
        let seed = draw.tensor([1, 33])
        let tape = Tape()
        tape.backward(from: [(Tensor.linear(x, weight, tape: tape), seed)])
        let expected = weight.rows(of: tape.gradients[weight]!).elements.reduce(0.0) { $0 + Double($1) * Double($1) }
        #expect(abs(tape.gradients.sumOfSquares([weight]) / expected - 1) < 1e-12)
    }
}
