import GlimTestSupport
import Testing

/// Much at a time, for a while.
///
/// `GLIM_SOAK_MINUTES` sets for how long, `GLIM_FUZZ_SEED` what exactly.
@Suite("engine soak") struct EngineSoakTests {
    @Test("64 requests at a time that come and leave: nothing is stuck, memory stays flat, all pages come back")
    func soak() async throws {
        // In a process of its own: memory is counted by process, and nobody else takes its threads.
        let result = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
            try await Soak(
                seconds: Fuzz.number("GLIM_SOAK_MINUTES").map { Double($0) * 60 } ?? 4,
                seed: Fuzz.number("GLIM_FUZZ_SEED") ?? 1
            ).run()
        }
        if Fuzz.number("GLIM_SOAK_MINUTES") != nil, let result {
            print(String(decoding: result.standardOutputContent, as: UTF8.self))
        }
    }
}
