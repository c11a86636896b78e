import Foundation
import GlimText

/// Says whether a value fits a schema by reading both, keyword by keyword: the judge of what a constraint means.
///
/// As there, `oneOf` is `anyOf`.
struct SchemaValidator {
    let root: JSON

    init(_ root: JSON) { self.root = root }

    func fits(_ value: JSON) -> Bool { fits(value, root) }

    func fits(_ value: JSON, _ schema: JSON) -> Bool {
        if let flag = schema.bool { return flag }
        if let reference = schema["$ref"]?.string, !fits(value, target(reference)) { return false }
        if let schemas = schema["allOf"]?.array, !schemas.allSatisfy({ fits(value, $0) }) { return false }
        for keyword in ["anyOf", "oneOf"] {
            if let schemas = schema[keyword]?.array, !schemas.contains(where: { fits(value, $0) }) { return false }
        }
        if let values = schema["enum"]?.array, !values.contains(where: { Self.isEqual($0, value) }) { return false }
        if let constant = schema.member("const"), !Self.isEqual(constant, value) { return false }
        var types = schema["type"]?.array?.compactMap(\.string) ?? schema["type"]?.string.map { [$0] }
        if schema["nullable"]?.bool == true { types?.append("null") }
        if let types, !types.contains(where: { Self.isOf($0, value) }) { return false }
        switch value {
        case .null, .bool: return true
        case .number(let spelling): return fits(number: spelling, schema)
        case .string(let text): return fits(string: text, schema)
        case .array(let items): return fits(array: items, schema)
        case .object(let members): return fits(object: members, schema)
        }
    }

    func target(_ reference: String) -> JSON {
        var json = root
        for part in reference.removingPercentEncoding!.split(separator: "/").dropFirst() {
            let key = part.replacing("~1", with: "/").replacing("~0", with: "~")
            json = json.array.map { $0[Int(key)!] } ?? json.member(String(key))!
        }
        return json
    }

    private static func isOf(_ type: String, _ value: JSON) -> Bool {
        switch (type, value) {
        case ("null", .null), ("boolean", .bool), ("number", .number), ("string", .string), ("array", .array),
            ("object", .object):
            true
        case ("integer", .number(let spelling)): ExactNumber(spelling)?.isInteger ?? false
        default: false
        }
    }

    private static func isEqual(_ a: JSON, _ b: JSON) -> Bool {
        switch (a, b) {
        case (.number(let x), .number(let y)): return x == y || ExactNumber(x).map { $0 == ExactNumber(y) } ?? false
        case (.string(let x), .string(let y)): return x.utf8.elementsEqual(y.utf8)
        case (.array(let x), .array(let y)): return x.count == y.count && zip(x, y).allSatisfy { isEqual($0, $1) }
        case (.object(let x), .object(let y)):
            return x.count == y.count
                && x.allSatisfy { one in
                    y.contains { one.key.utf8.elementsEqual($0.key.utf8) && isEqual(one.value, $0.value) }
                }
        default: return a == b
        }
    }

    private func fits(number: String, _ schema: JSON) -> Bool {
        func bound(_ keyword: String) -> ExactNumber? {
            guard case .number(let spelling)? = schema[keyword] else { return nil }
            return ExactNumber(spelling)
        }
        var (least, most) = (bound("minimum"), bound("maximum"))
        let limits: [String: (String, String)] = [
            "int8": ("-128", "127"), "uint16": ("0", "65535"), "int32": ("-2147483648", "2147483647"),
            "uint64": ("0", "18446744073709551615"),
        ]
        if let (low, high) = schema["format"]?.string.flatMap({ limits[$0] }) {
            least = [least, ExactNumber(low)].compactMap { $0 }.max()
            most = [most, ExactNumber(high)].compactMap { $0 }.min()
        }
        let (above, below) = (bound("exclusiveMinimum"), bound("exclusiveMaximum"))
        if least == nil, most == nil, above == nil, below == nil { return true }
        guard let value = ExactNumber(number) else { return false }
        if let least, value < least { return false }
        if let most, most < value { return false }
        if let above, !(above < value) { return false }
        if let below, !(value < below) { return false }
        return true
    }

