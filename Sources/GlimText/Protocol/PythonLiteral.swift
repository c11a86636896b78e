/// Reads what a model writes that has Python in mind where JSON was wanted: `True`, `['a', 1]`, `{'k': None}`.
struct PythonLiteral {
    private let bytes: [UInt8]
    private var position = 0
    private var depth = 0

    /// Deep enough for every argument, and shallow enough for every stack.
    private static let maximumDepth = 64

    /// What cannot be read. It is raw text then, so nobody asks why.
    private struct Unreadable: Error {}

    /// The value of a whole text, nil where it is not a literal.
    static func value(of bytes: [UInt8]) -> JSON? {
        var reader = PythonLiteral(bytes: bytes)
        guard let value = try? reader.value() else { return nil }
        reader.skipSpace()
        return reader.position == bytes.count ? value : nil
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private var byte: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte, [0x20, 0x09, 0x0A, 0x0D].contains(byte) { position += 1 }
    }

    private mutating func value() throws(Unreadable) -> JSON {
        skipSpace()
        switch byte {
        case UInt8(ascii: "'"), UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "["): return .array(try list(until: UInt8(ascii: "]")).values)
        case UInt8(ascii: "("):
            let (values, hasComma) = try list(until: UInt8(ascii: ")"))
            return values.count == 1 && !hasComma ? values[0] : .array(values)
        case UInt8(ascii: "{"): return try dictionary()
        default: return try word()
        }
    }

    private mutating func list(until close: UInt8) throws(Unreadable) -> (values: [JSON], hasComma: Bool) {
        var values: [JSON] = []
        let hasComma = try items(until: close) { reader throws(Unreadable) in values.append(try reader.value()) }
        return (values, hasComma)
    }

    private mutating func dictionary() throws(Unreadable) -> JSON {
        var members = JSONMembers()
        _ = try items(until: UInt8(ascii: "}")) { reader throws(Unreadable) in
            reader.skipSpace()
            guard reader.byte == UInt8(ascii: "'") || reader.byte == UInt8(ascii: "\"") else { throw Unreadable() }
            let key = try reader.string()
            reader.skipSpace()
            guard reader.byte == UInt8(ascii: ":") else { throw Unreadable() }
            reader.position += 1
            members.set(key, try reader.value())
        }
        return .object(members.all)
    }

    /// Reads from the opening bracket to the closing one; a comma may stand before it.
    ///
    /// - Returns: whether there is a comma at all: brackets around one value without are no tuple.
    private mutating func items(
        until close: UInt8, _ body: (inout PythonLiteral) throws(Unreadable) -> Void
    ) throws(Unreadable) -> Bool {
        var hasComma = false
        depth += 1
        if depth > Self.maximumDepth { throw Unreadable() }
        position += 1
        skipSpace()
        while byte != close {
            try body(&self)
            skipSpace()
            if byte == UInt8(ascii: ",") {
                position += 1
                hasComma = true
            } else if byte != close {
                throw Unreadable()
            }
            skipSpace()
        }
        position += 1
        depth -= 1
        return hasComma
    }

    private mutating func string() throws(Unreadable) -> String {
        let quote = bytes[position]
        position += 1
        var text: [UInt8] = []
        while let byte, byte != quote, byte != 0x0A {
            position += 1
            if byte == UInt8(ascii: "\\") { try escape(into: &text) } else { text.append(byte) }
        }
        guard byte == quote else { throw Unreadable() }
        position += 1
        return String(decoding: text, as: UTF8.self)
    }

    private mutating func escape(into text: inout [UInt8]) throws(Unreadable) {
        guard let byte else { throw Unreadable() }
        position += 1
        switch byte {
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "\\"), UInt8(ascii: "'"), UInt8(ascii: "\""): text.append(byte)
        case UInt8(ascii: "x"): try scalar(digits: 2, into: &text)
        case UInt8(ascii: "u"): try scalar(digits: 4, into: &text)
        case UInt8(ascii: "U"): try scalar(digits: 8, into: &text)
        default: throw Unreadable()
        }
    }

    private mutating func scalar(digits: Int, into text: inout [UInt8]) throws(Unreadable) {
        let hex = bytes[position...].prefix(digits)
        // A number may have a sign, an escape may not.
        guard hex.count == digits, hex.first != UInt8(ascii: "+"), hex.first != UInt8(ascii: "-"),
            let value = UInt32(String(decoding: hex, as: UTF8.self), radix: 16),
            let scalar = Unicode.Scalar(value)
        else { throw Unreadable() }
        position += digits
        text.append(contentsOf: UTF8.encode(scalar)!)  // never nil: UTF-8 encodes every scalar
    }

    private mutating func word() throws(Unreadable) -> JSON {
        let end = bytes[position...].firstIndex { ",]})".utf8.contains($0) || $0 <= 0x20 || $0 == 0x3A } ?? bytes.count
        let word = String(decoding: bytes[position..<end], as: UTF8.self)
        position = end
        switch word {
        case "None": return .null
        case "True": return .bool(true)
        case "False": return .bool(false)
        default:
            guard case .number(let spelling)? = try? JSON(parsing: word.utf8) else { throw Unreadable() }
            return .number(spelling)
        }
    }
}
