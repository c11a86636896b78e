import Foundation
import GlimTensor
import GlimTestSupport
import Testing

/// The loss that indexers learn from, against its formula in double precision.
@Suite("indexer loss") struct IndexerLossTests {
    @Test("divergence and gradient of three scores are those worked out by hand") func byHand() {
        var scores: [Float] = [1, 0, -1]
        // Shares are divided by their sum.
        let divergence = Tensor.indexDivergence(&scores, from: [1, 0.6, 0.4], 3)
        #expect(abs(divergence - 0.0779530) < 2e-7)
        expectClose(scores, [0.165241, -0.055271, -0.109969], within: 1e-6)
        var alone: [Float] = [7]
        #expect(Tensor.indexDivergence(&alone, from: [3], 1) == 0 && alone == [0])
    }

    @Test("shares that are zero and scores far apart give numbers, and equal distributions nothing")
    func extremes() {
        var scores: [Float] = [200, -200, 0, 3]
        let far = Tensor.indexDivergence(&scores, from: [0, 0, 1, 0], 4)
        #expect(abs(far - 200) < 1e-3)
        expectClose(scores, [1, 0, -1, 0], within: 1e-6)
        let long = (0..<1000).map { Float($0 % 7) - 3 }
        var same = long
        let none = Tensor.indexDivergence(&same, from: long.map { exp($0) }, long.count)
        #expect(abs(none) < 1e-6)
        #expect(same.allSatisfy { abs($0) < 1e-8 })
    }

    /// Sequences, what attention did in them, and what an indexer makes of them.
    private struct Problem {
        let (T, H, W, I, X): (Int, Int, Int, Int, Int)
        let slices: [SequenceSlice]
        let (q, keys, indexQ, weights, indexKeys): (Tensor, Tensor, Tensor, Tensor, Tensor)
        let selection: Selection?
        let (scale, indexScale): (Float, Float)

        init(_ seed: Int, lengths: [Int], heads: Int, topK: Int?) {
            var draw = Draw(seed, "indexer loss")
            (T, H, W) = (lengths.reduce(0, +), heads, draw.integer(3...40))
            (I, X) = (draw.integer(1...9), draw.integer(2...33))
            slices = Batch.slices(lengths)
            (q, keys) = (draw.tensor([T, H, W]), draw.tensor([T, W]))
            (indexQ, weights, indexKeys) = (draw.tensor([T, I * X]), draw.tensor([T, I]), draw.tensor([T, X]))
            (scale, indexScale) = (0.7, 0.9)
            selection = topK.map { topK in
                var chosen: [[Int32]?] = []
                for t in lengths.flatMap({ Array(0..<$0) }) {
                    let some = draw.shuffled(Array(0...Int32(t))).prefix(topK).sorted()
                    chosen.append(t < topK ? nil : some)
                }
                return Selection(chosen, topK: topK)
            }
        }

        func loss() -> IndexerLoss {
            let pages = slices.map { KeyPages(rows: $0, of: keys) }
            let sums = Tensor(zeros: [T, H])
            _ = Tensor.attention(
                q, keys: keys, pages: pages, slices: slices, selection: selection, valueWidth: W, scale: scale,
                logSumExp: sums)
            return Tensor.indexerLoss(
                indexQ, weights: weights, keys: indexKeys, scale: indexScale,
                attention: AttentionRecord(q: q, pages: pages, logSumExp: sums, scale: scale), slices: slices,
                selection: selection)
        }

