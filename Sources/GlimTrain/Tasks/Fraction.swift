/// An exact fraction in lowest terms; operations give nil where 64 bits do not hold the result.
package struct Fraction: Equatable {
    private var numerator: Int
    /// Above zero.
    private var denominator: Int

    package init(_ number: Int) { (numerator, denominator) = (number, 1) }

    private init?(_ numerator: Int?, over denominator: Int?) {
        guard let numerator, let denominator, denominator != 0 else { return nil }
        // Magnitudes, for the least integer has no opposite.
        var (a, b) = (numerator.magnitude, denominator.magnitude)
        let isNegative = (numerator < 0) != (denominator < 0)
        while b != 0 { (a, b) = (b, a % b) }
        guard let top = Int(exactly: numerator.magnitude / a), let bottom = Int(exactly: denominator.magnitude / a)
        else {
            return nil
        }
        (self.numerator, self.denominator) = (isNegative ? -top : top, bottom)
    }

    func adding(_ other: Fraction) -> Fraction? {
        guard let left = Self.product(numerator, other.denominator),
            let right = Self.product(other.numerator, denominator)
        else { return nil }
        let (sum, overflow) = left.addingReportingOverflow(right)
        return overflow ? nil : Fraction(sum, over: Self.product(denominator, other.denominator))
    }

    func subtracting(_ other: Fraction) -> Fraction? {
        // The numerator of a fraction made here is never the least integer.
        var opposite = other
        opposite.numerator = -other.numerator
        return adding(opposite)
    }

    func multiplied(by other: Fraction) -> Fraction? {
        Fraction(Self.product(numerator, other.numerator), over: Self.product(denominator, other.denominator))
    }

    func divided(by other: Fraction) -> Fraction? {
        Fraction(Self.product(numerator, other.denominator), over: Self.product(denominator, other.numerator))
    }

    private static func product(_ a: Int, _ b: Int) -> Int? {
        let (product, overflow) = a.multipliedReportingOverflow(by: b)
        return overflow ? nil : product
    }
}
