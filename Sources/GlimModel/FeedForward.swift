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

/// Where the routed experts of layers come from, if they are not in memory all the time.
///
/// A layer asks for the experts that its tokens need and gets them as they come; what it computes is the same in whatever
/// order that is.
protocol ExpertSource: Sendable {
    /// Hands out experts until each of the needed ones has been there once, or none comes any more.
    ///
    /// - Parameters:
    ///   - layer: as in the checkpoint.
    ///   - needed: experts that at least one token goes to, those of most tokens first.
    ///   - load: tokens of each expert.
    ///   - use: computes with the given experts of weights that are valid meanwhile.
    func serve(layer: Int, needed: [Int], load: [Int], _ use: (ExpertWeights, [Int]) -> Void)

    /// Whether it is worth guessing what will be needed.
    var wantsGuesses: Bool { get }

    /// Tells what a layer is likely to need soon, the likeliest first.
    func expect(layer: Int, experts: [Int])
}

extension Model {
    /// Where experts are read from, in a model that does not hold them all.
    public var expertStream: ExpertStream? {
        (layers + predictions.map(\.layer)).lazy.compactMap { $0.experts?.source as? ExpertStream }.first
    }
}

/// A router, its experts, and the shared expert that every token passes through.
public struct MixtureOfExperts: Sendable {
    /// `[E, D]`
    public let router: Weight
    /// `[E]`: steers the choice; moved by load balancing, not by gradients.
    public let bias: Weight
    /// All of them in memory; nil where they come from a source.
    public let resident: ExpertWeights?
    public let shared: MLP?
    let source: (any ExpertSource)?
    let rule: RouterRule
    let layer: Int

    init(_ config: ModelConfig, layer: Int, _ make: WeightMaker) {
        let (D, E, F) = (config.hiddenSize, config.routedExpertCount, config.expertWidth)
        let prefix = "model.layers.\(layer).mlp"
        router = make.matrix("\(prefix).gate.weight", E, D, decides: true, use: .other)
        bias = make.vector(E, filledWith: 0)
        source = make.source?(layer)
        func experts(_ name: String, _ outputs: Int, _ inputs: Int) -> Weight {
            make.matrix("\(prefix).experts.0.\(name).weight", outputs, inputs, count: E, use: .routedExperts)
        }
        resident =
            source == nil
            ? ExpertWeights(
                gate: experts("gate_proj", F, D), up: experts("up_proj", F, D), down: experts("down_proj", D, F))
            : nil
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
        let routed_TD = routed(x_TD, routing, tape: tape)
        guard let shared else { return routed_TD }
        return Tensor.add(routed_TD, shared(x_TD, tape: tape), tape: tape)
    }

    private func routed(_ x_TD: Tensor, _ routing: Routing, tape: Tape?) -> Tensor {
        if let resident { return Tensor.mixture(x_TD, routing, resident, tape: tape) }
        guard let source, tape == nil else { preconditionFailure("MixtureOfExperts: gradients need all experts") }
        return Tensor.mixture(x_TD, routing, count: routing.load.count) { needed, use in
            source.serve(layer: layer, needed: needed, load: routing.load, use)
        }
    }

    /// Guesses what the layer will need, from what goes into it before the layer ahead of it is through: residual streams
    /// change little from one layer to the next. A wrong guess costs time, and nothing else.
    func expect(_ x_TD: Tensor) {
        guard let source else { return }
        let routing = Tensor.route(Tensor.linear(x_TD, router), bias: bias, rule, slices: [])
        let likely = routing.load.indices.filter { routing.load[$0] > 0 }
        source.expect(
            layer: layer,
            experts: likely.sorted { (routing.load[$1], $0) < (routing.load[$0], $1) })
    }
}
