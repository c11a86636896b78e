import GlimText

/// A reader of JSON that shares nothing with the room's own, and refuses a member that comes twice. The judge of what a
/// constraint lets through.
struct StrictJSON {
    private let bytes: [UInt8]
    private var position = 0

    private struct Wrong: Error {}

    /// nil for what is no JSON document, white space around it aside.
    static func value(_ bytes: [UInt8]) -> JSON? {
        guard String(validating: bytes, as: UTF8.self) != nil else { return nil }
        var reader = StrictJSON(bytes: bytes)
        guard let value = try? reader.value(), reader.next() == nil else { return nil }
        return value
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private mutating func next() -> UInt8? {
        while position < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[position]) { position += 1 }
        return position < bytes.count ? bytes[position] : nil
    }

    private mutating func take(_ text: String) throws {
        guard bytes[position...].starts(with: text.utf8) else { throw Wrong() }
        position += text.utf8.count
    }

    private mutating func value() throws -> JSON {
        switch next() {
        case UInt8(ascii: "n"):
            try take("null")
            return .null
        case UInt8(ascii: "t"):
            try take("true")
            return .bool(true)
        case UInt8(ascii: "f"):
            try take("false")
            return .bool(false)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "["):
            var items: [JSON] = []
            position += 1
            if next() == UInt8(ascii: "]") {
                position += 1
            } else {
                repeat { items.append(try value()) } while try goesOn("]")
            }
            return .array(items)
        case UInt8(ascii: "{"):
            var (members, names) = ([JSON.Member](), Set<[UInt8]>())
            position += 1
            if next() == UInt8(ascii: "}") {
                position += 1
            } else {
                repeat {
                    guard next() == UInt8(ascii: "\"") else { throw Wrong() }
                    let key = try string()
                    guard names.insert(Array(key.utf8)).inserted, next() == UInt8(ascii: ":") else { throw Wrong() }
                    position += 1
                    members.append(.init(key, try value()))
                } while try goesOn("}")
            }
            return .object(members)
        default: return .number(try number())
        }
    }

    private mutating func goesOn(_ end: Unicode.Scalar) throws -> Bool {
        let byte = next()
        position += 1
        if byte == UInt8(ascii: ",") { return true }
        if byte == UInt8(ascii: end) { return false }
        throw Wrong()
    }

    private mutating func number() throws -> String {
        let start = position
        func digits() throws {
            guard position < bytes.count, (0x30...0x39).contains(bytes[position]) else { throw Wrong() }
            while position < bytes.count, (0x30...0x39).contains(bytes[position]) { position += 1 }
        }
        func has(_ scalars: String) -> Bool { position < bytes.count && scalars.utf8.contains(bytes[position]) }
        if has("-") { position += 1 }
        if has("0") { position += 1 } else { try digits() }
        if has(".") {
            position += 1
            try digits()
        }
        if has("eE") {
            position += 1
            if has("+-") { position += 1 }
            try digits()
        }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    /// Text by its UTF-16, so that surrogates are looked at last and all at once.
    private mutating func string() throws -> String {
        var units: [UInt16] = []
        position += 1
        while true {
            guard position < bytes.count, bytes[position] >= 0x20 else { throw Wrong() }
            switch bytes[position] {
            case UInt8(ascii: "\""):
                position += 1
                guard let text = String(validating: units, as: UTF16.self) else { throw Wrong() }
                return text
            case UInt8(ascii: "\\"):
                guard position + 1 < bytes.count else { throw Wrong() }
                let letter = bytes[position + 1]
                position += 2
                if letter == UInt8(ascii: "u") {
                    guard position + 4 <= bytes.count,
                        bytes[position..<position + 4].allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
                        let unit = UInt16(String(decoding: bytes[position..<position + 4], as: UTF8.self), radix: 16)
                    else { throw Wrong() }
                    units.append(unit)
                    position += 4
                } else {
                    let letters = Array("\"\\/bfnrt".utf8)
                    guard let place = letters.firstIndex(of: letter) else { throw Wrong() }
                    units.append([0x22, 0x5C, 0x2F, 8, 12, 10, 13, 9][place])
                }
            default:
                let start = position
                repeat { position += 1 } while position < bytes.count && bytes[position] & 0xC0 == 0x80
                units += Array(String(decoding: bytes[start..<position], as: UTF8.self).utf16)
            }
        }
    }
}

/// A decimal number as its digits, compared as such.
struct ExactNumber: Comparable {
    private let isNegative: Bool
    private let whole: [UInt8]
    private let fraction: [UInt8]

    /// nil where the exponent is too large to write the number out.
    init?(_ spelling: String) {
        let parts = spelling.lowercased().split(separator: "e", maxSplits: 1)
        guard let exponent = parts.count > 1 ? Int(parts[1]) : 0, abs(exponent) < 1000 else { return nil }
        let halves = parts[0].drop { $0 == "-" }.split(separator: ".", maxSplits: 1)
        var digits = Array(halves[0].utf8)
        let rest = halves.count > 1 ? Array(halves[1].utf8) : []
        let zeros = [UInt8](repeating: 0x30, count: abs(exponent))
        let point = zeros.count + digits.count + exponent
        digits = zeros + digits + rest + zeros
        whole = Array(digits[..<point].drop { $0 == 0x30 })
        fraction = Array(digits[point...].reversed().drop { $0 == 0x30 }.reversed())
        isNegative = spelling.hasPrefix("-") && !(whole.isEmpty && fraction.isEmpty)
    }

    var isInteger: Bool { fraction.isEmpty }

    static func < (a: ExactNumber, b: ExactNumber) -> Bool {
        if a.isNegative != b.isNegative { return a.isNegative }
        return a.isNegative ? isLess(b, a) : isLess(a, b)
    }

    private static func isLess(_ a: ExactNumber, _ b: ExactNumber) -> Bool {
        if a.whole.count != b.whole.count { return a.whole.count < b.whole.count }
        if a.whole != b.whole { return a.whole.lexicographicallyPrecedes(b.whole) }
        return a.fraction.lexicographicallyPrecedes(b.fraction)
    }
}
