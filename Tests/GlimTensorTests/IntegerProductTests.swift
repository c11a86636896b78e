import Foundation
import GlimTensor
import GlimTestSupport
import Testing

@Suite("products in integers") struct IntegerProductTests {
    private static let shapes = [(1, 1), (33, 7), (40, 96), (100, 100), (31, 128), (70, 256), (129, 320), (64, 512)]
    private static let cases = shapes.flatMap { shape in [8, 4].map { (shape, $0) } }

    /// A row to int8, a scale a group: max|x| / 127, x · (1 / scale) to nearest even.
    private static func quantised(_ row: [Float], group: Int) -> (integers: [Int], scales: [Float]) {
        var (integers, scales) = ([Int](), [Float]())
        for first in stride(from: 0, to: row.count, by: group) {
            let numbers = row[first..<min(row.count, first + group)]
            let scale = numbers.map { abs($0) }.max()! / 127
            scales.append(scale)
            integers += numbers.map { scale == 0 ? 0 : Int(($0 * (1 / scale)).rounded(.toNearestOrEven)) }
        }
        return (integers, scales)
    }

    /// One output: exact sums of groups, ascending, each a fused multiply-add.
    private static func product(_ x: [Float], _ matrix: IntegerMatrix, output: Int) -> Float {
        let group = matrix.format.group!
        let row = quantised(x, group: group)
        var sum: Float = 0
        for g in row.scales.indices {
            var dot = 0
            for i in g * group..<min(x.count, (g + 1) * group) {
                dot += row.integers[i] * Int(matrix.integers[output * x.count + i])
            }
            sum = Float(sum).addingProduct(Float(dot), matrix.scales[output * matrix.groupCount + g] * row.scales[g])
        }
        return sum
    }

    private static func weight(
        _ draw: inout Draw, _ outputs: Int, _ inputs: Int, count: Int = 1, bits: Int, trained: Bool
    ) -> Weight {
        let format = Weight.Format.integers(bits: bits, inputs: inputs)
        let weight = Weight(
            outputs: outputs, inputs: inputs, count: count, format: trained ? .f32 : format,
            quantization: trained ? format : nil)
        for i in 0..<count {
            draw.floats(outputs * inputs).withUnsafeBufferPointer { weight.set($0, matrix: i) }
        }
        weight.changed()
        return weight
    }

    @Test("are what the formula says, for one row as for many, whatever the threads", arguments: cases)
    func formula(shape: (Int, Int), bits: Int) {
        var draw = Draw(shape.0 + bits)
        let (outputs, inputs) = shape
        let weight = Self.weight(&draw, outputs, inputs, bits: bits, trained: false)
        let matrix = weight.integers()!
        let x = draw.tensor([130, inputs], scale: 3)
        let rows = (0..<130).map { Array(x.elements[$0 * inputs..<($0 + 1) * inputs]) }
        let whole = Machine.alone(threads: 1) { Tensor.linear(x, weight).elements }
        for t in [0, 1, 7, 64, 129] {
            for output in Set([0, outputs / 2, outputs - 1]) {
                let expected = Self.product(rows[t], matrix, output: output)
                #expect(whole[t * outputs + output].bitPattern == expected.bitPattern, "row \(t), output \(output)")
            }
        }
        for threads in 1...4 {
            Machine.alone(threads: threads) {
                expectSame(Tensor.linear(x, weight).elements, whole, "\(threads) threads")
                var first = 0
                for count in draw.parts(of: 130, upTo: 40) {
                    let some = Tensor.linear(Tensor.selectRows(x, Array(first..<first + count)), weight)
                    expectSame(
                        some.elements, Array(whole[first * outputs..<(first + count) * outputs]),
                        "\(count) rows from \(first), \(threads) threads")
                    first += count
                }
            }
        }
    }

    @Test("are close to those of the numbers", arguments: [8, 4]) func close(bits: Int) {
        var draw = Draw(bits)
        let plain = draw.weight(50, 256)
        let weight = Weight(outputs: 50, inputs: 256, format: .integers(bits: bits, inputs: 256))
        plain.rows().withElements { weight.set($0) }
        let x = draw.tensor([9, 256])
        let off = relativeDistance(Tensor.linear(x, weight).elements, Tensor.linear(x, plain).elements)
        #expect(off < (bits == 8 ? 0.01 : 0.12) && off > 0, "\(off)")
    }