    private func fits(string: String, _ schema: JSON) -> Bool {
        let count = string.unicodeScalars.count
        if let least = integer(schema["minLength"]), count < least { return false }
        if let most = integer(schema["maxLength"]), count > most { return false }
        if let pattern = schema["pattern"]?.string, !Self.matches(string, pattern) { return false }
        switch schema["format"]?.string {
        case "date": return Self.isDate(string)
        case "time": return Self.isTime(string)
        case "date-time":
            let parts = string.split(separator: /[Tt]/, maxSplits: 1, omittingEmptySubsequences: false)
            return parts.count == 2 && Self.isDate(String(parts[0])) && Self.isTime(String(parts[1]))
        case "uuid": return string.utf8.count == 36 && UUID(uuidString: string) != nil
        case "ipv4":
            let parts = string.split(separator: ".", omittingEmptySubsequences: false)
            return parts.count == 4 && parts.allSatisfy { part in UInt8(part).map { "\($0)" == part } ?? false }
        default: return true
        }
    }

    /// - Parameter pattern: with `$` as an anchor only. Foundation's `$` also stands before a last line feed.
    static func matches(_ string: String, _ pattern: String) -> Bool {
        guard let expression = try? NSRegularExpression(pattern: pattern.replacing("$", with: "\\z")) else {
            return false
        }
        return expression.firstMatch(in: string, range: NSRange(string.startIndex..., in: string)) != nil
    }

    /// As `matches`; nil where Foundation gives up, as it does on repetitions of what may be empty.
    static func matchesIfKnown(_ string: String, _ pattern: String) -> Bool? {
        if matches(string, pattern) { return true }
        guard let expression = try? NSRegularExpression(pattern: pattern.replacing("$", with: "\\z")) else {
            return nil
        }
        var isKnown = true
        let range = NSRange(string.startIndex..., in: string)
        expression.enumerateMatches(in: string, options: .reportCompletion, range: range) { _, flags, _ in
            if flags.contains(.internalError) { isKnown = false }
        }
        return isKnown ? false : nil
    }

    private static func isDate(_ text: String) -> Bool {
        guard let match = text.wholeMatch(of: /([0-9]{4})-([0-9]{2})-([0-9]{2})/), let year = Int(match.1),
            let month = Int(match.2), let day = Int(match.3), (1...12).contains(month)
        else { return false }
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let days = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        return (1...days[month - 1]).contains(day)
    }

    private static func isTime(_ text: String) -> Bool {
        let form = /([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?([Zz]|[+-]([0-9]{2}):([0-9]{2}))/
        guard let match = text.wholeMatch(of: form) else { return false }
        let limits = [(match.1, 24), (match.2, 60), (match.3, 60), (match.6 ?? "0", 24), (match.7 ?? "0", 60)]
        return limits.allSatisfy { text, limit in Int(text).map { $0 < limit } ?? false }
    }

    private func fits(array: [JSON], _ schema: JSON) -> Bool {
        if let least = integer(schema["minItems"]), array.count < least { return false }
        if let most = integer(schema["maxItems"]), array.count > most { return false }
        let isOld = schema["items"]?.array != nil
        let prefix = (isOld ? schema["items"] : schema["prefixItems"])?.array ?? []
        let rest = schema[isOld ? "additionalItems" : "items"] ?? .bool(true)
        return array.enumerated().allSatisfy { fits($1, $0 < prefix.count ? prefix[$0] : rest) }
    }

    private func fits(object: [JSON.Member], _ schema: JSON) -> Bool {
        if let least = integer(schema["minProperties"]), object.count < least { return false }
        if let most = integer(schema["maxProperties"]), object.count > most { return false }
        let properties = schema["properties"]?.members ?? []
        for name in schema["required"]?.array?.compactMap(\.string) ?? [] {
            if !object.contains(where: { $0.key.utf8.elementsEqual(name.utf8) }) { return false }
        }
        return object.allSatisfy { member in
            let property = properties.first { $0.key.utf8.elementsEqual(member.key.utf8) }
            return fits(member.value, property?.value ?? schema["additionalProperties"] ?? .bool(true))
        }
    }

    private func integer(_ json: JSON?) -> Int? {
        guard case .number(let spelling)? = json else { return nil }
        return Int(spelling)
    }
}
