import CGlimKernels
import Foundation
import Testing

// 1, both sides of the vector width, of the 64 lanes of a sum and of the block of 1024.
private let widths = [1, 2, 7, 15, 16, 17, 31, 33, 64, 65, 100, 257, 1023, 1025, 2100]
private let smallWidths = [1, 2, 7, 15, 16, 17, 33, 64, 100, 130]  // for gradients by differences

@Suite("row kernels, norms") struct NormKernelTests {
    @Test("rmsNorm divides by the root of the mean square", arguments: widths) func rmsNorm(width: Int) {
        var random = Generator(seed: width)
        let (rows, ld) = (3, width + pad)
        let x = random.rows(rows, width), weight = random.floats(width)
        func reference(_ x: [Double]) -> [Double] {
            let inv = 1 / (x.map { $0 * $0 }.reduce(0, +) / Double(width) + 1e-5).squareRoot()
            return zip(x, weight).map { $0 * inv * Double($1) }
        }
        check(lines(x, rows, width).flatMap(reference)) { k in
            var out = blank(rows, width), inv = [Float](repeating: 0, count: rows)
            k.rms_norm(&out, Int64(ld), &inv, x, Int64(ld), weight, Int64(rows), Int64(width), 1e-5)
            for r in 0..<rows {  // a row alone, in place, without inv: the same bits
                var alone = Array(x[r * ld..<(r + 1) * ld])
                alone.withUnsafeMutableBufferPointer {
                    k.rms_norm($0.baseAddress!, 0, nil, $0.baseAddress!, 0, weight, 1, Int64(width), 1e-5)
                }
                expectSameBits(Array(alone[..<width]), Array(out[r * ld..<r * ld + width]))
            }
            return stripped(out, rows, width)
        }
    }

    @Test("rmsNorm's pullback is the derivative", arguments: smallWidths) func rmsNormBackward(width: Int) {
        var random = Generator(seed: width)
        let (rows, ld) = (3, width + pad)
        let x = random.rows(rows, width), dy = random.rows(rows, width), weight = random.floats(width)
        let (xs, dys) = (lines(x, rows, width), lines(dy, rows, width))
        func loss(_ r: Int, _ x: [Double], _ w: [Double]) -> Double {
            let inv = 1 / (x.map { $0 * $0 }.reduce(0, +) / Double(width) + 1e-5).squareRoot()
            return (0..<width).map { x[$0] * inv * w[$0] * dys[r][$0] }.reduce(0, +)
        }
        let w = weight.map(Double.init)
        let dx = (0..<rows).flatMap { r in gradient(at: xs[r]) { loss(r, $0, w) } }
        let dw = gradient(at: w) { w in (0..<rows).map { loss($0, xs[$0], w) }.reduce(0, +) }
        check(dx + dw.map { $0 + 1 }, within: 1e-5) { k in
            var out = blank(rows, width), inv = [Float](repeating: 0, count: rows)
            k.rms_norm(&out, Int64(ld), &inv, x, Int64(ld), weight, Int64(rows), Int64(width), 1e-5)
            var dx = blank(rows, width), dw = [Float](repeating: 1, count: width)
            k.rms_norm_backward(
                &dx, Int64(ld), &dw, dy, Int64(ld), x, Int64(ld), weight, inv, Int64(rows), Int64(width), 0)
            var sum = dx, byRow = [Float](repeating: 1, count: width)
            for r in 0..<rows {  // row by row, accumulating onto itself
                let rest = { (a: [Float]) in Array(a[(r * ld)...]) }
                var part = rest(dx)
                k.rms_norm_backward(
                    &part, Int64(ld), &byRow, rest(dy), Int64(ld), rest(x), Int64(ld), weight, [inv[r]], 1,
                    Int64(width), GLIM_ACCUMULATE)
                sum.replaceSubrange(r * ld..<(r + 1) * ld, with: part[..<ld])
            }
            expectSameBits(byRow, dw)
            expectSameBits(stripped(sum, rows, width), stripped(dx, rows, width).map { $0 + $0 })
            return stripped(dx, rows, width) + dw
        }
    }

