/// One attempt at a Countdown question: terms, each after the first added or taken away.
package struct CountdownTrial: Equatable {
    /// `30 + 12 - 5`.
    var expression: String
    /// `3 0 + 1 2 = 4 2, 4 2 - 5 = 3 7`.
    var line: String
    var value: Int

    /// All attempts in the order in which they are made: with every sign plus, then the last one minus, and so on as in
    /// counting; the terms are sorted from the greatest. Those that go below zero are left out.
    ///
    /// - Parameter withProduct: two of the numbers are multiplied first: each pair in turn, in the order of the numbers.
    package static func all(_ numbers: [Int], withProduct: Bool) -> [CountdownTrial] {
        guard withProduct else { return sums(numbers.map { Term(number: $0) }, product: nil) }
        return numbers.indices.flatMap { i in
            numbers.indices[(i + 1)...].flatMap { j in
                let product = Term(text: "\(numbers[i]) * \(numbers[j])", value: numbers[i] * numbers[j])
                let rest = numbers.indices.filter { $0 != i && $0 != j }.map { Term(number: numbers[$0]) }
                let step = ColumnArithmetic.spaced(numbers[i]) + " * " + ColumnArithmetic.spaced(numbers[j])
                return sums(rest + [product], product: "\(step) = \(ColumnArithmetic.spaced(product.value))")
            }
        }
    }

    private struct Term {
        var text: String
        var value: Int

        init(text: String, value: Int) { (self.text, self.value) = (text, value) }
        init(number: Int) { self.init(text: String(number), value: number) }
    }

    private static func sums(_ terms: [Term], product: String?) -> [CountdownTrial] {
        let terms = terms.sorted { $0.value > $1.value }
        return (0..<1 << (terms.count - 1)).compactMap { signs in
            var trial = CountdownTrial(expression: terms[0].text, line: "", value: terms[0].value)
            var steps = product.map { [$0] } ?? []
            for (i, term) in terms.enumerated().dropFirst() {
                let operation: ColumnArithmetic.Operation =
                    signs >> (terms.count - 1 - i) & 1 == 0 ? .add : .subtract
                let step = ColumnArithmetic(trial.value, operation, term.value)
                guard step.value >= 0 else { return nil }
                // The header of a column, and what it comes to.
                steps.append("\(step.header) = \(ColumnArithmetic.spaced(step.value))")
                trial.expression += " \(operation.rawValue) \(term.text)"
                trial.value = step.value
            }
            trial.line = steps.joined(separator: ", ")
            return trial
        }
    }
}
