import CGlimKernels
import Foundation
import Testing

@Suite("attention kernels") struct AttentionKernelTests {
    @Test("every table agrees with double precision, forward and backward", arguments: shapes)
    func agrees(shape: Shape) {
        let problem = Problem(shape)
        let expected = problem.attentionReference()
        for kernels in tables {
            let found = problem.attention(kernels)
            expectClose(found.out, expected.out, tolerance: 2e-6, "out, \(name(kernels))")
            expectClose(found.lse, expected.lse, tolerance: 2e-6, "lse, \(name(kernels))")
            expectClose([found.largest], [expected.largest], tolerance: 2e-6, "largest, \(name(kernels))")
            expectClose(found.dq, expected.dq, tolerance: 5e-6, "dq, \(name(kernels))")
            expectClose(found.dkeys, expected.dkeys, tolerance: 1e-5, "dkeys, \(name(kernels))")
        }
    }

    @Test("every table equals the portable one to the bit", arguments: shapes)
    func tablesAreEqual(shape: Shape) {
        let problem = Problem(shape)
        let (attention, index) = (problem.attention(tables.last!), problem.index(tables.last!))
        for kernels in tables.dropLast() {
            #expect(problem.attention(kernels) == attention, "\(name(kernels))")
            #expect(problem.index(kernels) == index, "\(name(kernels))")
        }
    }

    @Test("a token's result is the same alone, in chunks of 7 and in one call", arguments: shapes)
    func splits(shape: Shape) {
        let problem = Problem(shape)
        for kernels in tables {
            let (whole, wholeIndex) = (problem.attention(kernels), problem.index(kernels))
            for chunk in [1, 7] {
                let (parts, index) = (problem.attention(kernels, chunk: chunk), problem.index(kernels, chunk: chunk))
                #expect(parts.out.bits == whole.out.bits)
                #expect(parts.lse.bits == whole.lse.bits)
                #expect(parts.largest == whole.largest)
                #expect(parts.dq.bits == whole.dq.bits)
                #expect(index.scores.bits == wholeIndex.scores.bits)
                #expect(index.dq.bits == wholeIndex.dq.bits)
                #expect(index.dweights.bits == wholeIndex.dweights.bits)
            }
        }
    }

    @Test("key gradients from calls of whole blocks equal those of one call", arguments: [(4, 24), (3, 32), (1, 96)])
    func gradientBlocks(heads: Int, chunk: Int) {
        let problem = Problem(Shape(tokens: 130, heads: heads, width: 20, valueWidth: 12, first: 37))
        for kernels in tables {
            #expect(problem.attention(kernels, chunk: chunk) == problem.attention(kernels))
            #expect(problem.index(kernels, chunk: chunk) == problem.index(kernels))
        }
    }

    @Test("selecting every visible position equals dense attention to the bit", arguments: shapes)
    func everythingSelected(shape: Shape) {
        let problem = Problem(shape)
        for kernels in tables {
            let dense = problem.attention(kernels, chunk: 1)
            let selected = problem.attention(kernels, chunk: 1) { Array(0...Int32(shape.first + $0)) }
            #expect(selected == dense, "\(name(kernels))")
        }
    }

    @Test("a selection equals dense attention over nothing but the selected keys", arguments: [1, 2, 63, 64, 65, 150])
    func partSelected(count: Int) {
        var random = Random(seed: UInt64(count))
        let whole = Problem(Shape(tokens: 1, heads: 4, width: 40, valueWidth: 24, first: 299))
        let selection = (0..<300).shuffled(using: &random).prefix(count).sorted()
        let part = Problem(
            Shape(tokens: 1, heads: 4, width: 40, valueWidth: 24, first: count - 1), keys: selection.map(whole.key))
        for kernels in tables {
            let selected = whole.attention(kernels) { _ in selection.map(Int32.init) }
            let dense = part.attention(kernels)
            #expect(selected.out.bits == dense.out.bits)
            #expect(selected.lse.bits == dense.lse.bits)
            #expect(selected.dq.bits == dense.dq.bits)
            var dkeys = [Float](repeating: 0, count: whole.keyCount * 40)
            for (i, s) in selection.enumerated() {
                dkeys.replaceSubrange(s * 40..<(s + 1) * 40, with: dense.dkeys[i * 40..<(i + 1) * 40])
            }
            #expect(selected.dkeys.bits == dkeys.bits)
        }
    }

