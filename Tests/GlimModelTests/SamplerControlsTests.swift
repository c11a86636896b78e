import Foundation
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

@Suite("what a sampler may be told") struct SamplerControlsTests {
    private func draw(
        _ sampler: Sampler, _ logits: [Float], _ position: Int, _ counts: TokenCounts? = nil, _ mask: [UInt64]? = nil
    ) -> Int {
        Int(logits.withUnsafeBufferPointer { sampler.draw($0, position: position, counts: counts, mask: mask) })
    }

    /// The steps one after the other, by their definitions; then the first clock to ring.
    private func plain(
        _ sampler: Sampler, _ logits: [Float], _ position: Int, prompt: [Int32], drawn: [Int32], allowed: Set<Int>?
    ) -> Int {
        var logits = logits
        for i in logits.indices {
            let token = Int32(i)
            if let allowed, !allowed.contains(i) { logits[i] = -.infinity }
            if let bias = sampler.bias[token] { logits[i] = Float(Double(logits[i]) + bias) }
            if sampler.repetitionPenalty != 1, prompt.contains(token) || drawn.contains(token) {
                let (logit, penalty) = (Double(logits[i]), sampler.repetitionPenalty)
                logits[i] = Float(logit > 0 ? logit / penalty : logit * penalty)
            }
            let count = drawn.count { $0 == token }
            if count > 0 {
                logits[i] = Float(
                    Double(logits[i]) - Double(count) * sampler.frequencyPenalty - sampler.presencePenalty)
            }
        }
        let order = logits.indices.sorted { logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1 }
        if sampler.temperature == 0 { return order[0] }
        let peak = Double(logits[order[0]])
        var weights = logits.map { exp((Double($0) - peak) / sampler.temperature) }
        for i in weights.indices where weights[i] < sampler.minP { weights[i] = 0 }
        if sampler.topK > 0 { for i in order.dropFirst(sampler.topK) { weights[i] = 0 } }
        let total = weights.reduce(0, +)
        var sum = 0.0
        for i in order {
            if sum >= sampler.topP * total { weights[i] = 0 }
            sum += weights[i]
        }
        let random = CounterRandom(seed: sampler.seed, purpose: "sample")
        let times = weights.enumerated().map { i, weight in
            let late = (Double(random.bits(UInt64(position) << 32 | UInt64(i)) >> 12) + 0.5) * 0x1p-52
            return weight == 0 ? .infinity : -log1p(-late) / weight
        }
        return times.firstIndex(of: times.min()!)!
    }

    @Test("all of it together is what its steps are one after the other") func together() {
        for number in 0..<1500 {
            var values = Draw(number, "controls")
            let count = values.pick([1, 2, 5, 64, 65, 200])
            var logits = values.floats(count, scale: values.pick([1, 4, 12]))
            // Equal ones, so that ties come up.
            if values.chance(0.3) { logits = logits.map { ($0 * 2).rounded() / 2 } }
            var sampler = Sampler(
                temperature: values.pick([0, 0.5, 1, 1.7]), topP: values.pick([1, 1, 0.9, 0.3]), seed: UInt64(number))
            sampler.topK = values.pick([0, 0, 1, 3, 50, 10_000])
            sampler.minP = values.pick([0, 0, 0.02, 0.3, 1])
            sampler.repetitionPenalty = values.pick([1, 1, 1.2, 0.8])
            sampler.presencePenalty = values.pick([0, 0, 0.5, -1])
            sampler.frequencyPenalty = values.pick([0, 0, 0.25, -0.5])
            for _ in 0..<values.pick([0, 0, 3]) {
                sampler.bias[Int32(values.integer(0...count - 1))] = Double(values.float(5))
            }
            let (prompt, drawn) = (
                values.tokens(values.integer(0...9), below: count), values.tokens(values.integer(0...9), below: count)
            )
            var counts = TokenCounts(prompt: prompt)
            for token in drawn { counts.add(token) }
            let allowed = values.chance(0.5) ? Set((0..<count).filter { _ in values.chance(0.5) } + [count - 1]) : nil
            var mask = allowed.map { _ in [UInt64](repeating: 0, count: (count + 63) / 64) }
            for i in allowed ?? [] { mask![i / 64] |= 1 << UInt64(i % 64) }
            for position in [0, 1, 9000] {
                let found = draw(sampler, logits, position, counts, mask)
                let expected = plain(sampler, logits, position, prompt: prompt, drawn: drawn, allowed: allowed)
                #expect(found == expected, "\(number): \(sampler)")
            }
        }
    }

