public import Testing

/// Expects numbers to agree within `tolerance`, absolute and relative to the largest of `expected`.
public func expectClose(
    _ found: [Float], _ expected: [Float], within tolerance: Float, _ what: @autoclosure () -> String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard found.count == expected.count else {
        Issue.record("\(what()): \(found.count) numbers, expected \(expected.count)", sourceLocation: sourceLocation)
        return
    }
    let scale = max(1, expected.reduce(0) { max($0, abs($1)) })
    var (worst, at) = (Float(0), 0)
    for i in found.indices {
        let off = abs(found[i] - expected[i])
        if !(off <= worst) { (worst, at) = (off, i) }  // a NaN wins too
    }
    guard !(worst <= tolerance * scale) else { return }
    Issue.record(
        "\(what()): [\(at)] is \(found[at]), expected \(expected[at]), off by \(worst) > \(tolerance * scale)",
        sourceLocation: sourceLocation)
}

/// Expects numbers to be equal to the bit.
public func expectSame(
    _ found: [Float], _ expected: [Float], _ what: @autoclosure () -> String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard found.count == expected.count else {
        Issue.record("\(what()): \(found.count) numbers, expected \(expected.count)", sourceLocation: sourceLocation)
        return
    }
    guard let i = found.indices.first(where: { found[$0].bitPattern != expected[$0].bitPattern }) else { return }
    let different = found.indices.filter { found[$0].bitPattern != expected[$0].bitPattern }.count
    Issue.record(
        "\(what()): \(different) of \(found.count) differ, the first [\(i)]: \(found[i]), expected \(expected[i])",
        sourceLocation: sourceLocation)
}

/// `‖a - b‖ / ‖b‖` in double; 0 where both are zero.
public func relativeDistance(_ a: [Float], _ b: [Float]) -> Double {
    guard a.count == b.count else { return .infinity }
    var (off, size) = (0.0, 0.0)
    for (x, y) in zip(a, b) {
        off += (Double(x) - Double(y)) * (Double(x) - Double(y))
        size += Double(y) * Double(y)
    }
    return off == 0 ? 0 : (off / size).squareRoot()
}
