public import GlimModel
import GlimTensor

/// The state of a training run and its one step: pass, optimizer, load balancing.
///
/// Everything that decides the next step is here and in the recipe: the same state gives the same step, to the bit,
/// at any thread count.
public struct Trainer {
    /// What is trained, in place.
    public let model: Model
    /// Its averages, and the count of steps.
    public internal(set) var optimizer: Optimizer
    /// Where the next rows come from.
    public internal(set) var loader: MixedLoader
    /// Tokens trained on.
    public internal(set) var tokens = 0
    /// Every other value that decides a step.
    public let recipe: TrainRecipe
    /// Steps of the whole run; the schedule ends there.
    public let totalSteps: Int

    /// Steps done.
    public var step: Int { optimizer.step }
    /// Whether the run is at its end.
    public var isDone: Bool { step >= totalSteps }

    /// - Parameter model: with f32 weights.
    public init(_ model: Model, _ loader: MixedLoader, _ recipe: TrainRecipe, totalSteps: Int) {
        (self.model, self.loader, self.recipe, self.totalSteps) = (model, loader, recipe, totalSteps)
        optimizer = Optimizer(model, recipe.optimizer)
        (optimizer.beta1, optimizer.beta2, optimizer.epsilon) = (recipe.beta1, recipe.beta2, recipe.epsilon)
        (optimizer.decay, optimizer.clip) = (recipe.weightDecay, recipe.clip)
    }

    /// Trains on the next rows.
    ///
    /// - Returns: what the step measured, but for its rate.
    public mutating func trainStep() -> StepMetrics { trainStep(on: nextRows()) }

    /// The rows of the next step, all of one length.
    public mutating func nextRows() -> [PackedRow] {
        let stage = recipe.contextStage(step: step + 1, of: totalSteps)
        return loader.batch(rows: recipe.rowsPerBatch(recipe.rowLengths[stage]), stage: stage)
    }

    /// Trains on the given rows.
    public mutating func trainStep(on rows: [PackedRow]) -> StepMetrics {
        var options = recipe.passOptions(length: rows.first?.tokens.count ?? 1)
        options.adaptation = recipe.adaptation(step: step + 1, of: totalSteps)
        let pass = TrainingPass(model, rows, options)
        let rate = recipe.learningRate(step: step + 1, of: totalSteps)
        let norm = optimizer.update(pass.gradients, learningRate: rate)
        if recipe.balanceRate > 0, options.adaptation != .warmUp { balance(pass.expertLoad) }
        var extras = ["attention_logit_max": pass.attentionLogitMax]
        if options.adaptation != nil { extras["indexer_loss"] = pass.indexerLoss }
        tokens += rows.reduce(0) { $0 + $1.tokens.count }
        return StepMetrics(
            step: step, tokens: tokens, loss: pass.loss, mtpLoss: pass.mtpLoss, learningRate: rate, gradientNorm: norm,
            tokensPerSecond: .nan, extras: extras)
    }

    /// Moves each router's bias by one constant step towards equal load (DeepSeek-V3 report, section 2.1.2).
    private func balance(_ load: [Int: [Int]]) {
        for (layer, bias) in model.routerBiases {
            guard let load = load[layer] else { continue }
            let moved = Self.balanced(bias.rows().elements, load: load, rate: Float(recipe.balanceRate))
            moved.withUnsafeBufferPointer { bias.set($0) }
            bias.changed()
        }
    }

    /// Biases after one step of balancing: up for experts below the mean load, down for those above.
    package static func balanced(_ biases: [Float], load: [Int], rate: Float) -> [Float] {
        let total = load.reduce(0, +)
        return zip(biases, load).map { bias, count in
            let sign = total - count * load.count  // of mean - load
            return bias + (sign > 0 ? rate : sign < 0 ? -rate : 0)
        }
    }
}

extension Trainer {
    /// Makes the given step the next one: to measure what it takes.
    mutating func skip(to step: Int) { optimizer.step = step - 1 }
}
