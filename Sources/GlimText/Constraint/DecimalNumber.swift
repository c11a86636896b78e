/// A decimal number of any size, exactly: what a schema says of numbers is compared without rounding.
///
/// Its value is 0.DIGITS · 10^point, negated where `isNegative`.
struct DecimalNumber: Hashable, Sendable {
    let isNegative: Bool
    /// 0 to 9 each, neither the first nor the last zero; none for zero.
    let digits: [UInt8]
    let point: Int

    /// Exponents beyond this are as good as infinite: no number here is ever written out.
    private static let largestExponent = 1 << 40

    /// - Parameter spelling: must be a number by JSON's grammar.
    init(_ spelling: String) {
        var (digits, point, exponent): ([UInt8], Int?, Int) = ([], nil, 0)
        var rest = Array(spelling.utf8)[...]
        let isNegative = rest.first == UInt8(ascii: "-")
        if isNegative { rest = rest.dropFirst() }
        while let byte = rest.popFirst() {
            if (0x30...0x39).contains(byte) {
                digits.append(byte - 0x30)
            } else if byte == UInt8(ascii: ".") {
                point = digits.count
            } else {
                exponent = Self.exponent(rest)
                break
            }
        }
        let leading = digits.prefix { $0 == 0 }.count
        self.init(isNegative: isNegative, digits: digits, point: (point ?? digits.count) + exponent, leading: leading)
    }

    init(_ value: Int) { self.init(String(value)) }

    private init(isNegative: Bool, digits: [UInt8], point: Int, leading: Int) {
        var kept = digits.dropFirst(leading)
        while kept.last == 0 { kept.removeLast() }
        self.digits = Array(kept)
        self.isNegative = isNegative && !kept.isEmpty
        self.point = kept.isEmpty ? 0 : point - leading
    }

    private static func exponent(_ text: ArraySlice<UInt8>) -> Int {
        var value = 0
        for byte in text where (0x30...0x39).contains(byte) && value < largestExponent {
            value = value * 10 + Int(byte - 0x30)
        }
        return text.first == UInt8(ascii: "-") ? -min(value, largestExponent) : min(value, largestExponent)
    }

    var isZero: Bool { digits.isEmpty }

    /// Whether the value is whole, however it is spelled.
    var isInteger: Bool { digits.count <= point || isZero }

    var magnitude: DecimalNumber {
        DecimalNumber(isNegative: false, digits: digits, point: point, leading: 0)
    }

    /// The whole part of the magnitude; nil where it does not fit.
    var whole: UInt64? {
        if point > 20 { return nil }
        var value: UInt64 = 0
        for k in 0..<max(point, 0) {
            let (product, overflows) = value.multipliedReportingOverflow(by: 10)
            let (sum, alsoOverflows) = product.addingReportingOverflow(k < digits.count ? UInt64(digits[k]) : 0)
            if overflows || alsoOverflows { return nil }
            value = sum
        }
        return value
    }

    /// The digits of the magnitude behind the point, the last of them not zero; nil where they are too many.
    var fraction: [UInt8]? {
        if isInteger { return [] }
        if point < -64 || digits.count - point > 256 { return nil }
        return [UInt8](repeating: 0, count: max(-point, 0)) + digits.dropFirst(max(point, 0))
    }

    static func < (a: DecimalNumber, b: DecimalNumber) -> Bool {
        if a.isNegative != b.isNegative { return a.isNegative }
        return a.isNegative ? isLess(b, a) : isLess(a, b)
    }

    /// Compares magnitudes.
    private static func isLess(_ a: DecimalNumber, _ b: DecimalNumber) -> Bool {
        if a.isZero || b.isZero { return a.isZero && !b.isZero }
        if a.point != b.point { return a.point < b.point }
        return a.digits.lexicographicallyPrecedes(b.digits)
    }
}
