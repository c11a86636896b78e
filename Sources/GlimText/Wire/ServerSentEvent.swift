/// An event of a stream over HTTP.
///
/// Source: the HTML standard, section 9.2, "Server-sent events".
public struct ServerSentEvent: Sendable, Equatable {
    /// nil where the stream names no event.
    public var name: String?
    public var data: String

    public init(name: String? = nil, data: String) { (self.name, self.data) = (name, data) }

    package init(name: String? = nil, _ json: JSON) { self.init(name: name, data: json.compact) }

    /// As it is sent. Neither part may have carriage returns, nor the name line feeds; JSON has none.
    public var text: String {
        var text = name.map { "event: \($0)\n" } ?? ""
        for line in data.utf8.split(separator: 0x0A, omittingEmptySubsequences: false) {
            text += "data: \(Substring(line))\n"
        }
        return text + "\n"
    }
}

/// Reads a stream of events from bytes that may be cut anywhere, within a character too.
public struct ServerSentEventParser: Sendable {
    private var line: [UInt8] = []
    /// No line has ended yet: a byte order mark may stand before the first.
    private var isFirstLine = true
    /// The last byte was a carriage return, whose line feed belongs to the same line break.
    private var isAfterReturn = false
    private var name: String?
    private var data: String?

    public init() {}

    /// The events that these bytes complete. One that the end of the stream leaves without its empty line is none.
    public mutating func push(_ bytes: some Sequence<UInt8>) -> [ServerSentEvent] {
        var events: [ServerSentEvent] = []
        for byte in bytes {
            switch byte {
            case 0x0A where isAfterReturn: isAfterReturn = false
            case 0x0A, 0x0D:
                isAfterReturn = byte == 0x0D
                if let event = endLine() { events.append(event) }
            default:
                isAfterReturn = false
                line.append(byte)
            }
        }
        return events
    }

    private mutating func endLine() -> ServerSentEvent? {
        defer { line.removeAll(keepingCapacity: true) }
        if isFirstLine, line.starts(with: "\u{FEFF}".utf8) { line.removeFirst(3) }
        isFirstLine = false
        if line.isEmpty {
            defer { (name, data) = (nil, nil) }
            return data.map { ServerSentEvent(name: name, data: $0) }
        }
        let colon = line.firstIndex(of: UInt8(ascii: ":")) ?? line.count
        var value = line[min(colon + 1, line.count)...]
        if value.first == 0x20 { value.removeFirst() }
        let text = String(decoding: value, as: UTF8.self)
        switch String(decoding: line[..<colon], as: UTF8.self) {
        case "event": name = text
        case "data":
            if data == nil { data = text } else { data?.append("\n\(text)") }
        default: break  // a comment, or what an event has no use for
        }
        return nil
    }
}
