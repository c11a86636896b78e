/// Reads the inside of a JSON string byte by byte: UTF-8 that is well formed, escapes of the right form, surrogates in
/// pairs, no bare control character.
struct StringLexer: Sendable {
    /// Between two characters: where a string starts, and the one place where it may end.
    static let body: UInt8 = 0
    /// Behind the closing quotation mark.
    static let closed: UInt8 = 254
    /// What no string goes on to.
    static let dead: UInt8 = 255

    private let table: [UInt8]

    @inline(__always)
    func next(_ state: UInt8, _ byte: UInt8) -> UInt8 { table[Int(state) << 8 | Int(byte)] }

    /// A string that may be spelled in any way.
    static let anySpelling = StringLexer { table in
        table.addBody(escape: 8)
        table.set(8, "\"\\/bfnrt", body)
        table.set(8, "u", 9)
        // A code unit by its four digits; D8 to DB begin a pair, DC to DF alone are nothing.
        table.set(9, "0123456789abcefABCEF", 10)
        table.set(9, "dD", 11)
        table.set(10, hexDigits, 12)
        table.set(11, "01234567", 12)
        table.set(11, "89abAB", 14)
        table.set(12, hexDigits, 13)
        table.set(13, hexDigits, body)
        table.set(14, hexDigits, 15)
        table.set(15, hexDigits, 16)
        table.set(16, "\\", 17)
        table.set(17, "u", 18)
        table.set(18, "dD", 19)
        table.set(19, "cdefCDEF", 12)
    }

    /// A string in its one shortest spelling, as `JSONWriter` has it: nothing is escaped but what has to be. Two such
    /// texts are the same string exactly where they are the same bytes.
    static let oneSpelling = StringLexer { table in
        table.addBody(escape: 8)
        table.set(8, "\"\\bfnrt", body)
        table.set(8, "u", 9)
        table.set(9, "0", 10)
        table.set(10, "0", 11)
        table.set(11, "0", 12)
        table.set(11, "1", 13)
        table.set(12, "01234567bef", body)  // 8, 9, a, c and d have short escapes
        table.set(13, "0123456789abcdef", body)
    }

    private static let hexDigits = "0123456789abcdefABCDEF"

    private init(_ fill: (inout Table) -> Void) {
        var table = Table()
        fill(&table)
        self.table = table.next
    }

    private struct Table {
        var next = [UInt8](repeating: StringLexer.dead, count: 20 << 8)

        mutating func set(_ state: Int, _ bytes: String, _ target: UInt8) {
            for byte in bytes.utf8 { next[state << 8 | Int(byte)] = target }
        }

        mutating func set(_ state: Int, _ bytes: ClosedRange<Int>, _ target: UInt8) {
            for byte in bytes { next[state << 8 | byte] = target }
        }

        /// Characters as they are, and what leads to an escape. Second bytes as Unicode's table of well-formed UTF-8.
        mutating func addBody(escape: UInt8) {
            let body = StringLexer.body
            set(0, 0x20...0x7F, body)
            set(0, "\"", StringLexer.closed)
            set(0, "\\", escape)
            set(0, 0xC2...0xDF, 1)
            set(0, 0xE0...0xEF, 2)
            set(0, 0xE0...0xE0, 4)
            set(0, 0xED...0xED, 5)
            set(0, 0xF0...0xF0, 6)
            set(0, 0xF1...0xF3, 3)
            set(0, 0xF4...0xF4, 7)
            set(1, 0x80...0xBF, body)
            set(2, 0x80...0xBF, 1)
            set(3, 0x80...0xBF, 2)
            set(4, 0xA0...0xBF, 1)
            set(5, 0x80...0x9F, 1)
            set(6, 0x90...0xBF, 2)
            set(7, 0x80...0x8F, 2)
        }
    }
}