    @Test("scores in the thousands neither overflow nor lose the largest") func largeScores() {
        let problem = Problem(Shape(tokens: 65, heads: 3, width: 20, valueWidth: 8, first: 37), magnitude: 100)
        let expected = problem.attentionReference()
        for kernels in tables {
            let found = problem.attention(kernels)
            expectClose(found.out, expected.out, tolerance: 1e-3, "out")
            expectClose(found.lse, expected.lse, tolerance: 1e-6, "lse")
        }
    }

    @Test("the log-sum-exp may be left out") func withoutLogSumExp() {
        let problem = Problem(Shape(tokens: 3, heads: 4, width: 20, valueWidth: 8, first: 63))
        for kernels in tables {
            #expect(problem.outWithoutLogSumExp(kernels).bits == problem.attention(kernels).out.bits)
        }
    }

    @Test("index scores and their gradients agree with double precision", arguments: shapes)
    func indexAgrees(shape: Shape) {
        let problem = Problem(shape)
        let expected = problem.indexReference()
        for kernels in tables {
            let found = problem.index(kernels)
            expectClose(found.scores, expected.scores, tolerance: 2e-6, "scores, \(name(kernels))")
            expectClose(found.dq, expected.dq, tolerance: 5e-6, "dq, \(name(kernels))")
            expectClose(found.dweights, expected.dweights, tolerance: 1e-5, "dweights, \(name(kernels))")
            expectClose(found.dkeys, expected.dkeys, tolerance: 1e-5, "dkeys, \(name(kernels))")
        }
    }

    @Test("two heads and three keys give the scores worked out by hand") func indexByHand() {
        let weights = [0.5, -0.25].map { Float($0 * 0.5.squareRoot()) }
        let problem = Problem(
            Shape(tokens: 1, heads: 2, width: 2, valueWidth: 2, first: 2), keys: [[1, 0], [0, 1], [1, -2]],
            q: [1, 2, -1, 1], weights: weights, scale: Float(0.5.squareRoot()))
        for kernels in tables {
            let scores = problem.index(kernels).scores
            expectClose(scores, [0.25, 0.375, 0], tolerance: 1e-7, "scores")
            #expect(scores[2].bitPattern == 0)
        }
    }

    @Test("where every ReLU is shut, score and gradients are exact zeros") func indexShut() {
        let (tokens, heads, width) = (5, 8, 20)
        let problem = Problem(
            Shape(tokens: tokens, heads: heads, width: width, valueWidth: width, first: 70),
            keys: (0..<75).map { _ in [Float](repeating: 1, count: width) },
            q: [Float](repeating: -1, count: tokens * heads * width))
        for kernels in tables {
            let found = problem.index(kernels)
            #expect((found.scores + found.dq + found.dweights + found.dkeys).allSatisfy { $0 == 0 })
        }
    }
}

// MARK: - Helpers

private var tables: [glim_kernels] { (0..<glim_kernels_count()).map { glim_kernels_at($0).pointee } }

private func name(_ kernels: glim_kernels) -> String { String(cString: kernels.name) }

/// Edges of blocks of 64 keys and 96 rows, few rows and many, whole vectors and not.
private let shapes = [
    Shape(tokens: 1, heads: 1, width: 8, valueWidth: 8, first: 0),
    Shape(tokens: 2, heads: 4, width: 20, valueWidth: 9, first: 0),
    Shape(tokens: 1, heads: 8, width: 320, valueWidth: 256, first: 129),
    Shape(tokens: 2, heads: 3, width: 576, valueWidth: 512, first: 64),
    Shape(tokens: 63, heads: 1, width: 20, valueWidth: 20, first: 1),
    Shape(tokens: 64, heads: 3, width: 8, valueWidth: 3, first: 0),
    Shape(tokens: 64, heads: 4, width: 80, valueWidth: 64, first: 64),
    Shape(tokens: 65, heads: 8, width: 20, valueWidth: 16, first: 37),
    Shape(tokens: 130, heads: 3, width: 20, valueWidth: 17, first: 63),
    Shape(tokens: 3, heads: 100, width: 8, valueWidth: 5, first: 100),
]

