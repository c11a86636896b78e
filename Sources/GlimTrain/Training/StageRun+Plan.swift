import GlimModel
import GlimTensor

extension StageRun {
    /// Fixes the number of steps: what fills the minutes, measured once on a copy that is thrown away; or one pass
    /// over the data.
    mutating func planSteps(_ config: ModelConfig, _ loader: MixedLoader, _ material: RunMaterial) throws {
        guard let minutes = recipe.minutes else {
            recipe.steps = max(1, Int(Double(material.tokensOfOnePass(recipe.longestRow)) / recipe.stepTokens))
            return
        }
        say("measuring a few steps and an evaluation to plan \(minutes) minutes")
        var trial = Trainer(try makeModel(config), loader, recipe, totalSteps: Self.trialSteps)
        let clock = ContinuousClock()
        var seconds: [Phase: Double] = [:]
        for step in 1...Self.trialSteps where seconds[phase(step, of: Self.trialSteps)] == nil {
            func once() -> Double {
                trial.skip(to: step)
                return clock.measure { _ = trial.trainStep() } / .seconds(1)
            }
            if seconds.isEmpty { _ = once() }
            let first = once()
            // A long step is measured well enough by itself.
            seconds[phase(step, of: Self.trialSteps)] = first > 2 ? first : min(first, once())
        }
        let rows = material.validationRows(recipe.longestRow)
        let byteCounts = material.tokenizer.byteCounts(config.vocabularySize)
        let evaluation = clock.measure { _ = Evaluation(trial.model, rows, byteCounts: byteCounts) } / .seconds(1)
        // At most a twentieth of the time goes to evaluations.
        let evaluations = min(10, max(1, Int(minutes * 3 / max(evaluation, 1e-3))))
        let budget = minutes * 60 - Double(evaluations) * evaluation
        // How long a step takes on average depends a little on how many there are: on rounding, on a fixed warm-up.
        var steps = Self.trialSteps
        for _ in 0..<4 { steps = max(1, Int(min(1e12, budget / meanSeconds(seconds, of: steps)))) }
        recipe.steps = steps
        if recipe.evaluateEvery == nil { recipe.evaluateEvery = max(1, (steps + evaluations - 1) / evaluations) }
        let mean = meanSeconds(seconds, of: steps).formatted(digits: 2)
        say("\(steps) steps of \(Int(recipe.stepTokens)) tokens, \(mean) s each")
    }

    /// What the time of a step depends on.
    private struct Phase: Hashable {
        var stage: Int
        var isWarmUp: Bool
    }

    private func phase(_ step: Int, of total: Int) -> Phase {
        Phase(
            stage: recipe.contextStage(step: step, of: total),
            isWarmUp: recipe.adaptation(step: step, of: total) == .warmUp)
    }

    private func meanSeconds(_ seconds: [Phase: Double], of total: Int) -> Double {
        let every = max(1, total / Self.trialSteps)
        let times = stride(from: 1, through: total, by: every).map { step in
            seconds[phase(step, of: total)] ?? seconds.values.max() ?? 1
        }
        return max(1e-6, times.reduce(0, +) / Double(times.count))
    }

    private static let trialSteps = 1000
}
