public import GlimTensor

// Letters: T tokens, D hidden, E routed experts, F expert width.

/// `down(silu(gate(x)) · up(x))`.
public struct MLP: Sendable {
    /// `[F, D]`
    public let gate: Weight
    /// `[F, D]`
    public let up: Weight
    /// `[D, F]`
    public let down: Weight

    init(_ prefix: String, hidden: Int, width: Int, _ make: WeightMaker) {
        gate = make.matrix("\(prefix).gate_proj.weight", width, hidden)
        up = make.matrix("\(prefix).up_proj.weight", width, hidden)
        down = make.matrix("\(prefix).down_proj.weight", hidden, width)
    }

    func callAsFunction(_ x_TD: Tensor, tape: Tape?) -> Tensor {
        let both = Tensor.linear(x_TD, [gate, up], tape: tape)
        let inner_TF = Tensor.swiGLU(gate: both[0], up: both[1], tape: tape)
        return Tensor.linear(inner_TF, down, tape: tape)
    }
}

/// Where the routed experts of a layer come from.
///
/// A layer asks for the experts that its tokens need; a source in memory answers at once, one that streams from disk
/// may fetch first.
public protocol ExpertSource: Sendable {
    /// - Parameters:
    ///   - layer: as in the checkpoint.
    ///   - needed: ascending experts that at least one token goes to.
    /// - Returns: weights in which the needed experts are valid.
    func experts(layer: Int, needed: [Int]) -> ExpertWeights
}

/// Experts that stay in memory, owned or mapped.
struct ResidentExperts: ExpertSource {
    let weights: ExpertWeights
    func experts(layer: Int, needed: [Int]) -> ExpertWeights { weights }
}

/// A router, its experts, and the shared expert that every token passes through.
public struct MixtureOfExperts: Sendable {
    /// `[E, D]`
    public let router: Weight
    /// `[E]`: steers the choice; moved by load balancing, not by gradients.
    public let bias: Weight
    /// Set apart from the source so that training can reach them; nil where experts are streamed.
    public let resident: ExpertWeights?
    public let shared: MLP?
    let source: any ExpertSource
    let rule: RouterRule
    let layer: Int

    init(_ config: ModelConfig, layer: Int, _ make: WeightMaker) {
        let (D, E, F) = (config.hiddenSize, config.routedExpertCount, config.expertWidth)
        let prefix = "model.layers.\(layer).mlp"
        router = make.matrix("\(prefix).gate.weight", E, D, decides: true, use: .other)
        bias = make.vector(E, filledWith: 0)
        let experts = ExpertWeights(
            gate: make.matrix("\(prefix).experts.0.gate_proj.weight", F, D, count: E, use: .routedExperts),
            up: make.matrix("\(prefix).experts.0.up_proj.weight", F, D, count: E, use: .routedExperts),
            down: make.matrix("\(prefix).experts.0.down_proj.weight", D, F, count: E, use: .routedExperts))
        (resident, source) = (experts, ResidentExperts(weights: experts))
        shared =
            config.sharedExpertCount == 0
            ? nil : MLP("\(prefix).shared_experts", hidden: D, width: config.sharedWidth, make)
        rule = RouterRule(
            expertsPerToken: config.expertsPerToken, groupCount: config.groupCount, groupsKept: config.groupsKept,
            scale: config.routedScale, normalises: config.normalisesExpertWeights)
        self.layer = layer
    }

    func callAsFunction(_ x_TD: Tensor, _ pass: Pass) -> Tensor {
        let tape = pass.tape
        let routing = Tensor.route(
            Tensor.linear(x_TD, router, tape: tape), bias: bias, rule, slices: pass.batch.slices,
            balance: pass.balance, tape: tape)
        pass.observer?.add(routing.load, layer: layer)
        let needed = routing.load.indices.filter { routing.load[$0] > 0 }
        let routed_TD = Tensor.mixture(x_TD, routing, source.experts(layer: layer, needed: needed), tape: tape)
        guard let shared else { return routed_TD }
        return Tensor.add(routed_TD, shared(x_TD, tape: tape), tape: tape)
    }
}
