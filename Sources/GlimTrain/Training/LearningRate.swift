import Foundation

extension TrainRecipe {
    /// Steps of linear warm-up in a run of `total` steps, in adaptation those of the dense warm-up. By ratio they are
    /// at least ten, for AdamW's averages mean little before, but never more than half of the run.
    func warmup(of total: Int) -> Int {
        if stage == .adapt { return min(total, warmupSteps ?? Int((warmupRatio * Double(total)).rounded(.up))) }
        return warmupSteps ?? min((total + 1) / 2, max(10, Int((warmupRatio * Double(total)).rounded(.up))))
    }

    /// The learning rate of a step, from 1 to `total`: linear warm-up, then the schedule down to its last share. The
    /// dense warm-up of adaptation has a rate of its own, falling linearly.
    public func learningRate(step: Int, of total: Int) -> Double {
        let warmup = warmup(of: total)
        if stage == .adapt, step <= warmup {
            let progress = warmup > 1 ? Double(step - 1) / Double(warmup - 1) : 0
            return indexerLearningRate * (1 - (1 - minimumIndexerLearningRateRatio) * progress)
        }
        if step <= warmup { return peakLearningRate * Double(step) / Double(warmup) }
        let progress = total > warmup ? Double(step - warmup) / Double(total - warmup) : 1
        let last = minimumLearningRateRatio
        let share: Double =
            switch schedule {
            case .constant: 1
            case .linear: 1 - (1 - last) * progress
            case .cosine: last + (1 - last) * (1 + cos(.pi * progress)) / 2
            }
        return peakLearningRate * share
    }
}