    @Test("layerNorm centres and scales", arguments: widths) func layerNorm(width: Int) {
        var random = Generator(seed: width)
        let (rows, ld) = (3, width + pad)
        let x = random.rows(rows, width), weight = random.floats(width), bias = random.floats(width)
        func reference(_ x: [Double]) -> [Double] {
            let mean = x.reduce(0, +) / Double(width)
            let inv = 1 / (x.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(width) + 1e-6).squareRoot()
            return (0..<width).map { (x[$0] - mean) * inv * Double(weight[$0]) + Double(bias[$0]) }
        }
        // At width 2 the two values may be near each other, and their difference carries the rounding of the mean.
        check(lines(x, rows, width).flatMap(reference), within: width == 2 ? 1e-4 : 1e-5) { k in
            var out = blank(rows, width), stats = [Float](repeating: 0, count: 2 * rows)
            k.layer_norm(&out, Int64(ld), &stats, x, Int64(ld), weight, bias, Int64(rows), Int64(width), 1e-6)
            for r in 0..<rows {
                var alone = Array(x[r * ld..<(r + 1) * ld])
                alone.withUnsafeMutableBufferPointer {
                    k.layer_norm($0.baseAddress!, 0, nil, $0.baseAddress!, 0, weight, bias, 1, Int64(width), 1e-6)
                }
                expectSameBits(Array(alone[..<width]), Array(out[r * ld..<r * ld + width]))
            }
            return stripped(out, rows, width)
        }
    }

    @Test("layerNorm's pullback is the derivative", arguments: smallWidths.filter { $0 > 2 })
    func layerNormBackward(width: Int) {
        var random = Generator(seed: width)
        let (rows, ld) = (3, width + pad)
        let x = random.rows(rows, width), dy = random.rows(rows, width)
        let weight = random.floats(width), bias = random.floats(width)
        let (xs, dys) = (lines(x, rows, width), lines(dy, rows, width))
        func loss(_ r: Int, _ x: [Double], _ w: [Double], _ b: [Double]) -> Double {
            let mean = x.reduce(0, +) / Double(width)
            let inv = 1 / (x.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(width) + 1e-6).squareRoot()
            return (0..<width).map { ((x[$0] - mean) * inv * w[$0] + b[$0]) * dys[r][$0] }.reduce(0, +)
        }
        let w = weight.map(Double.init), b = bias.map(Double.init)
        let dx = (0..<rows).flatMap { r in gradient(at: xs[r]) { loss(r, $0, w, b) } }
        let dw = gradient(at: w) { w in (0..<rows).map { loss($0, xs[$0], w, b) }.reduce(0, +) }
        let db = gradient(at: b) { b in (0..<rows).map { loss($0, xs[$0], w, b) }.reduce(0, +) }
        check(dx.map { $0 + 2 } + dw + db, within: 1e-5) { k in
            var out = blank(rows, width), stats = [Float](repeating: 0, count: 2 * rows)
            k.layer_norm(&out, Int64(ld), &stats, x, Int64(ld), weight, bias, Int64(rows), Int64(width), 1e-6)
            var dx = blank(rows, width).map { _ in Float(2) }
            var dw = [Float](repeating: 0, count: width), db = dw
            k.layer_norm_backward(
                &dx, Int64(ld), &dw, &db, dy, Int64(ld), x, Int64(ld), weight, stats, Int64(rows), Int64(width),
                GLIM_ACCUMULATE)
            return (0..<rows).flatMap { dx[$0 * ld..<$0 * ld + width] } + dw + db
        }
    }

