import GlimTrain
import Testing

/// Whoever does not work out the answer is wrong nine times in ten.
@Suite("Reasoning: shortcuts") struct ReasoningShortcutTests {
    private static let asked = 200

    @Test("the best constant answer", arguments: ReasoningTasksTests.cells) func constant(_ cell: Int) {
        let evaluation = ReasoningTasksTests.instances(cell, 500, .evaluation)
        // The most frequent answers, those of evaluation included: better than whoever knows training only.
        var counts: [String: Int] = [:]
        for instance in evaluation + ReasoningTasksTests.instances(cell, 2000, .training) {
            counts[instance.answer, default: 0] += 1
        }
        let frequent = counts.sorted { ($0.value, $0.key) > ($1.value, $1.key) }.prefix(40).map(\.key)
        let best = frequent.map { answer in evaluation.reduce(0) { $0 + $1.grade(answer) } }.max() ?? 0
        #expect(best < 0.1 * Double(evaluation.count), "\(best) of \(evaluation.count)")
    }

    @Test("the answer of the most similar question of training", arguments: ReasoningTasksTests.cells)
    func nearest(_ cell: Int) {
        let training = ReasoningTasksTests.instances(cell, 4000, .training)
        let evaluation = ReasoningTasksTests.instances(cell, Self.asked, .evaluation)
        var ids: [Substring: Int] = [:]
        /// A question as the sorted numbers of its words.
        func words(_ text: String) -> [Int] {
            text.split { !$0.isLetter && !$0.isNumber }
                .map { word in
                    let id = ids[word] ?? ids.count
                    ids[word] = id
                    return id
                }
                .sorted()
        }
        let known = training.map { words($0.question) }
        let bytes = training.map { Array($0.question.utf8) }
        var (byWords, byEdits) = (0.0, 0.0)
        for instance in evaluation {
            let asked = words(instance.question)
            let overlaps = known.map { Self.overlap($0, asked) }
            let order = training.indices.sorted { (overlaps[$0], $1) > (overlaps[$1], $0) }.prefix(20)
            let text = Array(instance.question.utf8)
            let distances = order.map { (place: $0, distance: Self.editDistance(bytes[$0], text)) }
            byWords += instance.grade(training[order[0]].answer)
            byEdits +=
                distances.min { $0.distance < $1.distance }.map { instance.grade(training[$0.place].answer) } ?? 0
        }
        #expect(byWords < 0.1 * Double(Self.asked), "\(byWords) of \(Self.asked)")
        #expect(byEdits < 0.1 * Double(Self.asked), "\(byEdits) of \(Self.asked)")
    }

    @Test("distances by hand") func distances() {
        #expect(Self.overlap([1, 2, 2, 5], [2, 2, 2, 5, 6]) == 3.0 / 6)
        #expect(Self.editDistance(Array("kitten".utf8), Array("sitting".utf8)) == 3)
        #expect(Self.editDistance([], Array("ab".utf8)) == 2)
    }

    /// What two sorted lists share, of what either has.
    private static func overlap(_ a: [Int], _ b: [Int]) -> Double {
        var (i, j, shared) = (0, 0, 0)
        while i < a.count, j < b.count {
            if a[i] == b[j] {
                (i, j, shared) = (i + 1, j + 1, shared + 1)
            } else if a[i] < b[j] {
                i += 1
            } else {
                j += 1
            }
        }
        return Double(shared) / Double(a.count + b.count - shared)
    }

    private static func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var row = Array(0...b.count)
        for (i, x) in a.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, y) in b.enumerated() {
                let next = min(diagonal + (x == y ? 0 : 1), row[j] + 1, row[j + 1] + 1)
                (diagonal, row[j + 1]) = (row[j + 1], next)
            }
        }
        return row[b.count]
    }
}
