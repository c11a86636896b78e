/// What a schema says of a number.
struct NumberRule: Hashable, Sendable {
    struct Bound: Hashable, Sendable {
        let value: DecimalNumber
        let isExclusive: Bool
    }

    var isInteger = false
    var lower: Bound?
    var upper: Bound?

    var isBounded: Bool { lower != nil || upper != nil }

    func contains(_ value: DecimalNumber) -> Bool {
        if isInteger, !value.isInteger { return false }
        if let lower, lower.isExclusive ? !(lower.value < value) : value < lower.value { return false }
        if let upper, upper.isExclusive ? !(value < upper.value) : upper.value < value { return false }
        return true
    }

    /// What both rules allow.
    func merged(with other: NumberRule) -> NumberRule {
        var result = self
        result.isInteger = isInteger || other.isInteger
        if let bound = other.lower { result.raise(bound) }
        if let bound = other.upper { result.reduce(bound) }
        return result
    }

    mutating func raise(_ bound: Bound) {
        guard let lower else { return self.lower = bound }
        if lower.value < bound.value || lower.value == bound.value && bound.isExclusive { self.lower = bound }
    }

    mutating func reduce(_ bound: Bound) {
        guard let upper else { return self.upper = bound }
        if bound.value < upper.value || upper.value == bound.value && bound.isExclusive { self.upper = bound }
    }
}

/// Reads the numbers within bounds digit by digit: `-?(0|[1-9][0-9]*)(\.[0-9]+)?`, the fraction not for integers. Every
/// prefix that is read can be completed, and no negative zero is.
///
/// An exponent is never read: what it would say of a bounded number can be said without.
struct NumberRange: Hashable, Sendable {
    /// A bound of the magnitude.
    fileprivate struct Edge: Hashable, Sendable {
        var whole: UInt64
        /// Digits behind the point, the last of them not zero.
        var fraction: [UInt8]
        var isExclusive: Bool
    }

    /// The magnitudes of one sign.
    fileprivate struct Side: Hashable, Sendable {
        var low: Edge?
        var high: Edge?
    }

    /// Where in a number one stands.
    struct Progress: Hashable, Sendable {
        fileprivate enum Phase: UInt8 { case sign, whole, point, fraction }

        fileprivate var phase: Phase
        fileprivate var isNegative: Bool
        /// The digits before the point. Where there is no upper edge, what is beyond the lower one counts as the next
        /// number above it: all of them go on alike.
        fileprivate var whole: UInt64 = 0
        /// How many digits behind the point are those of the edge; -1 once the number has left it to the inside.
        fileprivate var low: Int16 = -1
        fileprivate var high: Int16 = -1
    }

    private let isInteger: Bool
    private let positive: Side?
    private let negative: Side?

    /// Why a range cannot be read.
    enum Failure: Error { case tooLarge, empty }

    init(_ rule: NumberRule) throws(Failure) {
        isInteger = rule.isInteger
        let (lower, upper) = (rule.lower, rule.upper)
        func edge(_ bound: NumberRule.Bound?, isNear: Bool) throws(Failure) -> Edge? {
            guard let bound else { return nil }
            // There must be a number above the edge that is nearer to zero.
            guard let whole = bound.value.whole, whole < .max || !isNear, let fraction = bound.value.fraction else {
                throw .tooLarge
            }
            return Edge(whole: whole, fraction: fraction, isExclusive: bound.isExclusive)
        }
        let low = try edge(lower, isNear: lower?.value.isNegative == false)
        let high = try edge(upper, isNear: upper?.value.isNegative == true)
        let hasPositive = !(upper?.value.isNegative ?? false)
        let hasNegative = lower.map { $0.value.isNegative } ?? true
        positive =
            hasPositive ? Side(low: hasNegative ? nil : low, high: high).trimmed(isInteger: isInteger) : nil
        // Nearer to zero is the upper bound, or zero itself, which has no sign.
        let near = hasPositive ? Edge(whole: 0, fraction: [], isExclusive: true) : high
        negative = hasNegative ? Side(low: near, high: low).trimmed(isInteger: isInteger) : nil
        if positive == nil, negative == nil { throw .empty }
    }

