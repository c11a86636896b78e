import GlimTestSupport
import GlimText

/// Draws schemas, and values that often fit one.
struct DocumentDraw {
    var draw: Draw

    init(_ seed: Int, _ purpose: String) { draw = Draw(seed, purpose) }

    private static let strings = [
        "", "a", "ab", "abc", "x", "b", "中", "é", "e\u{301}", "😀", "\"", "\\", "\n", "\u{1}", "/", "AB-123", "aaz",
        "abba",
        "2024-02-29", "2023-02-29", "12:30:00Z", "2024-02-29T12:30:00.5+01:00", "255.0.10.1", "hello world",
        "123e4567-e89b-12d3-a456-426614174000", "</think>", "null", "P1DT2H",
    ]
    private static let names = ["a", "b", "ab", "kind", "value", "next", "", "é", "e\u{301}", "\"", "a b", "\n"]
    private static let numbers = [
        "0", "1", "2", "3", "5", "7", "8", "10", "12", "-1", "-5", "-6", "100", "101", "250", "0.5", "2.5", "-1.25",
        "1.01", "0.25",
        "99999999999999999999", "-300", "40", "18446744073709551615",
    ]
    /// Each in the grammar of both this room's patterns and Foundation's.
    private static let patterns = [
        "^[A-Z]{2}-\\d{3}$", "b+", "^a|b$", "^a", "z$", "^(ab|c)*$", "[^a]", "^[^\\n]{1,3}$", "^\\w+ \\w+$",
    ]

    // MARK: Values

    mutating func any(_ depth: Int = 0) -> JSON {
        switch draw.integer(0...(depth < 3 ? 7 : 5)) {
        case 0: .null
        case 1: .bool(draw.chance(0.5))
        case 2, 3: .number(draw.pick(Self.numbers))
        case 4, 5: .string(draw.pick(Self.strings))
        case 6: .array((0..<draw.integer(0...3)).map { _ in any(depth + 1) })
        default: .object(draw.shuffled(Self.names).prefix(draw.integer(0...3)).map { .init($0, any(depth + 1)) })
        }
    }

    /// A value that was meant to fit, or one that was not.
    mutating func value(_ schema: JSON, _ judge: SchemaValidator, depth: Int = 0) -> JSON {
        if draw.chance(0.03) || depth > 8 { return any(depth) }
        if let reference = schema["$ref"]?.string { return value(judge.target(reference), judge, depth: depth + 1) }
        for keyword in ["anyOf", "oneOf"] {
            if let schemas = schema[keyword]?.array {
                return value(both(draw.pick(schemas), schema, without: keyword), judge, depth: depth)
            }
        }
        if let schemas = schema["allOf"]?.array {
            let whole = schemas.reduce(schema) { both($0, $1, without: "allOf") }
            return value(whole, judge, depth: depth)
        }
        if let values = schema["enum"]?.array { return draw.pick(values) }
        if let constant = schema.member("const") { return constant }
        guard let types = schema["type"]?.array?.compactMap(\.string) ?? schema["type"]?.string.map({ [$0] }) else {
            if schema["properties"] != nil || schema["required"] != nil { return object(schema, judge, depth) }
            return schema["items"] != nil ? array(schema, judge, depth) : any(depth + 1)
        }
        switch draw.pick(types + (schema["nullable"]?.bool == true ? ["null"] : [])) {
        case "null": return .null
        case "boolean": return .bool(draw.chance(0.5))
        case "integer": return .number(draw.pick(Self.numbers.filter { !$0.contains(".") }))
        case "number": return .number(draw.pick(Self.numbers))
        case "string": return .string(draw.pick(Self.strings))
        case "array": return array(schema, judge, depth)
        default: return object(schema, judge, depth)
        }
    }

    /// The members of both objects, those of the first where both have one; properties are joined.
    private func both(_ a: JSON, _ b: JSON, without keyword: String) -> JSON {
        var members = (a.members ?? []).filter { $0.key != keyword }
        for member in b.members ?? [] where member.key != keyword {
            guard let place = members.firstIndex(where: { $0.key == member.key }) else {
                members.append(member)
                continue
            }
            if member.key == "properties" {
                let old = members[place].value.members ?? []
                let new = (member.value.members ?? []).filter { one in
                    !old.contains { $0.key.utf8.elementsEqual(one.key.utf8) }
                }
                members[place] = .init("properties", .object(old + new))
            } else if member.key == "required" {
                members[place] = .init(
                    "required", .array((members[place].value.array ?? []) + (member.value.array ?? [])))
            }
        }
        return .object(members)
    }

    private mutating func array(_ schema: JSON, _ judge: SchemaValidator, _ depth: Int) -> JSON {
        let isOld = schema["items"]?.array != nil
        let prefix = (isOld ? schema["items"] : schema["prefixItems"])?.array ?? []
        let rest = schema[isOld ? "additionalItems" : "items"] ?? .bool(true)
        var (least, most) = (0, max(prefix.count, 3))
        if case .number(let spelling)? = schema["minItems"] { least = Int(spelling) ?? 0 }
        if case .number(let spelling)? = schema["maxItems"] { most = Int(spelling) ?? 3 }
        if rest == .bool(false) { most = min(most, prefix.count) }
        let count = draw.integer(least...max(least, min(most, least + 3)))
        return .array((0..<count).map { value($0 < prefix.count ? prefix[$0] : rest, judge, depth: depth + 1) })
    }

