/// Reads what a model wrote for a Countdown question: anything at all, so nothing here may trap.
///
/// ```
/// sum     = product { ("+" | "-") product }
/// product = factor { ("*" | "/") factor }
/// factor  = number | "(" sum ")"
/// ```
/// No sign stands before a number, and spaces stand between symbols only. Values are exact fractions; what overflows
/// 64 bits has no value.
package struct CountdownExpression {
    package let value: Fraction
    /// The numbers in it, in order.
    package let numbers: [Int]

    /// - Returns: nil if the bytes are no expression, are too long or too deep, or the value cannot be computed.
    package init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count <= Reader.longest else { return nil }
        var reader = Reader(bytes: Array(bytes))
        guard let value = reader.sum(depth: 0), reader.isAtEnd else { return nil }
        (self.value, numbers) = (value, reader.numbers)
    }

    /// Whether the text is an expression with the target's value and each of the numbers once.
    package static func isSolution(_ text: ArraySlice<UInt8>, _ numbers: [Int], target: Int) -> Bool {
        let sides = text.split(separator: UInt8(ascii: "="), omittingEmptySubsequences: false)
        guard sides.count <= 2, let expression = CountdownExpression(sides[0]) else { return false }
        if sides.count == 2, !sides[1].drop(while: { $0 == UInt8(ascii: " ") }).elementsEqual(String(target).utf8) {
            return false
        }
        return expression.value == Fraction(target) && expression.numbers.sorted() == numbers.sorted()
    }

    private struct Reader {
        static let longest = 256
        /// Brackets within brackets, at most.
        private static let deepest = 32
        /// Of a number: far from overflow.
        private static let mostDigits = 9

        let bytes: [UInt8]
        private var position = 0
        private(set) var numbers: [Int] = []

        init(bytes: [UInt8]) { self.bytes = bytes }

        /// The next symbol, after spaces.
        private var next: Unicode.Scalar? {
            mutating get {
                while position < bytes.count, bytes[position] == UInt8(ascii: " ") { position += 1 }
                return position < bytes.count ? Unicode.Scalar(bytes[position]) : nil
            }
        }

        var isAtEnd: Bool { mutating get { next == nil } }

        mutating func sum(depth: Int) -> Fraction? {
            guard var value = product(depth: depth) else { return nil }
            while let symbol = next, symbol == "+" || symbol == "-" {
                position += 1
                guard let right = product(depth: depth),
                    let result = symbol == "+" ? value.adding(right) : value.subtracting(right)
                else { return nil }
                value = result
            }
            return value
        }

        private mutating func product(depth: Int) -> Fraction? {
            guard var value = factor(depth: depth) else { return nil }
            while let symbol = next, symbol == "*" || symbol == "/" {
                position += 1
                guard let right = factor(depth: depth),
                    let result = symbol == "*" ? value.multiplied(by: right) : value.divided(by: right)
                else { return nil }
                value = result
            }
            return value
        }

        private mutating func factor(depth: Int) -> Fraction? {
            guard next == "(" else { return number() }
            guard depth < Self.deepest else { return nil }
            position += 1
            guard let value = sum(depth: depth + 1), next == ")" else { return nil }
            position += 1
            return value
        }

        private mutating func number() -> Fraction? {
            let digits = bytes[position...].prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            guard (1...Self.mostDigits).contains(digits.count) else { return nil }
            guard digits.count == 1 || digits.first != UInt8(ascii: "0") else { return nil }
            position += digits.count
            let number = digits.reduce(0) { 10 * $0 + Int($1 - UInt8(ascii: "0")) }
            numbers.append(number)
            return Fraction(number)
        }
    }
}