extension AttentionKernelTests {
    struct Shape: Sendable, CustomTestStringConvertible {
        var tokens: Int, heads: Int, width: Int, valueWidth: Int, first: Int
        var testDescription: String { "\(tokens) tokens from \(first), \(heads) heads, \(width)|\(valueWidth)" }
    }
}
private typealias Shape = AttentionKernelTests.Shape

private struct Attention<Value: Equatable> {
    var out, lse, dq, dkeys: [Value]
    var largest: Value
}
private struct Index<Value: Equatable> { var scores, dq, dweights, dkeys: [Value] }

extension Attention where Value == Float {
    static func == (a: Self, b: Self) -> Bool {
        a.out.bits == b.out.bits && a.lse.bits == b.lse.bits && a.dq.bits == b.dq.bits && a.dkeys.bits == b.dkeys.bits
            && a.largest == b.largest
    }
}

extension Index where Value == Float {
    static func == (a: Self, b: Self) -> Bool {
        a.scores.bits == b.scores.bits && a.dq.bits == b.dq.bits && a.dweights.bits == b.dweights.bits
            && a.dkeys.bits == b.dkeys.bits
    }
}

extension [Float] {
    fileprivate var bits: [UInt32] { map(\.bitPattern) }
}

private func expectClose(_ found: [Float], _ expected: [Double], tolerance: Double, _ what: String) {
    #expect(found.count == expected.count)
    let limit = tolerance * (1 + (expected.map(abs).max() ?? 0))
    let wrong = zip(found, expected).enumerated().first { !(abs(Double($0.element.0) - $0.element.1) <= limit) }
    #expect(wrong == nil, "\(what) at \(wrong?.offset ?? 0): \(wrong!.element.0), not \(wrong!.element.1)")
}

private struct Random: RandomNumberGenerator {
    var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func floats(_ count: Int, magnitude: Float = 1) -> [Float] {
        (0..<count).map { _ in Float.random(in: -magnitude...magnitude, using: &self) }
    }
}

/// Queries and gradients for one shape, and keys in pages that end with the last key, each an allocation of its own.
private final class Problem {
    let shape: Shape, keyCount: Int, rows: Int, ldk: Int, scale: Float
    let q: [Float], dout: [Float], weights: [Float]
    /// [tokens, keys], NaN where a token does not see the key: those must not be read.
    let dscores: [Float]
    private let pages: [UnsafePointer<Float>]

    init(
        _ shape: Shape, keys: [[Float]]? = nil, q: [Float]? = nil, weights: [Float]? = nil, scale: Float? = nil,
        magnitude: Float = 1
    ) {
        var random = Random(seed: 7)
        let keyCount = shape.first + shape.tokens
        (self.shape, self.keyCount, rows) = (shape, keyCount, shape.tokens * shape.heads)
        self.scale = scale ?? 2 / Float(shape.width).squareRoot()
        self.q = q ?? random.floats(rows * shape.width, magnitude: magnitude)
        self.weights = weights ?? random.floats(rows)
        dout = random.floats(rows * shape.valueWidth)
        var dscores = random.floats(shape.tokens * keyCount)
        for t in 0..<shape.tokens {
            for s in shape.first + t + 1..<max(keyCount, shape.first + t + 1) { dscores[t * keyCount + s] = .nan }
        }
        self.dscores = dscores
        let ldk = shape.width + 3
        self.ldk = ldk
        pages = stride(from: 0, to: keyCount, by: 64).map { base in
            let count = min(64, keyCount - base)
            let page = UnsafeMutablePointer<Float>.allocate(capacity: (count - 1) * ldk + shape.width)
            page.initialize(repeating: .nan, count: (count - 1) * ldk + shape.width)
            for s in 0..<count {
                for (d, x) in (keys?[base + s] ?? random.floats(shape.width, magnitude: magnitude)).enumerated() {
                    page[s * ldk + d] = x
                }
            }
            return UnsafePointer(page)
        }
    }

    deinit { for page in pages { page.deallocate() } }

    func key(_ s: Int) -> [Float] { (0..<shape.width).map { pages[s / 64][s % 64 * ldk + $0] } }