    @Test("the norms of [1, 2, 3, 4] are those of the reference") func byHand() {
        let (x, ones, zeros): ([Float], [Float], [Float]) = ([1, 2, 3, 4], [1, 1, 1, 1], [0, 0, 0, 0])
        check([0.3651481, 0.7302963, 1.0954444, 1.4605925], within: 2e-7) { k in
            var out = zeros
            k.rms_norm(&out, 4, nil, x, 4, ones, 1, 4, 1e-5)
            return out
        }
        check([-1.3416404, -0.4472134, 0.4472134, 1.3416404], within: 2e-7) { k in
            var out = zeros
            k.layer_norm(&out, 4, nil, x, 4, ones, zeros, 1, 4, 1e-6)
            return out
        }
    }
}

@Suite("row kernels, rotation") struct RopeKernelTests {
    @Test("each pair turns by its angle, and back", arguments: [2, 4, 14, 16, 18, 30, 32, 34, 64, 100], [false, true])
    func turns(dims: Int, halfSplit: Bool) {
        var random = Generator(seed: dims)
        let (rows, heads, stride) = (4, 3, dims + 5)
        let ld = heads * stride + 2
        let positions: [Int32] = [0, 3, 1, 7]
        let angles = random.floats(8 * dims / 2)
        let cosine = angles.map { cosf($0) }, sine = angles.map { sinf($0) }
        let x = random.floats(rows * ld)
        var want = x.map(Double.init)
        for (r, h) in (0..<rows * heads).map({ ($0 / heads, $0 % heads) }) {
            for j in 0..<dims / 2 {
                let base = r * ld + h * stride
                let (a, b) = halfSplit ? (base + j, base + j + dims / 2) : (base + 2 * j, base + 2 * j + 1)
                let at = Int(positions[r]) * dims / 2 + j
                let (c, s) = (Double(cosine[at]), Double(sine[at]))
                (want[a], want[b]) = (want[a] * c - want[b] * s, want[b] * c + want[a] * s)
            }
        }
        func run(_ k: glim_kernels, _ x: inout [Float], inverse: Int32) {
            k.rope(
                &x, Int64(ld), Int64(stride), Int64(heads), Int64(rows), positions, cosine, sine, Int64(dims),
                halfSplit ? 1 : 0, inverse)
        }
        check(want, within: 5e-7) { k in
            var out = x
            run(k, &out, inverse: 0)
            return out
        }
        check(x.map(Double.init), within: 1e-6) { k in
            var out = x
            run(k, &out, inverse: 0)
            run(k, &out, inverse: 1)
            return out
        }
    }

    @Test("[1, 2, 3, 4] at position 3 turns as in the reference, differently for the two layouts") func byHand() {
        let angles: [Double] = [3, 3 * pow(1e4, -0.5)]
        let cosine = angles.map { Float(cos($0)) }, sine = angles.map { Float(sin($0)) }
        for (halfSplit, want) in [
            (Int32(0), [-1.2722325, -1.838865, 2.878668, 4.0881867]),
            (1, [-1.4133525, 1.8791181, -2.8288574, 4.0581913]),
        ] {
            check(want, within: 2e-7) { k in
                var x: [Float] = [1, 2, 3, 4]
                k.rope(&x, 4, 4, 1, 1, [0], cosine, sine, 4, halfSplit, 0)
                return x
            }
        }
    }
}

