/// A call of a tool, as the assistant made it.
public struct ToolCall: Sendable, Equatable {
    /// What a result names to say that it answers this call.
    public var id: String?
    public var name: String
    /// In the order in which they were given.
    public var arguments: [ToolArgument]

    public init(id: String? = nil, name: String, arguments: [ToolArgument] = []) {
        (self.id, self.name, self.arguments) = (id, name, arguments)
    }

    /// All arguments as one JSON object. Of two with one name, which a model may write, the last counts.
    public var json: JSON {
        var members = JSONMembers()
        for argument in arguments { members.set(argument.name, argument.value) }
        return .object(members.all)
    }
}

/// An argument of a call: a value, and the text that stands for it between `<arg_value>` and `</arg_value>`.
///
/// The text is kept because a model has several ways to write one value, and what it wrote is what it should see again.
public struct ToolArgument: Sendable, Equatable {
    public let name: String
    public let value: JSON
    public let text: String

    /// An argument that nobody has written yet: strings as they are, everything else as Python's JSON.
    public init(_ name: String, _ value: JSON) {
        (self.name, self.value, self.text) = (name, value, value.string ?? value.pythonText)
    }

    /// What a model wrote for an argument of this type.
    ///
    /// - Parameter type: nil where the tool does not say.
    public init(_ name: String, written text: String, as type: ArgumentType?) {
        (self.name, self.value, self.text) = (name, (type ?? .any).value(of: text), text)
    }
}

/// What values a tool's schema allows for an argument.
public struct ArgumentType: Sendable, Equatable {
    /// Names of JSON Schema: `string`, `integer`, `null` and so on. Empty allows all.
    let names: Set<String>

    /// An argument of which nothing is known.
    public static let any = ArgumentType(names: [])

    /// Only strings are allowed: their text is taken as it stands.
    public var isString: Bool { names == ["string"] }

    /// The value that `text` stands for: raw where only strings are allowed, else JSON, else a literal of Python, else
    /// raw (GLM's parsers elsewhere do the same). Where strings are allowed among others, what reads as a value of a
    /// type that is not is a string too.
    public func value(of text: String) -> JSON {
        if isString { return .string(text) }
        let bytes = Array(text.utf8)
        guard let value = (try? JSON(parsing: bytes)) ?? PythonLiteral.value(of: bytes) else { return .string(text) }
        return names.contains("string") && !allows(value) ? .string(text) : value
    }

    private func allows(_ value: JSON) -> Bool {
        switch value {
        case .null: names.contains("null")
        case .bool: names.contains("boolean")
        case .number(let spelling):
            names.contains("number")
                || names.contains("integer") && !spelling.utf8.contains { $0 == 0x2E || $0 | 0x20 == 0x65 }
        case .string: false  // quotation marks belong to a string that is allowed
        case .array: names.contains("array")
        case .object: names.contains("object")
        }
    }
}
