/// Turns ids into text as they arrive, never half a character at a time.
///
/// The pieces joined are `decodeText` of all ids, whatever the bytes.
public struct StreamDecoder: Sendable {
    private let tokenizer: Tokenizer
    private let skipsSpecial: Bool
    private var stream = TextStream()

    /// - Parameter skipsSpecial: leaves out the added tokens that are `isSpecial`.
    public init(_ tokenizer: Tokenizer, skipsSpecial: Bool = false) {
        (self.tokenizer, self.skipsSpecial) = (tokenizer, skipsSpecial)
    }

    /// The text that `id` completes: empty while a character is unfinished. What can never become one is U+FFFD.
    public mutating func push(_ id: Int32) throws(TokenizerError) -> String {
        let bytes = try tokenizer.bytes(of: id)
        if skipsSpecial, tokenizer.addedToken(id)?.isSpecial == true { return "" }
        return stream.push(bytes)
    }

    /// The text of what is still held, which is U+FFFD or nothing. The decoder may be used again.
    public mutating func finish() -> String { stream.finish() }
}

/// Turns bytes into text as they arrive, never half a character at a time. The pieces joined are the text of all bytes,
/// wherever they are cut.
struct TextStream: Sendable {
    /// The start of a character whose rest has not come: at most three bytes.
    private var held: [UInt8] = []

    mutating func push(_ bytes: ArraySlice<UInt8>) -> String {
        if held.isEmpty {
            let rest = Self.unfinishedCount(bytes)
            if rest > 0 { held.append(contentsOf: bytes.suffix(rest)) }
            return String(decoding: bytes.dropLast(rest), as: UTF8.self)
        }
        let all = held + bytes
        held = Array(all.suffix(Self.unfinishedCount(all[...])))
        return String(decoding: all.dropLast(held.count), as: UTF8.self)
    }

    mutating func finish() -> String {
        defer { held.removeAll() }
        return String(decoding: held, as: UTF8.self)
    }

    /// How many bytes at the end begin a character that more bytes could complete.
    private static func unfinishedCount(_ bytes: ArraySlice<UInt8>) -> Int {
        for count in 1...3 where count <= bytes.count {
            let lead = bytes[bytes.endIndex - count]
            if lead & 0xC0 == 0x80 { continue }
            // The least and the greatest second byte, as Unicode's table of well-formed UTF-8 has them.
            let (length, second): (Int, ClosedRange<UInt8>)
            switch lead {
            case 0xC2...0xDF: (length, second) = (2, 0x80...0xBF)
            case 0xE0: (length, second) = (3, 0xA0...0xBF)
            case 0xED: (length, second) = (3, 0x80...0x9F)
            case 0xE1...0xEF: (length, second) = (3, 0x80...0xBF)
            case 0xF0: (length, second) = (4, 0x90...0xBF)
            case 0xF4: (length, second) = (4, 0x80...0x8F)
            case 0xF1...0xF3: (length, second) = (4, 0x80...0xBF)
            default: return 0
            }
            let fits = count == 1 || second.contains(bytes[bytes.endIndex - count + 1])
            return count < length && fits ? count : 0
        }
        return 0
    }
}