@Suite("row kernels, element by element") struct ElementKernelTests {
    @Test("sums, products and activations", arguments: widths) func elements(count: Int) {
        var random = Generator(seed: count)
        let a = random.floats(count, scale: 4), b = random.floats(count), n = Int64(count)
        let (x, y) = (a.map(Double.init), b.map(Double.init))
        func out(_ body: (UnsafeMutablePointer<Float>) -> Void) -> [Float] {
            var out = b  // holds b already, so that in-place kernels start from it
            out.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
            return out
        }
        check(zip(x, y).map(+)) { k in out { k.add($0, a, $0, n) } }
        check(zip(x, y).map(*)) { k in out { k.multiply($0, a, $0, n) } }
        check(x.map { $0 * 0.375 }) { k in out { k.scale($0, a, 0.375, n) } }
        check(zip(x, y).map { $1 + 0.3 * $0 }, within: 1e-6) { k in out { k.add_scaled($0, a, 0.3, n) } }
        check(x.map(sigmoid)) { k in out { k.sigmoid($0, a, n) } }
        check(zip(x, y).map { $0 * sigmoid($0) * $1 }) { k in out { k.swiglu($0, a, $0, n) } }
        check([zip(x, y).map(*).reduce(0, +)], within: 1e-6 * Double(count).squareRoot()) { k in [k.dot(a, b, n)] }
        let squares = x.map { $0 * $0 }.reduce(0, +)
        for k in tables() {
            let sum = k.sum_squares(a, n)
            #expect(abs(sum - squares) <= 1e-14 * squares)
            #expect(sum == tables().last!.sum_squares(a, n))
        }
    }

    @Test("swiglu's pullback is the derivative, also in place", arguments: widths) func swigluBackward(count: Int) {
        var random = Generator(seed: count)
        let gate = random.floats(count, scale: 4), up = random.floats(count), dout = random.floats(count)
        let n = Int64(count)
        let dgate = (0..<count).map { i in
            gradient(at: [Double(gate[i])]) { $0[0] * sigmoid($0[0]) * Double(up[i]) * Double(dout[i]) }[0]
        }
        let dup = (0..<count).map { Double(gate[$0]) * sigmoid(Double(gate[$0])) * Double(dout[$0]) }
        check(dgate + dup, within: 1e-6) { k in
            var g = gate, u = up
            g.withUnsafeMutableBufferPointer { g in
                u.withUnsafeMutableBufferPointer { u in
                    let (g, u) = (g.baseAddress!, u.baseAddress!)
                    k.swiglu_backward(g, u, dout, g, u, n)
                }
            }
            return g + u
        }
    }

    @Test("activations of huge arguments stay finite") func extremes() {
        let x: [Float] = [-1e30, -200, -88, -0.0, 0, 88, 200, 1e30]
        check([0, 0, 0, 0.5, 0.5, 1, 1, 1], within: 1e-30 + 1e-7) { k in
            var out = x
            k.sigmoid(&out, x, 8)
            return out
        }
    }

    @Test("adamw takes a decoupled step", arguments: [1, 7, 16, 17, 100, 257]) func adamw(count: Int) {
        var random = Generator(seed: count)
        let w = random.floats(count), m = random.floats(count), g = random.floats(count)
        let v = random.floats(count).map { $0 * $0 }
        let (lr, beta1, beta2, epsilon, decay): (Float, Float, Float, Float, Float) = (0.01, 0.9, 0.95, 1e-8, 0.1)
        let (c1, c2, scale): (Float, Float, Float) = (0.19, 0.0975, 0.5)
        let moments = (0..<count).map { i in
            let gradient = Double(g[i]) * Double(scale)
            return (
                Double(beta1) * Double(m[i]) + (1 - Double(beta1)) * gradient,
                Double(beta2) * Double(v[i]) + (1 - Double(beta2)) * gradient * gradient
            )
        }
        let stepped = (0..<count).map { i in
            let step = moments[i].0 / Double(c1) / ((moments[i].1 / Double(c2)).squareRoot() + Double(epsilon))
            return Double(w[i]) - Double(lr) * (step + Double(decay) * Double(w[i]))
        }
        check(stepped + moments.map(\.0) + moments.map(\.1), within: 1e-6) { k in
            var (w, m, v) = (w, m, v)
            k.adamw(&w, &m, &v, g, Int64(count), lr, beta1, beta2, epsilon, decay, c1, c2, scale)
            return w + m + v
        }
    }
}