        /// Rows, dq, dweights and dkeys by the formula.
        func expected() -> (rows: [Double], dq: [Float], dweights: [Float], dkeys: [Float]) {
            let (qs, ks) = (q.elements.map(Double.init), keys.elements.map(Double.init))
            let (iq, iw) = (indexQ.elements.map(Double.init), weights.elements.map(Double.init))
            let ik = indexKeys.elements.map(Double.init)
            var rows = [Double](repeating: 0, count: T)
            var (dq, dw, dk) = (
                [Double](repeating: 0, count: iq.count), [Double](repeating: 0, count: iw.count),
                [Double](repeating: 0, count: ik.count)
            )
            func softmax(_ x: [Double]) -> [Double] {
                let e = x.map { exp($0 - x.max()!) }
                return e.map { $0 / e.reduce(0, +) }
            }
            for slice in slices {
                for t in 0..<slice.count {
                    let row = slice.row + t
                    let seen = (selection?[row] ?? (0...Int32(t)).map { $0 }).map { slice.row + Int($0) }
                    var p = [Double](repeating: 0, count: seen.count)
                    for h in 0..<H {
                        let (group, inGroup) = (h / 4, min(4, H - h / 4 * 4))
                        let at = (group * 4 * T + row * inGroup + h % 4) * W
                        let scores = seen.map { s -> Double in
                            var sum = 0.0
                            for i in 0..<W { sum += qs[at + i] * ks[s * W + i] }
                            return sum * Double(scale)
                        }
                        p = zip(p, softmax(scores)).map { $0 + $1 / Double(H) }
                    }
                    func product(_ h: Int, _ s: Int) -> Double {
                        var sum = 0.0
                        for x in 0..<X { sum += iq[(row * I + h) * X + x] * ik[s * X + x] }
                        return sum * Double(indexScale)
                    }
                    let products = seen.map { s -> [Double] in (0..<I).map { product($0, s) } }
                    let scores = products.map { of -> Double in
                        (0..<I).reduce(0.0) { (sum: Double, h: Int) in sum + iw[row * I + h] * max(0, of[h]) }
                    }
                    let made = softmax(scores)
                    for (p, made) in zip(p, made) { rows[row] += p * log(p / made) }
                    for (e, s) in seen.enumerated() {
                        let d = made[e] - p[e]
                        for h in 0..<I where products[e][h] > 0 {
                            dw[row * I + h] += d * products[e][h]
                            let slope = d * iw[row * I + h] * Double(indexScale)
                            for x in 0..<X {
                                dq[(row * I + h) * X + x] += slope * ik[s * X + x]
                                dk[s * X + x] += slope * iq[(row * I + h) * X + x]
                            }
                        }
                    }
                }
            }
            return (rows, dq.map { Float($0) }, dw.map { Float($0) }, dk.map { Float($0) })
        }
    }

    @Test(
        "loss and gradients are the formula's, over all positions and over chosen ones, and the same bits on any threads",
        arguments: 0..<16)
    func formula(seed: Int) {
        var draw = Draw(seed, "shapes")
        let lengths = seed == 0 ? [1] : [draw.integer(60...150), 1, draw.integer(1...30), draw.integer(2...70)]
        let topK = seed % 2 == 0 ? nil : draw.pick([1, 5, 20, 70])
        let problem = Problem(seed, lengths: lengths, heads: draw.pick([1, 3, 4, 6, 9, 16]), topK: topK)
        let (found, expected) = (Machine.alone(threads: 1) { problem.loss() }, problem.expected())
        expectClose(found.rows.map { Float($0) }, expected.rows.map { Float($0) }, within: 1e-5, "rows")
        expectClose(found.dq.elements, expected.dq, within: 1e-5, "dq")
        expectClose(found.dweights.elements, expected.dweights, within: 1e-5, "dweights")
        expectClose(found.dkeys.elements, expected.dkeys, within: 1e-5, "dkeys")
        for threads in [2, 3] {
            let again = Machine.alone(threads: threads) { problem.loss() }
            #expect(again.rows == found.rows)
            expectSame(again.dq.elements, found.dq.elements, "dq, \(threads) threads")
            expectSame(again.dweights.elements, found.dweights.elements, "dweights, \(threads) threads")
            expectSame(again.dkeys.elements, found.dkeys.elements, "dkeys, \(threads) threads")
        }
    }
}
