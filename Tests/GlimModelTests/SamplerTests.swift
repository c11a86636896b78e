import Foundation
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

@Suite("sampler") struct SamplerTests {
    private func draw(_ sampler: Sampler, _ logits: [Float], _ position: Int) -> Int {
        Int(logits.withUnsafeBufferPointer { sampler.draw($0, position: position) })
    }

    /// Probabilities of the smallest set of the most probable tokens that reaches `topP`.
    private func exact(_ logits: [Float], temperature: Double, topP: Double) -> [Double] {
        let weights = logits.map { exp(Double($0) / temperature) }
        let total = weights.reduce(0, +)
        var (kept, sum) = ([Double](repeating: 0, count: logits.count), 0.0)
        for i in weights.indices.sorted(by: { weights[$0] > weights[$1] }) where topP == 1 || sum < topP * total {
            kept[i] = weights[i]
            sum += weights[i]
        }
        return kept.map { $0 / sum }
    }

    @Test("100,000 draws are as frequent as they are probable, by chi-square", arguments: [1, 0.8])
    func chiSquare(topP: Double) {
        var values = Draw(3, "logits")
        let logits = values.floats(40, scale: 2.5)
        let expected = exact(logits, temperature: 0.9, topP: topP)
        var counts = [Int](repeating: 0, count: logits.count)
        let sampler = Sampler(temperature: 0.9, topP: topP, seed: 6)
        for position in 0..<100_000 { counts[draw(sampler, logits, position)] += 1 }
        let possible = expected.filter { $0 > 0 }.count
        #expect(topP == 1 ? possible == 40 : (2..<40).contains(possible))
        var distance = 0.0
        for (count, p) in zip(counts, expected) {
            if p == 0 { #expect(count == 0) } else { distance += pow(Double(count) - 1e5 * p, 2) / (1e5 * p) }
        }
        // Mean k, deviation √2k: one right sampler in thousands is beyond four of them.
        let freedom = Double(possible - 1)
        #expect(abs(distance - freedom) < 4 * (2 * freedom).squareRoot(), "\(distance) of \(freedom)")
    }

    @Test("the clocks that are skipped would never have rung first", arguments: [1, 0.6, 1e-9])
    func plainRace(topP: Double) {
        for round in 0..<60 {
            var values = Draw(round, "logits")
            let count = values.pick([1, 2, 50, 3000])
            let logits = values.floats(count, scale: values.pick([0.01, 1, 6, 40]))
            let sampler = Sampler(temperature: values.pick([0.3, 1, 5]), topP: topP, seed: UInt64(round))
            let probabilities = exact(logits, temperature: sampler.temperature, topP: topP)
            let random = CounterRandom(seed: sampler.seed, purpose: "sample")
            for position in [0, 1, 77, 1 << 20] {
                let times = probabilities.enumerated().map { i, p in
                    let late = (Double(random.bits(UInt64(position) << 32 | UInt64(i)) >> 12) + 0.5) * 0x1p-52
                    return p == 0 ? .infinity : -log1p(-late) / p
                }
                #expect(draw(sampler, logits, position) == times.firstIndex(of: times.min()!), "round \(round)")
            }
        }
    }

    @Test("ties of a greedy draw go to the lower token, top-p keeps at least one") func edges() {
        #expect(draw(Sampler(temperature: 0), [1, 3, 3, 2], 5) == 1)
        for position in 0..<50 { #expect(draw(Sampler(topP: 1e-9), [1, 3, 2.9, 2], position) == 1) }
        // A vanishing temperature is as good as none.
        #expect(draw(Sampler(temperature: 1e-300), [1, 3, 2.9, 2], 5) == 1)
    }

    @Test("what is no number is never drawn", arguments: [0, 1], [1, 0.9]) func broken(
        temperature: Double, topP: Double
    ) {
        let sampler = Sampler(temperature: temperature, topP: topP, seed: 1)
        for position in 0..<200 {
            #expect([1, 3].contains(draw(sampler, [.nan, 2, -.infinity, 2.5, .nan], position)))
            #expect(draw(sampler, [1, .infinity, 3, .infinity, .nan], position) == 1)
            #expect(draw(sampler, [.nan, .nan], position) == 0)
            #expect(draw(sampler, [-.infinity, -.infinity], position) == 0)
        }
    }

    @Test("similar distributions draw the same token, whatever is drawn from the one") func coupling() {
        var values = Draw(9, "logits")
        let logits = values.floats(200, scale: 3)
        let near = logits.map { $0 + values.float(0.1) }
        let sampler = Sampler(seed: 2)
        let (p, q) = (exact(logits, temperature: 1, topP: 1), exact(near, temperature: 1, topP: 1))
        let same = (0..<4000).count { draw(sampler, logits, $0) == draw(sampler, near, $0) }
        // At least (1 - d) / (1 + d) of them, d the total variation distance.
        let distance = zip(p, q).reduce(0) { $0 + abs($1.0 - $1.1) } / 2
        #expect(Double(same) / 4000 > (1 - distance) / (1 + distance) - 0.02 && same < 4000)
    }
}
