import GlimTestSupport
import Testing

/// The exactness contract of the engine: whatever else runs, waits, is shared, guessed, cancelled, swapped or brought
/// from disk, every token and log-probability is what the request alone gets, to the bit.
///
/// `GLIM_WALK_COUNT` sets how many histories of each kind of numbers, `GLIM_FUZZ_SEED` which ones.
@Suite("engine exactness") struct EngineExactnessTests {
    private static let count = Fuzz.number("GLIM_WALK_COUNT")

    @Test("random histories", arguments: EngineWalk.Numbers.allCases) func walks(numbers: EngineWalk.Numbers) throws {
        var sum = EngineWalk.Sum()
        let first = 1000 * Int(UInt64(truncatingIfNeeded: Fuzz.number("GLIM_FUZZ_SEED") ?? 0) % 1_000_000_007)
        for i in 0..<(Self.count ?? 6) {
            try withTemporaryFolder { folder in
                var walk = try EngineWalk(numbers, seed: first + i, folder)
                try walk.run(lives: 3, requests: 7)
                walk.check()
                sum.add(walk.sum)
            }
            if Self.count != nil, (i + 1) % 20 == 0 {
                print("walks in \(numbers): \(i + 1) from seed \(first): \(sum)")
            }
        }
        // They would prove little if nothing happened in them.
        #expect(sum.isSparse && sum.isDense && sum.threads == [1, 2, 3], "\(sum)")
        #expect(sum.foundTokens > 100 && sum.restoredPages > 3 && sum.evictedPages > 10, "\(sum)")
        #expect(sum.draftsAccepted > 20 && sum.draftsTried > sum.draftsAccepted, "\(sum)")
        #expect(sum.preemptions > 0 && sum.cancelled > 3 && sum.swaps > 3, "\(sum)")
    }
}