    @Test("what is neutral changes no draw") func neutral() {
        var values = Draw(4, "neutral")
        for topP in [1, 0.8] {
            let plain = Sampler(temperature: 0.9, topP: topP, seed: 3)
            var told = plain
            told.topK = 300
            told.minP = 1e-12
            told.bias = [5: 0, 7: 0]
            for position in 0..<200 {
                let logits = values.floats(300, scale: 5)
                let token = draw(plain, logits, position)
                #expect(draw(told, logits, position) == token)
                #expect(
                    draw(plain, logits, position, TokenCounts(prompt: [1, 2]), [UInt64](repeating: .max, count: 5))
                        == token)
            }
        }
    }

    @Test("a draw knows the tokens before it, not the way to them") func history() {
        var values = Draw(5, "history")
        let logits = values.floats(50, scale: 2)
        var sampler = Sampler(seed: 8)
        (sampler.presencePenalty, sampler.frequencyPenalty, sampler.repetitionPenalty) = (0.7, 0.3, 1.1)
        var one = TokenCounts(prompt: [1, 2, 3])
        for token: Int32 in [4, 5, 4] { one.add(token) }
        // Drafts that were tried and taken back.
        var other = TokenCounts(prompt: [3, 2, 2, 1])
        for token: Int32 in [4, 9, 9, 4] { other.add(token) }
        for token: Int32 in [9, 9] { other.remove(token) }
        other.add(5)
        #expect(one == other)
        for position in 0..<100 {
            #expect(draw(sampler, logits, position, one) == draw(sampler, logits, position, other))
        }
        // Of equal logits those that were drawn come less often, and the more so the oftener they were.
        let level = [Float](repeating: 1, count: 8)
        var times = [Int](repeating: 0, count: 8)
        for position in 0..<8000 { times[draw(sampler, level, position, one)] += 1 }
        #expect(times[4] < times[5] * 4 / 5 && times[5] < times[1] * 4 / 5 && times[1] < times[7] * 24 / 25)
    }

    @Test("within a mask even what the model rules out is drawn") func masked() {
        for temperature in [0, 1.0] {
            let sampler = Sampler(temperature: temperature, seed: 1)
            for position in 0..<20 {
                #expect(draw(sampler, [9, -.infinity, .nan, 8], position, nil, [0b0110]) == 1)
                #expect(draw(sampler, [9, .nan, .nan, 8], position, nil, [0b0100]) == 2)
                #expect(draw(sampler, [9, 1, .infinity, 8], position, nil, [0b1011]) != 2)
                // A mask that tells of fewer tokens allows no others.
                #expect(draw(sampler, [Float](repeating: 0, count: 70), position, nil, [0b100]) == 2)
            }
        }
    }

    @Test("no control brings back what the mask forbids, whatever number it is given") func forbidden() {
        let mask: [UInt64] = [0b0110]
        for number in [-1, 0, .infinity, -.infinity, .nan] as [Double] {
            for temperature in [0, 1.0] {
                var sampler = Sampler(temperature: temperature, seed: 2)
                (sampler.repetitionPenalty, sampler.presencePenalty) = (number, number)
                (sampler.frequencyPenalty, sampler.bias) = (number, [0: number, 3: number])
                var counts = TokenCounts(prompt: [0, 3])
                for token: Int32 in [0, 3] { counts.add(token) }
                for position in 0..<20 {
                    #expect([1, 2].contains(draw(sampler, [9, 1, 2, -8], position, counts, mask)), "\(number)")
                }
            }
        }
    }

    @Test("a mask that allows nothing traps") func empty() async {
        await #expect(processExitsWith: .failure) {
            [Float](repeating: 0, count: 3).withUnsafeBufferPointer {
                _ = Sampler().draw($0, position: 0, mask: [0b11000])
            }
        }
    }

    @Test("the likeliest tokens are those of the model's own distribution, in order") func likely() {
        for number in 0..<200 {
            var values = Draw(number, "likely")
            var logits = values.floats(values.pick([1, 3, 100, 5000]), scale: 6)
            if values.chance(0.5) { logits = logits.map { $0.rounded() } }
            if logits.count > 3 { (logits[0], logits[1]) = (.nan, -.infinity) }
            if number == 0 { logits.sort() }
            let most = values.pick([0, 1, 2, 20, 200_000])
            let sum = Tensor.logSumExp(Tensor(logits.map { $0.isNaN ? -50 : $0 }, [1, logits.count]))[0]
            let found = logits.withUnsafeBufferPointer { LikelyToken.most(most, of: $0, logSumExp: sum) }
            let order = logits.indices.filter { logits[$0] > -.infinity }.sorted {
                logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1
            }
            #expect(found == order.prefix(most).map { LikelyToken(id: Int32($0), logprob: logits[$0] - sum) })
        }
    }
}
