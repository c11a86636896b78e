/// A JSON value that keeps the order of keys and the spelling of numbers, so that what was read can be written back.
public indirect enum JSON: Sendable, Equatable {
    case null
    case bool(Bool)
    /// As it is spelled.
    case number(String)
    case string(String)
    case array([JSON])
    case object([Member])

    public struct Member: Sendable, Equatable {
        public let key: String
        public let value: JSON

        public init(_ key: String, _ value: JSON) { (self.key, self.value) = (key, value) }
    }

    /// The value of a JSON text. Of two members with one key the last counts, as in Python, in the place of the first.
    ///
    /// - Parameter bytes: UTF-8, the whole of it one value.
    public init(parsing bytes: some Sequence<UInt8>) throws(JSONError) {
        let bytes = Array(bytes)
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw JSONError(offset: 0, message: "it is not UTF-8")
        }
        var reader = JSONReader(bytes)
        self = try reader.value()
        try reader.end()
    }

    /// The value of `key` in an object; nil where it is absent, null, or this is no object.
    public subscript(key: String) -> JSON? {
        guard let value = member(key), value != .null else { return nil }
        return value
    }

    /// The same, where null counts.
    public func member(_ key: String) -> JSON? { members?.first { $0.key == key }?.value }

    public var string: String? { if case .string(let value) = self { value } else { nil } }
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    public var array: [JSON]? { if case .array(let value) = self { value } else { nil } }
    public var members: [Member]? { if case .object(let value) = self { value } else { nil } }

    /// The value on one line, without spaces.
    public var compact: String { text(.compact) }

    /// The value on one line as Python's `json.dumps(value, ensure_ascii=False)` writes what `json.loads` read: `", "`
    /// and `": "` between the parts, and numbers with a point or an exponent as Python's shortest.
    public var pythonText: String { text(.python) }

    private func text(_ style: JSONWriter.Style) -> String {
        var writer = JSONWriter(style)
        writer.write(self)
        return String(decoding: writer.bytes, as: UTF8.self)
    }
}

/// The members of an object in the making: of two with one key the last counts, as in Python, in the place of the first.
struct JSONMembers {
    private(set) var all: [JSON.Member] = []
    /// By bytes: two spellings of an é are two keys.
    private var places: [[UInt8]: Int] = [:]

    mutating func set(_ key: String, _ value: JSON) {
        if let place = places[Array(key.utf8)] {
            all[place] = JSON.Member(key, value)
        } else {
            places[Array(key.utf8)] = all.count
            all.append(JSON.Member(key, value))
        }
    }
}

/// What is wrong with a JSON text, and at which byte.
public struct JSONError: Error, Equatable, CustomStringConvertible {
    public let offset: Int
    public let message: String

    public var description: String { "\(message), at byte \(offset)" }
}

/// Reads JSON from bytes in one pass, without building what the caller does not ask for: a vocabulary of megabytes goes
/// straight into its tables.
struct JSONReader {
    private let bytes: [UInt8]
    private(set) var position = 0
    private var depth = 0

    /// Deeper nesting than any configuration needs, and shallow enough for every stack.
    private static let maximumDepth = 64

    /// - Parameter bytes: must be UTF-8, which the caller has checked.
    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// A reader of the same text that stands elsewhere.
    func at(_ position: Int) -> JSONReader {
        var reader = JSONReader(bytes)
        reader.position = position
        return reader
    }

    func error(_ message: String) -> JSONError { JSONError(offset: position, message: message) }

    /// The first byte of the next value; zero at the end.
    mutating func peek() -> UInt8 {
        while byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
        return byte
    }

    mutating func end() throws(JSONError) {
        _ = peek()
        if position < bytes.count { throw error("something follows the end of the value") }
    }

    mutating func object(_ body: (inout JSONReader, String) throws(JSONError) -> Void) throws(JSONError) {
        try members { reader throws(JSONError) in
            let key = try reader.string()
            try reader.expect(":")
            try body(&reader, key)
        }
    }