    /// Attention and its pullback in calls of `chunk` tokens, by selection where there is one.
    func attention(_ kernels: glim_kernels, chunk: Int = .max, select: ((Int) -> [Int32])? = nil) -> Attention<Float> {
        let (heads, width, valueWidth) = (shape.heads, shape.width, shape.valueWidth)
        var found = Attention(
            out: nans(rows * valueWidth), lse: nans(rows), dq: nans(rows * width), dkeys: [Float](),
            largest: -.infinity)
        var largest = found.largest
        let (lddk, sentinel) = (width + 2, Float(12345))
        var dkeys = [Float](repeating: sentinel, count: (keyCount + 2) * lddk)  // two rows that must stay
        for s in 0..<keyCount { for d in 0..<width { dkeys[s * lddk + d] = 0 } }
        for t in stride(from: 0, to: shape.tokens, by: min(chunk, shape.tokens)) {
            let tokens = min(chunk, shape.tokens - t)
            let r = t * heads
            var scratch = nans(Int(glim_attention_scratch(Int64(tokens * heads), Int64(width))))
            let position = Int64(shape.first + t)
            found.out.withUnsafeMutableBufferPointer { out in
                found.lse.withUnsafeMutableBufferPointer { lse in
                    found.dq.withUnsafeMutableBufferPointer { dq in
                        q.withUnsafeBufferPointer { q in
                            dout.withUnsafeBufferPointer { dout in
                                let q = q.baseAddress! + r * width
                                let (out, lse) = (out.baseAddress! + r * valueWidth, lse.baseAddress! + r)
                                let (dq, dout) = (dq.baseAddress! + r * width, dout.baseAddress! + r * valueWidth)
                                if let selected = select?(t) {
                                    kernels.attention_selected(
                                        out, lse, &largest, q, Int64(heads), pages, Int64(ldk), 0, selected,
                                        Int64(selected.count), Int64(width), Int64(valueWidth), scale, &scratch)
                                    kernels.attention_selected_backward(
                                        dq, &dkeys, Int64(lddk), dout, q, out, lse, Int64(heads), pages, Int64(ldk),
                                        selected, Int64(selected.count), Int64(width), Int64(valueWidth), scale,
                                        &scratch)
                                } else {
                                    kernels.attention(
                                        out, lse, &largest, q, Int64(tokens), Int64(heads), pages, Int64(ldk), 0,
                                        position, Int64(width), Int64(valueWidth), scale, &scratch)
                                    kernels.attention_backward(
                                        dq, &dkeys, Int64(lddk), dout, q, out, lse, Int64(tokens), Int64(heads), pages,
                                        Int64(ldk), position, Int64(width), Int64(valueWidth), scale, &scratch)
                                }
                            }
                        }
                    }
                }
            }
        }
        found.largest = largest
        found.dkeys = keyRows(dkeys, lddk: lddk, sentinel: sentinel)
        return found
    }

    func outWithoutLogSumExp(_ kernels: glim_kernels) -> [Float] {
        var out = nans(rows * shape.valueWidth)
        var scratch = nans(Int(glim_attention_scratch(Int64(rows), Int64(shape.width))))
        kernels.attention(
            &out, nil, nil, q, Int64(shape.tokens), Int64(shape.heads), pages, Int64(ldk), 0,
            Int64(shape.first), Int64(shape.width), Int64(shape.valueWidth), scale, &scratch)
        return out
    }

    /// Index scores and their pullback in calls of `chunk` tokens.
    func index(_ kernels: glim_kernels, chunk: Int = .max) -> Index<Float> {
        let (heads, width) = (shape.heads, shape.width)
        let (lds, lddk, sentinel) = (keyCount, width + 2, Float(12345))
        var found = Index(
            scores: [Float](repeating: sentinel, count: shape.tokens * lds), dq: nans(rows * width),
            dweights: nans(rows), dkeys: [Float]())
        var dkeys = [Float](repeating: sentinel, count: (keyCount + 2) * lddk)
        for s in 0..<keyCount { for d in 0..<width { dkeys[s * lddk + d] = 0 } }
        for t in stride(from: 0, to: shape.tokens, by: min(chunk, shape.tokens)) {
            let tokens = min(chunk, shape.tokens - t)
            let r = t * heads
            var scratch = nans(Int(glim_attention_scratch(Int64(tokens * heads), Int64(width))))
            let position = Int64(shape.first + t)
            found.scores.withUnsafeMutableBufferPointer { scores in
                found.dq.withUnsafeMutableBufferPointer { dq in
                    found.dweights.withUnsafeMutableBufferPointer { dweights in
                        let (q, weights) = (Array(q[(r * width)...]), Array(weights[r...]))
                        kernels.index_scores(
                            scores.baseAddress! + t * lds, Int64(lds), q, weights, Int64(tokens), Int64(heads), pages,
                            Int64(ldk), 0, position, Int64(width), scale, &scratch)
                        kernels.index_scores_backward(
                            dq.baseAddress! + r * width, dweights.baseAddress! + r, &dkeys, Int64(lddk),
                            Array(dscores[(t * lds)...]), Int64(lds), q, weights, Int64(tokens), Int64(heads), pages,
                            Int64(ldk), position, Int64(width), scale, &scratch)
                    }
                }
            }
        }
        for t in 0..<shape.tokens {
            for s in 0..<keyCount where s > shape.first + t {  // hidden: must not have been written
                #expect(found.scores[t * lds + s] == sentinel)
                found.scores[t * lds + s] = 0
            }
        }
        found.dkeys = keyRows(dkeys, lddk: lddk, sentinel: sentinel)
        return found
    }

