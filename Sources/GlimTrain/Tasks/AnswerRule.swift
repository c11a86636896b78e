/// What counts as an answer. Space around it and one full stop after it never matter.
public enum AnswerRule: Sendable, Equatable {
    /// A whole number, not below zero; `1,234` is 1234. It may be followed by its unit.
    case number(Int, unit: String?)
    /// This text, letter for letter.
    case text(String)
    /// These words or numbers in this order, between them commas, spaces or both.
    case list([String])
    /// An expression that has this value and each of the numbers exactly once, perhaps followed by `= target`.
    case expression(numbers: [Int], target: Int)

    /// Longer texts are no answer: a model that does not stop costs nothing to grade.
    private static let longest = 512

    /// - Returns: 1 for a right answer, else 0.
    public func grade(_ text: String) -> Double {
        guard text.utf8.count <= Self.longest else { return 0 }
        var bytes = Self.trimmed(Array(text.utf8)[...])
        if bytes.last == UInt8(ascii: ".") { bytes = Self.trimmed(bytes.dropLast()) }
        let isRight: Bool =
            switch self {
            case .number(let number, let unit): Self.isNumber(bytes, number, unit: unit)
            case .text(let text): bytes.elementsEqual(text.utf8)
            case .list(let items): Self.isList(bytes, items)
            case .expression(let numbers, let target): CountdownExpression.isSolution(bytes, numbers, target: target)
            }
        return isRight ? 1 : 0
    }

    /// Compares digits, so that a number of any length is read.
    private static func isNumber(_ bytes: ArraySlice<UInt8>, _ number: Int, unit: String?) -> Bool {
        var digits = bytes
        if let unit, bytes.count > unit.utf8.count, bytes.suffix(unit.utf8.count).elementsEqual(unit.utf8) {
            digits = trimmed(bytes.dropLast(unit.utf8.count))
        }
        let plain = String(number)
        return digits.elementsEqual(plain.utf8) || digits.elementsEqual(withSeparators(plain).utf8)
    }

    /// 1234567 as `1,234,567`.
    private static func withSeparators(_ digits: String) -> String {
        var text = ""
        for (i, digit) in digits.enumerated() {
            if i > 0, (digits.count - i) % 3 == 0 { text += "," }
            text.append(digit)
        }
        return text
    }

    private static func isList(_ bytes: ArraySlice<UInt8>, _ items: [String]) -> Bool {
        // Between two commas there must be something.
        let parts = bytes.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false).map(trimmed)
        guard parts.allSatisfy({ !$0.isEmpty }) else { return false }
        let found = parts.flatMap { $0.split(whereSeparator: isSpace) }
        return found.count == items.count && zip(found, items).allSatisfy { $0.elementsEqual($1.utf8) }
    }

    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var bytes = bytes.drop(while: isSpace)
        while let last = bytes.last, isSpace(last) { bytes.removeLast() }
        return bytes
    }

    /// Space, tab, new line, carriage return.
    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
}
