/// A tool that the assistant may call, as its JSON tells it.
public struct ToolDefinition: Sendable, Equatable {
    /// As it was given, with or without OpenAI's envelope `{"type": "function", "function": …}`.
    public let json: JSON

    public init(_ json: JSON) { self.json = json }

    /// Without the envelope.
    public var function: JSON { json["function"] ?? json }
    public var name: String? { function["name"]?.string }
    /// Known to the assistant only once a search has found it.
    public var isDeferred: Bool { function["defer_loading"]?.bool ?? false }

    /// The type of each argument that the schema names.
    var argumentTypes: [String: ArgumentType] {
        let properties = function["parameters"]?["properties"]?.members ?? []
        return Dictionary(
            properties.map { ($0.key, ArgumentType(names: Self.types($0.value))) }, uniquingKeysWith: { $1 })
    }

    private static func types(_ schema: JSON, depth: Int = 0) -> Set<String> {
        if depth > 8 { return [] }
        if let name = schema["type"]?.string { return [name] }
        if let names = schema["type"]?.array { return Set(names.compactMap(\.string)) }
        let choices = schema["anyOf"]?.array ?? schema["oneOf"]?.array ?? []
        let types = choices.map { Self.types($0, depth: depth + 1) }
        if !types.isEmpty { return types.contains([]) ? [] : types.reduce([]) { $0.union($1) } }
        guard let values = schema["enum"]?.array ?? schema.member("const").map({ [$0] }) else { return [] }
        return Set(values.map(Self.type))
    }

    private static func type(of value: JSON) -> String {
        switch value {
        case .null: "null"
        case .bool: "boolean"
        case .number: "number"
        case .string: "string"
        case .array: "array"
        case .object: "object"
        }
    }
}
