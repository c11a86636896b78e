import GlimModel
import GlimTestSupport
import GlimText
import GlimTrain
import Testing

@Suite("Retrieval evaluation") struct RulerEvaluationTests {
    @Test(
        "a plain reader answers everything; a constant and the nearest fact answer next to nothing",
        arguments: RetrievalTask.allCases)
    func solvers(_ task: RetrievalTask) {
        var (exact, nearest, asked): (Double, Double, [[String]]) = (0, 0, [])
        // A text with a needle asks for one value, the same at every length.
        let texts = task == .needle ? 24 : 8
        for byteCount in [2000, 12_000, 40_000] {
            for index in 0..<texts {
                let instance = RetrievalInstance(
                    task, index: index, byteCount: byteCount, haystack: LongText.haystack, seed: 3)
                #expect(
                    instance
                        == RetrievalInstance(
                            task, index: index, byteCount: byteCount, haystack: LongText.haystack, seed: 3))
                #expect(instance.prefix.count <= byteCount && instance.prefix.count > byteCount - 200)
                #expect(instance.samples.count == RetrievalInstance.samplesPerText(task))
                let solver = StringSolver(LongText.text(instance.prefix))
                for ask in instance.samples.flatMap(\.prompts) {
                    exact += RulerScore.grade(solver.answer(ask.prompt), expected: ask.expected)
                    nearest += RulerScore.grade(solver.nearest, expected: ask.expected)
                    asked.append(ask.expected)
                }
            }
        }
        let count = Double(asked.count)
        #expect(exact == count)
        // The best constant there is: the value that is asked for most often.
        let values = Dictionary(asked.joined().map { ($0, 1) }, uniquingKeysWith: +)
        let frequent = values.max { ($0.value, $0.key) < ($1.value, $1.key) }?.key ?? ""
        let constant = asked.reduce(0) { $0 + RulerScore.grade(frequent, expected: $1) }
        #expect(constant > 0 && constant < 0.1 * count, "\(frequent): \(constant) of \(count)")
        // A needle is the only fact there is.
        #expect(task == .needle ? nearest == count : nearest < 0.1 * count, "\(nearest) of \(count)")
    }

    @Test("the needle is asked for at every depth") func depths() {
        var depths: [Int] = []
        for index in 0..<50 {
            let instance = RetrievalInstance(
                .needle, index: index, byteCount: 20_000, haystack: LongText.haystack, seed: 3)
            #expect(instance.facts.count == 1)
            depths += instance.facts.map { $0.lowerBound * 5 / instance.prefix.count }
        }
        for fifth in 0..<5 { #expect((8...12).contains(depths.count { $0 == fifth }), "\(depths)") }
    }

    @Test("grading by hand") func grading() {
        #expect(RulerScore.grade(" sand fog\nice", expected: ["sand fog"]) == 1)
        #expect(RulerScore.grade(" sand. fog", expected: ["fog", "sand", "ice", "oak"]) == 0.5)
        #expect(RulerScore.grade(" fog sand", expected: ["sand fog"]) == 0)
        #expect(RulerScore.grade(" rice\nice", expected: ["ice"]) == 0)
        #expect(RulerScore.grade("", expected: ["ice"]) == 0)
    }

    @Test("Wilson's interval by hand") func interval() {
        // 8 of 10: (0.8 + z²/20 ± z √(0.016 + z²/400)) / (1 + z²/10), z = 1.96.
        let interval = ScoreInterval(sum: 8, samples: 10)
        #expect(abs(interval.low - 0.490_16) < 1e-4 && abs(interval.high - 0.943_32) < 1e-4, "\(interval)")
        let none = ScoreInterval(sum: 0, samples: 20)
        #expect(none.low == 0 && abs(none.high - 0.161_13) < 1e-4, "\(none)")
        let all = ScoreInterval(sum: 20, samples: 20)
        #expect(all.high == 1 && abs(all.low - 0.838_87) < 1e-4, "\(all)")
        #expect(ScoreInterval(sum: 0, samples: 0) == ScoreInterval(sum: 0, samples: 0))
        #expect(ScoreInterval(sum: 0, samples: 0).high == 1)
    }

    @Test("texts fill their length, and a score is the same on every run") func run() throws {
        let tokenizer = try LongText.tokenizer()
        let evaluation = RulerEvaluation(lengths: [1024, 1500], samples: 3, seed: 2)
        for task in RetrievalTask.allCases {
            for length in evaluation.lengths {
                let (instance, tokens) = try evaluation.fit(task, 0, length, tokenizer, LongText.haystack)
                #expect(tokens == tokenizer.encode(instance.prefix))
                #expect(tokens.count < length && tokens.count > length * 3 / 4, "\(task) \(length): \(tokens.count)")
            }
        }
        var config = Tiny.config(3)
        config.vocabularySize = tokenizer.vocabularySize
        // Shorter than what is asked.
        config.maximumPositions = 600
        let model = Tiny.model(config, 3)
        var seen: [RulerEvaluation.Progress] = []
        let score = try evaluation.run(model, tokenizer, haystack: LongText.haystack) { seen.append($0) }
        #expect(score.cells.count == 12 && score.cells.allSatisfy { $0.result.samples == 3 })
        #expect(score.total.samples == 36)
        // Three texts with a needle, and one for each other task.
        #expect(seen.count == 16 && seen[15].tokensDone + 1500 == seen[15].tokensTotal)
        #expect(try evaluation.run(model, tokenizer, haystack: LongText.haystack) == score)
    }

    @Test("what cannot be asked is said") func refused() throws {
        #expect(throws: EvaluationError.self) { try RulerEvaluation(lengths: [100]).check() }
        for samples in [0, .max] {
            #expect(throws: EvaluationError.self) { try RulerEvaluation(samples: samples).check() }
        }
        #expect(throws: EvaluationError.self) { try RulerEvaluation(tasks: []).check() }
        // One token a byte: the facts are longer than the length.
        var trainer = TokenizerTrainer(vocabularySize: 320)
        trainer.add([[32]])
        let tokenizer = try trainer.train()
        #expect(throws: EvaluationError.self) {
            try RulerEvaluation().fit(.multiQuery, 0, 512, tokenizer, LongText.haystack)
        }
    }
}
