/// A schema within the whole: an object of keywords, and the pointer to it.
struct SchemaPlace {
    let json: JSON
    let pointer: String

    func error(_ keyword: String?, _ why: String) -> SchemaError { SchemaError(pointer, keyword: keyword, why) }

    func value(_ keyword: String) -> JSON? { json.member(keyword) }

    /// The pointer to a part of a keyword's value.
    func path(_ keyword: String, _ part: String? = nil) -> String {
        "\(pointer)/\(keyword)" + (part.map { "/" + Self.escaped($0) } ?? "")
    }

    /// A key as a pointer has it.
    static func escaped(_ key: String) -> String {
        var text = ""
        for scalar in key.unicodeScalars {
            switch scalar {
            case "~": text += "~0"
            case "/": text += "~1"
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text
    }

    // MARK: Values of keywords

    func count(_ keyword: String) throws(SchemaError) -> Int? {
        guard let value = value(keyword) else { return nil }
        guard case .number(let spelling) = value, case let number = DecimalNumber(spelling), number.isInteger,
            !number.isNegative, let whole = number.whole, let count = Int(exactly: whole)
        else { throw error(keyword, "it must be a whole number of at least 0") }
        return count
    }

    func bound(_ keyword: String, isExclusive: Bool) throws(SchemaError) -> NumberRule.Bound? {
        guard let value = value(keyword) else { return nil }
        guard case .number(let spelling) = value else { throw error(keyword, "it must be a number") }
        let number = DecimalNumber(spelling)
        guard let whole = number.whole, whole < .max, number.fraction != nil else {
            throw error(keyword, "a bound may have 19 digits before the point and 256 behind it")
        }
        return NumberRule.Bound(value: number, isExclusive: isExclusive)
    }

    func flag(_ keyword: String) throws(SchemaError) -> Bool {
        guard let value = value(keyword) else { return false }
        guard let flag = value.bool else { throw error(keyword, "it must be true or false") }
        return flag
    }

    func list(_ keyword: String) throws(SchemaError) -> [JSON]? {
        guard let value = value(keyword) else { return nil }
        guard let list = value.array, !list.isEmpty else { throw error(keyword, "it must be a list, not empty") }
        return list
    }

    /// The names that `type` gives.
    func types() throws(SchemaError) -> Set<String> {
        let known = ["null", "boolean", "integer", "number", "string", "array", "object"]
        let isNullable = try flag("nullable")
        guard let value = value("type") else { return Set(known) }
        guard let names = value.string.map({ [$0] }) ?? value.array?.compactMap(\.string), !names.isEmpty,
            names.count == value.array?.count ?? 1, names.allSatisfy(known.contains)
        else { throw error("type", "it must be one or several of \(known.joined(separator: ", "))") }
        return Set(names + (isNullable ? ["null"] : []))
    }

    // MARK: Keywords

    /// Refuses what is not known: it might restrict what fits.
    func checkKeywords() throws(SchemaError) {
        for member in json.members ?? [] where !member.key.hasPrefix("x-") {
            let keyword = member.key
            if Self.keywords.contains(keyword) || Self.annotations.contains(keyword) { continue }
            if keyword == "$id" || keyword == "id" {
                if pointer != "#" { throw error(keyword, "only the whole schema may have one") }
            } else if keyword == "uniqueItems" {
                if try flag(keyword) { throw error(keyword, "items that differ from each other are not supported") }
            } else {
                throw error(keyword, Self.refused[keyword] ?? "it is not known; what it means cannot be kept")
            }
        }
    }

    private static let keywords: Set = [
        "type", "nullable", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "properties", "required",
        "additionalProperties", "minProperties", "maxProperties", "items", "prefixItems", "additionalItems", "minItems",
        "maxItems", "minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum",
        "exclusiveMaximum",
    ]

    /// What restricts nothing. A definition restricts where it is referred to.
    private static let annotations: Set = [
        "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$schema",
        "$comment", "$defs", "definitions", "$anchor", "$dynamicAnchor", "$vocabulary", "contentMediaType",
        "contentEncoding", "contentSchema", "discriminator", "externalDocs", "xml",
    ]

    private static let refused: [String: String] = {
        let groups: [(String, [String])] = [
            ("what a value must not be is not supported", ["not"]),
            ("conditions are not supported; say with anyOf what may be", ["if", "then", "else"]),
            (
                "what follows from a property is not supported; say with anyOf what may be",
                ["dependencies", "dependentRequired", "dependentSchemas"]
            ),
            (
                "rules for names are not supported; use properties or additionalProperties",
                ["patternProperties", "propertyNames"]
            ),
            ("an item that must be somewhere is not supported", ["contains", "minContains", "maxContains"]),
            ("multiples are not supported; use minimum and maximum, or enum", ["multipleOf"]),
            (
                "what is left over is not supported; use additionalProperties or items where it is known",
                ["unevaluatedProperties", "unevaluatedItems"]
            ),
            ("only \"$ref\" to a place in the schema itself is supported", ["$dynamicRef", "$recursiveRef"]),
        ]
        return Dictionary(
            groups.flatMap { why, keywords in keywords.map { ($0, why) } }, uniquingKeysWith: { first, _ in first })
    }()
}