@Suite("row kernels, softmax and loss") struct LossKernelTests {
    @Test("softmax and log-sum-exp agree with their definitions", arguments: widths) func softmax(width: Int) {
        var random = Generator(seed: width)
        let (rows, ld) = (3, width + pad)
        let x = random.rows(rows, width, scale: 9)
        let all = lines(x, rows, width)
        let want = all.flatMap { x in
            let sum = logSumExp(x)
            return x.map { exp($0 - sum) }
        }
        check(want) { k in
            var out = x  // in place
            out.withUnsafeMutableBufferPointer {
                k.softmax($0.baseAddress!, Int64(ld), $0.baseAddress!, Int64(ld), Int64(rows), Int64(width))
            }
            return stripped(out, rows, width)
        }
        check(all.map(logSumExp), within: 3e-7) { k in
            var out = [Float](repeating: 0, count: rows)
            k.log_sum_exp(&out, x, Int64(ld), Int64(rows), Int64(width))
            for r in 0..<rows {
                var alone: [Float] = [0]
                k.log_sum_exp(&alone, Array(x[(r * ld)...]), 0, 1, Int64(width))
                expectSameBits(alone, [out[r]])
            }
            return out
        }
    }

    @Test("masked logits count for nothing") func masked() {
        let none = [Float](repeating: -.infinity, count: 2000)
        var some = none
        (some[3], some[1999]) = (1, 3)
        for k in tables() {
            var sums: [Float] = [0, 0]
            k.log_sum_exp(&sums, none + some, 2000, 2, 2000)
            #expect(sums[0] == -.infinity)
            #expect(abs(Double(sums[1]) - log(exp(1) + exp(3))) < 3e-7)
            var out = none + some
            k.softmax(&out, 2000, none + some, 2000, 2, 2000)
            #expect(out[..<2000].allSatisfy { $0 == 0 })
            #expect(abs(out[2003] - 0.11920292) < 1e-7 && out[2000] == 0)
        }
    }

    @Test("the loss's pullback is softmax minus one-hot, and nothing without a target", arguments: widths)
    func crossEntropy(width: Int) {
        var random = Generator(seed: width)
        let (rows, ld) = (3, width + pad)
        let x = random.rows(rows, width, scale: 5), targets: [Int32] = [Int32(width - 1), -1, Int32(width / 2)]
        let want = zip(lines(x, rows, width), targets).flatMap { x, target -> [Double] in
            let sum = logSumExp(x)
            return x.indices.map { target < 0 ? 0 : (exp(x[$0] - sum) - ($0 == Int(target) ? 1 : 0)) * 0.25 }
        }
        // exp(x - lse) carries lse's rounding: half an ulp of a number below 16.
        check(want, within: 2e-6) { k in
            var sums = [Float](repeating: 0, count: rows), out = x
            k.log_sum_exp(&sums, x, Int64(ld), Int64(rows), Int64(width))
            k.cross_entropy_backward(&out, Int64(ld), sums, targets, 0.25, Int64(rows), Int64(width))
            return stripped(out, rows, width)
        }
    }
}

@Suite("row kernels, routing") struct RouteKernelTests {
    struct Case: Sendable {
        var (experts, chosen, groups, kept) = (4, 2, 1, 1)
        init(_ experts: Int, _ chosen: Int, _ groups: Int, _ kept: Int) {
            (self.experts, self.chosen, self.groups, self.kept) = (experts, chosen, groups, kept)
        }
    }

    static func route(
        _ k: glim_kernels, _ c: Case, logits: [Float], bias: [Float], scale: Float = 2.5, normalise: Bool = true
    ) -> (ids: [Int32], weights: [Float], probabilities: [Float]) {
        let rows = logits.count / c.experts
        var ids = [Int32](repeating: -1, count: rows * c.chosen), weights = [Float](repeating: 0, count: ids.count)
        var probabilities = [Float](repeating: 0, count: logits.count)
        k.route(
            &ids, &weights, &probabilities, logits, bias, Int64(rows), Int64(c.experts), Int64(c.chosen),
            Int64(c.groups), Int64(c.kept), scale, normalise ? 1 : 0)
        return (ids, weights, probabilities)
    }

