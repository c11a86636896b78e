import GlimTensor
import GlimTrain
import Testing

/// What holds for every task at every level.
@Suite("Reasoning: every task") struct ReasoningTasksTests {
    static let grid: [(task: any VerifiableTask, level: ReasoningLevel)] = ReasoningFamily.tasks.flatMap { task in
        ReasoningLevel.allCases.map { (task, $0) }
    }
    static let cells = Array(grid.indices)

    static func instances(_ cell: Int, _ count: Int, _ split: ReasoningSplit, seed: UInt64 = 5) -> [VerifiableInstance]
    {
        let (task, level) = grid[cell]
        return (0..<count).map { task.instance($0, level: level, split: split, seed: seed) }
    }

    @Test("the demonstrated answer is right, also with space and a full stop; a changed one is wrong", arguments: cells)
    func answers(_ cell: Int) {
        for (n, instance) in Self.instances(cell, 300, .training).enumerated() {
            #expect(instance.grade(instance.answer) == 1, "\(instance)")
            #expect(instance.grade("\n \(instance.answer). \n") == 1, "\(instance)")
            var wrong = ["", instance.answer + "0", "\(instance.answer) 1", instance.answer + ".."]
            wrong += [String(instance.answer.dropLast()), "-" + instance.answer, instance.thinking]
            // Another letter or digit in one place.
            var text = Array(instance.answer)
            let places = text.indices.filter { text[$0].isLetter || text[$0].isNumber }
            let place = places[CounterRandom(seed: 1, purpose: "place").integer(UInt64(n), below: places.count)]
            text[place] = text[place] == "7" ? "3" : text[place].isNumber ? "7" : text[place] == "q" ? "z" : "q"
            for answer in wrong + [String(text)] {
                #expect(instance.grade(answer) == 0, "\(answer) to \(instance.question)")
            }
        }
    }

    @Test("a solver that only reads the question comes to the same answer", arguments: cells)
    func solved(_ cell: Int) {
        for instance in Self.instances(cell, 400, .evaluation) where Self.grid[cell].task.name != "countdown" {
            #expect(ReasoningSolver.answer(instance.question) == instance.answer, "\(instance.question)")
        }
    }

    @Test("a question is a function of task, level, split, index and seed") func isDeterministic() {
        for cell in Self.cells {
            let first = Self.instances(cell, 20, .training)
            #expect(first == Self.instances(cell, 20, .training))
            #expect(Set(first.map(\.question)).count > 15)
            #expect(first.map(\.question) != Self.instances(cell, 20, .training, seed: 6).map(\.question))
        }
    }

    @Test("what evaluation asks is never in training, whatever the names and the order", arguments: cells)
    func splits(_ cell: Int) {
        let training = Self.instances(cell, 3000, .training)
        let evaluation = Self.instances(cell, 300, .evaluation)
        #expect(training.allSatisfy { $0.split == .training } && evaluation.allSatisfy { $0.split == .evaluation })
        #expect(Set(training.map(\.content)).isDisjoint(with: evaluation.map(\.content)))
        // Of what is drawn without a split an eighth is for evaluation: 375 of 3,000, with a deviation of 18.
        let (task, level) = Self.grid[cell]
        let share = (0..<3000).count { index in
            task.draw(level, CounterRandom(seed: 2, purpose: "share.\(index)")).split == .evaluation
        }
        #expect((275...475).contains(share), "\(share)")
    }

    /// Of questions drawn alike from a million, 8,000 would make 8,000² / 2 / 10⁶ = 32 pairs that are the same. Fewer
    /// pairs are more questions; the tasks' comments count them.
    @Test("there are a million questions", arguments: cells) func variety(_ cell: Int) {
        var (counts, pairs): ([String: Int], Int) = ([:], 0)
        for instance in Self.instances(cell, 8000, .training) {
            let before = counts[instance.question, default: 0]
            pairs += before
            counts[instance.question] = before + 1
        }
        #expect(pairs < 32, "\(pairs)")
    }

    @Test("demonstrations of the easy level are short", arguments: cells) func lengths(_ cell: Int) {
        let limit = [ReasoningLevel.easy: 350, .medium: 900, .hard: 2200][Self.grid[cell].level] ?? 0
        for instance in Self.instances(cell, 500, .training) {
            #expect(instance.thinking.utf8.count <= limit, "\(instance.thinking)")
            #expect(instance.question.utf8.count <= 220, "\(instance.question)")
            #expect(!instance.thinking.isEmpty && !instance.thinking.contains("\n\n"))
        }
    }
}
