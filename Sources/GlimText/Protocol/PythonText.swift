/// What Python makes of values. Templates are Jinja's, so their texts must equal Python's to the byte.
enum PythonText {
    // MARK: Text

    /// `str.strip()`.
    static func strip(_ text: String) -> String {
        let scalars = text.unicodeScalars
        guard let first = scalars.firstIndex(where: { !isSpace($0) }) else { return "" }
        let last = scalars.lastIndex { !isSpace($0) }!  // there is one: `first`
        return String(scalars[first...last])
    }

    /// `str.strip("\n")`.
    static func stripNewlines(_ text: String) -> String {
        let scalars = text.unicodeScalars
        guard let first = scalars.firstIndex(where: { $0 != "\n" }) else { return "" }
        let last = scalars.lastIndex { $0 != "\n" }!
        return String(scalars[first...last])
    }

    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
        default: false
        }
    }

    // MARK: Values

    /// `str(value)`: a string as it is, everything else as `repr`.
    static func str(_ value: JSON) -> String { value.string ?? repr(value) }

    /// `repr(value)` of what `json.loads` read.
    static func repr(_ value: JSON) -> String {
        switch value {
        case .null: "None"
        case .bool(let value): value ? "True" : "False"
        case .number(let spelling): number(spelling, infinity: "inf")
        case .string(let text): quoted(text)
        case .array(let values): "[" + values.map(repr).joined(separator: ", ") + "]"
        case .object(let members):
            "{" + members.map { "\(quoted($0.key)): \(repr($0.value))" }.joined(separator: ", ") + "}"
        }
    }

    private static func quoted(_ text: String) -> String {
        let scalars = text.unicodeScalars
        let quote: Unicode.Scalar = scalars.contains("'") && !scalars.contains("\"") ? "\"" : "'"
        var out = String.UnicodeScalarView([quote])
        for scalar in scalars {
            switch scalar {
            case quote, "\\": out.append(contentsOf: ["\\", scalar])
            case "\n": out.append(contentsOf: "\\n".unicodeScalars)
            case "\r": out.append(contentsOf: "\\r".unicodeScalars)
            case "\t": out.append(contentsOf: "\\t".unicodeScalars)
            case _ where isPrintable(scalar): out.append(scalar)
            default:
                let (letter, width) = scalar.value < 0x100 ? ("x", 2) : scalar.value < 0x10000 ? ("u", 4) : ("U", 8)
                let digits = String(scalar.value, radix: 16)
                let zeros = String(repeating: "0", count: width - digits.count)
                out.append(contentsOf: "\\\(letter)\(zeros)\(digits)".unicodeScalars)
            }
        }
        out.append(quote)
        return String(out)
    }

    private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: false
        case .spaceSeparator: scalar == " "
        default: true
        }
    }

    // MARK: Numbers

    /// How Python writes a number that JSON spells so: whole numbers as they are, others as the shortest text that reads
    /// back as the same double, with an exponent below 1e-4 and from 1e16.
    static func number(_ spelling: String, infinity: String = "Infinity") -> String {
        guard spelling.utf8.contains(where: { $0 == 0x2E || $0 | 0x20 == 0x65 }) else {
            return spelling == "-0" ? "0" : spelling
        }
        let value = Double(spelling) ?? 0  // JSON's numbers are all readable
        let sign = value.sign == .minus ? "-" : ""
        if value.isInfinite { return sign + infinity }

        // The digits, and where the point stands behind the first of them: Swift has the same digits in other clothes.
        let parts = value.magnitude.description.split(separator: "e")
        let halves = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        var digits = halves.joined()
        var point = halves[0].count + (parts.count > 1 ? Int(parts[1]) ?? 0 : 0)
        let zeros = digits.prefix { $0 == "0" }.count
        digits.removeFirst(min(zeros, digits.count - 1))
        if digits == "0" { return sign + "0.0" }
        point -= zeros
        while digits.hasSuffix("0"), digits.count > 1 { digits.removeLast() }

        if point > 16 || point < -3 {
            let exponent = point - 1
            let fraction = digits.count > 1 ? "." + digits.dropFirst() : ""
            let width = exponent.magnitude < 10 ? "0" : ""
            return "\(sign)\(digits.prefix(1))\(fraction)e\(exponent < 0 ? "-" : "+")\(width)\(exponent.magnitude)"
        }
        if point <= 0 { return sign + "0." + String(repeating: "0", count: -point) + digits }
        if point >= digits.count { return sign + digits + String(repeating: "0", count: point - digits.count) + ".0" }
        return sign + digits.prefix(point) + "." + digits.dropFirst(point)
    }
}
