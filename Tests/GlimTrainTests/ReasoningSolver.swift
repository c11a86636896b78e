/// Answers questions of the reasoning family from their text alone, by other means than those that made them.
enum ReasoningSolver {
    static func answer(_ question: String) -> String? {
        let words = question.split { " ,.?:".contains($0) }.map(String.init)
        let numbers = words.compactMap { Int($0) }
        func after(_ word: String) -> String { words.firstIndex(of: word).map { words[$0 + 1] } ?? "" }
        let list = question.split(separator: ": ").last?.dropLast().split(separator: ", ").map(String.init) ?? []
        if question.hasPrefix("What is ") { return String(value(question.dropFirst(8).dropLast())) }
        if question.contains("least to greatest") { return sorted(numbers, by: <) }
        if question.contains("greatest to least") { return sorted(numbers, by: >) }
        if question.contains("by the alphabet") { return list.sorted().joined(separator: ", ") }
        if question.contains("is greater") { return numbers.max().map { String($0) } }
        if question.contains("backwards") { return String(after("word").reversed()) }
        if question.hasPrefix("Write letters") {
            let word = Array(after("word"))
            return String(numbers.map { word[$0 - 1] })
        }
        if question.hasPrefix("Replace") {
            return String(after("word").map { String($0) == after("every") ? Character(after("by")) : $0 })
        }
        if question.contains("capital") { return after("word").uppercased() }
        if question.hasPrefix("How often") {
            let word = after("word")
            var seen: [Character] = []
            for letter in word where !seen.contains(letter) { seen.append(letter) }
            return seen.map { letter in "\(letter) \(word.count { $0 == letter })" }.joined(separator: ", ")
        }
        return story(question, numbers).map { String($0) }
    }

    /// By words that only one kind of story has; those of several kinds come first.
    private static func story(_ text: String, _ n: [Int]) -> Int? {
        let kinds: [(words: [String], value: ([Int]) -> Int)] = [
            (["each, finds"], { $0[0] * $0[1] + $0[2] - $0[3] }),
            (["boxes with", "each. How"], { $0[0] * $0[1] + $0[2] * $0[3] }),
            (["Together they sell"], { 2 * $0[0] + $0[1] - $0[2] }),
            (["dollars a week"], { $0[0] * $0[1] - $0[2] + $0[3] }),
            (["finds"], { $0[0] + $0[1] - $0[2] }),
            (["besides"], { $0[0] * $0[1] + $0[2] }),
            (["costs"], { $0[1] - $0[0] * $0[2] }),
            (["times as many"], { $0[0] * ($0[1] + 1) }),
            (["kilometers are left"], { $0[0] - $0[1] - $0[2] }),
            (["have now"], { $0[0] + $0[1] }),
            (["have left"], { $0[0] - $0[1] }),
            (["together"], { $0[0] + $0[1] }),
            (["into each"], { $0[0] * $0[1] }),
            (["How many more"], { $0[0] - $0[1] }),
            (["ride?"], { $0[0] + $0[1] }),
        ]
        return kinds.first { $0.words.allSatisfy(text.contains) }?.value(n)
    }

    private static func sorted(_ numbers: [Int], by order: (Int, Int) -> Bool) -> String {
        numbers.sorted(by: order).map { String($0) }.joined(separator: ", ")
    }

    /// Of numbers and signs with spaces between, from the left; digits that stand apart are one number.
    static func value(_ text: some StringProtocol) -> Int {
        var (value, sign, number): (Int, Substring, Int) = (0, "+", 0)
        func apply() {
            switch sign {
            case "+": value += number
            case "-": value -= number
            default: value *= number
            }
        }
        for part in String(text).split(separator: " ") {
            if let next = Int(part) {
                // A number of two digits is written together in questions, apart in demonstrations.
                number = part.count > 1 ? next : 10 * number + next
            } else {
                apply()
                (sign, number) = (part, 0)
            }
        }
        apply()
        return value
    }
}
