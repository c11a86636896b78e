import Foundation
public import GlimModel
public import GlimTensor

/// Changes the weights of a model by their gradients: AdamW for all of them, or Muon for the matrices that
/// `Model.muonBlocks` names and AdamW for the rest.
///
/// Decay is decoupled, of matrices only. One clipping of the whole norm and one learning rate serve both, for Muon's
/// update is made as large as AdamW's.
public struct Optimizer {
    /// AdamW, Muon or Muon Split.
    public typealias Kind = TrainRecipe.Optimizer

    /// What AdamW keeps of its mean in a step.
    public var beta1 = 0.9
    /// What it keeps of its mean square.
    public var beta2 = 0.95
    /// Added to the root of that.
    public var epsilon = 1e-8
    /// Muon's.
    public var momentum = 0.95
    /// Times the learning rate; matrices only.
    public var decay = 0.1
    /// The greatest norm of the whole gradient; 0 for no limit.
    public var clip = 1.0
    /// Steps taken.
    public internal(set) var step = 0
    private let weights: [Weight]
    private let blocks: [MuonBlock]
    private let orthogonalised: Set<ObjectIdentifier>
    private var states: [ObjectIdentifier: State] = [:]

    /// What is kept of one weight between steps, in its layout.
    enum State {
        case adamW(AdamWState)
        case muon(momentum: Tensor)

        /// The first words of names in a saved state.
        static let names = ["adamw.mean", "adamw.square", "muon.momentum"]

        var tensors: [(name: String, numbers: Tensor)] {
            switch self {
            case .adamW(let averages): [(Self.names[0], averages.mean), (Self.names[1], averages.square)]
            case .muon(let momentum): [(Self.names[2], momentum)]
            }
        }
    }

    /// - Parameter model: with f32 weights.
    public init(_ model: Model, _ kind: Kind) {
        // Router biases are moved by load balancing; vectors that no gradient reaches are passed over anyway.
        let moved = Set(model.routerBiases.map { ObjectIdentifier($0.bias) })
        weights = model.weights.filter { !moved.contains(ObjectIdentifier($0)) }
        blocks = kind == .adamw ? [] : model.muonBlocks(splitsHeads: kind == .muonSplit)
        orthogonalised = Set(blocks.lazy.flatMap(\.parts).map { ObjectIdentifier($0.weight) })
    }

    /// The state of one weight, made on first use.
    mutating func state(_ weight: Weight) -> State {
        let key = ObjectIdentifier(weight)
        if let state = states[key] { return state }
        let state: State =
            orthogonalised.contains(key)
            ? .muon(momentum: Tensor(zeros: [weight.elementCount])) : .adamW(AdamWState(for: weight))
        states[key] = state
        return state
    }

    /// The state of one weight, nil where none of its steps was taken yet.
    func presentState(_ weight: Weight) -> State? { states[ObjectIdentifier(weight)] }

    /// Changes every weight that has a gradient.
    ///
    /// - Returns: the norm of the whole gradient, before clipping.
    public mutating func update(_ gradients: Gradients, learningRate: Double) -> Double {
        step += 1
        let norm = gradients.sumOfSquares(weights).squareRoot()
        let scale = clip > 0 && norm > clip ? clip / norm : 1
        for weight in weights {
            guard let gradient = gradients[weight], case .adamW(let averages) = state(weight) else { continue }
            weight.adamW(
                averages, gradient: gradient, gradientScale: Float(scale), learningRate: Float(learningRate),
                beta1: Float(beta1), beta2: Float(beta2), epsilon: Float(epsilon),
                decay: weight.isVector ? 0 : Float(decay), step: step)
        }
        Weight.muon(
            blocks, gradients, gradientScale: Float(scale), learningRate: Float(learningRate),
            momentum: Float(momentum), decay: Float(decay)
        ) { state($0).tensors[0].numbers }
        return norm
    }
}