    @Test("of a row that is not finite are not numbers, and of others are as ever") func notFinite() {
        var draw = Draw(4)
        let weight = Self.weight(&draw, 33, 64, bits: 8, trained: false)
        let x = draw.tensor([3, 64])
        var broken = x.elements
        broken[64 + 5] = .infinity
        let (found, expected) = (
            Tensor.linear(Tensor(broken, [3, 64]), weight).elements, Tensor.linear(x, weight).elements
        )
        #expect(found[33..<66].allSatisfy { $0.isNaN })
        expectSame(Array(found[..<33] + found[66...]), Array(expected[..<33] + expected[66...]))
    }

    // MARK: Training

    @Test("a weight that is trained computes what the deployed one does, and follows what changes it", arguments: cases)
    func trained(shape: (Int, Int), bits: Int) {
        var draw = Draw(shape.1 + bits)
        let trained = Self.weight(&draw, shape.0, shape.1, count: 2, bits: bits, trained: true)
        let x = draw.tensor([5, shape.1])
        func expectDeployed() {
            for i in 0..<2 {
                let one = Weight(outputs: shape.0, inputs: shape.1, format: trained.quantization!)
                one.set(trained.integers(matrix: i)!)
                let (y, expected) = (Tensor(zeros: [5, shape.0]), Tensor.linear(x, one))
                let panels = trained.panels()
                panels.multiply(
                    y.pointer, stride: shape.0, panels.operand(x.pointer, stride: shape.1, rows: 5), matrix: i, rows: 5)
                expectSame(y.elements, expected.elements, "matrix \(i)")
                let numbers = trained.rows(matrix: i)
                let quantizer = Quantizer(trained.quantization!, inputs: shape.1)
                let again = numbers.withElements { quantizer($0) }
                #expect(again == trained.integers(matrix: i))
            }
        }
        expectDeployed()
        draw.floats(shape.0 * shape.1).withUnsafeBufferPointer { trained.set($0, matrix: 1) }
        trained.changed()
        expectDeployed()
    }

    /// Straight-through by definition: the gradient of a product in floating point of what the integers stand for.
    @Test("gradients are those of what was multiplied, passed on to what it was made of", arguments: cases)
    func straightThrough(shape: (Int, Int), bits: Int) {
        var draw = Draw(3 * shape.1 + bits)
        let (outputs, inputs) = shape
        let weight = Self.weight(&draw, outputs, inputs, bits: bits, trained: true)
        let seen = Weight(outputs: outputs, inputs: inputs)
        weight.integers()!.numbers.withUnsafeBufferPointer { seen.set($0) }
        seen.changed()
        let (x, dy) = (draw.tensor([6, inputs]), draw.tensor([6, outputs]))
        let group = weight.quantization!.group!
        let restored = (0..<6).flatMap { t in
            let row = Self.quantised(Array(x.elements[t * inputs..<(t + 1) * inputs]), group: group)
            return row.integers.enumerated().map { Float($1) * row.scales[$0 / group] }
        }
        func pass(_ x: Tensor, _ weight: Weight) -> (y: [Float], dx: [Float], dw: [Float]) {
            let tape = Tape()
            let followed = tape.follow(x)
            let y = Tensor.linear(followed, weight, tape: tape)
            tape.backward(from: [(y, dy)])
            return (
                y.elements, tape.gradient(of: followed)!.elements, weight.rows(of: tape.gradients[weight]!).elements
            )
        }
        let (found, expected) = (pass(x, weight), pass(Tensor(restored, [6, inputs]), seen))
        expectClose(found.y, expected.y, within: 1e-5)
        expectSame(found.dx, expected.dx, "dx")
        expectSame(found.dw, expected.dw, "dw")
        expectSame(found.y, Tensor.linear(x, weight).elements, "with a tape as without")
    }

    @Test("several of one input are what each is alone", arguments: [1, 3, 70]) func several(rows: Int) {
        var draw = Draw(rows)
        let weights = [
            Self.weight(&draw, 70, 256, bits: 8, trained: false), draw.weight(8, 256),
            Self.weight(&draw, 33, 256, bits: 4, trained: false), Self.weight(&draw, 300, 256, bits: 8, trained: false),
        ]
        let x = draw.tensor([rows, 256], scale: 3)
        let alone = weights.map { Tensor.linear(x, $0).elements }
        for threads in 1...3 {
            Machine.alone(threads: threads) {
                let made = Tensor.linear(x, [weights[0]], untaped: Array(weights[1...]))
                for (i, y) in made.enumerated() { expectSame(y.elements, alone[i], "weight \(i), \(threads) threads") }
            }
        }
    }

