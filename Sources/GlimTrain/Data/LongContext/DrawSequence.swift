import GlimTensor

/// Draws from a stream one after the other.
struct DrawSequence {
    private let random: CounterRandom
    private var index: UInt64 = 0

    init(_ random: CounterRandom) { self.random = random }

    init(seed: UInt64, purpose: String) { self.init(CounterRandom(seed: seed, purpose: purpose)) }

    mutating func integer(below bound: Int) -> Int {
        defer { index += 1 }
        return random.integer(index, below: bound)
    }

    mutating func integer(from low: Int, through high: Int) -> Int { low + integer(below: high - low + 1) }

    mutating func chance(_ probability: Double) -> Bool {
        defer { index += 1 }
        return random.uniform(index) < probability
    }

    mutating func pick<T>(_ values: [T]) -> T { values[integer(below: values.count)] }

    /// Different integers in the order of drawing; the range must hold as many.
    mutating func distinct(_ count: Int, from low: Int, through high: Int) -> [Int] {
        var drawn: [Int] = []
        while drawn.count < count {
            let next = integer(from: low, through: high)
            if !drawn.contains(next) { drawn.append(next) }
        }
        return drawn
    }
}
