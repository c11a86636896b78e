/// Why a conversation cannot be read. Each case says where, what was found, and what was expected.
public enum ProtocolError: Error, Equatable, CustomStringConvertible {
    /// The text is not JSON.
    case notJSON(why: String)
    /// A value is not of the form it should have; `place` is such as `messages[2].tool_calls[0]`.
    case malformed(place: String, found: String, expected: String)
    /// A value is of a known form that cannot be used, or cannot be said where it is to be written.
    case unsupported(place: String, found: String? = nil, why: String)

    public var description: String {
        switch self {
        case .notJSON(let why): "not JSON: \(why)".onOneLine
        case .malformed(let place, let found, let expected): "\(place) is \(found); expected \(expected)".onOneLine
        case .unsupported(let place, let found, let why):
            "\(place)\(found.map { ", which is \($0)," } ?? "") cannot be used: \(why)".onOneLine
        }
    }

    /// Where it is wrong, nil if that is no part of a value.
    public var place: String? {
        switch self {
        case .notJSON: nil
        case .malformed(let place, _, _), .unsupported(let place, _, _): place
        }
    }

    package static func malformed(_ place: String, _ found: JSON?, expected: String) -> ProtocolError {
        .malformed(place: place, found: found.map { short($0.compact) } ?? "missing", expected: expected)
    }

    static func short(_ text: String) -> String {
        let shown = text.unicodeScalars.prefix(80)
        return shown.count == text.unicodeScalars.count ? text : String(shown) + "…"
    }
}
