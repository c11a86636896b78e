/// A strict reader of JSON (RFC 8259) that walks over bytes without building a tree.
///
/// The caller asks for what it expects: `beginObject`, then `nextKey` until nil, with one value read after each key.
/// Headers of 100,000 tensors take milliseconds, nothing recurses, and no input traps. Cheap to make, not to copy.
package struct JSONReader {
    /// Where the input stops being what was asked for. `offset` counts bytes from its start.
    package struct Problem: Error, Equatable {
        package let offset: Int
        package let reason: String
    }

    /// Deeper nesting than this is refused.
    package static let depthLimit = 64

    private enum Container { case object, array }

    private let bytes: [UInt8]
    package private(set) var offset = 0
    private var open: [(kind: Container, isEmpty: Bool)] = []

    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    package mutating func beginObject() throws(Problem) { try begin(.object, UInt8(ascii: "{"), "an object") }

    package mutating func beginArray() throws(Problem) { try begin(.array, UInt8(ascii: "["), "an array") }

    /// The next key of the innermost object, its colon read too; nil once the object has ended.
    package mutating func nextKey() throws(Problem) -> String? {
        guard try advance(.object, UInt8(ascii: "}")) else { return nil }
        let key = try string()
        skipSpace()
        guard take(UInt8(ascii: ":")) else { throw problem("no colon after a key") }
        return key
    }

    /// Whether the innermost array has a further element, which must then be read.
    package mutating func nextElement() throws(Problem) -> Bool { try advance(.array, UInt8(ascii: "]")) }

    /// Checks that only white space is left.
    package mutating func finish() throws(Problem) {
        skipSpace()
        guard offset == bytes.count else { throw problem("something follows the end of the JSON") }
    }

    /// A number without sign, fraction or exponent.
    package mutating func count() throws(Problem) -> Int {
        skipSpace()
        let start = offset
        var value = 0
        while let digit = peek, digit &- 48 < 10 {
            let (shifted, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = shifted.addingReportingOverflow(Int(digit - 48))
            guard !overflow, !carry else { throw Problem(offset: start, reason: "a number too large") }
            value = sum
            offset += 1
        }
        let isWhole = peek.map { ![UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E")].contains($0) } ?? true
        guard offset > start, isWhole, offset == start + 1 || bytes[start] != UInt8(ascii: "0") else {
            throw Problem(offset: start, reason: "expected a whole number, zero or more")
        }
        return value
    }

    /// A string, its escapes resolved and its UTF-8 checked.
    package mutating func string() throws(Problem) -> String {
        skipSpace()
        guard take(UInt8(ascii: "\"")) else { throw problem("expected a string") }
        let start = offset
        var unescaped: [UInt8]?
        var isASCII = true
        while let byte = peek {
            switch byte {
            case UInt8(ascii: "\""):
                offset += 1
                if isASCII, unescaped == nil { return String(decoding: bytes[start..<offset - 1], as: UTF8.self) }
                let text = String(validating: unescaped ?? Array(bytes[start..<offset - 1]), as: UTF8.self)
                guard let text else { throw Problem(offset: start, reason: "a string is not UTF-8") }
                return text
            case UInt8(ascii: "\\"):
                var text = unescaped ?? Array(bytes[start..<offset])
                try escape(into: &text)
                unescaped = text
            case 0..<0x20:
                throw problem("a control character in a string")
            default:
                if byte >= 0x80 { isASCII = false }
                unescaped?.append(byte)
                offset += 1
            }
        }
        throw problem("a string does not end")
    }

    /// What kind of value comes next, told by its first byte; nil where none can.
    package mutating func nextKind() -> Kind? {
        skipSpace()
        guard let byte = peek else { return nil }
        return switch byte {
        case UInt8(ascii: "{"): .object
        case UInt8(ascii: "["): .array
        case UInt8(ascii: "\""): .string
        case UInt8(ascii: "t"), UInt8(ascii: "f"), UInt8(ascii: "n"): .word
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): .number
        default: nil
        }
    }

    package enum Kind { case object, array, string, word, number }

    /// A number of any form, as it is spelled.
    package mutating func number() throws(Problem) -> String {
        skipSpace()
        let start = offset
        try skipNumber()
        return String(decoding: bytes[start..<offset], as: UTF8.self)
    }

    /// `true`, `false`, or nil for `null`.
    package mutating func word() throws(Problem) -> Bool? {
        skipSpace()
        switch peek {
        case UInt8(ascii: "t"):
            try literal("true")
            return true
        case UInt8(ascii: "f"):
            try literal("false")
            return false
        default:
            try literal("null")
            return nil
        }
    }

    /// Reads over one value of any kind, checking it.
    package mutating func skipValue() throws(Problem) {
        let depth = open.count
        repeat {
            if open.count > depth {
                if open[open.count - 1].kind == .object {
                    if try nextKey() == nil { continue }
                } else {
                    if try !nextElement() { continue }
                }
            }
            skipSpace()
            switch peek {
            case UInt8(ascii: "{"): try beginObject()
            case UInt8(ascii: "["): try beginArray()
            case UInt8(ascii: "\""): _ = try string()
            case UInt8(ascii: "t"): try literal("true")
            case UInt8(ascii: "f"): try literal("false")
            case UInt8(ascii: "n"): try literal("null")
            default: try skipNumber()
            }
        } while open.count > depth
    }

    // MARK: Parts

    private var peek: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    /// A problem where the reader stands.
    package func problem(_ reason: String) -> Problem {
        Problem(offset: offset, reason: offset < bytes.count ? reason : "\(reason): the JSON ends early")
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard peek == byte else { return false }
        offset += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = peek, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { offset += 1 }
    }

    private mutating func begin(_ kind: Container, _ mark: UInt8, _ name: String) throws(Problem) {
        skipSpace()
        guard take(mark) else { throw problem("expected \(name)") }
        guard open.count < Self.depthLimit else { throw problem("nested deeper than \(Self.depthLimit)") }
        open.append((kind, true))
    }

    /// Steps over the comma before the next item, or over the closing mark (false).
    private mutating func advance(_ kind: Container, _ close: UInt8) throws(Problem) -> Bool {
        guard let last = open.last, last.kind == kind else { throw problem("not inside an \(kind)") }
        skipSpace()
        if take(close) {
            open.removeLast()
            return false
        }
        if last.isEmpty {
            open[open.count - 1].isEmpty = false
        } else {
            guard take(UInt8(ascii: ",")) else { throw problem("expected a comma or the end of the \(kind)") }
        }
        return true
    }

    private mutating func literal(_ text: StaticString) throws(Problem) {
        for i in 0..<text.utf8CodeUnitCount {
            guard take(text.utf8Start[i]) else { throw problem("expected \(text)") }
        }
    }

    private mutating func skipDigits() throws(Problem) {
        let start = offset
        while let digit = peek, digit &- 48 < 10 { offset += 1 }
        guard offset > start else { throw problem("expected a value") }
    }

    private mutating func skipNumber() throws(Problem) {
        _ = take(UInt8(ascii: "-"))
        if !take(UInt8(ascii: "0")) { try skipDigits() }
        if take(UInt8(ascii: ".")) { try skipDigits() }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            try skipDigits()
        }
    }

    private mutating func escape(into text: inout [UInt8]) throws(Problem) {
        offset += 1
        guard let mark = peek else { throw problem("a string does not end") }
        offset += 1
        switch mark {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(mark)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            let start = offset
            var code = try hexadecimal()
            if 0xD800..<0xDC00 ~= code, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) {
                let low = try hexadecimal()
                // A low half out of its range leaves `code` outside Unicode, which the next check refuses.
                code = 0xDC00..<0xE000 ~= low ? 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00) : 0xD800
            }
            guard let scalar = Unicode.Scalar(code) else {
                throw Problem(offset: start, reason: "half a surrogate pair in a string")
            }
            text.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
        default: throw Problem(offset: offset - 1, reason: "an unknown escape in a string")
        }
    }

    private mutating func hexadecimal() throws(Problem) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw problem("expected four hexadecimal digits")
            }
            value = value << 4 | UInt32(digit)
            offset += 1
        }
        return value
    }
}