    func attentionReference() -> Attention<Double> {
        let (heads, width, valueWidth) = (shape.heads, shape.width, shape.valueWidth)
        let (keys, scale) = (doubleKeys(), Double(scale))
        let (q, dout) = (q.map(Double.init), dout.map(Double.init))
        var result = Attention(
            out: zeros(rows * valueWidth), lse: zeros(rows), dq: zeros(rows * width), dkeys: zeros(keyCount * width),
            largest: -.infinity)
        for r in 0..<rows {
            let seen = 0...shape.first + r / heads
            let scores = seen.map { s in (0..<width).reduce(0) { $0 + q[r * width + $1] * keys[s][$1] } * scale }
            let top = scores.max()!
            let lse = top + log(scores.reduce(0) { $0 + exp($1 - top) })
            let p = scores.map { exp($0 - lse) }
            let dp = seen.map { s in (0..<valueWidth).reduce(0) { $0 + dout[r * valueWidth + $1] * keys[s][$1] } }
            let delta = zip(p, dp).reduce(0) { $0 + $1.0 * $1.1 }
            result.lse[r] = lse
            result.largest = max(result.largest, top)
            for s in seen {
                let dscore = p[s] * (dp[s] - delta) * scale
                for d in 0..<width {
                    result.dq[r * width + d] += dscore * keys[s][d]
                    result.dkeys[s * width + d] += dscore * q[r * width + d]
                }
                for d in 0..<valueWidth {
                    result.out[r * valueWidth + d] += p[s] * keys[s][d]
                    result.dkeys[s * width + d] += p[s] * dout[r * valueWidth + d]
                }
            }
        }
        return result
    }

    func indexReference() -> Index<Double> {
        let (heads, width) = (shape.heads, shape.width)
        let (keys, scale, q) = (doubleKeys(), Double(scale), q.map(Double.init))
        var result = Index(
            scores: zeros(shape.tokens * keyCount), dq: zeros(rows * width), dweights: zeros(rows),
            dkeys: zeros(keyCount * width))
        for r in 0..<rows {
            let (t, weight) = (r / heads, Double(weights[r]))
            for s in 0...shape.first + t {
                let x = (0..<width).reduce(0) { $0 + q[r * width + $1] * keys[s][$1] } * scale
                guard x > 0 else { continue }
                let dscore = Double(dscores[t * keyCount + s])
                result.scores[t * keyCount + s] += weight * x
                result.dweights[r] += dscore * x
                for d in 0..<width {
                    result.dq[r * width + d] += dscore * weight * scale * keys[s][d]
                    result.dkeys[s * width + d] += dscore * weight * scale * q[r * width + d]
                }
            }
        }
        return result
    }

    private func doubleKeys() -> [[Double]] { (0..<keyCount).map { key($0).map(Double.init) } }

    /// The rows of keys without what lies between and behind them, which must be untouched.
    private func keyRows(_ dkeys: [Float], lddk: Int, sentinel: Float) -> [Float] {
        let isKey = { (i: Int) in i / lddk < self.keyCount && i % lddk < self.shape.width }
        #expect(dkeys.indices.allSatisfy { isKey($0) || dkeys[$0] == sentinel })
        return dkeys.indices.filter(isKey).map { dkeys[$0] }
    }
}

private func nans(_ count: Int) -> [Float] { [Float](repeating: .nan, count: count) }
private func zeros(_ count: Int) -> [Double] { [Double](repeating: 0, count: count) }
