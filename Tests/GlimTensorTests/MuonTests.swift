import GlimTensor
import GlimTestSupport
import Testing

/// Newton–Schulz in double, row-major, as it is written in papers.
private func reference(_ u: [Float], rows: Int, columns: Int) -> [Float] {
    func product(_ a: [[Double]], _ b: [[Double]]) -> [[Double]] {
        a.map { row in
            var out = [Double](repeating: 0, count: b[0].count)
            for (x, other) in zip(row, b) { for j in out.indices { out[j] += x * other[j] } }
            return out
        }
    }
    func turned(_ a: [[Double]]) -> [[Double]] { a[0].indices.map { j in a.map { $0[j] } } }
    let norm = u.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot() + 1e-7
    var x = (0..<rows).map { r in u[r * columns..<(r + 1) * columns].map { Double($0) / norm } }
    if rows > columns { x = turned(x) }
    for _ in 0..<5 {
        let a = product(x, turned(x))
        let b = zip(a, product(a, a)).map { row, square in zip(row, square).map { -4.7750 * $0 + 2.0315 * $1 } }
        x = zip(x, product(b, x)).map { row, more in zip(row, more).map { 3.4445 * $0 + $1 } }
    }
    if rows > columns { x = turned(x) }
    return x.flatMap { $0.map { Float($0) } }
}

/// A step from zero weights and no momentum, at rate -1: what is added, scaled.
private func update(_ blocks: [MuonBlock], _ gradients: Gradients, momenta: [ObjectIdentifier: Tensor]) {
    Weight.muon(blocks, gradients, gradientScale: 1, learningRate: -1, momentum: 0.95, decay: 0) {
        momenta[ObjectIdentifier($0)]!
    }
}

/// The same for fresh weights and momenta.
private func update(_ blocks: [MuonBlock], _ gradients: Gradients) {
    let momenta = blocks.flatMap(\.parts).map { (ObjectIdentifier($0.weight), Tensor(zeros: [$0.weight.elementCount])) }
    update(blocks, gradients, momenta: Dictionary(momenta) { first, _ in first })
}

private func gradient(of weight: Weight, _ rows: [[Float]]) -> Tensor {
    let numbers = Tensor(zeros: [weight.elementCount])
    for (i, rows) in rows.enumerated() {
        rows.withUnsafeBufferPointer { weight.set($0, matrix: i, numbers: numbers) }
    }
    return numbers
}

@Suite("Muon", .serialized) struct MuonTests {
    @Test("Newton–Schulz of two rows by three, worked out by others, either way up") func byHand() {
        // GLM5: section 12, times 0.2 √3.
        let expected: [Float] = [-0.2283457, 0.0691668, 0.1913932, 0.1934234, 0.1103148, 0.1193834]
        let given: [Float] = [1, 2, 3, 4, 5, 7]
        for isTurned in [false, true] {
            func turned(_ x: [Float]) -> [Float] { isTurned ? (0..<3).flatMap { [x[$0], x[3 + $0]] } : x }
            let weight = Weight(outputs: isTurned ? 3 : 2, inputs: isTurned ? 2 : 3)
            var gradients = Gradients()
            gradients.set(gradient(of: weight, [turned(given)]), for: weight)
            update([MuonBlock(weight)], gradients)
            expectClose(weight.rows().elements, turned(expected), within: 1e-5)
        }
    }

    @Test("Newton–Schulz is the one in double precision, wide and tall", arguments: 0..<12) func agrees(seed: Int) {
        var draw = Draw(seed, "muon")
        let (rows, columns) = (draw.integer(1...150), draw.integer(1...(seed < 10 ? 150 : 600)))
        let weight = Weight(outputs: rows, inputs: columns, count: 2)
        let numbers = [draw.floats(rows * columns), draw.floats(rows * columns, scale: 1e-3)]
        var gradients = Gradients()
        gradients.set(gradient(of: weight, numbers), for: weight)
        update(MuonBlock.each(of: weight), gradients)
        let size = 0.2 * Float(max(rows, columns)).squareRoot()
        for (i, numbers) in numbers.enumerated() {
            let expected = reference(numbers, rows: rows, columns: columns).map { $0 * size }
            expectClose(weight.rows(matrix: i).elements, expected, within: 1e-4, "\(rows) by \(columns)")
        }
        // What lies behind the last output stays zero, for products read it.
        let held = UnsafeBufferPointer(start: weight.floats, count: weight.elementCount)
        let shown = (0..<2).reduce(0) { $0 + weight.rows(matrix: $1).elements.count { $0 != 0 } }
        #expect(shown > 0 && held.count { $0 != 0 } == shown)
    }

