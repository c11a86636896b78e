public import GlimTensor

/// Draws numbers one after another: what a test needs, the same on every machine.
public struct Draw {
    private let random: CounterRandom
    private var index: UInt64 = 0

    public init(_ seed: Int, _ purpose: String = "test") {
        random = CounterRandom(seed: UInt64(seed), purpose: purpose)
    }

    private mutating func advance() -> UInt64 {
        defer { index += 1 }
        return index
    }

    /// Uniform in the range.
    public mutating func integer(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + random.integer(advance(), below: range.count)
    }

    public mutating func pick<T>(_ choices: [T]) -> T { choices[integer(0...choices.count - 1)] }

    public mutating func chance(_ probability: Double) -> Bool { random.uniform(advance()) < probability }

    /// Uniform in -scale ... scale.
    public mutating func float(_ scale: Float = 1) -> Float { (Float(random.uniform(advance())) * 2 - 1) * scale }

    public mutating func floats(_ count: Int, scale: Float = 1) -> [Float] { (0..<count).map { _ in float(scale) } }

    public mutating func tensor(_ shape: Shape, scale: Float = 1) -> Tensor {
        Tensor(floats(shape.count, scale: scale), shape)
    }

    /// Matrices with entries in -scale ... scale.
    public mutating func weight(
        _ outputs: Int, _ inputs: Int, count: Int = 1, format: Weight.Format = .f32, scale: Float = 1
    ) -> Weight {
        let weight = Weight(outputs: outputs, inputs: inputs, count: count, format: format)
        for i in 0..<count {
            floats(outputs * inputs, scale: scale).withUnsafeBufferPointer { weight.set($0, matrix: i) }
        }
        weight.changed()
        return weight
    }

    public mutating func tokens(_ count: Int, below vocabulary: Int) -> [Int32] {
        (0..<count).map { _ in Int32(integer(0...vocabulary - 1)) }
    }

    /// Another order of the elements.
    public mutating func shuffled<T>(_ elements: [T]) -> [T] {
        var elements = elements
        for i in stride(from: elements.count - 1, to: 0, by: -1) { elements.swapAt(i, integer(0...i)) }
        return elements
    }

    /// Positive parts that sum to `total`.
    public mutating func parts(of total: Int, upTo most: Int) -> [Int] {
        var (parts, left) = ([Int](), total)
        while left > 0 {
            parts.append(min(left, integer(1...most)))
            left -= parts[parts.count - 1]
        }
        return parts
    }
}
