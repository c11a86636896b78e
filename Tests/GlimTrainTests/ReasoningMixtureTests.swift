import GlimTensor
import GlimTrain
import Testing

@Suite("Reasoning: mixture and evaluation") struct ReasoningMixtureTests {
    @Test("a mixture asks its tasks by weight, the same question for the same number") func weights() throws {
        let mixture = try ReasoningMixture(.easy, [(LettersTask(), 1), (ArithmeticTask(), 3), (StoryTask(), 0)])
        let instances = (0..<2000).map { mixture.instance($0, split: .training, seed: 4) }
        let sums = instances.count { $0.question.hasPrefix("What is") }
        // 1,500, with a deviation of 19.
        #expect((1400...1600).contains(sums))
        #expect(instances.allSatisfy { !$0.question.contains("How many") && $0.split == .training })
        #expect(mixture.instance(7, split: .training, seed: 4) == instances[7])
        #expect(mixture.instance(7, split: .evaluation, seed: 4).split == .evaluation)
    }

    @Test("the easy level of the family is one call") func easy() {
        let mixture = ReasoningMixture(.easy)
        let instances = (0..<1000).map { mixture.instance($0, split: .training, seed: 1) }
        #expect((140...260).contains(instances.count { $0.question.hasPrefix("What is") }))
        #expect((140...260).contains(instances.count { $0.question.hasPrefix("Make ") }))
        #expect(instances.allSatisfy { $0.grade($0.answer) == 1 })
    }

    @Test("weights that are no shares are refused", arguments: [-1, .nan, .infinity, 0] as [Double])
    func badWeights(_ weight: Double) {
        let error = #expect(throws: ReasoningError.self) { try ReasoningMixture(.hard, [(StoryTask(), weight)]) }
        #expect(error?.description.contains(weight == 0 ? "no task" : "stories") == true)
    }

    @Test("an evaluation asks unseen questions and counts right answers") func evaluation() {
        let evaluation = ReasoningEvaluation(.easy, samples: 40, seed: 9)
        var asked: [String] = []
        // Sums are answered, everything else is not.
        let score = evaluation.run { question in
            asked.append(question)
            return question.hasPrefix("What is") ? ReasoningSolver.answer(question) ?? "" : "none"
        }
        #expect(score.cells.map(\.task) == ["arithmetic", "countdown", "ordering", "letters", "stories"])
        #expect(score.cells[0].result == ScoreInterval(sum: 40, samples: 40))
        #expect(score.cells[1...].allSatisfy { $0.result == ScoreInterval(sum: 0, samples: 40) })
        #expect(score.total == ScoreInterval(sum: 40, samples: 200))
        #expect(score.level == .easy && score.seed == 9)
        for (task, first) in zip(ReasoningFamily.tasks, stride(from: 0, to: 200, by: 40)) {
            let expected = (0..<40).map { task.instance($0, level: .easy, split: .evaluation, seed: 9).question }
            #expect(Array(asked[first..<first + 40]) == expected)
        }
    }

    @Test("what an answerer throws is thrown") func failure() {
        struct Silent: Error {}
        #expect(throws: Silent.self) {
            try ReasoningEvaluation(.easy, samples: 1).run { _ throws(Silent) in throw Silent() }
        }
    }
}
