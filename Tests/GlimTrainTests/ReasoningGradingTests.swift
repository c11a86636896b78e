import GlimTensor
import GlimTrain
import Testing

@Suite("Reasoning: grading") struct ReasoningGradingTests {
    @Test("whole numbers by hand") func numbers() {
        let rule = AnswerRule.number(1234, unit: "apples")
        for text in ["1234", " 1,234.", "1234 apples.", "1,234 apples\n", "1234\r\n"] { #expect(rule.grade(text) == 1) }
        for text in [
            "", ".", "apples", "12,34", "1 234", "01234", "+1234", "-1234", "1234.0", "1234 pens", "12345", "1234..",
            "99999999999999999999999999999999999999", "1234 or 1235", "١٢٣٤",
        ] { #expect(rule.grade(text) == 0, "\(text)") }
        #expect(AnswerRule.number(5, unit: nil).grade("5 apples") == 0)
        #expect(AnswerRule.number(0, unit: nil).grade("0") == 1)
        #expect(AnswerRule.number(1_234_567, unit: nil).grade("1,234,567") == 1)
        #expect(AnswerRule.number(5, unit: nil).grade(String(repeating: " ", count: 600) + "5") == 0)
    }

    @Test("texts and lists by hand") func textsAndLists() {
        #expect(AnswerRule.text("olleh").grade("olleh.\n") == 1)
        for text in ["Olleh", "oll eh", "\"olleh\"", "olle", ""] { #expect(AnswerRule.text("olleh").grade(text) == 0) }
        let list = AnswerRule.list(["5", "12", "30"])
        for text in ["5, 12, 30", "5,12,30.", "5 12 30", " 5 ,12\n30"] { #expect(list.grade(text) == 1, "\(text)") }
        for text in ["5, 12", "12, 5, 30", "5, 12, 30, 30", "5,, 12, 30", "5, 12, 30,", "[5, 12, 30]", "51230", ""] {
            #expect(list.grade(text) == 0, "\(text)")
        }
    }

    @Test("expressions by hand") func expressions() {
        let rule = AnswerRule.expression(numbers: [8, 3, 8, 3], target: 24)
        // The classical one: 8 / (3 - 8 / 3).
        for text in ["8 / (3 - 8 / 3)", "8/(3-8/3) = 24", "((8 / ((3 - (8 / 3)))))."] { #expect(rule.grade(text) == 1) }
        for text in [
            "8 + 8 + 3 + 3", "24", "8 * 3", "8 * 3 + 8 - 8", "8 / (3 - 8 / 3) = 25", "8 / (3 - 8 / 3",
            "8 / (3 - 8 / 3))",
            "8 / (3 - 8 / 3) = 24 = 24", "8 3", "(8)(3)", "", "=", "= 24", "8 / (3 - 3) + 8", "-8 + 8",
        ] { #expect(rule.grade(text) == 0, "\(text)") }
        let small = AnswerRule.expression(numbers: [12, 5, 30], target: 37)
        for text in ["30 + 12 - 5", "12+30-5", "12 - (5 - 30)", "(30 - 5) + 12 = 37"] {
            #expect(small.grade(text) == 1)
        }
        for text in ["-5 + 12 + 30", "30 + 12 - 05", "30 + 7", "3 0 + 12 - 5", "30 + 12 - 5 + 0", "37"] {
            #expect(small.grade(text) == 0, "\(text)")
        }
    }

    @Test("values by hand") func values() {
        #expect(CountdownExpression("2 + 3 * 4 - 6 / 2".utf8)?.value == Fraction(11))
        #expect(CountdownExpression("20 - 5 - 3".utf8)?.value == Fraction(12))
        #expect(CountdownExpression("100 / 5 / 2".utf8)?.value == Fraction(10))
        #expect(CountdownExpression("1 / 3 + 2 / 3".utf8)?.value == Fraction(1))
        #expect(CountdownExpression("(1 - 3) / (2 - 4)".utf8)?.value == Fraction(1))
        #expect(CountdownExpression("7 - 9 + 2".utf8)?.value == Fraction(0))
        #expect(CountdownExpression("4 / (2 - 2)".utf8) == nil)
        #expect(CountdownExpression("20 - (5 - 3)".utf8)?.numbers == [20, 5, 3])
    }

    @Test("what is too deep, too long or too large has no value, and nothing traps") func limits() {
        func nested(_ depth: Int) -> String {
            String(repeating: "(", count: depth) + "1" + String(repeating: ")", count: depth)
        }
        #expect(CountdownExpression(nested(32).utf8)?.value == Fraction(1))
        #expect(CountdownExpression(nested(33).utf8) == nil)
        #expect(CountdownExpression(nested(100_000).utf8) == nil)
        #expect(CountdownExpression("999999999 * 999999999".utf8)?.value == Fraction(999_999_998_000_000_001))
        #expect(CountdownExpression("999999999 * 999999999 * 999999999".utf8) == nil)
        #expect(CountdownExpression("1 / 999999999 / 999999999 / 999999999".utf8) == nil)
        #expect(CountdownExpression("9999999999".utf8) == nil)
        #expect(CountdownExpression("9223372036854775808".utf8) == nil)
    }

    @Test("any text can be graded") func fuzz() {
        let symbols = Array("0123456789()+-*/= .,ab\n9(")
        let rules: [AnswerRule] = [
            .number(12, unit: "nuts"), .text("ab"), .list(["1", "2"]), .expression(numbers: [1, 2, 9], target: 12),
        ]
        let random = CounterRandom(seed: 8, purpose: "fuzz")
        var right = 0.0
        for n in 0..<20_000 {
            let length = random.integer(UInt64(n) << 8, below: 24)
            let text = String(
                (0..<length).map { symbols[random.integer(UInt64(n) << 8 + UInt64($0) + 1, below: symbols.count)] })
            for rule in rules { right += rule.grade(text) }
        }
        #expect(right < 200)
    }
}