    @Test("the bias steers the choice but not the weights") func byHand() {
        for k in tables() {
            let r = Self.route(k, Case(4, 2, 1, 1), logits: [0.5, -1, 2, 0.1], bias: [0, 1, -0.5, 0.2])
            #expect(r.ids == [1, 3])
            expectClose(r.probabilities, [0.6224593, 0.2689414, 0.8807971, 0.5249792], within: 2e-7)
            expectClose(r.weights, [0.8468776, 1.6531224], within: 2e-7)
        }
    }

    @Test("equal choices go to the lower expert, and a group out of the race is never chosen") func ties() {
        for k in tables() {
            let equal = [Float](repeating: 0.25, count: 8)
            #expect(Self.route(k, Case(8, 3, 1, 1), logits: equal, bias: equal).ids == [0, 1, 2])
            // Group 1 has the best pair, though group 0 has the best expert.
            let r = Self.route(k, Case(4, 2, 2, 1), logits: [0, 0, 0, 0], bias: [2, -3, 0.5, 0.5])
            #expect(r.ids == [2, 3])
            // All biased choices negative: masked is -infinity, not 0.
            #expect(Self.route(k, Case(4, 2, 2, 1), logits: [0, 0, 0, 0], bias: [-9, -9, -5, -5]).ids == [2, 3])
            #expect(Self.route(k, Case(4, 4, 1, 1), logits: [0, .nan, 0, 0], bias: [0, 0, 0, 0]).ids == [0, 1, 2, 3])
        }
    }

    @Test(
        "routing agrees with a sort, row by row, and its pullback is the derivative",
        arguments: [
            Case(1, 1, 1, 1), Case(7, 3, 1, 1), Case(16, 4, 4, 2), Case(33, 33, 1, 1), Case(64, 8, 8, 3),
            Case(100, 6, 1, 1), Case(256, 8, 1, 1), Case(1024, 8, 16, 4),
        ], [true, false])
    func random(c: Case, normalise: Bool) {
        var random = Generator(seed: c.experts + c.chosen)
        let rows = 3, size = c.experts / c.groups
        let logits = random.floats(rows * c.experts, scale: 2).map { ($0 * 8).rounded() / 8 }  // so that some tie
        let bias = random.floats(c.experts).map { ($0 * 4).rounded() / 4 }
        let best = Self.route(tables().last!, c, logits: logits, bias: bias, normalise: normalise)
        let ids = (0..<rows).flatMap { r -> [Int] in
            var choice = (0..<c.experts).map { best.probabilities[r * c.experts + $0] + bias[$0] }
            let scores = (0..<c.groups).map { g in
                choice[g * size..<(g + 1) * size].sorted(by: >).prefix(2).reduce(0, +)
            }
            let kept = Set((0..<c.groups).sorted { (scores[$0], $1) > (scores[$1], $0) }.prefix(c.kept))
            for e in choice.indices where !kept.contains(e / size) { choice[e] = -.infinity }
            return choice.indices.sorted { (choice[$0], $1) > (choice[$1], $0) }.prefix(c.chosen).sorted()
        }
        #expect(best.ids.map(Int.init) == ids)
        check(logits.map { sigmoid(Double($0)) }) { k in
            let r = Self.route(k, c, logits: logits, bias: bias, normalise: normalise)
            #expect(r.ids == best.ids)
            expectSameBits(r.weights, best.weights)
            return r.probabilities
        }
        for r in 0..<rows {
            let row = Array(logits[r * c.experts..<(r + 1) * c.experts])
            let alone = Self.route(tables()[0], c, logits: row, bias: bias, normalise: normalise)
            expectSameBits(alone.weights, Array(best.weights[r * c.chosen..<(r + 1) * c.chosen]))
        }

        let dweights = random.floats(rows * c.chosen), dprobabilities = random.floats(rows * c.experts)
        func weights(_ r: Int, _ p: [Double]) -> [Double] {
            let p = ids[r * c.chosen..<(r + 1) * c.chosen].map { p[$0] }
            return p.map { $0 * 2.5 / (normalise ? p.reduce(0, +) + 1e-20 : 1) }
        }
        let first = Array(logits[..<c.experts]).map(Double.init)
        expectClose(
            Array(best.weights[..<c.chosen]), weights(0, first.map(sigmoid)), within: 1e-6)
        guard c.experts <= 256 else { return }
        let want = (0..<rows).flatMap { r in
            gradient(at: logits[r * c.experts..<(r + 1) * c.experts].map(Double.init)) { z in
                let p = z.map(sigmoid)
                return zip(weights(r, p), dweights[(r * c.chosen)...]).map { $0 * Double($1) }.reduce(0, +)
                    + zip(p, dprobabilities[(r * c.experts)...]).map { $0 * Double($1) }.reduce(0, +)
            }
        }
        check(want, within: 3e-6) { k in
            var out = [Float](repeating: 0, count: logits.count)
            k.route_backward(
                &out, dweights, dprobabilities, best.probabilities, best.ids, Int64(rows), Int64(c.experts),
                Int64(c.chosen), 2.5, normalise ? 1 : 0)
            var without = out
            k.route_backward(
                &without, dweights, nil, best.probabilities, best.ids, Int64(rows), Int64(c.experts),
                Int64(c.chosen), 2.5, normalise ? 1 : 0)
            let chosen = Set(ids[..<c.chosen])
            #expect((0..<c.experts).allSatisfy { chosen.contains($0) || without[$0] == 0 })
            return out
        }
    }
}

