/// A set of Unicode scalars.
struct ScalarSet: Hashable, Sendable {
    /// Ascending, disjoint, without surrogates.
    private(set) var ranges: [ClosedRange<UInt32>] = []

    static let all = ScalarSet([0...0x10FFFF])

    init(_ ranges: [ClosedRange<UInt32>]) {
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) { append(range) }
    }

    private mutating func append(_ range: ClosedRange<UInt32>) {
        if range.overlaps(0xD800...0xDFFF) {
            if range.lowerBound < 0xD800 { append(range.lowerBound...0xD7FF) }
            if range.upperBound > 0xDFFF { append(0xE000...range.upperBound) }
        } else if let last = ranges.last, range.lowerBound <= last.upperBound + 1 {
            ranges[ranges.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
        } else {
            ranges.append(range)
        }
    }

    var complement: ScalarSet {
        var (rest, next): ([ClosedRange<UInt32>], UInt32) = ([], 0)
        for range in ranges {
            if next < range.lowerBound { rest.append(next...range.lowerBound - 1) }
            next = range.upperBound + 1
        }
        if next <= 0x10FFFF { rest.append(next...0x10FFFF) }
        return ScalarSet(rest)
    }

    func union(_ other: ScalarSet) -> ScalarSet { ScalarSet(ranges + other.ranges) }

    func contains(_ scalar: UInt32) -> Bool { ranges.contains { $0.contains(scalar) } }

    // MARK: The classes of ECMA-262

    static let digit = ScalarSet([0x30...0x39])
    static let word = ScalarSet([0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A])
    static let space = ScalarSet([
        0x09...0x0D, 0x20...0x20, 0xA0...0xA0, 0x1680...0x1680, 0x2000...0x200A, 0x2028...0x2029, 0x202F...0x202F,
        0x205F...0x205F, 0x3000...0x3000, 0xFEFF...0xFEFF,
    ])
    static let lineEnd = ScalarSet([0x0A...0x0A, 0x0D...0x0D, 0x2028...0x2029])
}

/// The part of regular expressions that is regular: no assertion within, nothing that looks back.
indirect enum PatternExpression: Sendable {
    case set(ScalarSet)
    case sequence([PatternExpression])
    case choice([PatternExpression])
    case repeated(PatternExpression, least: Int, most: Int?)

    /// Any text at all.
    static let anything = repeated(.set(.all), least: 0, most: nil)
}

/// Why a pattern cannot be used.
struct PatternError: Error {
    let why: String
}

/// Reads a pattern as JSON Schema means it: ECMA-262 with the `u` flag, found anywhere in the text unless anchored.
struct PatternParser {
    private let scalars: [Unicode.Scalar]
    private var position = 0
    private var depth = 0

    private static let largestCount = 1000
    private static let largestDepth = 60

    private init(_ pattern: String) { scalars = Array(pattern.unicodeScalars) }

    /// What the whole text has to be.
    static func parse(_ pattern: String) throws(PatternError) -> PatternExpression {
        var parser = PatternParser(pattern)
        var choices = [try parser.anchoredBranch()]
        while parser.take("|") { choices.append(try parser.anchoredBranch()) }
        if parser.position < parser.scalars.count { throw parser.error("a \")\" that closes nothing") }
        return .choice(choices)
    }

    private func error(_ what: String) -> PatternError {
        PatternError(why: "\(what), at character \(position + 1)")
    }

