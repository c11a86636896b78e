import Foundation
import GlimTensor

/// How the next token is drawn.
public struct Sampler: Sendable, Equatable {
    /// 0 takes the most probable token.
    public var temperature: Double
    /// Only the smallest set of tokens whose probabilities reach this sum is drawn from.
    public var topP: Double
    public var seed: UInt64

    public init(temperature: Double = 1, topP: Double = 1, seed: UInt64 = 0) {
        (self.temperature, self.topP, self.seed) = (temperature, topP, seed)
    }

    /// The token for the given position of the sequence: a function of the logits, the seed and the position alone.
    ///
    /// A race of exponential clocks: token i, of probability p, rings at -log(u) / p, where u in (0, 1) is a function of
    /// (seed, position, i), and the first to ring is drawn (Gumbel-max). Every token keeps its u whatever the logits are,
    /// so two similar distributions mostly draw the same token: a draft drawn so from its own distribution is accepted
    /// often without knowing the model's (Daliri, Musco and Suresh: Coupling without communication and
    /// drafter-invariant speculative decoding, 2024).
    ///
    /// A logit that is no number is never drawn; of infinite ones the first is.
    public func draw(_ logits: UnsafeBufferPointer<Float>, position: Int) -> Int32 {
        var (best, peak) = (0, -Float.infinity)
        for i in logits.indices where logits[i] > peak { (best, peak) = (i, logits[i]) }
        guard temperature > 0, peak.isFinite else { return Int32(best) }
        var race = Race(self, position: position, peak: Double(peak), first: best, logits[best])
        if topP < 1 {
            for i in nucleus(logits, peak: Double(peak)) where i != best { race.enter(i, logits[i]) }
        } else {
            for i in logits.indices where i != best { race.enter(i, logits[i]) }
        }
        return Int32(race.winner)
    }

    /// The smallest set of the most probable tokens whose probabilities reach `topP`. Ties go to the lower token, so that
    /// the set is the same everywhere.
    private func nucleus(_ logits: UnsafeBufferPointer<Float>, peak: Double) -> ArraySlice<Int> {
        let weights = logits.map { logit in
            let weight = exp((Double(logit) - peak) / temperature)
            return weight.isNaN ? 0 : weight
        }
        let total = weights.reduce(0, +)
        // Whatever weighs less than this is, all together, half of what may be missing: the set is found without it.
        let least = (1 - topP) * total / Double(2 * weights.count)
        let order = weights.indices.filter { weights[$0] > 0 && weights[$0] >= least }.sorted {
            weights[$0] != weights[$1] ? weights[$0] > weights[$1] : $0 < $1
        }
        var kept = 0.0
        for (rank, i) in order.enumerated() {
            kept += weights[i]
            if kept >= topP * total { return order[...rank] }
        }
        return order[...]
    }

    /// Finds the first clock to ring without reading most of them.
    private struct Race {
        private(set) var winner: Int
        /// The logarithm of the winner's time, its probability taken relative to the most probable token's.
        private var record = Double.infinity
        private let random: CounterRandom
        private let block: UInt64
        private let peak: Double
        private let temperature: Double

        init(_ sampler: Sampler, position: Int, peak: Double, first: Int, _ logit: Float) {
            random = CounterRandom(seed: sampler.seed, purpose: "sample")
            (block, self.peak, temperature, winner) = (UInt64(position) << 32, peak, sampler.temperature, first)
            enter(first, logit)
        }

        mutating func enter(_ token: Int, _ logit: Float) {
            // 1 - u, a multiple of 2^-53 within (0, 1).
            let bits = random.bits(block | UInt64(token)) >> 12
            let scaled = (Double(logit) - peak) / temperature
            // -log u is at least 1 - u, which is at least the power of two below it: no logarithm for one that is late
            // even so. Not a number is late, too.
            let power = Double(11 - bits.leadingZeroBitCount)
            guard power * 0.693_147_180_559_945_3 - scaled < record + 1e-9 else { return }
            let time = log(-log1p(-(Double(bits) + 0.5) * 0x1p-52)) - scaled
            if time < record { (winner, record) = (token, time) }
        }
    }
}
