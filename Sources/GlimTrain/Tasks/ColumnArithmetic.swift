/// One operation on two whole numbers, worked out digit by digit.
///
/// Digits stand apart, so that each is a token whatever the tokenizer merges. A column is a line: what is computed, and
/// the result so far. Digits go from the right; what is carried or borrowed is the first digit of a two-digit number,
/// and is added or taken in the next column.
///
/// ```
/// 4 7 + 3 8                   5 3 - 1 7                   4 7 * 6
/// 7 + 8 + 0 = 1 5, so 5       1 3 - 7 - 0 = 6, so 6       7 * 6 + 0 = 4 2, so 2
/// 4 + 3 + 1 = 0 8, so 8 5     0 5 - 1 - 1 = 3, so 3 6     4 * 6 + 4 = 2 8, so 8 2
/// = 8 5                       = 3 6                       0 * 6 + 2 = 0 2, so 2 8 2
///                                                         = 2 8 2
/// ```
/// A product with a longer number is a product with each of its digits from the right, followed by their sums.
package struct ColumnArithmetic: Equatable {
    package enum Operation: String { case add = "+", subtract = "-", multiply = "*" }

    let left: Int
    let operation: Operation
    let right: Int

    /// Both are at least 0 and have 9 digits at most; of a difference the left is not the smaller.
    package init(_ left: Int, _ operation: Operation, _ right: Int) {
        (self.left, self.operation, self.right) = (left, operation, right)
    }

    var value: Int {
        switch operation {
        case .add: left + right
        case .subtract: left - right
        case .multiply: left * right
        }
    }

    /// The question: `4 7 + 3 8`.
    var header: String { "\(Self.spaced(left)) \(operation.rawValue) \(Self.spaced(right))" }

    package var lines: [String] {
        switch operation {
        case .add: return [header] + sumColumns() + ["= \(Self.spaced(value))"]
        case .subtract: return [header] + differenceColumns() + ["= \(Self.spaced(value))"]
        case .multiply where right < 10: return [header] + productColumns(right, zeros: 0) + ["= \(Self.spaced(value))"]
        case .multiply: return [header] + longProduct()
        }
    }

    /// 47 as `4 7`.
    static func spaced(_ number: Int) -> String { spaced(String(number)) }

    static func spaced(_ text: some StringProtocol) -> String { text.map { String($0) }.joined(separator: " ") }

    /// From the right.
    private static func digits(_ number: Int) -> [Int] { String(number).reversed().compactMap(\.wholeNumberValue) }

    /// The two numbers' digits from the right, the shorter filled with zeros.
    private var columns: [(Int, Int)] {
        let (a, b) = (Self.digits(left), Self.digits(right))
        return (0..<max(a.count, b.count)).map { ($0 < a.count ? a[$0] : 0, $0 < b.count ? b[$0] : 0) }
    }

    private func sumColumns() -> [String] {
        var (lines, carry, result): ([String], Int, String) = ([], 0, "")
        func add(_ a: Int, _ b: Int) {
            let sum = a + b + carry
            result = "\(sum % 10)\(result)"
            lines.append("\(a) + \(b) + \(carry) = \(sum / 10) \(sum % 10), so \(Self.spaced(result))")
            carry = sum / 10
        }
        for (a, b) in columns { add(a, b) }
        if carry > 0 { add(0, 0) }
        return lines
    }

    private func differenceColumns() -> [String] {
        var (lines, borrow, result): ([String], Int, String) = ([], 0, "")
        for (a, b) in columns {
            let next = a < b + borrow ? 1 : 0
            let digit = 10 * next + a - b - borrow
            result = "\(digit)\(result)"
            lines.append("\(next) \(a) - \(b) - \(borrow) = \(digit), so \(Self.spaced(result))")
            borrow = next
        }
        return lines
    }

    /// The left number times a digit that `zeros` others follow.
    private func productColumns(_ digit: Int, zeros: Int) -> [String] {
        var (lines, carry, result): ([String], Int, String) = ([], 0, String(repeating: "0", count: zeros))
        func multiply(_ a: Int) {
            let product = a * digit + carry
            result = "\(product % 10)\(result)"
            lines.append("\(a) * \(digit) + \(carry) = \(product / 10) \(product % 10), so \(Self.spaced(result))")
            carry = product / 10
        }
        for a in Self.digits(left) { multiply(a) }
        if carry > 0 { multiply(0) }
        return lines
    }

    private func longProduct() -> [String] {
        var (lines, total, place): ([String], Int?, Int) = ([], nil, 1)
        for (zeros, digit) in Self.digits(right).enumerated() {
            // A zero adds nothing.
            if digit > 0 {
                let part = digit * place
                lines.append("\(Self.spaced(left)) * \(Self.spaced(part))")
                lines += productColumns(digit, zeros: zeros) + ["= \(Self.spaced(left * part))"]
                if let before = total { lines += ColumnArithmetic(before, .add, left * part).lines }
                total = (total ?? 0) + left * part
            }
            place *= 10
        }
        return lines
    }
}
