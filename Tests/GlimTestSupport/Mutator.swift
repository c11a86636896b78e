/// Damages good files in the ways of disks, networks and hands: by bytes, and by the parts of a text.
///
/// The same seed and number give the same damage on every machine.
public struct Mutator {
    private var state: UInt64

    public init(seed: UInt64, number: Int) {
        state = seed &* 0xD1B5_4A32_D192_ED03 ^ UInt64(truncatingIfNeeded: number)
        // Neighbouring numbers must not begin alike.
        _ = next()
    }

    /// Steele, Lea and Flood's generator.
    private mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    public mutating func below(_ bound: Int) -> Int { bound <= 0 ? 0 : Int(next() % UInt64(bound)) }

    private mutating func pick<T>(_ choices: [T]) -> T { choices[below(choices.count)] }

    /// One to four changes of a good file.
    public mutating func mutate(_ file: MutableFile, donor: MutableFile) -> [UInt8] {
        var bytes = file.bytes
        // What lies where is known of the whole file only: parts are changed first, and once.
        if below(4) > 0, !file.spans.isEmpty { changePart(of: file, donor, &bytes) }
        for _ in 0..<below(bytes == file.bytes ? 3 : 2) + (bytes == file.bytes ? 1 : 0) {
            changeBytes(&bytes, within: file.text, donor.bytes)
        }
        if file.isPrefixed, below(3) > 0 { file.lengthen(&bytes) }
        return bytes
    }

    // MARK: By parts

    private mutating func changePart(of file: MutableFile, _ donor: MutableFile, _ bytes: inout [UInt8]) {
        let span = pick(file.spans)
        let text = Array(file.bytes[span])
        switch below(9) {
        case 0: bytes.removeSubrange(span)
        case 1: bytes.insert(contentsOf: Array(",".utf8) + text, at: span.upperBound)
        case 2:
            // Swap two parts that do not overlap.
            let other = pick(file.spans)
            guard !span.overlaps(other), !span.isEmpty, !other.isEmpty else { return }
            let (first, second) = span.lowerBound < other.lowerBound ? (span, other) : (other, span)
            bytes.replaceSubrange(second, with: file.bytes[first])
            bytes.replaceSubrange(first, with: file.bytes[second])
        case 3:
            let depth = pick([1, 2, 63, 64, 65, 600, 20_000])
            let (open, close) = pick([("[", "]"), ("{\"a\":", "}"), ("[{\"\":", "}]"), ("[", "")])
            let around = Array(String(repeating: open, count: depth).utf8)
            let after = Array(String(repeating: close, count: depth).utf8)
            bytes.replaceSubrange(span, with: around + text + after)
        case 4 where !donor.spans.isEmpty: bytes.replaceSubrange(span, with: donor.bytes[pick(donor.spans)])
        case 5:
            let times = pick([2, 3, 100])
            bytes.replaceSubrange(span, with: (0..<times).flatMap { _ in text })
        default: bytes.replaceSubrange(span, with: Array(pick(Self.values).utf8))
        }
    }

    private static let values = [
        "0", "1", "-1", "2", "3", "7.5", "-0", "-0.0", "1e400", "-1e400", "1e-400", "1.0", "null", "true", "false",
        "\"x\"", "\"\"", "[]", "{}", "[0]", "[[]]", "nan", "inf", "-inf", "+1", "01", "0x10", "1_000", "1e19",
        "9223372036854775807", "-9223372036854775808", "9223372036854775808", "18446744073709551616",
        "4611686018427387904",
        "4294967296", "4294967295", "2147483648", "2147483647", "65536", "65535", "1024", "4096", "262144", "131072",
        "1099511627776", "1073741824", "\"\\u0000\"", "\"\\ud800\"", "\"\\u001b[31m\\u2028\"", "\"F32\"", "\"BF16\"",
        "\"I64\"", "\"F8_E4M3\"", "\"F4\"", "\"shared\"", "\"full\"", "\"dense\"", "2020-01-01", "'''a'''", "\"a\" = 1",
        "[0,18446744073709551615]", "[9223372036854775807,2]", "[0,0]", "[-1]", "[4294967296,4294967296]",
    ]

    // MARK: By bytes