@Suite("row kernels, selection") struct TopKKernelTests {
    /// What every table returns, which must be the same, against a stable sort.
    func expectSorted(_ scores: [Float], _ k: Int, _ what: String) {
        let keys = scores.map { $0.isNaN ? (0, Float(0)) : (1, $0) }  // NaN below all numbers
        let want = scores.indices.sorted { keys[$0] == keys[$1] ? $0 < $1 : keys[$0] > keys[$1] }.prefix(k).sorted()
        for table in tables() {
            var out = [Int32](repeating: -1, count: min(k, scores.count) + 4)
            let count = Int(table.top_k(&out, scores, Int64(scores.count), Int64(k)))
            #expect(count == want.count)
            #expect(
                out[..<count].map(Int.init) == want, "\(what): \(k) of \(scores.count), \(String(cString: table.name))")
            #expect(out[count...].allSatisfy { $0 == -1 }, "wrote past the end")
        }
    }

    @Test("selection agrees with a stable sort", arguments: [1, 2, 15, 16, 17, 64, 100, 1025, 4096, 4097, 9001])
    func sorted(count: Int) {
        var random = Generator(seed: count)
        let ks = Set([0, 1, 2, 15, 16, 17, count / 16, count / 2, count - 1, count, count + 5]).filter { $0 >= 0 }
        let smooth = random.floats(count)
        for k in ks {
            expectSorted(smooth, k, "normal")
            expectSorted(smooth.map { max(0, $0) }, k, "half zeros")
            expectSorted(smooth.map { ($0 * 2).rounded() }, k, "many ties, zeros of both signs")
            expectSorted(smooth.map { _ in 0.5 }, k, "all equal")
            expectSorted(smooth.indices.map { $0 % 3 == 0 ? .nan : smooth[$0] }, k, "NaN")
            expectSorted(
                smooth.indices.map { [.nan, -.infinity, .infinity, .leastNonzeroMagnitude, -0.0, 0][$0 * 7 % 6] }, k,
                "extremes")
            expectSorted(smooth.map { exp($0 * 40) }, k, "many magnitudes")
            expectSorted(smooth.indices.map(Float.init), k, "ascending")
            expectSorted(smooth.indices.map { $0 < count - 9 ? -.infinity : 1 }, k, "masked")
        }
    }

    @Test("2,048 of 32,768, with ties at the border") func large() {
        var random = Generator(seed: 9)
        let scores = random.floats(32768)
        expectSorted(scores, 2048, "normal")
        expectSorted(scores.map { ($0 * 64).rounded() / 64 }, 2048, "coarse")
        expectSorted(scores.map { $0 > 1.9 ? $0 : 0 }, 2048, "mostly zeros")
    }
}

