import CGlimKernels
import GlimTensor
import GlimTestSupport
import Testing

@Suite("weights in integers") struct QuantizerTests {
    static let shapes = [(1, 1), (31, 7), (33, 32), (5, 96), (40, 100), (64, 128), (70, 256), (2, 320)]
    static let cases = shapes.flatMap { shape in [8, 4].map { (shape, $0) } }

    /// The rule, number by number.
    private static func plain(_ rows: [Float], _ format: Weight.Format, inputs: Int, clip: [Float]) -> (
        integers: [Int8], scales: [Float]
    ) {
        let (group, range) = (format.group!, Float(1 << format.bits))
        let (low, high) = (-range / 2, range / 2 - 1)
        let groupCount = (inputs + group - 1) / group
        var (integers, scales) = ([Int8](), [Float]())
        for row in 0..<rows.count / inputs {
            let numbers = rows[row * inputs..<(row + 1) * inputs]
            for g in 0..<groupCount {
                let largest = numbers.dropFirst(g * group).prefix(group).map { abs($0) }.max()!
                let scale = largest == 0 ? 0x1p-23 : largest / ((range - 1) / 2)
                scales.append(scale * clip[scales.count])
            }
            for (i, number) in numbers.enumerated() {
                let scaled = min(max(number / scales[row * groupCount + i / group], low), high)
                integers.append(Int8(scaled.rounded(.toNearestOrEven)))
            }
        }
        return (integers, scales)
    }

    @Test("groups are the most of 128, 64 and 32 inputs that divide a row, or the row") func groups() {
        let expected = [
            (1024, 128), (192, 64), (96, 32), (32, 32), (128, 128), (100, 128), (7, 32), (160, 32), (129, 160),
        ]
        for (inputs, group) in expected {
            #expect(Weight.Format.integers(bits: 8, inputs: inputs) == .int8(group: group), "\(inputs)")
            #expect(Weight.Format.integers(bits: 4, inputs: inputs) == .int4(group: group), "\(inputs)")
        }
        #expect(Weight.Format.integers(bits: 4, inputs: 1024, mostInGroup: 32) == .int4(group: 32))
    }

    @Test("a quantised matrix is what the rule says, and comes back from its panels to the bit", arguments: cases)
    func rule(shape: (Int, Int), bits: Int) {
        var draw = Draw(shape.0 + bits)
        let (outputs, inputs) = shape
        let format = Weight.Format.integers(bits: bits, inputs: inputs)
        let quantizer = Quantizer(format, inputs: inputs)
        let weight = Weight(outputs: outputs, inputs: inputs, count: 3, format: format)
        for matrix in 0..<3 {
            // Of all magnitudes, with a row of zeros.
            var rows = draw.floats(outputs * inputs, scale: [1, 1e-30, 3e4][matrix])
            for i in 0..<inputs where outputs > 1 { rows[i] = 0 }
            let clip = (0..<outputs * quantizer.groupCount).map { _ in matrix == 0 ? 1 : 0.5 + draw.float(0.4) }
            let expected = Self.plain(rows, format, inputs: inputs, clip: clip)
            let found = rows.withUnsafeBufferPointer { quantizer($0, clip: matrix == 0 ? nil : clip) }
            #expect(found.integers == expected.integers)
            expectSame(found.scales, expected.scales)
            if matrix == 0 {
                rows.withUnsafeBufferPointer { weight.set($0, matrix: 0) }
            } else {
                weight.set(found, matrix: matrix)
            }
            #expect(weight.integers(matrix: matrix) == found)
            let numbers = zip(found.integers.indices, found.integers).map { i, integer in
                Float(integer) * found.scales[i / inputs * quantizer.groupCount + i % inputs / format.group!]
            }
            expectSame(found.numbers, numbers)
            expectSame(weight.rows(matrix: matrix).elements, numbers)
        }
        #expect(weight.isFrozen && weight.quantization == format)
    }

    @Test("a weight of integers takes a byte or half of one a number, and four for a scale") func byteCount() {
        let eight = Weight(outputs: 64, inputs: 256, count: 2, format: .int8(group: 128))
        let four = Weight(outputs: 64, inputs: 256, count: 2, format: .int4(group: 64))
        #expect(eight.byteCount == 2 * 64 * (256 + 2 * 4) && four.byteCount == 2 * 64 * (128 + 4 * 4))
        let plan = Weight(outputs: 1 << 20, inputs: 1 << 17, count: 64, format: .int4(group: 128), isBlueprint: true)
        // Half a byte a number, and four bytes for 128.
        #expect(plan.byteCount == (1 << 43) / 2 + (1 << 43) / 32)
    }

    @Test("the weights of a group that is not finite become NaN, not numbers") func notFinite() {
        for bad in [Float.nan, .infinity, -.infinity] {
            let rows: [Float] = (0..<64).map { $0 == 40 ? bad : Float($0) }
            let matrix = rows.withUnsafeBufferPointer { Quantizer(.int8(group: 32), inputs: 64)($0) }
            #expect(matrix.scales[0].isFinite && matrix.scales[1].isNaN)
            #expect(matrix.numbers[..<32].allSatisfy { $0.isFinite })
            #expect(matrix.numbers[32...].allSatisfy { $0.isNaN })
        }
    }

    @Test("all tables quantise alike", arguments: 0..<Int(glim_kernels_count()), [(8, 96), (4, 96), (8, 70), (4, 70)])
    func tables(table: Int, kind: (Int, Int)) {
        let (bits, inputs) = (kind.0, kind.1)
        var draw = Draw(table)
        let (rows, group, n) = (draw.floats(5 * inputs), inputs == 96 ? 32 : 96, 5)
        let groups = (inputs + group - 1) / group
        func run(_ k: glim_kernels) -> (scales: [Float], integers: [Int8], sums: [glim_row_group], restored: [Float]) {
            let (N, K, G) = (Int64(n), Int64(inputs), Int64(group))
            var scales = [Float](repeating: 0, count: n * groups)
            var integers = [Int8](repeating: 0, count: n * inputs)
            k.weight_scales(&scales, rows, K, N, K, G, Int32(bits))
            k.quantize_weights(&integers, K, scales, rows, K, N, K, G, Int32(bits))
            let padded = Int(glim_integer_k(K))
            var quantised = [Int8](repeating: 0, count: n * padded)
            var sums = [glim_row_group](repeating: .init(), count: n * groups)
            var restored = [Float](repeating: 0, count: n * inputs)
            k.quantize_rows(&quantised, Int64(padded), &sums, rows, K, N, K, G)
            k.restore_rows(&restored, K, quantised, Int64(padded), sums, N, K, G)
            return (scales, integers + quantised, sums, restored)
        }
        let found = run(glim_kernels_at(Int32(table)).pointee)
        let expected = run(glim_kernels_at(glim_kernels_count() - 1).pointee)
        expectSame(found.scales, expected.scales)
        expectSame(found.restored, expected.restored)
        expectSame(found.sums.map(\.scale), expected.sums.map(\.scale))
        #expect(found.integers == expected.integers && found.sums.map(\.sum) == expected.sums.map(\.sum))
        // Within half a step of what they were made of.
        for i in rows.indices {
            #expect(
                abs(found.restored[i] - rows[i]) <= 0.51 * found.sums[i / inputs * groups + i % inputs / group].scale)
        }
    }
}