    private mutating func changeBytes(_ bytes: inout [UInt8], within text: Range<Int>, _ donor: [UInt8]) {
        guard !bytes.isEmpty else { return bytes.append(UInt8(truncatingIfNeeded: next())) }
        // Mostly where there is something to misread.
        let textEnd = min(bytes.count, max(1, text.upperBound))
        let at = below(8) == 0 ? below(bytes.count) : below(textEnd)
        switch below(12) {
        case 0, 1: bytes[at] ^= 1 << UInt8(below(8))
        case 2: bytes[at] = UInt8(truncatingIfNeeded: next())
        case 3: bytes.removeLast(min(bytes.count, 1 + below(below(2) == 0 ? 9 : bytes.count)))
        case 4: bytes.removeSubrange(at..<min(bytes.count, at + 1 + below(40)))
        case 5: bytes.insert(contentsOf: bytes[at..<min(bytes.count, at + 1 + below(64))], at: at)
        case 6: bytes[at] = pick(Array("{}[]\",:0\\=#'\n.-".utf8))
        case 7: bytes.insert(contentsOf: pick(Self.brokenText), at: at)
        case 8: bytes.insert(contentsOf: Array(pick(Self.values).utf8), at: at)
        case 9:
            // The beginning of one file and the end of another.
            guard !donor.isEmpty else { return }
            bytes.replaceSubrange(at..., with: donor[below(donor.count)...])
        case 10:
            // Another number in the place of one.
            let isDigit = { (byte: UInt8) in (48...57).contains(byte) }
            guard let start = bytes[at...].prefix(4096).firstIndex(where: isDigit) else { return }
            let end = bytes[start...].firstIndex { !isDigit($0) } ?? bytes.endIndex
            bytes.replaceSubrange(start..<end, with: Array(pick(Self.values).utf8))
        default:
            let other = below(bytes.count)
            bytes.swapAt(at, other)
        }
    }

    /// Bytes that are no UTF-8, and characters that are rarely thought of.
    private static let brokenText: [[UInt8]] = [
        [0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82], [0x80], [0], [0, 0, 0, 0],
        [0xEF, 0xBB, 0xBF], Array("\u{2028}".utf8), Array("\u{202E}".utf8), Array("\u{85}".utf8), [0x1B], [0x0D, 0x0A],
    ]
}

/// A good file, with the places of its parts.
public struct MutableFile: Sendable {
    public let bytes: [UInt8]
    /// Where the text is: all of it, or the header after eight bytes that tell its length.
    let text: Range<Int>
    let isPrefixed: Bool
    /// Values, keys with their values, and lines.
    let spans: [Range<Int>]

    public enum Kind: Sendable {
        /// JSON, or lines of it.
        case json
        /// `key = value` lines.
        case toml
        /// A length of eight bytes, JSON, and data.
        case safetensors
    }

    public init(_ bytes: [UInt8], _ kind: Kind) {
        self.bytes = bytes
        isPrefixed = kind == .safetensors
        if isPrefixed {
            let length = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
            text = 8..<8 + length
        } else {
            text = 0..<bytes.count
        }
        spans = kind == .toml ? Self.lines(bytes) : Self.values(bytes, text)
    }

    /// Makes the length that the file tells that of the header as it became, or the damage would never be read.
    func lengthen(_ bytes: inout [UInt8]) {
        let change = bytes.count - self.bytes.count
        guard bytes.count >= 8, text.count + change >= 0 else { return }
        for i in 0..<8 { bytes[i] = UInt8(truncatingIfNeeded: (text.count + change) >> (8 * i)) }
    }

    /// Every value, and every key together with its value.
    private static func values(_ bytes: [UInt8], _ text: Range<Int>) -> [Range<Int>] {
        var spans: [Range<Int>] = []
        var (open, keys): ([Int], [Int?]) = ([], [])
        var (i, key): (Int, Int?) = (text.lowerBound, nil)
        func close(_ start: Int, _ end: Int) {
            spans.append(start..<end)
            if let from = key { spans.append(from..<end) }
            key = nil
        }
        while i < text.upperBound {
            let start = i
            switch bytes[i] {
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                open.append(i)
                keys.append(key)
                key = nil
                i += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                i += 1
                guard let from = open.popLast(), let itsKey = keys.popLast() else { continue }
                key = itsKey
                close(from, i)
            case UInt8(ascii: "\""):
                i += 1
                while i < text.upperBound, bytes[i] != UInt8(ascii: "\"") {
                    i += bytes[i] == UInt8(ascii: "\\") ? 2 : 1
                }
                i = min(i + 1, text.upperBound)
                if i < text.upperBound, bytes[i] == UInt8(ascii: ":") { key = start } else { close(start, i) }
            case UInt8(ascii: ","), UInt8(ascii: ":"), 0x20, 0x0A, 0x0D, 0x09: i += 1
            default:
                while i < text.upperBound, !Array(",:{}[]\" \n".utf8).contains(bytes[i]) { i += 1 }
                i = max(i, start + 1)
                close(start, i)
            }
        }
        return spans
    }

    /// Every line, its key, and its value.
    private static func lines(_ bytes: [UInt8]) -> [Range<Int>] {
        var (spans, start): ([Range<Int>], Int) = ([], 0)
        while start < bytes.count {
            let end = bytes[start...].firstIndex(of: 0x0A).map { $0 + 1 } ?? bytes.count
            spans.append(start..<end)
            if let mark = bytes[start..<end].firstIndex(of: UInt8(ascii: "=")), mark + 1 < end - 1 {
                spans += [start..<mark, mark + 1..<end - 1, mark + 1..<end - 1]
            }
            start = end
        }
        return spans
    }
}