    /// As `object`, for keys that are bytes rather than text.
    mutating func objectOfBytes(_ body: (inout JSONReader, inout [UInt8]) throws(JSONError) -> Void) throws(JSONError) {
        var key: [UInt8] = []
        try members { reader throws(JSONError) in
            try reader.string(into: &key)
            try reader.expect(":")
            try body(&reader, &key)
        }
    }

    mutating func array(_ body: (inout JSONReader) throws(JSONError) -> Void) throws(JSONError) {
        try list("[", "]", body)
    }

    private mutating func members(_ body: (inout JSONReader) throws(JSONError) -> Void) throws(JSONError) {
        try list("{", "}", body)
    }

    private mutating func list(
        _ open: Unicode.Scalar, _ close: Unicode.Scalar, _ body: (inout JSONReader) throws(JSONError) -> Void
    ) throws(JSONError) {
        try expect(open)
        depth += 1
        if depth > Self.maximumDepth { throw error("nested more than \(Self.maximumDepth) deep") }
        if peek() != UInt8(ascii: close) {
            try body(&self)
            while peek() == UInt8(ascii: ",") {
                position += 1
                try body(&self)
            }
        }
        depth -= 1
        try expect(close)
    }

    mutating func integer() throws(JSONError) -> Int {
        let text = try number()
        guard let value = Int(text) else { throw error("expected a whole number, found \(text)") }
        return value
    }

    mutating func string() throws(JSONError) -> String {
        var text: [UInt8] = []
        try string(into: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// Replaces `text` by the UTF-8 of the string that comes next.
    mutating func string(into text: inout [UInt8]) throws(JSONError) {
        text.removeAll(keepingCapacity: true)
        try expect("\"")
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return
            case UInt8(ascii: "\\"): try escape(into: &text)
            case 0x00..<0x20: throw error("a control character within a string")
            default: text.append(byte)
            }
        }
        throw error("the text ends within a string")
    }

    private mutating func escape(into text: inout [UInt8]) throws(JSONError) {
        guard position < bytes.count else { throw error("the text ends within a string") }
        let byte = bytes[position]
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            var value = try codeUnit()
            if (0xD800..<0xDC00).contains(value), position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
                bytes[position + 1] == UInt8(ascii: "u")
            {
                position += 2
                let low = try codeUnit()
                guard (0xDC00..<0xE000).contains(low) else { throw error("half of a surrogate pair") }
                value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(value) else { throw error("half of a surrogate pair") }
            text.append(contentsOf: UTF8.encode(scalar)!)  // never nil: UTF-8 encodes every scalar
        default: throw error("an unknown escape in a string")
        }
    }

