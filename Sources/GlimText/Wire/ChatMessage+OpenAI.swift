// Messages and tools of OpenAI's chat completions, both ways.

extension ChatMessage {
    init(openAI message: WireField) throws(ProtocolError) {
        try message.mustBeObject("a message with role and content")
        let role = message["role"]
        switch role.json?.string {
        case "system", "developer": self.init(.system, try Content(openAI: message["content"], of: .system))
        case "user": self.init(.user, try Content(openAI: message["content"], of: .user))
        case "assistant": try self.init(openAIAssistant: message)
        case "tool":
            self.init(
                .tool, try Content(openAI: message["content"], of: .tool),
                toolCallID: try message["tool_call_id"].name("the id of the call that this answers"))
        case "function": throw role.cannotBeUsed("it is the old form of the role tool")
        default: throw role.isNot("system, developer, user, assistant or tool")
        }
    }

    /// Reads an assistant's message, be it of a conversation or of a response.
    init(openAIAssistant message: WireField) throws(ProtocolError) {
        try message.refuse([
            "function_call": "it is the old form of tool_calls", "audio": "this model reads text only",
            "refusal": "a refusal is content here",
        ])
        // Two names of one thing: GLM's API has the first, newer servers the other.
        let named = message["reasoning_content"]
        self.init(
            .assistant, try Content(openAI: message["content"], of: .assistant),
            reasoning: try (named.isAbsent ? message["reasoning"] : named).stringIfPresent())
        for call in try message["tool_calls"].elementsIfPresent("a list of calls") {
            toolCalls.append(try ToolCall(openAI: call))
        }
    }

    /// - Parameter place: of the message, for errors.
    func openAI(at place: String) throws(ProtocolError) -> JSON {
        let content = try content.openAI(of: role, at: "\(place).content")
        var calls: [JSON] = []
        for (index, call) in toolCalls.enumerated() {
            guard let id = call.id else {
                throw .malformed("\(place).tool_calls[\(index)].id", nil, expected: "an id for each call")
            }
            calls.append(call.openAI(id: id))
        }
        if role == .tool, toolCallID == nil {
            throw .malformed("\(place).tool_call_id", nil, expected: "the id of the call that this answers")
        }
        return .object(of: [
            "role": .string(role.rawValue), "content": content, "reasoning_content": reasoning.map(JSON.string),
            "tool_calls": calls.isEmpty ? nil : .array(calls), "tool_call_id": toolCallID.map(JSON.string),
        ])
    }
}

extension ChatMessage.Content {
    fileprivate init(openAI content: WireField, of role: ChatMessage.Role) throws(ProtocolError) {
        switch content.json {
        case nil where role == .assistant: self = .absent
        case .null where role == .assistant: self = .null
        case .string(let text): self = .text(text)
        case .array:
            var parts: [ContentPart] = []
            for part in try content.elements("a list of parts") {
                parts.append(try ContentPart(openAI: part, of: role))
            }
            self = .parts(parts)
        default:
            throw content.isNot(role == .assistant ? "a text, a list of parts, or null" : "a text or a list of parts")
        }
    }

    fileprivate func openAI(of role: ChatMessage.Role, at place: String) throws(ProtocolError) -> JSON? {
        switch self {
        case .absent, .null:
            if role != .assistant { throw .malformed(place, self == .null ? .null : nil, expected: "a text") }
            return self == .null ? .null : nil
        case .text(let text): return .string(text)
        case .parts(let parts):
            var values: [JSON] = []
            for (index, part) in parts.enumerated() {
                values.append(try part.wire(of: role, at: "\(place)[\(index)]", reference: "name"))
            }
            return .array(values)
        }
    }
}

extension ContentPart {
    /// A tool that a search found, as templates know it.
    public static func toolReference(_ name: String) -> ContentPart {
        ContentPart(.object(of: ["type": .string("tool_reference"), "name": .string(name)]))
    }

    fileprivate init(openAI part: WireField, of role: ChatMessage.Role) throws(ProtocolError) {
        try part.mustBeObject("a part such as {\"type\":\"text\",\"text\":…}")
        switch part["type"].json?.string {
        case "text": self = .text(try part["text"].string())
        case "tool_reference" where role == .tool: self = .toolReference(try part["name"].name("the name of a tool"))
        case "image_url", "input_audio", "video_url", "file":
            throw part["type"].cannotBeUsed("this model reads text only; send what it should know as text")
        case "refusal": throw part["type"].cannotBeUsed("a refusal is text here")
        default: throw part["type"].isNot("text")
        }
    }

    /// The part in either API, which differ in what a reference calls the name.
    func wire(of role: ChatMessage.Role, at place: String, reference: String) throws(ProtocolError) -> JSON {
        switch kind {
        case .text(let text): return ContentPart.text(text).json
        case .toolReference(let name) where role == .tool:
            return .object([.init("type", .string("tool_reference")), .init(reference, .string(name))])
        default: throw .unsupported(place: place, why: "only text can be sent")
        }
    }
}

extension ToolCall {
    fileprivate init(openAI call: WireField) throws(ProtocolError) {
        try call.mustBeObject("a call with id and function")
        try Self.checkType(openAI: call)
        let id = try call["id"].name("an id that the result names")
        let name = try call["function"]["name"].name("the name of a tool")
        let arguments = call["function"]["arguments"]
        let text = try arguments.string("a text that holds a JSON object")
        guard let values = Self.arguments(parsing: text) else {
            var why = "which this is not"
            do { _ = try JSON(parsing: text.utf8) } catch { why = error.description }
            throw arguments.isNot("a text that holds a JSON object: \(why)")
        }
        self.init(id: id, name: name, arguments: values)
    }

    static func checkType(openAI call: WireField) throws(ProtocolError) {
        switch call["type"].json {
        case nil, .null, .string("function"): break
        case .string("custom"): throw call["type"].cannotBeUsed("only tools that are functions are supported")
        default: throw call["type"].isNot("function")
        }
    }

    func openAI(id: String) -> JSON { Self.openAI(id: id, name: name, arguments: json.compact) }

    /// A call whose arguments are any text.
    static func openAI(id: String, name: String, arguments: String) -> JSON {
        let function = JSON.object(of: ["name": .string(name), "arguments": .string(arguments)])
        return .object(of: ["id": .string(id), "type": .string("function"), "function": function])
    }
}

extension ToolDefinition {
    init(openAI tool: WireField) throws(ProtocolError) {
        try tool.mustBeObject("a tool such as {\"type\":\"function\",\"function\":{\"name\":…}}")
        switch tool["type"].json?.string {
        case "function": break
        case "custom": throw tool["type"].cannotBeUsed("only tools that are functions are supported")
        default: throw tool["type"].isNot("function")
        }
        let function = tool["function"]
        try function.mustBeObject("an object with name, description and parameters")
        _ = try function["name"].name("the name of the tool")
        _ = try function["description"].stringIfPresent()
        try function["parameters"].mustBeObjectIfPresent("a JSON schema")
        self.init(tool.json ?? .null)
    }

    /// The tool in the API's envelope, which it may have had already.
    var openAI: JSON {
        if json["type"]?.string == "function", json["function"] != nil { return json }
        return .object(of: ["type": .string("function"), "function": function])
    }
}
