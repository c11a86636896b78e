import GlimTensor
import GlimTestSupport
import Testing

@Suite("weights") struct WeightTests {
    private static let shapes = [(1, 1), (31, 7), (32, 8), (33, 5), (100, 3), (64, 64)]

    /// To the nearest bf16, ties to even.
    private static func rounded(_ x: Float) -> Float {
        let bits = x.bitPattern
        return Float(bitPattern: (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000)
    }

    @Test("what is set is read back, in both orientations", arguments: [Weight.Format.f32, .bf16], shapes)
    func roundTrip(format: Weight.Format, shape: (Int, Int)) {
        var draw = Draw(shape.0)
        let (outputs, inputs) = shape
        let weight = Weight(outputs: outputs, inputs: inputs, count: 3, format: format)
        var matrices = (0..<3).map { _ in draw.floats(outputs * inputs) }
        func turned(_ rows: [Float]) -> [Float] {
            (0..<inputs).flatMap { i in (0..<outputs).map { rows[$0 * inputs + i] } }
        }
        matrices[0].withUnsafeBufferPointer { weight.set($0, matrix: 0) }
        turned(matrices[1]).withUnsafeBufferPointer { weight.set($0, matrix: 1, transposed: true) }
        matrices[2].withUnsafeBufferPointer { weight.set($0, matrix: 2) }
        if format == .bf16 { matrices = matrices.map { $0.map(Self.rounded) } }
        for (i, rows) in matrices.enumerated() {
            expectSame(weight.rows(matrix: i).elements, rows, "matrix \(i)")
            expectSame(weight.rows(matrix: i, transposed: true).elements, turned(rows), "matrix \(i), turned")
        }
        #expect(weight.parameterCount == 3 * outputs * inputs && weight.byteCount >= weight.parameterCount * 2)
    }

    @Test("rows set in pieces are the matrix set at once", arguments: [Weight.Format.f32, .bf16, .int8(group: 32)])
    func pieces(format: Weight.Format) {
        var draw = Draw(5)
        for (outputs, inputs) in [(100, 64), (64, 32), (31, 96)] {
            let rows = draw.floats(outputs * inputs)
            let (whole, pieces) = (
                Weight(outputs: outputs, inputs: inputs, format: format),
                Weight(outputs: outputs, inputs: inputs, format: format, isZeroed: false)
            )
            rows.withUnsafeBufferPointer { rows in
                whole.set(rows)
                for first in stride(from: 0, to: outputs, by: 32) {
                    let some = rows[first * inputs..<min(outputs, first + 32) * inputs]
                    pieces.set(UnsafeBufferPointer(rebasing: some), from: first)
                }
            }
            expectSame(pieces.rows().elements, whole.rows().elements)
            let x = draw.tensor([3, inputs])
            expectSame(Tensor.linear(x, pieces).elements, Tensor.linear(x, whole).elements)
        }
    }

    @Test("integers as files have them are those that were unpacked", arguments: [8, 4])
    func stored(bits: Int) {
        var draw = Draw(bits)
        for (outputs, inputs) in [(1, 32), (33, 64), (64, 160), (70, 512), (100, 1056)] {
            let format = Weight.Format.integers(bits: bits, inputs: inputs)
            let most = bits == 8 ? 127 : 7
            let integers = (0..<outputs * inputs).map { _ in Int8(draw.integer(-most - 1...most)) }
            let groups = (inputs + format.group! - 1) / format.group!
            let matrix = IntegerMatrix(
                format, outputs: outputs, inputs: inputs, integers: integers, scales: draw.floats(outputs * groups))
            // At an address without any alignment.
            var bytes: [UInt8] = [0]
            if bits == 8 {
                bytes += integers.map { UInt8(bitPattern: $0) }
            } else {
                for i in stride(from: 0, to: integers.count, by: 2) {
                    bytes.append(UInt8(Int(integers[i]) + 8 + (Int(integers[i + 1]) + 8) << 4))
                }
            }
            let (unpacked, stored) = (
                Weight(outputs: outputs, inputs: inputs, format: format),
                Weight(outputs: outputs, inputs: inputs, format: format, isZeroed: false)
            )
            unpacked.set(matrix)
            bytes.withUnsafeBytes {
                stored.set(stored: UnsafeRawBufferPointer(rebasing: $0[1...]), scales: matrix.scales)
            }
            #expect(stored.integers() == matrix)
            let x = draw.tensor([3, inputs])
            expectSame(Tensor.linear(x, stored).elements, Tensor.linear(x, unpacked).elements)
        }
    }

    /// Where no number is tiny, the bf16 chain is the f32 chain over rounded operands.
    @Test("products in bf16 are products of rounded numbers, forwards and backwards", arguments: shapes + [(70, 301)])
    func computesInBF16(shape: (Int, Int)) {
        var draw = Draw(shape.0)
        let (outputs, inputs) = shape
        let (numbers, counts) = (draw.floats(2 * outputs * inputs), [1, 5, 50])
        func weight(_ numbers: [Float], computesInBF16: Bool) -> Weight {
            let weight = Weight(outputs: outputs, inputs: inputs, computesInBF16: computesInBF16)
            Array(numbers.prefix(outputs * inputs)).withUnsafeBufferPointer { weight.set($0) }
            weight.changed()
            return weight
        }
        let (half, full) = (
            weight(numbers, computesInBF16: true), weight(numbers.map(Self.rounded), computesInBF16: false)
        )
        for rows in counts {
            let (x, dy) = (draw.tensor([rows, inputs]), draw.tensor([rows, outputs]))
            func pass(_ x: Tensor, _ dy: Tensor, _ weight: Weight) -> (y: [Float], dx: [Float], dw: [Float]) {
                let tape = Tape()
                let followed = tape.follow(x)
                let y = Tensor.linear(followed, weight, tape: tape)
                tape.backward(from: [(y, dy)])
                return (
                    y.elements, tape.gradient(of: followed)!.elements,
                    weight.rows(of: tape.gradients[weight]!).elements
                )
            }
            func rounded(_ x: Tensor) -> Tensor { Tensor(x.elements.map(Self.rounded), x.shape) }
            let (found, expected) = (pass(x, dy, half), pass(rounded(x), rounded(dy), full))
            expectSame(found.y, expected.y, "\(rows) rows")
            expectSame(found.dx, expected.dx, "\(rows) rows, dx")
            expectSame(found.dw, expected.dw, "\(rows) rows, dw")
        }
        // A change of the weight reaches its rounded forms.
        let x = draw.tensor([2, inputs])
        let before = Tensor.linear(x, half).elements
        Array(numbers.suffix(outputs * inputs)).withUnsafeBufferPointer { half.set($0) }
        half.changed()
        #expect(Tensor.linear(x, half).elements != before)
        expectSame(
            Tensor.linear(x, half).elements,
            Tensor.linear(x, weight(Array(numbers.suffix(outputs * inputs)), computesInBF16: true)).elements)
    }

    @Test("a gradient is read back in the order of its weight", arguments: shapes) func gradientRows(shape: (Int, Int))
    {
        var draw = Draw(shape.1)
        let (outputs, inputs) = shape
        let weight = draw.weight(outputs, inputs)
        // One row of ones at a time: dW[o, i] = dy[o] · x[i].
        let (x, dy) = (draw.tensor([1, inputs]), draw.tensor([1, outputs]))
        let tape = Tape()
        tape.backward(from: [(Tensor.linear(x, weight, tape: tape), dy)])
        let expected = dy.elements.flatMap { d in x.elements.map { d * $0 } }
        let gradient = tape.gradients[weight]!
        expectSame(weight.rows(of: gradient).elements, expected)
        expectSame(
            weight.rows(of: gradient, transposed: true).elements,
            x.elements.flatMap { x in dy.elements.map { $0 * x } })
    }

    @Test("numbers in a weight's layout are set and read without the weight", arguments: shapes)
    func numbers(shape: (Int, Int)) {
        var draw = Draw(shape.0)
        let weight = draw.weight(shape.0, shape.1, count: 2)
        let before = (0..<2).map { weight.rows(matrix: $0).elements }
        let held = Tensor(zeros: [weight.elementCount])
        let matrices = (0..<2).map { _ in draw.floats(shape.0 * shape.1) }
        for (i, rows) in matrices.enumerated() {
            rows.withUnsafeBufferPointer { weight.set($0, matrix: i, numbers: held) }
        }
        for i in 0..<2 {
            expectSame(weight.rows(matrix: i, of: held).elements, matrices[i])
            expectSame(weight.rows(matrix: i).elements, before[i])
        }
    }

    @Test("a product is the sum it should be, in both formats, for one row and for many", arguments: shapes)
    func product(shape: (Int, Int)) {
        var draw = Draw(shape.0 + shape.1)
        let (outputs, inputs) = shape
        for format in [Weight.Format.f32, .bf16] {
            let weight = draw.weight(outputs, inputs, format: format)
            let (x, rows) = (draw.tensor([5, inputs]), weight.rows().elements)
            let y = Tensor.linear(x, weight)
            let expected = (0..<5).flatMap { t in
                (0..<outputs).map { o in
                    Float(
                        (0..<inputs).reduce(0.0) {
                            $0 + Double(x.elements[t * inputs + $1]) * Double(rows[o * inputs + $1])
                        })
                }
            }
            expectClose(y.elements, expected, within: 2e-6)
            for t in 0..<5 {
                let one = Tensor.linear(Tensor.selectRows(x, [t]), weight)
                expectSame(one.elements, Array(y.elements[t * outputs..<(t + 1) * outputs]))
            }
        }
    }

    @Test("derived forms follow a weight that changed") func version() {
        var draw = Draw(5)
        let (x, weight, dy) = (draw.tensor([2, 4]), draw.weight(3, 4), draw.tensor([2, 3]))
        func dx() -> [Float] {
            let tape = Tape()
            let followed = tape.follow(x)
            tape.backward(from: [(Tensor.linear(followed, weight, tape: tape), dy)])
            return tape.gradient(of: followed)!.elements
        }
        let (before, version) = (dx(), weight.version)
        weight.rows().elements.map { 2 * $0 }.withUnsafeBufferPointer { weight.set($0) }
        weight.changed()
        #expect(weight.version > version)
        expectSame(dx(), before.map { 2 * $0 })
    }

    @Test("a vector is itself") func vector() {
        let weight = Weight(vector: [1, -2, 3])
        #expect(weight.isVector && weight.count == 1 && weight.outputs == 3 && weight.rows().elements == [1, -2, 3])
        [4, 5, 6].withUnsafeBufferPointer { weight.set($0) }
        #expect(weight.rows().elements == [4, 5, 6])
    }

    @Test("a blueprint tells its shape and takes no memory") func blueprint() {
        let weight = Weight(outputs: 1 << 24, inputs: 1 << 17, count: 64, isBlueprint: true)
        #expect(weight.parameterCount == 1 << 47 && weight.byteCount == 1 << 49)
    }

    // MARK: AdamW

    @Test("AdamW's first step, by hand") func firstStep() {
        // The first step goes by the learning rate whatever the gradient's size; decay pulls by rate · decay · weight.
        let weight = Weight(vector: [1, 1, -2])
        let state = AdamWState(for: weight)
        let version = weight.version
        weight.adamW(
            state, gradient: Tensor([8, -0.25, 0], [3]), gradientScale: 0.5, learningRate: 0.125, beta1: 0.5,
            beta2: 0.75, epsilon: 0, decay: 0.5, step: 1)
        let (mean, square, numbers) = (state.mean.elements, state.square.elements, weight.rows().elements)
        #expect(mean == [2, -0.0625, 0] && square == [4, 0.00390625, 0])
        #expect(numbers[0] == 1 - 0.125 * (1 + 0.5) && numbers[1] == 1 - 0.125 * (-1 + 0.5))
        #expect(weight.version > version)
    }

    @Test("five steps of AdamW are PyTorch's") func torch() {
        // torch.optim.AdamW(lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
        let weight = Weight(vector: [0.5, -1.25, 2, 0, 1e-3, -3.5, 0.75])
        let state = AdamWState(for: weight)
        let expected: [Int: [Float]] = [
            1: [0.5095000, -1.2587500, 1.9880000, 0.0100000, -0.0090010, -3.4965000, 0.7592500],
            5: [0.5083374, -1.2601483, 1.9702407, 0.0245493, -0.0116061, -3.4812555, 0.7651758],
        ]
        for step in 1...5 {
            // Handed over twice too large, with the scale that corrects it.
            let gradient = (0..<7).map { Float(($0 * 7 + step * 3) % 11 - 5) * 0.1 }
            weight.adamW(
                state, gradient: Tensor(gradient, [7]), gradientScale: 0.5, learningRate: 0.01, beta1: 0.9,
                beta2: 0.95, epsilon: 1e-8, decay: 0.1, step: step)
            if let expected = expected[step] { expectClose(weight.rows().elements, expected, within: 2e-7) }
        }
    }

    @Test("AdamW moves a matrix as it moves each number, whatever the threads") func matrix() {
        func moved(threads: Int) -> [Float] {
            Machine.alone(threads: threads) {
                var draw = Draw(9)
                let (weight, x, dy) = (draw.weight(333, 130), draw.tensor([4, 130]), draw.tensor([4, 333]))
                let state = AdamWState(for: weight)
                for step in 1...3 {
                    let tape = Tape()
                    tape.backward(from: [(Tensor.linear(x, weight, tape: tape), dy)])
                    weight.adamW(
                        state, gradient: tape.gradients[weight]!, gradientScale: 1, learningRate: 0.01, beta1: 0.9,
                        beta2: 0.95, epsilon: 1e-8, decay: 0.1, step: step)
                }
                return weight.rows().elements
            }
        }
        let one = moved(threads: 1)
        #expect(one.allSatisfy { $0.isFinite })
        expectSame(moved(threads: 2), one)
        expectSame(moved(threads: 4), one)
    }
}
