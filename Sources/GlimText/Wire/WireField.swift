/// A value within a request or a response and the path to it, so that what is wrong with it is said with its place.
///
/// Null counts as absent: both APIs allow it for what may be left out.
package struct WireField {
    /// Such as `messages[2].content`; empty for the whole.
    package let path: String
    /// nil where nothing stands.
    package let json: JSON?

    package init(_ json: JSON?, path: String = "") { (self.json, self.path) = (json, path) }

    package subscript(key: String) -> WireField { WireField(json?.member(key), path: path(of: key)) }

    private func path(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    /// The members of an object, none of anything else: to ask for each by its key would take time by the square.
    package var members: [(key: String, field: WireField)] {
        (json?.members ?? []).map { ($0.key, WireField($0.value, path: path(of: $0.key))) }
    }

    /// The path, also of the whole.
    package var place: String { path.isEmpty ? "the body" : path }

    package var isAbsent: Bool {
        switch json {
        case nil, .null: true
        default: false
        }
    }

    package func isNot(_ expected: String) -> ProtocolError { .malformed(place, json, expected: expected) }

    package func cannotBeUsed(_ why: String) -> ProtocolError {
        .unsupported(place: place, found: json?.string.map { ProtocolError.short(JSON.string($0).compact) }, why: why)
    }

    // MARK: Values that must stand there

    package func string(_ expected: String = "a text") throws(ProtocolError) -> String {
        guard let text = json?.string else { throw isNot(expected) }
        return text
    }

    /// A text with something in it.
    package func name(_ expected: String) throws(ProtocolError) -> String {
        let text = try string(expected)
        if text.isEmpty { throw isNot(expected) }
        return text
    }

    package func elements(_ expected: String) throws(ProtocolError) -> [WireField] {
        guard let values = json?.array else { throw isNot(expected) }
        return values.enumerated().map { WireField($1, path: "\(path)[\($0)]") }
    }

    package func mustBeObject(_ expected: String) throws(ProtocolError) {
        if json?.members == nil { throw isNot(expected) }
    }

    // MARK: Values that may be absent

    package func stringIfPresent(_ expected: String = "a text") throws(ProtocolError) -> String? {
        isAbsent ? nil : try string(expected)
    }

    package func elementsIfPresent(_ expected: String) throws(ProtocolError) -> [WireField] {
        isAbsent ? [] : try elements(expected)
    }

    package func mustBeObjectIfPresent(_ expected: String) throws(ProtocolError) {
        if !isAbsent { try mustBeObject(expected) }
    }

    package func flag() throws(ProtocolError) -> Bool? {
        if isAbsent { return nil }
        guard let flag = json?.bool else { throw isNot("true or false") }
        return flag
    }

    /// A whole number, be it spelled `7`, `7.0` or `7e0`.
    package func integer(_ range: ClosedRange<Int> = .min ... .max) throws(ProtocolError) -> Int? {
        if isAbsent { return nil }
        guard case .number(let spelling)? = json,
            let value = Int(spelling) ?? Double(spelling).flatMap({ Int(exactly: $0) }), range.contains(value)
        else {
            let bounds =
                range.lowerBound == .min ? "" : range.upperBound == .max ? " of at least \(range.lowerBound)" : nil
            throw isNot("a whole number" + (bounds ?? " from \(range.lowerBound) to \(range.upperBound)"))
        }
        return value
    }

    package func number(_ range: ClosedRange<Double>) throws(ProtocolError) -> Double? {
        if isAbsent { return nil }
        guard case .number(let spelling)? = json, let value = Double(spelling), range.contains(value) else {
            throw isNot("a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    // MARK: What cannot be used

    /// - Parameter reasons: by the keys of members that must be absent.
    package func refuse(_ reasons: KeyValuePairs<String, String>) throws(ProtocolError) {
        for (key, why) in reasons where !self[key].isAbsent { throw self[key].cannotBeUsed(why) }
    }
}

extension JSON {
    /// An object of the members that have a value, in this order.
    package static func object(of members: KeyValuePairs<String, JSON?>) -> JSON {
        .object(members.compactMap { key, value in value.map { Member(key, $0) } })
    }

    package static func integer(_ value: Int) -> JSON { .number(String(value)) }

    /// - Parameter value: must be finite.
    package static func decimal(_ value: Double) -> JSON { .number(value.description) }
}
