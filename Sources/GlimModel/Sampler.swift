import Foundation
import GlimTensor

/// How the next token is drawn.
///
/// The model's logits go through these steps, in this order; each is neutral by default:
///
/// 1. The mask: tokens that may not come are at -∞, whatever follows.
/// 2. `bias` is added.
/// 3. `repetitionPenalty`, for tokens of the prompt and drawn ones.
/// 4. `frequencyPenalty` and `presencePenalty`, for drawn tokens.
/// 5. `temperature`: at 0 the greatest logit is taken, and what follows has no say.
/// 6. `minP`, of the probabilities at this temperature.
/// 7. `topK`, of what remains.
/// 8. `topP`, of the probabilities of what remains, made to sum to one.
///
/// What then remains is drawn from. (vLLM has the same order.)
public struct Sampler: Sendable, Equatable {
    /// 0 takes the most probable token.
    public var temperature: Double
    /// Only the smallest set of tokens whose probabilities reach this sum is drawn from.
    public var topP: Double
    public var seed: UInt64
    /// Only so many of the most probable tokens are drawn from, of equals the lower; 0 is all.
    public var topK = 0
    /// Only tokens are drawn from whose probability is at least this part of the greatest.
    public var minP = 0.0
    /// What is added to the logits of tokens.
    public var bias: [Int32: Double] = [:]
    /// Above zero: logits of tokens that have come, be it in the prompt, are divided by it where they are above zero,
    /// and multiplied by it elsewhere (Keskar and others: CTRL, 2019, section 4.1).
    public var repetitionPenalty = 1.0
    /// What is subtracted from the logits of tokens that have been drawn.
    public var presencePenalty = 0.0
    /// What is subtracted for each time that a token has been drawn.
    public var frequencyPenalty = 0.0

    public init(temperature: Double = 1, topP: Double = 1, seed: UInt64 = 0) {
        (self.temperature, self.topP, self.seed) = (temperature, topP, seed)
    }

    /// What is wrong with its values; nil where they can be drawn by.
    public var problem: String? {
        if !(temperature >= 0 && temperature.isFinite) { return "temperature is \(temperature); it must be 0 or more" }
        if !(topP > 0 && topP <= 1) { return "topP is \(topP), not above 0 and at most 1" }
        if topK < 0 { return "topK is \(topK); it must be 0 or more" }
        if !(minP >= 0 && minP <= 1) { return "minP is \(minP), not within 0...1" }
        if !(repetitionPenalty > 0 && repetitionPenalty.isFinite) {
            return "repetitionPenalty is \(repetitionPenalty); it must be above 0"
        }
        if !presencePenalty.isFinite { return "presencePenalty is \(presencePenalty); it must be a number" }
        if !frequencyPenalty.isFinite { return "frequencyPenalty is \(frequencyPenalty); it must be a number" }
        guard let bad = bias.filter({ $0.value.isNaN }).keys.min() else { return nil }
        return "the bias of token \(bad) is no number"
    }

    /// The token for the given position of the sequence: a function of the logits, the tokens before it, the mask, the
    /// seed and the position alone.
    ///
    /// - Parameters:
    ///   - counts: the tokens before it, where there are penalties.
    ///   - mask: a bit for each token that may be drawn, 64 a word, the lowest token in the lowest bit; one beyond its
    ///     end may not. A mask that allows nothing is a bug and traps. nil allows all.
    public func draw(
        _ logits: UnsafeBufferPointer<Float>, position: Int, counts: TokenCounts? = nil, mask: [UInt64]? = nil
    ) -> Int32 {
        guard let adjusted = adjusted(logits, counts, mask) else { return draw(logits, at: position) }
        let token = adjusted.withUnsafeBufferPointer { draw($0, at: position) }
        guard let mask, adjusted[Int(token)] == -.infinity || adjusted[Int(token)].isNaN else { return token }
        // The model itself rules out whatever may come.
        guard let lowest = Self.lowest(mask, of: logits.count) else {
            preconditionFailure("Sampler: a mask that allows none of \(logits.count) tokens")
        }
        return lowest
    }

    /// The token for the given position, of logits that are as they should be.
    ///
    /// A race of exponential clocks: token i, of probability p, rings at -log(u) / p, where u in (0, 1) is a function of
    /// (seed, position, i), and the first to ring is drawn (Gumbel-max). Every token keeps its u whatever the logits are,
    /// so two similar distributions mostly draw the same token: a draft drawn so from its own distribution is accepted
    /// often without knowing the model's (Daliri, Musco and Suresh: Coupling without communication and
    /// drafter-invariant speculative decoding, 2024).
    ///
    /// A logit that is no number is never drawn; of infinite ones the first is.
    private func draw(_ logits: UnsafeBufferPointer<Float>, at position: Int) -> Int32 {
        var (best, peak) = (0, -Float.infinity)
        for i in logits.indices where logits[i] > peak { (best, peak) = (i, logits[i]) }
        guard temperature > 0, peak.isFinite else { return Int32(best) }
        var race = Race(self, position: position, peak: Double(peak), first: best, logits[best])
        if topP < 1 || topK > 0 || minP > 0 {
            for i in candidates(logits, peak: Double(peak)) where i != best { race.enter(i, logits[i]) }
        } else {
            for i in logits.indices where i != best { race.enter(i, logits[i]) }
        }
        return Int32(race.winner)
    }

    /// The tokens that `minP`, `topK` and `topP` leave. Ties go to the lower token, so that the set is the same everywhere.
    private func candidates(_ logits: UnsafeBufferPointer<Float>, peak: Double) -> ArraySlice<Int> {
        var weights = logits.map { logit in
            let weight = exp((Double(logit) - peak) / temperature)
            return weight.isNaN ? 0 : weight
        }
        if minP > 0 { for i in weights.indices where weights[i] < minP { weights[i] = 0 } }
        if topK > 0 {
            var kept = [Double](repeating: 0, count: weights.count)
            for i in logits.largest(topK) { kept[i] = weights[i] }
            weights = kept
        }
        if topP >= 1 { return weights.indices.filter { weights[$0] > 0 }[...] }
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
