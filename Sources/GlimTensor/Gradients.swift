/// Gradients of weights: one tensor a weight, in the weight's own layout.
public struct Gradients {
    private var entries: [ObjectIdentifier: (weight: Weight, tensor: Tensor)] = [:]

    public init() {}

    /// The gradient of a weight, in its layout, if the pass reached it.
    public subscript(_ weight: Weight) -> Tensor? { entries[ObjectIdentifier(weight)]?.tensor }

    /// Sets the entry of a weight: numbers in its layout.
    public mutating func set(_ numbers: Tensor, for weight: Weight) {
        precondition(numbers.shape.count == weight.elementCount, "Gradients: \(numbers.shape) for \(weight.layout)")
        entries[ObjectIdentifier(weight)] = (weight, numbers)
    }

    package mutating func write(
        to weight: Weight, _ body: (UnsafeMutablePointer<Float>, _ accumulate: Bool) -> Void
    ) {
        let key = ObjectIdentifier(weight)
        if entries[key] != nil {
            body(own(key).pointer, true)
        } else {
            // Padding columns of a panel are never written: they must be zero.
            let fresh =
                weight.hasPadding
                ? Tensor(zeros: [weight.elementCount]) : Tensor(uninitialized: [weight.elementCount])
            body(fresh.pointer, false)
            entries[key] = (weight, fresh)
        }
    }

    /// Adds another set, in place. Weights that only one set has keep what they have.
    public mutating func add(_ other: Gradients) {
        for (key, entry) in other.entries {
            if entries[key] == nil {
                entries[key] = entry
            } else {
                Tensor.accumulate(entry.tensor, into: own(key))
            }
        }
    }

    /// The entry of a key, in memory that no other set shares.
    private mutating func own(_ key: ObjectIdentifier) -> Tensor {
        if !isKnownUniquelyReferenced(&entries[key]!.tensor.buffer) {
            entries[key]!.tensor = Tensor.copy(entries[key]!.tensor)
        }
        return entries[key]!.tensor
    }

    /// Gives the contents away, leaving nothing: so that memory has one owner.
    mutating func moved() -> Gradients {
        defer { entries = [:] }
        return self
    }

    /// Σ of squares over the given weights, in their order, in double precision.
    public func sumOfSquares(_ weights: [Weight]) -> Double {
        weights.reduce(0) { $0 + (self[$1].map(Tensor.sumOfSquares) ?? 0) }
    }
}

/// Sums gradients of micro-batches as a fixed pairwise tree: ((0+1)+(2+3))+…, whatever the order of work.
///
/// Holds at most log2(count)+1 partial sums. A run split over ranks at powers of two adds in the same order.
public struct GradientTree {
    private var partial: [(size: Int, gradients: Gradients)] = []

    public init() {}

    /// Takes the gradients of the next micro-batch.
    public mutating func push(_ gradients: Gradients) {
        partial.append((1, gradients))
        while partial.count >= 2, partial[partial.count - 1].size == partial[partial.count - 2].size { merge() }
    }

    /// The sum of all. The tree is empty afterwards.
    public mutating func sum() -> Gradients {
        while partial.count >= 2 { merge() }
        return partial.popLast()?.gradients ?? Gradients()
    }

    private mutating func merge() {
        let right = partial.removeLast()
        let size = partial[partial.count - 1].size + right.size
        partial[partial.count - 1].gradients.add(right.gradients)
        partial[partial.count - 1].size = size
    }
}