    private mutating func object(_ schema: JSON, _ judge: SchemaValidator, _ depth: Int) -> JSON {
        let required = Set((schema["required"]?.array ?? []).compactMap(\.string).map { Array($0.utf8) })
        var members: [JSON.Member] = []
        for property in schema["properties"]?.members ?? [] {
            let isRequired = required.contains(Array(property.key.utf8))
            if draw.chance(isRequired ? 0.97 : depth > 3 ? 0.1 : 0.4) {
                members.append(.init(property.key, value(property.value, judge, depth: depth + 1)))
            }
        }
        let additional = schema["additionalProperties"] ?? .bool(true)
        for name in (schema["required"]?.array?.compactMap(\.string) ?? [])
            + draw.shuffled(Self.names).prefix(draw.integer(0...2))
        {
            let isNew = !members.contains { $0.key.utf8.elementsEqual(name.utf8) }
            let isRequired = required.contains(Array(name.utf8))
            if isNew, isRequired || draw.chance(additional == .bool(false) ? 0.05 : 0.5) {
                members.append(
                    .init(name, additional.bool != nil ? any(depth + 1) : value(additional, judge, depth: depth + 1)))
            }
        }
        return .object(draw.shuffled(members))
    }

    // MARK: Texts

    /// The value as text, with white space here and there: never more than stands between two parts.
    mutating func text(_ value: JSON, depth: Int = 0) -> String {
        switch value {
        case .array(let items):
            let inner = items.map { self.space(depth + 1) + text($0, depth: depth + 1) + self.space(depth + 1) }
            return "[" + (items.isEmpty ? self.space(depth + 1) : inner.joined(separator: ",")) + "]"
        case .object(let members):
            let inner = members.map { member in
                let key = JSON.string(member.key).compact
                return self.space(depth + 1) + key + self.space(depth + 1) + ":" + self.space(depth + 1)
                    + text(member.value, depth: depth + 1) + self.space(depth + 1)
            }
            return "{" + (members.isEmpty ? self.space(depth + 1) : inner.joined(separator: ",")) + "}"
        default: return depth == 0 ? space(0) + value.compact + space(0) : value.compact
        }
    }

    private mutating func space(_ depth: Int) -> String {
        if draw.chance(0.7) { return "" }
        return (0..<draw.integer(1...2 + 4 * depth)).map { _ in draw.pick([" ", " ", "\n", "\t", "\r"]) }.joined()
    }

    // MARK: Schemas

    mutating func schema() -> JSON {
        let definitions = ["x", "y"].map { JSON.Member($0, part(1)) }
        guard case .object(let members) = part(0) else { return .bool(true) }
        return .object(members + [.init("$defs", .object(definitions))])
    }

    private mutating func part(_ depth: Int) -> JSON {
        var members: [JSON.Member] = []
        func add(_ key: String, _ value: JSON) { members.append(.init(key, value)) }
        func add(_ key: String, _ value: Int) { members.append(.init(key, .number("\(value)"))) }
        switch draw.integer(0...(depth < 4 ? 15 : 6)) {
        case 0: add("type", .string(draw.pick(["null", "boolean", "integer", "number", "string", "object", "array"])))
        case 1:
            add("type", .string(draw.pick(["integer", "number"])))
            for keyword in draw.shuffled(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]).prefix(
                draw.integer(0...2))
            {
                add(keyword, .number(draw.pick(Self.numbers.filter { $0.utf8.count < 10 })))
            }
        case 2:
            add("type", .string("string"))
            if draw.chance(0.5) { add("minLength", draw.integer(0...2)) }
            if draw.chance(0.5) { add("maxLength", draw.integer(1...6)) }
            if draw.chance(0.4) { add("pattern", .string(draw.pick(Self.patterns))) }
        case 3: add("enum", .array((0..<draw.integer(1...4)).map { _ in any(2) }))
        case 4: add("const", any(1))
        case 5: add("type", .array([.string("null"), .string(draw.pick(["integer", "string", "object"]))]))
        case 6: add("$ref", .string(draw.pick(["#/$defs/x", "#/$defs/y"])))
        case 7, 8: addObject(&members, depth)
        case 9, 10:
            add("type", .string("array"))
            if draw.chance(0.3) { add("prefixItems", .array((0..<draw.integer(1...2)).map { _ in part(depth + 1) })) }
            if draw.chance(0.8) { add("items", draw.chance(0.1) ? .bool(false) : part(depth + 1)) }
            if draw.chance(0.3) { add("minItems", draw.integer(0...2)) }
            if draw.chance(0.3) { add("maxItems", draw.integer(1...4)) }
        case 11, 12:
            add(draw.pick(["anyOf", "anyOf", "oneOf"]), .array((0..<draw.integer(1...3)).map { _ in part(depth + 1) }))
            if draw.chance(0.3) { addObject(&members, depth + 1) }
        case 13, 14:
            add("allOf", .array((0..<draw.integer(1...2)).map { _ in part(depth + 1) }))
            if draw.chance(0.5) { addObject(&members, depth + 1) }
        default: return .bool(draw.chance(0.9))
        }
        return .object(members)
    }

    private mutating func addObject(_ members: inout [JSON.Member], _ depth: Int) {
        members.append(.init("type", .string("object")))
        let names = draw.shuffled(Self.names).prefix(draw.integer(0...4))
        members.append(.init("properties", .object(names.map { .init($0, part(depth + 1)) })))
        let required = draw.shuffled(Self.names).filter { name in draw.chance(names.contains(name) ? 0.5 : 0.05) }
        if draw.chance(0.7) { members.append(.init("required", .array(required.map(JSON.string)))) }
        if draw.chance(0.7) {
            members.append(.init("additionalProperties", draw.chance(0.7) ? .bool(false) : part(depth + 1)))
        }
        if draw.chance(0.1) { members.append(.init("minProperties", .number("\(draw.integer(0...2))"))) }
        if draw.chance(0.1) { members.append(.init("maxProperties", .number("\(draw.integer(0...4))"))) }
    }
}
