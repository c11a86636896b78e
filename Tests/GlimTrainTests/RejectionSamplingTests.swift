import GlimModel
import GlimText
import GlimTrain
import Testing

@Suite("Rejection sampling") struct RejectionSamplingTests {
    private typealias Reply = Responder.Reply

    /// Asks one question, to which these are the answers.
    private func best(
        _ sampling: inout RejectionSampling, _ replies: [Reply], thinks: Bool = true,
        grade: (String) -> Double = AnswerRule.number(3, unit: nil).grade
    ) -> ChatPrompt? {
        let count = sampling.samples
        return sampling.best(0, ChatPrompt([.user("What is 1 + 2?")], enablesThinking: thinks), grade: grade) {
            _, samplers in
            #expect(samplers.count == count)
            return replies
        }
    }

    @Test("the shortest right answer is kept, of equals the first, and all of it is counted") func kept() throws {
        var sampling = try RejectionSampling(samples: 7)
        let replies = [
            Reply(reasoning: "a", content: "4", tokenCount: 2),
            Reply(reasoning: "long and winding", content: "3", tokenCount: 9),
            Reply(reasoning: "short", content: "3.", tokenCount: 5),
            Reply(reasoning: "shirt", content: "3", tokenCount: 5),
            // Without an end, without thinking, and not the answer alone.
            Reply(reasoning: "b", content: "3", tokenCount: 4, isWhole: false),
            Reply(reasoning: " \n", content: "3", tokenCount: 3),
            Reply(reasoning: "c", content: "It is 3", tokenCount: 1),
        ]
        let kept = best(&sampling, replies)
        #expect(kept == ChatPrompt([.user("What is 1 + 2?"), .assistant("3.", reasoning: "short")]))
        #expect(best(&sampling, [replies[0], replies[4]]) == nil)
        // Right, but nothing to keep.
        #expect(best(&sampling, [replies[5]]) == nil)
        let report = sampling.report
        #expect(report.questions == 3 && report.kept == 1 && report.solved == 2)
        #expect(report.samples == 10 && report.rightSamples == 5 && report.tokens == 29 + 6 + 3)
        #expect(report.passAt1 == 0.5 && report.passAtN == 2.0 / 3)
    }

    @Test("where thinking is off, none is wanted") func withoutThinking() throws {
        var sampling = try RejectionSampling(samples: 1)
        let kept = best(&sampling, [Reply(reasoning: nil, content: "3", tokenCount: 2)], thinks: false)
        #expect(kept?.messages.last == .assistant("3", reasoning: nil) && kept?.enablesThinking == false)
    }

    @Test("of grades between, the highest from the threshold on goes before length") func grades() throws {
        var sampling = try RejectionSampling(samples: 3)
        let replies = ["0.4", "0.9", "0.6"].enumerated().map { Reply(reasoning: "r", content: $1, tokenCount: 1 + $0) }
        #expect(best(&sampling, replies) { Double($0)! } == nil)
        sampling.threshold = 0.5
        #expect(best(&sampling, replies) { Double($0)! }?.messages.last == .assistant("0.9", reasoning: "r"))
        #expect(sampling.report.rightSamples == 2)
    }

    @Test("each sample of each question has a seed of its own, the same every time") func samplers() throws {
        let sampling = try RejectionSampling(samples: 16, temperature: 0.7, seed: 3)
        let samplers = (0..<50).flatMap { sampling.samplers($0) }
        #expect(Set(samplers.map(\.seed)).count == 800)
        #expect(samplers.allSatisfy { $0.temperature == 0.7 && $0.topP == 1 })
        #expect(
            try RejectionSampling(samples: 16, temperature: 0.7, seed: 3).samplers(49) == Array(samplers.suffix(16)))
        #expect(try RejectionSampling(samples: 16, seed: 4).samplers(0).map(\.seed) != samplers[..<16].map(\.seed))
        // More samples begin with the same ones.
        #expect(try RejectionSampling(samples: 3, temperature: 0.7, seed: 3).samplers(0) == Array(samplers[..<3]))
    }

    @Test("what the answerer throws is thrown, and numbers that cannot be are refused") func errors() throws {
        struct Silent: Error {}
        var sampling = try RejectionSampling(samples: 1)
        #expect(throws: Silent.self) {
            try sampling.best(0, ChatPrompt([]), grade: { _ in 1 }) { _, _ throws(Silent) in throw Silent() }
        }
        #expect(sampling.report == RejectionSampling.Report())
        for samples in [0, -1, 1025, .max] {
            #expect(throws: ReasoningError.self) { try RejectionSampling(samples: samples) }
        }
        for temperature in [-1, .nan, .infinity] as [Double] {
            #expect(throws: ReasoningError.self) { try RejectionSampling(samples: 1, temperature: temperature) }
        }
    }
}
