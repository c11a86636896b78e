/// What a pre-tokenizer wants to know of a character.
struct UnicodeClass: OptionSet, Sendable {
    let rawValue: UInt8

    static let letter = UnicodeClass(rawValue: 1)
    static let number = UnicodeClass(rawValue: 2)
    static let whiteSpace = UnicodeClass(rawValue: 4)
    /// Carriage return and line feed, which are white space too.
    static let newline = UnicodeClass(rawValue: 8)
    /// Symbols, marks, controls, unassigned code points, and bytes that are not UTF-8.
    static let other: UnicodeClass = []

    /// The class of every code point; a surrogate is `other`.
    static let table: [UnicodeClass] = {
        var table = [UnicodeClass](repeating: .other, count: 0x110000)
        func mark(_ ranges: [UInt32], as kind: UnicodeClass) {
            var next = 0
            for i in stride(from: 0, to: ranges.count, by: 2) {
                let start = next + Int(ranges[i])
                next = start + Int(ranges[i + 1])
                for value in start..<next { table[value] = kind }
            }
        }
        mark(UnicodeRanges.letters, as: .letter)
        mark(UnicodeRanges.numbers, as: .number)
        mark(UnicodeRanges.whiteSpace, as: .whiteSpace)
        table[0x0A] = [.whiteSpace, .newline]
        table[0x0D] = [.whiteSpace, .newline]
        return table
    }()
}

/// The length in bytes of the well-formed UTF-8 character at `i`, or nil where there is none.
///
/// Well-formed as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
@inline(__always)
func utf8Length(_ text: UnsafeBufferPointer<UInt8>, at i: Int) -> Int? {
    func continues(_ k: Int, _ range: ClosedRange<UInt8> = 0x80...0xBF) -> Bool {
        i + k < text.count && range.contains(text[i + k])
    }
    switch text[i] {
    case 0x00...0x7F: return 1
    case 0xC2...0xDF: return continues(1) ? 2 : nil
    case 0xE0: return continues(1, 0xA0...0xBF) && continues(2) ? 3 : nil
    case 0xED: return continues(1, 0x80...0x9F) && continues(2) ? 3 : nil
    case 0xE1...0xEF: return continues(1) && continues(2) ? 3 : nil
    case 0xF0: return continues(1, 0x90...0xBF) && continues(2) && continues(3) ? 4 : nil
    case 0xF4: return continues(1, 0x80...0x8F) && continues(2) && continues(3) ? 4 : nil
    case 0xF1...0xF3: return continues(1) && continues(2) && continues(3) ? 4 : nil
    default: return nil
    }
}

/// The code point of the character of `length` bytes at `i`, as `utf8Length` found it.
@inline(__always)
func codePoint(_ text: UnsafeBufferPointer<UInt8>, at i: Int, length: Int) -> Int {
    var value = Int(text[i])
    if length == 1 { return value }
    value &= 0xFF >> (length + 1)
    for k in 1..<length { value = value << 6 | Int(text[i + k] & 0x3F) }
    return value
}
