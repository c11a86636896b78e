/// Why a conversation cannot be read. Each case says where, what was found, and what was expected.
public enum ProtocolError: Error, Equatable, CustomStringConvertible {
    /// The text is not JSON.
    case notJSON(why: String)
    /// A value is not of the form it should have; `place` is such as `messages[2].tool_calls[0]`.
    case malformed(place: String, found: String, expected: String)

    public var description: String {
        switch self {
        case .notJSON(let why): "not JSON: \(why)".onOneLine
        case .malformed(let place, let found, let expected): "\(place) is \(found); expected \(expected)".onOneLine
        }
    }

    package static func malformed(_ place: String, _ found: JSON?, expected: String) -> ProtocolError {
        .malformed(place: place, found: found.map { short($0.compact) } ?? "missing", expected: expected)
    }

    private static func short(_ text: String) -> String {
        let shown = text.unicodeScalars.prefix(80)
        return shown.count == text.unicodeScalars.count ? text : String(shown) + "…"
    }
}