    @Test("a deployed weight passes gradients on and takes none") func frozen() {
        var draw = Draw(8)
        let weight = Self.weight(&draw, 9, 64, bits: 4, trained: false)
        let tape = Tape()
        let x = tape.follow(draw.tensor([2, 64]))
        tape.backward(from: [(Tensor.linear(x, weight, tape: tape), draw.tensor([2, 9]))])
        #expect(tape.gradients[weight] == nil && tape.gradient(of: x) != nil)
    }

    @Test("the head of a cross-entropy may be quantised") func crossEntropy() {
        var draw = Draw(9)
        let head = Self.weight(&draw, 70, 96, bits: 8, trained: true)
        let x = draw.tensor([5, 96])
        let targets: [Int32] = [3, 69, -1, 0, 33]
        let logits = Tensor.linear(x, head)
        let lse = Tensor.logSumExp(logits)
        let expected = targets.enumerated().map { t, target in
            target < 0 ? 0 : logits.elements[t * 70 + Int(target)] - lse[t]
        }
        let tape = Tape()
        let followed = tape.follow(x)
        expectSame(Tensor.crossEntropy(followed, head: head, targets: targets, tape: tape), expected)
        tape.backward()
        #expect(tape.gradients[head] != nil)
        #expect(tape.gradient(of: followed)!.elements.contains { $0 != 0 })
    }

    // MARK: Experts

    private static func experts(_ draw: inout Draw, _ D: Int, _ F: Int, _ E: Int, bits: Int, trained: Bool)
        -> ExpertWeights
    {
        ExpertWeights(
            gate: weight(&draw, F, D, count: E, bits: bits, trained: trained),
            up: weight(&draw, F, D, count: E, bits: bits, trained: trained),
            down: weight(&draw, D, F, count: E, bits: bits, trained: trained))
    }

    @Test("gates and ups may differ in their formats, as others' files have them") func mixedMixture() {
        var draw = Draw(5)
        let (T, D, F, E) = (9, 256, 64, 3)
        let numbers = (0..<E).map { _ in draw.floats(F * D) }
        func weight(_ format: Weight.Format) -> Weight {
            let weight = Weight(outputs: F, inputs: D, count: E, format: format)
            for e in 0..<E { numbers[e].withUnsafeBufferPointer { weight.set($0, matrix: e) } }
            return weight
        }
        let (down, x, logits) = (draw.weight(D, F, count: E), draw.tensor([T, D]), draw.tensor([T, E]))
        func route(_ logits: Tensor) -> Routing {
            let rule = RouterRule(expertsPerToken: 2, groupCount: 1, groupsKept: 1, scale: 1, normalises: true)
            let slice = SequenceSlice(row: 0, count: logits.shape.rows, position: 0)
            return Tensor.route(logits, bias: Weight(vector: [0, 0, 0]), rule, slices: [slice])
        }
        let routing = route(logits)
        let formats: [Weight.Format] = [.int8(group: 128), .int4(group: 32), .f32, .bf16]
        let plain = Tensor.mixture(x, routing, ExpertWeights(gate: weight(.f32), up: weight(.f32), down: down)).elements
        for (gate, up) in formats.flatMap({ gate in formats.map { (gate, $0) } }) {
            let experts = ExpertWeights(gate: weight(gate), up: weight(up), down: down)
            let mixed = Tensor.mixture(x, routing, experts)
            #expect(relativeDistance(mixed.elements, plain) < 0.2, "\(gate), \(up)")
            for t in 0..<T {
                let alone = route(Tensor.selectRows(logits, [t]))
                expectSame(
                    Tensor.mixture(Tensor.selectRows(x, [t]), alone, experts).elements,
                    Array(mixed.elements[t * D..<(t + 1) * D]), "\(gate), \(up)")
            }
        }
    }

    private static func routing(_ draw: inout Draw, _ T: Int, _ E: Int, _ K: Int, tape: Tape? = nil) -> Routing {
        let rule = RouterRule(expertsPerToken: K, groupCount: 1, groupsKept: 1, scale: 1.5, normalises: true)
        return Tensor.route(
            draw.tensor([T, E], scale: 3), bias: Weight(vector: [Float](repeating: 0, count: E)), rule,
            slices: [SequenceSlice(row: 0, count: T, position: 0)], tape: tape)
    }

