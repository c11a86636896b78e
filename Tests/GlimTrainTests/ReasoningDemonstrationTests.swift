import GlimTrain
import Testing

@Suite("Reasoning: demonstrations") struct ReasoningDemonstrationTests {
    @Test("columns by hand") func columns() {
        #expect(
            ColumnArithmetic(47, .add, 38).lines == [
                "4 7 + 3 8", "7 + 8 + 0 = 1 5, so 5", "4 + 3 + 1 = 0 8, so 8 5", "= 8 5",
            ])
        #expect(
            ColumnArithmetic(95, .add, 7).lines == [
                "9 5 + 7", "5 + 7 + 0 = 1 2, so 2", "9 + 0 + 1 = 1 0, so 0 2", "0 + 0 + 1 = 0 1, so 1 0 2", "= 1 0 2",
            ])
        #expect(
            ColumnArithmetic(103, .subtract, 98).lines == [
                "1 0 3 - 9 8", "1 3 - 8 - 0 = 5, so 5", "1 0 - 9 - 1 = 0, so 0 5", "0 1 - 0 - 1 = 0, so 0 0 5", "= 5",
            ])
        #expect(
            ColumnArithmetic(47, .multiply, 30).lines == [
                "4 7 * 3 0", "4 7 * 3 0", "7 * 3 + 0 = 2 1, so 1 0", "4 * 3 + 2 = 1 4, so 4 1 0",
                "0 * 3 + 1 = 0 1, so 1 4 1 0", "= 1 4 1 0",
            ])
        #expect(
            ColumnArithmetic(12, .multiply, 23).lines == [
                "1 2 * 2 3",
                "1 2 * 3", "2 * 3 + 0 = 0 6, so 6", "1 * 3 + 0 = 0 3, so 3 6", "= 3 6",
                "1 2 * 2 0", "2 * 2 + 0 = 0 4, so 4 0", "1 * 2 + 0 = 0 2, so 2 4 0", "= 2 4 0",
                "3 6 + 2 4 0", "6 + 0 + 0 = 0 6, so 6", "3 + 4 + 0 = 0 7, so 7 6", "0 + 2 + 0 = 0 2, so 2 7 6",
                "= 2 7 6",
            ])
    }

    @Test("Countdown by hand") func countdown() {
        let trials = CountdownTrial.all([12, 5, 30], withProduct: false)
        let instance = CountdownTask.instance([12, 5, 30], target: 23, trials)
        #expect(instance.question == "Make 23 from 12, 5, 30 with + - * / and brackets, each number exactly once.")
        #expect(
            instance.thinking == """
                goal 2 3
                3 0 + 1 2 = 4 2, 4 2 + 5 = 4 7, no
                3 0 + 1 2 = 4 2, 4 2 - 5 = 3 7, no
                3 0 - 1 2 = 1 8, 1 8 + 5 = 2 3, yes
                """)
        #expect(instance.answer == "30 - 12 + 5")
        let products = CountdownTrial.all([3, 4, 20], withProduct: true)
        #expect(
            CountdownTask.instance([3, 4, 20], target: 8, products).thinking == """
                goal 8
                3 * 4 = 1 2, 2 0 + 1 2 = 3 2, no
                3 * 4 = 1 2, 2 0 - 1 2 = 8, yes
                """)
        #expect(CountdownTask.instance([3, 4, 20], target: 8, products).answer == "20 - 3 * 4")
    }

    @Test("sorting and comparing by hand") func ordering() {
        let falling = OrderingTask.numbers([47, 12, 88], falls: true)
        #expect(falling.question == "Sort these numbers from greatest to least: 47, 12, 88.")
        #expect(
            falling.thinking == """
                left 4 7, 1 2, 8 8: greatest 8 8
                left 4 7, 1 2: greatest 4 7
                left 1 2: greatest 1 2
                """)
        #expect(falling.answer == "88, 47, 12")
        let words = OrderingTask.words(["owl", "ant", "fox"])
        #expect(words.question == "Sort these words by the alphabet: owl, ant, fox.")
        #expect(words.thinking == "left owl, ant, fox: first ant\nleft owl, fox: first fox\nleft owl: first owl")
        #expect(words.answer == "ant, fox, owl")
        let greater = OrderingTask.compare([4, 7, 1, 9], [4, 7, 2, 0])
        #expect(greater.question == "Which number is greater, 4719 or 4720?")
        #expect(greater.thinking == "4 = 4\n7 = 7\n1 < 2, the second")
        #expect(greater.answer == "4720")
        // The same numbers in another order are the same question.
        #expect(falling.content == OrderingTask.numbers([88, 12, 47], falls: true).content)
        #expect(falling.content != OrderingTask.numbers([88, 12, 47], falls: false).content)
        #expect(greater.content == OrderingTask.compare([4, 7, 2, 0], [4, 7, 1, 9]).content)
    }

    @Test("letters by hand") func letters() {
        let word = ["t", "o", "p", "o"]
        let reverse = LettersTask.reverse(word)
        #expect(reverse.question == "Write the word topo backwards.")
        #expect(reverse.thinking == "1 t, 2 o, 3 p, 4 o\n4 o, 3 p, 2 o, 1 t\no p o t")
        #expect(reverse.answer == "opot")
        let picks = LettersTask.pick(word, [3, 1])
        #expect(picks.question == "Write letters 3, 1 of the word topo.")
        #expect(picks.thinking == "1 t, 2 o, 3 p, 4 o\n3 p, 1 t\np t" && picks.answer == "pt")
        let replaced = LettersTask.replace(word, "o", by: "a")
        #expect(replaced.question == "Replace every o by a in the word topo.")
        #expect(replaced.thinking == "1 t, 2 o, 3 p, 4 o\n1 t, 2 a, 3 p, 4 a\nt a p a" && replaced.answer == "tapa")
        let capital = LettersTask.capital(word)
        #expect(capital.thinking == "1 t, 2 o, 3 p, 4 o\n1 T, 2 O, 3 P, 4 O\nT O P O" && capital.answer == "TOPO")
        #expect(capital.grade("topo") == 0)
        let counted = LettersTask.count(word)
        #expect(counted.thinking == "1 t, 2 o, 3 p, 4 o\nt at 1: 1\no at 2, 4: 2\np at 3: 1")
        #expect(counted.answer == "t 1, o 2, p 1" && counted.grade("t 1 o 2 p 1") == 1)
    }

    @Test("every line of arithmetic and stories is right when computed again", arguments: ReasoningTasksTests.cells)
    func columnsHold(_ cell: Int) {
        guard ["arithmetic", "stories"].contains(ReasoningTasksTests.grid[cell].task.name) else { return }
        for instance in ReasoningTasksTests.instances(cell, 400, .training) {
            var (asked, result, last): (Int?, Int?, Int?) = (nil, nil, nil)
            for line in instance.thinking.split(separator: "\n") {
                let sides = line.split(separator: "= ", omittingEmptySubsequences: false).map { $0[...] }
                if sides.count == 1 {
                    asked = ReasoningSolver.value(line)
                } else if sides[0].isEmpty {
                    last = ReasoningSolver.value(sides[1])
                    #expect(last == asked && last == result, "\(line) in \(instance.thinking)")
                } else {
                    let parts = sides[1].split(separator: ", so ")
                    #expect(ReasoningSolver.value(sides[0]) == ReasoningSolver.value(parts[0]), "\(line)")
                    result = ReasoningSolver.value(parts[1])
                }
            }
            #expect(last.map { String($0) } == instance.answer, "\(instance.thinking)")
        }
    }

    @Test("every trial of Countdown is right, and only the last fits", arguments: ReasoningTasksTests.cells)
    func trialsHold(_ cell: Int) {
        guard ReasoningTasksTests.grid[cell].task.name == "countdown" else { return }
        for instance in ReasoningTasksTests.instances(cell, 300, .training) {
            let lines = instance.thinking.split(separator: "\n")
            let goal = ReasoningSolver.value(lines[0].dropFirst(5))
            for (n, line) in lines.enumerated().dropFirst() {
                let steps = line.components(separatedBy: ", ")
                var value = 0
                for step in steps.dropLast() {
                    let sides = step.components(separatedBy: " = ")
                    value = ReasoningSolver.value(sides[1])
                    #expect(ReasoningSolver.value(sides[0]) == value, "\(step)")
                }
                #expect(steps.last == (n == lines.count - 1 ? "yes" : "no") && (value == goal) == (steps.last == "yes"))
            }
            let plain = "\(instance.answer) = \(goal)"
            #expect(instance.grade(plain) == 1, "\(plain)")
        }
    }
}

extension Substring {
    fileprivate func components(separatedBy text: String) -> [Substring] { split(separator: text) }
}
