/// Looks through the text of a recipe before the TOML parser does.
///
/// A recipe is flat: keys with values, lists of strings or numbers at most. Everything deeper is found here, by its key
/// and line: no recipe has it, and the parser (toml++ 3) ends the process on some of it, as `[{"":x}]` or a key of a
/// hundred thousand parts, which no input may.
struct FlatTOML {
    struct Entry {
        let key: String
        let line: Int
        /// What its value is where no recipe has such values; the scan ends with it.
        let deeper: String?
    }

    struct Problem: Error {
        let line: Int
        let why: String
    }

    private let bytes: [UInt8]
    private var position = 0
    private var line = 1

    private static let table = "a table"

    /// The keys in their order; no more after one that is deeper.
    static func entries(of text: String) throws(Problem) -> [Entry] {
        var scan = FlatTOML(bytes: Array(text.utf8))
        if scan.bytes.starts(with: [0xEF, 0xBB, 0xBF]) { scan.position = 3 }
        var entries: [Entry] = []
        while let entry = try scan.next() {
            entries.append(entry)
            if entry.deeper != nil { break }
        }
        return entries
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private mutating func next() throws(Problem) -> Entry? {
        skipBlank()
        guard peek != nil else { return nil }
        let start = line
        if peek == "[" {
            while peek == "[" || peek == " " || peek == "\t" { position += 1 }
            return Entry(key: try key(), line: start, deeper: Self.table)
        }
        let key = try key()
        skipSpace()
        if peek == "." { return Entry(key: key, line: start, deeper: Self.table) }
        guard take("=") else { throw Problem(line: line, why: "expected = and a value") }
        let deeper = try skipValue()
        return Entry(key: key, line: start, deeper: deeper)
    }

    /// A bare or quoted key, the quoted as it is written.
    private mutating func key() throws(Problem) -> String {
        let isQuoted = peek == "\"" || peek == "'"
        let start = position
        if isQuoted {
            try skipString()
        } else {
            while let mark = peek, mark == "_" || mark == "-" || Self.isLetterOrDigit(mark) { position += 1 }
        }
        guard position > start else { throw Problem(line: line, why: "expected a key") }
        return String(decoding: isQuoted ? bytes[start + 1..<position - 1] : bytes[start..<position], as: UTF8.self)
    }

    /// Goes behind a value and its line; says what it is if it is deeper than a list.
    private mutating func skipValue() throws(Problem) -> String? {
        skipSpace()
        if peek == "{" { return Self.table }
        if take("[") {
            skipBlank()
            while !take("]") {
                if peek == "[" || peek == "{" { return "an array with other things than strings and numbers" }
                try skipScalar()
                skipBlank()
                if !take(","), peek != "]" { throw Problem(line: line, why: "expected a comma or the end of the list") }
                skipBlank()
            }
        } else {
            try skipScalar()
        }
        skipSpace()
        if take("\r"), peek != "\n" { throw Problem(line: line, why: "a carriage return alone") }
        guard peek == nil || peek == "\n" || peek == "#" else {
            throw Problem(line: line, why: "expected the end of the line")
        }
        return nil
    }

    /// A string, or a word: a number, a boolean, a date.
    private mutating func skipScalar() throws(Problem) {
        if peek == "\"" || peek == "'" { return try skipString() }
        let start = position
        while let mark = peek, Self.isLetterOrDigit(mark) || "+-_.:".unicodeScalars.contains(mark) { position += 1 }
        guard position > start else { throw Problem(line: line, why: "expected a value") }
    }

    /// A string of any of the four kinds.
    private mutating func skipString() throws(Problem) {
        let (mark, start) = (bytes[position], line)
        let isLong = bytes[position...].prefix(3).elementsEqual([mark, mark, mark])
        position += isLong ? 3 : 1
        while position < bytes.count, isLong || bytes[position] != 0x0A {
            let byte = bytes[position]
            if byte == 0x0A { line += 1 }
            if byte == UInt8(ascii: "\\"), mark == UInt8(ascii: "\"") {
                if position + 1 < bytes.count, bytes[position + 1] == 0x0A { line += 1 }
                position += 2
            } else if byte == mark, !isLong || bytes[position...].prefix(3).elementsEqual([mark, mark, mark]) {
                position += isLong ? 3 : 1
                // Up to two more marks belong to a long string's text.
                for _ in 0..<2 where isLong && position < bytes.count && bytes[position] == mark { position += 1 }
                return
            } else {
                position += 1
            }
        }
        throw Problem(line: start, why: "a string does not end")
    }

    /// Space, comments and ends of lines.
    private mutating func skipBlank() {
        while let mark = peek {
            switch mark {
            case "\n":
                line += 1
                position += 1
            case " ", "\t", "\r": position += 1
            case "#": while let mark = peek, mark != "\n" { position += 1 }
            default: return
            }
        }
    }

    private mutating func skipSpace() { while peek == " " || peek == "\t" { position += 1 } }

    private var peek: Unicode.Scalar? { position < bytes.count ? Unicode.Scalar(bytes[position]) : nil }

    private mutating func take(_ mark: Unicode.Scalar) -> Bool {
        guard peek == mark else { return false }
        position += 1
        return true
    }

    private static func isLetterOrDigit(_ mark: Unicode.Scalar) -> Bool {
        ("a"..."z").contains(mark) || ("A"..."Z").contains(mark) || ("0"..."9").contains(mark)
    }
}
