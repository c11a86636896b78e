/// GPT-2's way of writing any byte as one printable character: the printable ones stand for themselves, the other 68
/// become U+0100 and upward in ascending order (a space is `Ġ`, a line feed `Ċ`).
enum ByteAlphabet {
    /// The code point of each byte.
    static let codePoints: [UInt16] = {
        var next: UInt16 = 0x100
        return (UInt16(0)...255).map { byte in
            if (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte) { return byte }
            defer { next += 1 }
            return next
        }
    }()

    /// All bytes in the order of their characters: the ids 0 to 255 of a trained vocabulary.
    static let order: [UInt8] = (UInt8(0)...255).sorted { codePoints[Int($0)] < codePoints[Int($1)] }

    /// The byte of each code point below 0x144, or -1.
    private static let bytes: [Int16] = {
        var bytes = [Int16](repeating: -1, count: 0x144)
        for (byte, value) in codePoints.enumerated() { bytes[Int(value)] = Int16(byte) }
        return bytes
    }()

    /// Turns a token as `tokenizer.json` writes it into the bytes it stands for, in place. False, and the token left
    /// alone, where a character is none of the alphabet's.
    static func decode(_ token: inout [UInt8]) -> Bool {
        let bytes = Self.bytes
        var decoded = 0
        // The first pass only looks, so that a failure leaves the token whole.
        for writes in [false, true] {
            var i = 0
            decoded = 0
            while i < token.count {
                var value = Int(token[i])
                if value >= 0x80 {
                    guard value & 0xE0 == 0xC0, i + 1 < token.count else { return false }
                    i += 1
                    value = (value & 0x1F) << 6 | Int(token[i] & 0x3F)
                }
                guard value < bytes.count, bytes[value] >= 0 else { return false }
                if writes { token[decoded] = UInt8(bytes[value]) }
                i += 1
                decoded += 1
            }
        }
        token.removeSubrange(decoded...)
        return true
    }

    /// The UTF-8 of the characters that stand for `bytes`.
    static func encode(_ bytes: some Sequence<UInt8>, into out: inout [UInt8]) {
        for byte in bytes {
            let value = codePoints[Int(byte)]
            if value < 0x80 {
                out.append(UInt8(value))
            } else {
                out.append(UInt8(0xC0 | value >> 6))
                out.append(UInt8(0x80 | value & 0x3F))
            }
        }
    }
}
