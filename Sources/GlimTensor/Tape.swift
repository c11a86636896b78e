/// What the forward pass did, so that gradients can be computed backwards.
///
/// Operations record themselves when they are given a tape; without one they save nothing, and the same code is the
/// inference path. A tape belongs to one thread and is used once.
///
/// Pullbacks refer to their tape without holding it: a tape that is dropped before it went back frees what it kept.
public final class Tape {
    /// Where the gradient of one value gathers.
    package final class Node {
        package var gradient: Tensor?
        package init() {}
    }

    private struct Step {
        let outputs: [Node]
        let pullback: ([Tensor?]) -> Void
    }

    private var steps: [Step] = []
    /// The gradients of weights, as the backward pass left them.
    public private(set) var gradients = Gradients()

    public init() {}

    // MARK: Recording

    /// Follows `output` and remembers how its gradient becomes gradients of what it was made from.
    package func record(_ output: inout Tensor, _ pullback: @escaping (Tensor) -> Void) {
        let node = Node()
        output.node = node
        steps.append(Step(outputs: [node]) { gradients in pullback(gradients[0]!) })
    }

    /// The same for an operation with several outputs; a gradient is nil where nothing used that output.
    package func record(_ outputs: [Node], _ pullback: @escaping ([Tensor?]) -> Void) {
        steps.append(Step(outputs: outputs, pullback: pullback))
    }

    /// Runs `body` without keeping its intermediate values, and runs it again in the backward pass.
    ///
    /// The forward pass is exact, so the second run makes the same numbers to the bit. `body` may read anything but
    /// must take what needs gradients through its arguments.
    /// - Parameters:
    ///   - inputs: what `body` takes and what gradients flow back to.
    ///   - body: makes one value of `inputs`; called with no tape now, with an inner tape later.
    public func recompute(_ inputs: [Tensor], _ body: @escaping ([Tensor], Tape?) -> Tensor) -> Tensor {
        var output = body(inputs.map(\.untracked), nil)
        record(&output) { [unowned self] gradient in
            let inner = Tape()
            inner.gradients = gradients.moved()
            let copies = inputs.map { input in
                var copy = input.untracked
                if input.node != nil { copy.node = Node() }
                return copy
            }
            let again = body(copies, inner)
            inner.backward(from: [(again, gradient)])
            gradients = inner.gradients.moved()
            for (input, copy) in zip(inputs, copies) {
                if let g = copy.node?.gradient { add(g, to: input) }
            }
        }
        return output
    }

    // MARK: Gradients of values

    /// Adds to the gradient of `x`, taking over `gradient`'s memory where nothing was there.
    package func add(_ gradient: Tensor, to x: Tensor) {
        guard let node = x.node else { return }
        precondition(gradient.shape.count == x.shape.count, "Tape: \(gradient.shape) for \(x.shape)")
        guard let before = node.gradient else {
            node.gradient = gradient
            return
        }
        node.gradient = Tensor.add(before, gradient, tape: nil)
    }

    /// Lets `body` write the gradient of `x`, adding to what is there where its second argument says so.
    package func write(to x: Tensor, _ body: (UnsafeMutablePointer<Float>, _ accumulate: Bool) -> Void) {
        guard let node = x.node else { return }
        if var present = node.gradient {
            node.gradient = nil
            if !isKnownUniquelyReferenced(&present.buffer) { present = Tensor.copy(present) }
            body(present.pointer, true)
            node.gradient = present
        } else {
            let fresh = Tensor(uninitialized: x.shape)
            body(fresh.pointer, false)
            node.gradient = fresh
        }
    }

    /// Lets `body` write the gradient of a weight, in the weight's own layout, adding where its second argument says
    /// so. A frozen weight has no gradient.
    package func write(to weight: Weight, _ body: (UnsafeMutablePointer<Float>, _ accumulate: Bool) -> Void) {
        guard !weight.isFrozen else { return }
        gradients.write(to: weight, body)
    }

    /// A value that the caller wants the gradient of: `gradient(of:)` tells it after the backward pass.
    public func follow(_ x: Tensor) -> Tensor {
        var followed = x
        followed.node = Node()
        return followed
    }

    /// The gradient of a followed value, after the backward pass.
    public func gradient(of x: Tensor) -> Tensor? { x.node?.gradient }

    // MARK: Going back

    /// Computes all gradients, given those of the results. Clears the tape.
    public func backward(from seeds: [(Tensor, Tensor)] = []) {
        for (value, gradient) in seeds { add(gradient, to: value) }
        while let step = steps.popLast() {
            let gradients = step.outputs.map(\.gradient)
            for node in step.outputs { node.gradient = nil }
            if gradients.contains(where: { $0 != nil }) { step.pullback(gradients) }
        }
    }
}

extension Tensor {
    /// The same value, seen by no tape.
    public var untracked: Tensor {
        var copy = self
        copy.node = nil
        return copy
    }
}