// MARK: - Helpers

/// Columns of NaN behind each row: reading one spoils the result, writing one is noticed.
private let pad = 3

private func tables() -> [glim_kernels] { (0..<glim_kernels_count()).map { glim_kernels_at($0).pointee } }

private struct Generator {
    var state: UInt64
    init(seed: Int) { state = UInt64(seed) }

    mutating func next() -> Double {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return Double((z ^ (z >> 31)) >> 11) / 9_007_199_254_740_992
    }

    /// Roughly normal: the sum of twelve uniform numbers.
    mutating func floats(_ count: Int, scale: Double = 1) -> [Float] {
        (0..<count).map { _ in
            var sum = -6.0
            for _ in 0..<12 { sum += next() }
            return Float(sum * scale)
        }
    }

    mutating func rows(_ rows: Int, _ width: Int, scale: Double = 1) -> [Float] {
        (0..<rows).flatMap { _ in floats(width, scale: scale) + [Float](repeating: .nan, count: pad) }
    }
}

private func blank(_ rows: Int, _ width: Int) -> [Float] { [Float](repeating: .nan, count: rows * (width + pad)) }

private func lines(_ x: [Float], _ rows: Int, _ width: Int) -> [[Double]] {
    (0..<rows).map { x[$0 * (width + pad)..<$0 * (width + pad) + width].map(Double.init) }
}

/// The rows without the columns behind them, which must still be NaN.
private func stripped(_ x: [Float], _ rows: Int, _ width: Int) -> [Float] {
    (0..<rows).flatMap { r in
        let row = x[r * (width + pad)..<(r + 1) * (width + pad)]
        #expect(row.suffix(pad).allSatisfy { $0.isNaN }, "wrote past the row")
        return row.prefix(width)
    }
}

private func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

private func logSumExp(_ x: [Double]) -> Double {
    let largest = x.max()!
    return largest + log(x.map { exp($0 - largest) }.reduce(0, +))
}

/// The gradient by central differences, good to about 1e-9.
private func gradient(at x: [Double], of f: ([Double]) -> Double) -> [Double] {
    x.indices.map { i in
        var (up, down) = (x, x)
        up[i] += 1e-5
        down[i] -= 1e-5
        return (f(up) - f(down)) / 2e-5
    }
}

/// Every table gives the same bits, close to what doubles say. 1e-6 is eight roundings.
private func check(
    _ want: [Double], within tolerance: Double = 1e-6, at location: SourceLocation = #_sourceLocation,
    _ run: (glim_kernels) -> [Float]
) {
    let portable = run(tables().last!)
    expectClose(portable, want, within: tolerance, at: location)
    for table in tables().dropLast() { expectSameBits(run(table), portable, at: location) }
}

/// Relative for numbers above 1, absolute below.
private func expectClose(
    _ got: [Float], _ want: [Double], within tolerance: Double, at location: SourceLocation = #_sourceLocation
) {
    #expect(got.count == want.count, sourceLocation: location)
    let wrong = zip(got, want).enumerated().first { !(abs(Double($1.0) - $1.1) <= tolerance * max(1, abs($1.1))) }
    #expect(wrong == nil, "is \(String(describing: wrong))", sourceLocation: location)
}

private func expectSameBits(_ a: [Float], _ b: [Float], at location: SourceLocation = #_sourceLocation) {
    #expect(a.map(\.bitPattern) == b.map(\.bitPattern), sourceLocation: location)
}