    @Test("a block of several parts is their matrix, some upside down", arguments: [9, 70]) func parts(width: Int) {
        var draw = Draw(width, "parts")
        // Three heads of 5 rows of keys, held transposed, and 4 of values.
        let (keys, values) = (Weight(outputs: width, inputs: 5, count: 3), Weight(outputs: 4, inputs: width, count: 3))
        let rows = (0..<6).map { draw.floats(($0 % 2 == 0 ? 5 : 4) * width) }
        func turned(_ rows: [Float]) -> [Float] {
            (0..<width).flatMap { c in (0..<5).map { rows[$0 * width + c] } }
        }
        var gradients = Gradients()
        gradients.set(gradient(of: keys, [0, 2, 4].map { turned(rows[$0]) }), for: keys)
        gradients.set(gradient(of: values, [1, 3, 5].map { rows[$0] }), for: values)
        update(
            [
                MuonBlock(
                    (0..<3).flatMap { h in
                        [MuonBlock.Part(keys, matrix: h, isTransposed: true), MuonBlock.Part(values, matrix: h)]
                    })
            ], gradients)
        let found = (0..<3).flatMap {
            keys.rows(matrix: $0, transposed: true).elements + values.rows(matrix: $0).elements
        }
        let size = 0.2 * Float(max(27, width)).squareRoot()
        expectClose(
            found, reference(rows.flatMap(\.self), rows: 27, columns: width).map { $0 * size }, within: 1e-4)
    }

    @Test("rows of a matrix apart, across the edges of panels", arguments: [7, 48]) func heads(rows: Int) {
        var draw = Draw(rows, "heads")
        let (heads, columns) = (5, 30)
        let weight = Weight(outputs: heads * rows, inputs: columns)
        let numbers = draw.floats(heads * rows * columns)
        var gradients = Gradients()
        gradients.set(gradient(of: weight, [numbers]), for: weight)
        update((0..<heads).map { MuonBlock([.init(weight, outputs: $0 * rows..<($0 + 1) * rows)]) }, gradients)
        let size = 0.2 * Float(max(rows, columns)).squareRoot()
        for h in 0..<heads {
            let part = h * rows * columns..<(h + 1) * rows * columns
            expectClose(
                Array(weight.rows().elements[part]),
                reference(Array(numbers[part]), rows: rows, columns: columns).map { $0 * size }, within: 1e-4,
                "head \(h)")
        }
    }

    @Test("no gradient, no step; a gradient of zeros only decays") func nothing() {
        var draw = Draw(1, "nothing")
        let (left, still) = (draw.weight(40, 20), draw.weight(20, 40))
        let before = (left.rows().elements, still.rows().elements)
        var gradients = Gradients()
        gradients.set(Tensor(zeros: [still.elementCount]), for: still)
        Weight.muon(
            [MuonBlock(left), MuonBlock(still)], gradients, gradientScale: 1, learningRate: 0.5, momentum: 0.95,
            decay: 0.5
        ) { Tensor(zeros: [$0.elementCount]) }
        #expect(left.rows().elements == before.0)
        #expect(still.rows().elements == before.1.map { $0 * 0.75 })
    }

    @Test("the same bits at any thread count, and whatever other blocks there are") func threads() {
        func weights() -> [Weight] { [Weight(outputs: 300, inputs: 420), Weight(outputs: 30, inputs: 50, count: 7)] }
        func numbers(_ weight: Weight) -> Tensor {
            var draw = Draw(weight.outputs, "threads")
            return gradient(of: weight, (0..<weight.count).map { _ in draw.floats(weight.outputs * weight.inputs) })
        }
        func step(_ weights: [Weight], threads: Int) -> [[Float]] {
            let before = ThreadPool.shared.threadCount
            defer { ThreadPool.shared.threadCount = before }
            ThreadPool.shared.threadCount = threads
            var gradients = Gradients()
            for weight in weights { gradients.set(numbers(weight), for: weight) }
            update(weights.flatMap { MuonBlock.each(of: $0) }, gradients)
            return weights.map { weight in (0..<weight.count).flatMap { weight.rows(matrix: $0).elements } }
        }
        let expected = step(weights(), threads: 1)
        for threads in [2, 3, 5] {
            for (found, expected) in zip(step(weights(), threads: threads), expected) {
                expectSame(found, expected, "\(threads) threads")
            }
        }
        expectSame(step([weights()[0]], threads: 2)[0], expected[0], "alone")
        expectSame(step([weights()[1]], threads: 2)[0], expected[1], "alone")
    }
}