    private mutating func codeUnit() throws(JSONError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard position < bytes.count, let digit = Character(Unicode.Scalar(bytes[position])).hexDigitValue else {
                throw error("expected four hexadecimal digits")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }

    mutating func value() throws(JSONError) -> JSON {
        switch peek() {
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "{"):
            var members = JSONMembers()
            try object { reader, key throws(JSONError) in members.set(key, try reader.value()) }
            return .object(members.all)
        case UInt8(ascii: "["):
            var values: [JSON] = []
            try array { reader throws(JSONError) in values.append(try reader.value()) }
            return .array(values)
        case UInt8(ascii: "t"): return .bool(try word("true", true))
        case UInt8(ascii: "f"): return .bool(try word("false", false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return .number(try number())
        }
    }

    /// Steps over a value, checking its form.
    mutating func skip() throws(JSONError) {
        switch peek() {
        case UInt8(ascii: "{"):
            var key: [UInt8] = []
            try members { reader throws(JSONError) in
                try reader.string(into: &key)
                try reader.expect(":")
                try reader.skip()
            }
        case UInt8(ascii: "["): try array { reader throws(JSONError) in try reader.skip() }
        case UInt8(ascii: "\""):
            var text: [UInt8] = []
            try string(into: &text)
        default: _ = try value()
        }
    }

    private mutating func expect(_ scalar: Unicode.Scalar) throws(JSONError) {
        guard peek() == UInt8(ascii: scalar) else {
            guard position < bytes.count else { throw error("the text ends where \(scalar) is expected") }
            throw error("expected \(scalar)")
        }
        position += 1
    }

    private mutating func word<T>(_ word: StaticString, _ value: T) throws(JSONError) -> T {
        for byte in "\(word)".utf8 {
            guard position < bytes.count, bytes[position] == byte else { throw error("expected \(word)") }
            position += 1
        }
        return value
    }

    /// The spelling of a number, checked against JSON's grammar.
    private mutating func number() throws(JSONError) -> String {
        _ = peek()
        let start = position
        if byte == UInt8(ascii: "-") { position += 1 }
        if byte == UInt8(ascii: "0") { position += 1 } else { try digits() }
        if byte == UInt8(ascii: ".") {
            position += 1
            try digits()
        }
        if byte | 0x20 == UInt8(ascii: "e") {
            position += 1
            if byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    private var byte: UInt8 { position < bytes.count ? bytes[position] : 0 }

    private mutating func digits() throws(JSONError) {
        guard (0x30...0x39).contains(byte) else {
            throw error(position < bytes.count ? "expected a value" : "the text ends too early")
        }
        while (0x30...0x39).contains(byte) { position += 1 }
    }
}

/// Writes JSON, everything but controls unescaped.
struct JSONWriter {
    enum Style {
        /// As Hugging Face's files: two spaces a level.
        case indented
        /// On one line without spaces.
        case compact
        /// On one line as Python writes it, numbers too.
        case python
    }

    private(set) var bytes: [UInt8] = []
    private let style: Style
    private var depth = 0

    init(_ style: Style = .indented) { self.style = style }

    mutating func write(_ value: JSON) {
        switch value {
        case .null: raw("null")
        case .bool(let value): raw(value ? "true" : "false")
        case .number(let spelling): raw(style == .python ? PythonText.number(spelling) : spelling)
        case .string(let text): string(text.utf8)
        case .array(let values): array(values) { writer, value in writer.write(value) }
        case .object(let members):
            object(members) { writer, member in
                writer.key(member.key.utf8)
                writer.write(member.value)
            }
        }
    }

    mutating func array<C: Collection>(_ items: C, _ body: (inout JSONWriter, C.Element) -> Void) {
        list("[", "]", items, body)
    }

    /// - Parameter body: writes a key, then its value.
    mutating func object<C: Collection>(_ items: C, _ body: (inout JSONWriter, C.Element) -> Void) {
        list("{", "}", items, body)
    }

    mutating func key(_ text: some Sequence<UInt8>) {
        string(text)
        raw(style == .compact ? ":" : ": ")
    }

    mutating func string(_ text: some Sequence<UInt8>) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text {
            switch byte {
            case UInt8(ascii: "\""): raw("\\\"")
            case UInt8(ascii: "\\"): raw("\\\\")
            case 0x08: raw("\\b")
            case 0x09: raw("\\t")
            case 0x0A: raw("\\n")
            case 0x0C: raw("\\f")
            case 0x0D: raw("\\r")
            case 0x00..<0x20: raw("\\u00" + (byte < 0x10 ? "0" : "") + String(byte, radix: 16))
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    mutating func raw(_ text: String) { bytes.append(contentsOf: text.utf8) }

    private mutating func list<C: Collection>(
        _ open: String, _ close: String, _ items: C, _ body: (inout JSONWriter, C.Element) -> Void
    ) {
        raw(open)
        depth += 1
        var isFirst = true
        for item in items {
            if !isFirst { raw(style == .python ? ", " : ",") }
            isFirst = false
            newline()
            body(&self, item)
        }
        depth -= 1
        if !isFirst { newline() }
        raw(close)
    }

    private mutating func newline() {
        guard style == .indented else { return }
        bytes.append(0x0A)
        bytes.append(contentsOf: repeatElement(0x20, count: depth * 2))
    }
}
