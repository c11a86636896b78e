import Foundation
public import GlimModel
public import GlimTensor

/// AdamW over all weights of a model: decoupled decay of matrices, none of vectors; one clipping of the whole norm.
public struct AdamW {
    public var beta1 = 0.9
    public var beta2 = 0.95
    public var epsilon = 1e-8
    /// Times the learning rate; matrices only.
    public var decay = 0.1
    /// The greatest norm of the whole gradient; 0 for no limit.
    public var clip = 1.0
    /// Steps taken.
    public internal(set) var step = 0
    private let weights: [Weight]
    private var states: [ObjectIdentifier: AdamWState] = [:]

    public init(_ model: Model) {
        // Router biases are moved by load balancing; vectors that no gradient reaches are passed over anyway.
        let moved = Set(model.routerBiases.map { ObjectIdentifier($0.bias) })
        weights = model.weights.filter { !moved.contains(ObjectIdentifier($0)) }
    }

    /// The averages of one weight, made on first use.
    public mutating func state(_ weight: Weight) -> AdamWState {
        let key = ObjectIdentifier(weight)
        if let state = states[key] { return state }
        let state = AdamWState(for: weight)
        states[key] = state
        return state
    }

    /// Whether a weight has averages yet.
    func hasState(_ weight: Weight) -> Bool { states[ObjectIdentifier(weight)] != nil }

    /// Changes every weight that has a gradient.
    ///
    /// - Returns: the norm of the whole gradient, before clipping.
    public mutating func update(_ gradients: Gradients, learningRate: Double) -> Double {
        step += 1
        let norm = gradients.sumOfSquares(weights).squareRoot()
        let scale = clip > 0 && norm > clip ? clip / norm : 1
        for weight in weights {
            guard let gradient = gradients[weight] else { continue }
            weight.adamW(
                state(weight), gradient: gradient, gradientScale: Float(scale), learningRate: Float(learningRate),
                beta1: Float(beta1), beta2: Float(beta2), epsilon: Float(epsilon),
                decay: weight.isVector ? 0 : Float(decay), step: step)
        }
        return norm
    }
}