    @Test(
        "quantised experts compute a token alone as among others", arguments: [8, 4], [(96, 64), (50, 33), (256, 128)])
    func mixture(bits: Int, shape: (Int, Int)) {
        var draw = Draw(bits)
        let (T, D, F, E, K) = (40, shape.0, shape.1, 5, 2)
        let experts = Self.experts(&draw, D, F, E, bits: bits, trained: false)
        let (x, routing) = (draw.tensor([T, D]), Self.routing(&draw, T, E, K))
        let whole = Machine.alone(threads: 1) { Tensor.mixture(x, routing, experts).elements }
        for threads in 2...3 {
            Machine.alone(threads: threads) { expectSame(Tensor.mixture(x, routing, experts).elements, whole) }
        }
        for t in [0, 17, 39] {
            // The formula, by products that are tested above.
            var expected = [Float](repeating: 0, count: D)
            for k in 0..<K {
                let e = Int(routing.experts[t * K + k])
                let row = Tensor.selectRows(x, [t])
                func one(_ weight: Weight) -> Weight {
                    let one = Weight(outputs: weight.outputs, inputs: weight.inputs, format: weight.format)
                    one.set(weight.integers(matrix: e)!)
                    return one
                }
                let inner = Tensor.swiGLU(
                    gate: Tensor.linear(row, one(experts.gate)), up: Tensor.linear(row, one(experts.up)))
                let outer = Tensor.linear(inner, one(experts.down)).elements
                let by = routing.weights.elements[t * K + k]
                for i in 0..<D { expected[i] = k == 0 ? outer[i] * by : expected[i].addingProduct(by, outer[i]) }
            }
            expectSame(Array(whole[t * D..<(t + 1) * D]), expected, "token \(t)")
        }
    }

    @Test("gradients of quantised experts are straight-through", arguments: [8, 4]) func mixtureGradients(bits: Int) {
        var draw = Draw(bits)
        let (T, D, F, E, K) = (12, 64, 32, 4, 2)
        let experts = Self.experts(&draw, D, F, E, bits: bits, trained: true)
        let (x, dy) = (draw.tensor([T, D]), draw.tensor([T, D]))
        let tape = Tape()
        let followed = tape.follow(x)
        var again = draw
        let routing = Self.routing(&again, T, E, K)
        let y = Tensor.mixture(followed, routing, experts, tape: tape)
        tape.backward(from: [(y, dy)])
        // Token by token, expert by expert, from linear's own gradients.
        var dx = [Float](repeating: 0, count: T * D)
        var gradients = [experts.gate, experts.up, experts.down].map { w in
            (0..<E).map { _ in [Float](repeating: 0, count: w.outputs * w.inputs) }
        }
        for e in 0..<E {
            func one(_ weight: Weight) -> Weight {
                let one = Weight(outputs: weight.outputs, inputs: weight.inputs, quantization: weight.quantization)
                weight.rows(matrix: e).withElements { one.set($0) }
                one.changed()
                return one
            }
            let (gate, up, down) = (one(experts.gate), one(experts.up), one(experts.down))
            for i in routing.experts.indices where Int(routing.experts[i]) == e {
                let t = i / K
                let inside = Tape()
                let row = inside.follow(Tensor.selectRows(x, [t]))
                let inner = Tensor.swiGLU(
                    gate: Tensor.linear(row, gate, tape: inside), up: Tensor.linear(row, up, tape: inside), tape: inside
                )
                let out = Tensor.linear(inner, down, tape: inside)
                let by = routing.weights.elements[i]
                inside.backward(from: [(out, Tensor(dy.elements[t * D..<(t + 1) * D].map { $0 * by }, [1, D]))])
                for (j, value) in inside.gradient(of: row)!.elements.enumerated() { dx[t * D + j] += value }
                for (m, weight) in [gate, up, down].enumerated() {
                    for (j, value) in weight.rows(of: inside.gradients[weight]!).elements.enumerated() {
                        gradients[m][e][j] += value
                    }
                }
            }
        }
        expectClose(tape.gradient(of: followed)!.elements, dx, within: 1e-5, "dx")
        for (m, weight) in [experts.gate, experts.up, experts.down].enumerated() {
            for e in 0..<E {
                expectClose(
                    weight.rows(matrix: e, of: tape.gradients[weight]!).elements, gradients[m][e], within: 1e-5,
                    "weight \(m) of expert \(e)")
            }
        }
    }
}