    /// The place behind the next byte, nil where no number goes on so.
    ///
    /// - Parameter progress: nil at the beginning.
    func next(_ progress: Progress?, _ byte: UInt8) -> Progress? {
        guard var progress else {
            if byte == UInt8(ascii: "-") {
                return negative == nil ? nil : Progress(phase: .sign, isNegative: true)
            }
            return digit(byte).flatMap { begin(Progress(phase: .whole, isNegative: false), $0) }
        }
        guard let side = progress.isNegative ? negative : positive else { return nil }
        switch progress.phase {
        case .sign: return digit(byte).flatMap { begin(progress, $0) }
        case .whole:
            if byte == UInt8(ascii: ".") {
                if isInteger || !side.meets(progress.whole, scale: 1) { return nil }
                progress.phase = .point
                progress.low = side.low.map { progress.whole > $0.whole ? -1 : 0 } ?? -1
                progress.high = side.high.map { progress.whole < $0.whole ? -1 : 0 } ?? -1
                return progress
            }
            guard let digit = digit(byte), progress.whole > 0 else { return nil }
            let (tens, overflows) = progress.whole.multipliedReportingOverflow(by: 10)
            let (whole, alsoOverflows) = tens.addingReportingOverflow(UInt64(digit))
            if overflows || alsoOverflows {
                if side.high != nil { return nil }
                progress.whole = .max
            } else {
                progress.whole = whole
            }
            return settle(progress, side)
        case .point, .fraction:
            guard let digit = digit(byte) else { return nil }
            progress.phase = .fraction
            if let edge = side.low, progress.low >= 0 {
                let bound = Int(progress.low) < edge.fraction.count ? edge.fraction[Int(progress.low)] : 0
                if digit < bound { return nil }
                progress.low = digit > bound ? -1 : Int16(min(Int(progress.low) + 1, edge.fraction.count))
            }
            if let edge = side.high, progress.high >= 0 {
                let bound = Int(progress.high) < edge.fraction.count ? edge.fraction[Int(progress.high)] : 0
                if digit > bound { return nil }
                progress.high = digit < bound ? -1 : Int16(min(Int(progress.high) + 1, edge.fraction.count))
                // What equals the edge so far can no longer become less.
                if edge.isExclusive, Int(progress.high) == edge.fraction.count { return nil }
            }
            return progress
        }
    }

    /// Whether the number may end here.
    func accepts(_ progress: Progress) -> Bool {
        guard let side = progress.isNegative ? negative : positive else { return false }
        switch progress.phase {
        case .sign, .point: return false
        case .whole:
            let (low, high, whole) = (side.low, side.high, progress.whole)
            let isAbove = low.map { whole > $0.whole || whole == $0.whole && $0.fraction.isEmpty && !$0.isExclusive }
            let isBelow = high.map { whole < $0.whole || whole == $0.whole && !($0.fraction.isEmpty && $0.isExclusive) }
            return isAbove ?? true && isBelow ?? true
        case .fraction:
            // Below the upper edge by construction; at the lower one it must be all of it, and inclusive.
            guard let edge = side.low, progress.low >= 0 else { return true }
            return Int(progress.low) == edge.fraction.count && !edge.isExclusive
        }
    }

    private func digit(_ byte: UInt8) -> UInt8? { (0x30...0x39).contains(byte) ? byte - 0x30 : nil }

    private func begin(_ progress: Progress, _ digit: UInt8) -> Progress? {
        guard let side = progress.isNegative ? negative : positive else { return nil }
        var progress = progress
        (progress.phase, progress.whole) = (.whole, UInt64(digit))
        return settle(progress, side)
    }

    /// The progress in its one form, nil where nothing can follow.
    private func settle(_ progress: Progress, _ side: Side) -> Progress? {
        var progress = progress
        if side.high == nil { progress.whole = min(progress.whole, (side.low?.whole ?? 0) + 1) }
        return side.canReach(progress.whole) ? progress : nil
    }
}

extension NumberRange.Side {
    /// The side without what a number never is; nil where nothing remains.
    fileprivate func trimmed(isInteger: Bool) -> Self? {
        var side = self
        if isInteger {
            if let low {
                let whole = low.whole + (low.isExclusive || !low.fraction.isEmpty ? 1 : 0)
                side.low = NumberRange.Edge(whole: whole, fraction: [], isExclusive: false)
            }
            if let high {
                let isPast = high.isExclusive && high.fraction.isEmpty
                if isPast, high.whole == 0 { return nil }
                side.high = NumberRange.Edge(whole: high.whole - (isPast ? 1 : 0), fraction: [], isExclusive: false)
            }
        }
        guard let high = side.high else { return side }
        let low = side.low ?? NumberRange.Edge(whole: 0, fraction: [], isExclusive: false)
        if low.whole != high.whole { return low.whole < high.whole ? side : nil }
        if low.fraction != high.fraction {
            return low.fraction.lexicographicallyPrecedes(high.fraction) ? side : nil
        }
        return low.isExclusive || high.isExclusive ? nil : side
    }

    /// Whether a number from whole · scale up to, but without, (whole + 1) · scale is on this side.
    fileprivate func meets(_ whole: UInt64, scale: UInt64) -> Bool {
        let (start, overflows) = whole.multipliedReportingOverflow(by: scale)
        if let high {
            if overflows || start > high.whole { return false }
            if start == high.whole, high.isExclusive, high.fraction.isEmpty { return false }
        }
        guard let low, !overflows else { return true }
        let (end, endOverflows) = start.addingReportingOverflow(scale)
        return endOverflows || low.whole < end
    }

    /// Whether a number whose digits begin with these is on this side.
    fileprivate func canReach(_ whole: UInt64) -> Bool {
        if meets(whole, scale: 1) { return true }
        if whole == 0 { return false }  // no digit may follow
        if high == nil { return true }
        var scale: UInt64 = 10
        while true {
            if meets(whole, scale: scale) { return true }
            let (next, overflows) = scale.multipliedReportingOverflow(by: 10)
            if overflows { return false }
            scale = next
        }
    }
}