    private var next: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        if next != scalar { return false }
        position += 1
        return true
    }

    // MARK: Branches

    /// Anchors are read where they mean what is simple: at the ends of a branch of the whole.
    private mutating func anchoredBranch() throws(PatternError) -> PatternExpression {
        let isAnchored = take("^")
        let branch = try self.branch()
        let endsHere = take("$")
        if let next, next != "|", next != ")" { throw error("\"$\" before the end of a branch is not supported") }
        return .sequence((isAnchored ? [] : [.anything]) + [branch] + (endsHere ? [] : [.anything]))
    }

    private mutating func branch() throws(PatternError) -> PatternExpression {
        var parts: [PatternExpression] = []
        while let next, next != "|", next != ")", next != "$" { parts.append(try quantified()) }
        return .sequence(parts)
    }

    private mutating func group() throws(PatternError) -> PatternExpression {
        depth += 1
        if depth > Self.largestDepth { throw error("groups nested more than \(Self.largestDepth) deep") }
        defer { depth -= 1 }
        if take("?") {
            if take("<") {
                if next == "=" || next == "!" { throw error("looking behind is not supported") }
                while let scalar = next, scalar != ">" {
                    guard ScalarSet.word.contains(scalar.value) else { throw error("a name of a group") }
                    position += 1
                }
                if !take(">") { throw error("a group's name does not end") }
            } else if !take(":") {
                throw error("only groups (…), (?:…) and (?<name>…) are supported, nothing that looks ahead")
            }
        }
        var choices = [try branch()]
        while take("|") { choices.append(try branch()) }
        if next == "$" { throw error("\"$\" within a group is not supported") }
        if !take(")") { throw error("a group does not end") }
        return .choice(choices)
    }

    private mutating func quantified() throws(PatternError) -> PatternExpression {
        let atom = try self.atom()
        var (least, most): (Int, Int?) = (1, 1)
        switch next {
        case "*": (least, most) = (0, nil)
        case "+": (least, most) = (1, nil)
        case "?": (least, most) = (0, 1)
        case "{":
            position += 1
            least = try count()
            most = least
            if take(",") { most = next == "}" ? nil : try count() }
            if next != "}" { throw error("expected }") }
            if let most, most < least { throw error("a range of counts that is empty") }
        default: return atom
        }
        position += 1
        _ = take("?")  // lazy or not, it is the same set of texts
        if let next, "*+?{".unicodeScalars.contains(next) { throw error("nothing to repeat") }
        return .repeated(atom, least: least, most: most)
    }

    private mutating func count() throws(PatternError) -> Int {
        var value = 0
        let start = position
        while let scalar = next, let digit = Self.digit(scalar, radix: 10) {
            value = value * 10 + Int(digit)
            if value > Self.largestCount { throw error("more than \(Self.largestCount) repetitions") }
            position += 1
        }
        if position == start { throw error("expected a number of repetitions; a plain { is written \\{") }
        return value
    }

    private static func digit(_ scalar: Unicode.Scalar, radix: UInt32) -> UInt32? {
        switch scalar {
        case "0"..."9": scalar.value - 0x30
        case "a"..."f" where radix == 16: scalar.value - 0x61 + 10
        case "A"..."F" where radix == 16: scalar.value - 0x41 + 10
        default: nil
        }
    }

    // MARK: Atoms

    private mutating func atom() throws(PatternError) -> PatternExpression {
        guard let scalar = next else { throw error("the pattern ends too early") }
        switch scalar {
        case "(":
            position += 1
            return try group()
        case "[":
            position += 1
            return .set(try characterClass())
        case ".":
            position += 1
            return .set(ScalarSet.lineEnd.complement)
        case "\\":
            switch try escape() {
            case .scalar(let value): return .set(ScalarSet([value...value]))
            case .set(let set): return .set(set)
            }
        case "^": throw error("\"^\" is supported at the beginning of a branch of the whole only")
        case "*", "+", "?", "{": throw error("nothing to repeat; write \\\(scalar) for the character itself")
        case "]", "}": throw error("write \\\(scalar) for the character itself")
        default:
            position += 1
            return .set(ScalarSet([scalar.value...scalar.value]))
        }
    }

    private enum Escape {
        case scalar(UInt32)
        case set(ScalarSet)
    }

    private mutating func escape() throws(PatternError) -> Escape {
        position += 1
        guard let scalar = next else { throw error("the pattern ends within an escape") }
        position += 1
        switch scalar {
        case "d": return .set(.digit)
        case "D": return .set(ScalarSet.digit.complement)
        case "w": return .set(.word)
        case "W": return .set(ScalarSet.word.complement)
        case "s": return .set(.space)
        case "S": return .set(ScalarSet.space.complement)
        case "t": return .scalar(0x09)
        case "n": return .scalar(0x0A)
        case "v": return .scalar(0x0B)
        case "f": return .scalar(0x0C)
        case "r": return .scalar(0x0D)
        case "0":
            if let next, Self.digit(next, radix: 10) != nil { throw error("octal escapes are not supported") }
            return .scalar(0)
        case "x": return .scalar(try hex(2))
        case "u": return .scalar(try unicodeEscape())
        case "^", "$", "\\", ".", "*", "+", "?", "(", ")", "[", "]", "{", "}", "|", "/", "-":
            return .scalar(scalar.value)
        default: throw error("\\\(scalar) is not supported")
        }
    }

    private mutating func hex(_ count: Int) throws(PatternError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<count {
            guard let scalar = next, let digit = Self.digit(scalar, radix: 16) else {
                throw error("expected \(count) hexadecimal digits")
            }
            value = value << 4 | digit
            position += 1
        }
        return value
    }

    private mutating func unicodeEscape() throws(PatternError) -> UInt32 {
        var value: UInt32 = 0
        if take("{") {
            let start = position
            while let scalar = next, let digit = Self.digit(scalar, radix: 16) {
                value = value << 4 | digit
                if value > 0x10FFFF { throw error("no such character") }
                position += 1
            }
            if position == start || !take("}") { throw error("expected \\u{…} with hexadecimal digits") }
        } else {
            value = try hex(4)
            if (0xD800..<0xDC00).contains(value), take("\\") {
                guard take("u") else { throw error("half of a surrogate pair") }
                let low = try hex(4)
                guard (0xDC00..<0xE000).contains(low) else { throw error("half of a surrogate pair") }
                value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
            }
        }
        guard Unicode.Scalar(value) != nil else { throw error("half of a surrogate pair") }
        return value
    }

    private mutating func characterClass() throws(PatternError) -> ScalarSet {
        let isNegated = take("^")
        var set = ScalarSet([])
        while let scalar = next, scalar != "]" {
            let first = try classAtom()
            guard next == "-", position + 1 < scalars.count, scalars[position + 1] != "]" else {
                switch first {
                case .scalar(let value): set = set.union(ScalarSet([value...value]))
                case .set(let other): set = set.union(other)
                }
                continue
            }
            position += 1
            guard case .scalar(let low) = first, case .scalar(let high) = try classAtom(), low <= high else {
                throw error("a range of characters that is none; write \\- for the character itself")
            }
            set = set.union(ScalarSet([low...high]))
        }
        if !take("]") { throw error("a class of characters does not end") }
        return isNegated ? set.complement : set
    }

    private mutating func classAtom() throws(PatternError) -> Escape {
        guard let scalar = next else { throw error("a class of characters does not end") }
        if scalar == "\\" {
            if position + 1 < scalars.count, scalars[position + 1] == "b" {
                position += 2
                return .scalar(0x08)
            }
            return try escape()
        }
        position += 1
        return .scalar(scalar.value)
    }
}
