import Foundation
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

/// Drafting changes no sampled distribution: what is drawn with drafts, against probabilities that come from plain
/// forward passes over every possible continuation.
///
/// `GLIM_SAMPLE_COUNT` sets how many continuations are drawn for each model.
@Suite("speculation") struct SpeculationDistributionTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let seed: Int
        let drafts: Int
        let topP: Double
        var testDescription: String { "\(name), \(drafts) drafts, top-p \(topP)" }
    }

    static let cases = [
        Case(name: "dense", seed: 3, drafts: 3, topP: 1),
        Case(name: "sparse", seed: 4, drafts: 4, topP: 1),
        Case(name: "sparse, one choice for all drafts", seed: 5, drafts: 2, topP: 0.85),
    ]

    private static let sampleCount = ProcessInfo.processInfo.environment["GLIM_SAMPLE_COUNT"].flatMap { Int($0) }
    private static let vocabulary = 6
    /// Drawn tokens: the first comes of the prompt's own pass, the others of passes that verify drafts.
    private static let length = 4
    private static let temperature = 0.9

    private func model(_ chosen: Case) -> Model {
        var config = Tiny.config(chosen.seed)
        (config.vocabularySize, config.mtpLayerCount, config.initializerRange) = (Self.vocabulary, 1, 0.3)
        config.computeType = .float32
        config.indexer?.topK = 5
        config.indexer?.sharesSelectionAcrossDrafts = chosen.seed == 5
        return Tiny.model(config, chosen.seed)
    }

    private func prompt(_ chosen: Case) -> [Int32] {
        var draw = Draw(chosen.seed, "speculation")
        return draw.tokens(14, below: Self.vocabulary)
    }

    @Test("what is drawn with drafts is as frequent as it is probable, by chi-square", arguments: cases)
    func distribution(chosen: Case) {
        let (model, prompt, samples) = (model(chosen), prompt(chosen), Self.sampleCount ?? 4000)
        let expected = probabilities(model, prompt, topP: chosen.topP)
        var counts = [Int](repeating: 0, count: expected.count)
        var (tried, accepted) = (0, 0)
        for seed in 0..<samples {
            let sampler = Sampler(temperature: Self.temperature, topP: chosen.topP, seed: UInt64(seed))
            var generator = Generator(model, sampler: sampler, stops: [], drafts: chosen.drafts)
            generator.feed(prompt)
            counts[(0..<Self.length).reduce(0) { index, _ in index * Self.vocabulary + Int(generator.next()!.id) }] += 1
            tried += generator.draftStatistics.tried.reduce(0, +)
            accepted += generator.draftStatistics.accepted.reduce(0, +)
        }
        // Both happened, often.
        #expect(accepted > samples / 10 && tried - accepted > samples / 10, "\(accepted) of \(tried) accepted")
        for place in 0..<Self.length {
            check(
                marginal(counts, at: place).map(Double.init), marginal(expected, at: place), samples,
                "\(chosen.testDescription): token \(place + 1)")
        }
        check(counts.map(Double.init), expected, samples, "\(chosen.testDescription): all tokens together")
    }

    @Test("a greedy continuation is the same with one to four drafts", arguments: cases)
    func greedy(chosen: Case) {
        let (model, prompt) = (model(chosen), prompt(chosen))
        func run(drafts: Int) -> [GeneratedToken] {
            var generator = Generator(model, sampler: Sampler(temperature: 0), stops: [], drafts: drafts)
            generator.feed(prompt)
            return (0..<80).map { _ in generator.next()! }
        }
        let expected = run(drafts: 0)
        for drafts in 1...4 { #expect(run(drafts: drafts) == expected, "\(drafts) drafts") }
    }

    // MARK: - What is right

    /// Of every continuation, the last token's number counting fastest.
    private func probabilities(_ model: Model, _ prompt: [Int32], topP: Double) -> [Double] {
        let width = Self.vocabulary
        var joint = [1.0]
        for place in 0..<Self.length {
            joint = joint.indices.flatMap { index -> [Double] in
                if joint[index] == 0 { return [Double](repeating: 0, count: width) }
                var (tokens, rest) = ([Int32](), index)
                for _ in 0..<place {
                    tokens.insert(Int32(rest % width), at: 0)
                    rest /= width
                }
                let all = prompt + tokens
                let hidden = model.hidden(Batch(tokens: all, lengths: [all.count]))
                let logits = model.logits(Tensor.selectRows(hidden, [all.count - 1])).elements
                return next(logits, topP: topP).map { joint[index] * $0 }
            }
        }
        return joint
    }

    /// Of the smallest set of the most probable tokens that reaches `topP`.
    private func next(_ logits: [Float], topP: Double) -> [Double] {
        let weights = logits.map { exp(Double($0) / Self.temperature) }
        let total = weights.reduce(0, +)
        var (kept, sum) = ([Double](repeating: 0, count: weights.count), 0.0)
        for i in weights.indices.sorted(by: { weights[$0] > weights[$1] }) where topP == 1 || sum < topP * total {
            kept[i] = weights[i]
            sum += weights[i]
        }
        return kept.map { $0 / sum }
    }

    /// Sums over all other places of a continuation.
    private func marginal<Number: AdditiveArithmetic>(_ joint: [Number], at place: Int) -> [Number] {
        let step = (place + 1..<Self.length).reduce(1) { step, _ in step * Self.vocabulary }
        var sums = [Number](repeating: .zero, count: Self.vocabulary)
        for (i, number) in joint.enumerated() { sums[i / step % Self.vocabulary] += number }
        return sums
    }

    /// Pearson's statistic is below what one right sampler in 10,000 exceeds; cells of fewer than five are one cell.
    private func check(_ counts: [Double], _ expected: [Double], _ samples: Int, _ what: String) {
        var (rare, rareExpected, statistic, cells) = (0.0, 0.0, 0.0, 0)
        for (count, p) in zip(counts, expected) {
            let mean = p * Double(samples)
            if p == 0 {
                #expect(count == 0, "\(what): an impossible token was drawn")
            } else if mean < 5 {
                rare += count
                rareExpected += mean
            } else {
                statistic += (count - mean) * (count - mean) / mean
                cells += 1
            }
        }
        if rareExpected >= 5 {
            statistic += (rare - rareExpected) * (rare - rareExpected) / rareExpected
            cells += 1
        }
        guard cells > 1 else { return }
        let limit = chiSquareLimit(freedom: Double(cells - 1))
        if Self.sampleCount != nil { print("\(what): chi-square \(statistic), limit \(limit) of \(cells - 1) degrees") }
        #expect(statistic < limit, "\(what): chi-square over \(cells) cells")
    }

    /// What chi-square exceeds with probability 1e-4, by Wilson and Hilferty's cube of a normal variable.
    private func chiSquareLimit(freedom: Double) -> Double {
        let normal = 3.719_016
        let spread = 2 / (9 * freedom)
        return freedom * pow(1 - spread + normal * spread.squareRoot(), 3)
    }
}
