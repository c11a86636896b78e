import GlimEngine
import GlimTestSupport
import Testing

@Suite("adaptive depth of drafts") struct DraftDepthTests {
    /// Draws `tokens` tokens with guesses that are right as often as `acceptance` says of each place.
    ///
    /// - Returns: for each step how many were guessed.
    private func run(
        _ depth: inout DraftDepth, tokens: Int, _ costs: DraftDepth.Costs, _ draw: inout Draw,
        acceptance: (_ place: Int) -> Double
    ) -> [Int] {
        var (depths, drawn) = ([Int](), 0)
        while drawn < tokens {
            let guesses = depth.next(costs)
            var accepted = 0
            while accepted < guesses, draw.chance(acceptance(accepted)) { accepted += 1 }
            depth.record(tried: min(guesses, accepted + 1), accepted: accepted, tokens: accepted + 1)
            drawn += accepted + 1
            depths.append(guesses)
        }
        return depths
    }

    private func mean(_ values: some Collection<Int>) -> Double {
        Double(values.reduce(0, +)) / Double(values.count)
    }

    @Test("good guesses are made as deep as they may be, bad ones seldom, doubtful ones not deep") func adapts() {
        var draw = Draw(1, "depth")
        let cheap = DraftDepth.Costs(step: 1, row: 0.02, guess: 0.05)
        var good = DraftDepth(most: 4)
        #expect(mean(run(&good, tokens: 600, cheap, &draw) { _ in 0.95 }.suffix(100)) > 3.5)
        var doubtful = DraftDepth(most: 4)
        let some = run(&doubtful, tokens: 600, .init(step: 1, row: 0.2, guess: 0.1), &draw) { $0 == 0 ? 0.8 : 0.1 }
        #expect((0.7...1.6).contains(mean(some.suffix(100))))
        var bad = DraftDepth(most: 4)
        let few = run(&bad, tokens: 5000, .init(step: 1, row: 0.3, guess: 0.1), &draw) { _ in 0.02 }
        #expect(mean(few) < 0.1 && few[0] > 0)
        // They are tried again, ever more seldom, for as long as they do not pay.
        let tries = few.indices.filter { few[$0] > 0 }
        #expect(tries.last! > 2000)
    }

    @Test("nothing is guessed where a row costs as much as a step: many draw together") func batch() {
        var draw = Draw(2, "depth")
        var depth = DraftDepth(most: 3)
        let all = run(&depth, tokens: 500, .init(step: 1, row: 1, guess: 0.2), &draw) { _ in 0.99 }
        #expect(all.allSatisfy { $0 == 0 })
        // Once the others have gone it pays at once.
        #expect(depth.next(.init(step: 1, row: 0.02, guess: 0.05)) == 3)
    }

    @Test("a text that becomes predictable is found out") func changes() {
        var draw = Draw(3, "depth")
        var depth = DraftDepth(most: 3)
        let costs = DraftDepth.Costs(step: 1, row: 0.1, guess: 0.1)
        _ = run(&depth, tokens: 4000, costs, &draw) { _ in 0.02 }
        let later = run(&depth, tokens: 4000, costs, &draw) { _ in 0.95 }
        #expect(mean(later.suffix(200)) > 2.5)
        #expect(mean(run(&depth, tokens: 2000, costs, &draw) { _ in 0.02 }.suffix(500)) < 0.3)
    }

    @Test("the share that was right is counted by place, older steps less") func acceptance() {
        var depth = DraftDepth(most: 2)
        for _ in 0..<200 { depth.record(tried: 2, accepted: 1, tokens: 2) }
        #expect(depth.acceptance[0] > 0.95 && depth.acceptance[1] < 0.1)
        for _ in 0..<60 { depth.record(tried: 1, accepted: 0, tokens: 1) }
        #expect(depth.acceptance[0] < 0.15)
    }

    @Test("what passes cost is a line through what was measured") func costs() throws {
        var costs = PassCosts()
        #expect(costs.costs(sequences: 1) == nil)
        costs.record(rows: 1, seconds: 10)
        // Unknown is cheap: it is tried.
        #expect(costs.costs(sequences: 1) == .init(step: 10, row: 0, guess: 0))
        for _ in 0..<100 {
            for rows in [1, 3, 5] { costs.record(rows: rows, seconds: 8 + 2 * Double(rows)) }
            costs.record(guesses: 4, seconds: 6)
        }
        let alone = try #require(costs.costs(sequences: 1))
        #expect(abs(alone.step - 10) < 0.01 && abs(alone.row - 2) < 0.01 && alone.guess == 1.5)
        #expect(abs(costs.costs(sequences: 8)!.step - 3) < 0.01)
        // A measurement that makes no sense is no cost below nothing.
        costs.record(rows: 50, seconds: 0)
        for _ in 0..<50 { costs.record(rows: 50, seconds: 0) }
        let odd = try #require(costs.costs(sequences: 1))
        #expect(odd.row >= 0 && odd.step > 0)
    }
}
