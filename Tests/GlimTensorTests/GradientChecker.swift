import GlimTensor
import GlimTestSupport
import Testing

/// Holds the pullbacks of an operation against central differences.
///
/// The loss is a random projection of the result, plus `extra` where an operation adds a loss of its own, summed in
/// double. Two steps h and h/2 are combined, (4 D(h/2) - D(h)) / 3, which leaves an error of order h⁴; with h = 1/32
/// that and f32's rounding are both below 1e-4 for numbers of order 1.
struct GradientChecker {
    var tolerance: Float = 1e-3
    var extra: ([Tensor]) -> Double = { _ in 0 }

    func callAsFunction(
        _ inputs: [Tensor], _ weights: [Weight] = [], sourceLocation: SourceLocation = #_sourceLocation,
        _ operation: ([Tensor], Tape?) -> Tensor
    ) {
        let result = operation(inputs, nil)
        var draw = Draw(7, "projection")
        let projection = draw.tensor(result.shape)
        func loss(_ inputs: [Tensor]) -> Double {
            zip(operation(inputs, nil).elements, projection.elements)
                .reduce(extra(inputs)) { $0 + Double($1.0) * Double($1.1) }
        }

        let tape = Tape()
        let followed = inputs.map { tape.follow($0) }
        let recorded = operation(followed, tape)
        expectSame(recorded.elements, result.elements, "the value with a tape", sourceLocation: sourceLocation)
        tape.backward(from: [(recorded, projection)])

        for (i, input) in inputs.enumerated() {
            let found = tape.gradient(of: followed[i])?.elements ?? [Float](repeating: 0, count: input.shape.count)
            let expected = differences(input.elements) { changed in
                var all = inputs
                all[i] = Tensor(changed, input.shape)
                return loss(all)
            }
            expectClose(found, expected, within: tolerance, "input \(i)", sourceLocation: sourceLocation)
        }
        for (i, weight) in weights.enumerated() {
            for matrix in 0..<weight.count {
                let before = weight.rows(matrix: matrix).elements
                func put(_ numbers: [Float]) {
                    numbers.withUnsafeBufferPointer { weight.set($0, matrix: matrix) }
                    weight.changed()
                }
                let expected = differences(before) { changed in
                    put(changed)
                    return loss(inputs)
                }
                put(before)
                guard let gradient = tape.gradients[weight] else {
                    Issue.record("weight \(i) has no gradient", sourceLocation: sourceLocation)
                    continue
                }
                expectClose(
                    weight.rows(matrix: matrix, of: gradient).elements, expected, within: tolerance,
                    "weight \(i), matrix \(matrix)", sourceLocation: sourceLocation)
            }
        }
    }

    private func differences(_ at: [Float], _ loss: ([Float]) -> Double) -> [Float] {
        at.indices.map { j in
            func slope(_ h: Float) -> Double {
                var (more, less) = (at, at)
                more[j] += h
                less[j] -= h
                return (loss(more) - loss(less)) / (Double(more[j]) - Double(less[j]))
            }
            return Float((4 * slope(1 / 64) - slope(1 / 32)) / 3)
        }
    }
}
