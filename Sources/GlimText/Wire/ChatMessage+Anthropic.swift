// Messages and tools of Anthropic's API, both ways.
//
// There a turn is a list of blocks, and results of tools are blocks of the user. Here a message has one reasoning, one
// content and its calls, and each result is a message: so blocks of one kind are joined, and the order among kinds is
// that of GLM's templates.

extension ChatMessage {
    /// The messages that one of Anthropic's holds: results of tools, and what the user says beside them, in order.
    static func messages(anthropic message: WireField) throws(ProtocolError) -> [ChatMessage] {
        try message.mustBeObject("a message with role and content")
        let content = message["content"]
        switch message["role"].json?.string {
        case "system": return [ChatMessage(.system, try Content(anthropicText: content))]
        case "user":
            if let text = content.json?.string { return [.user(text)] }
            return try results(content)
        case "assistant":
            if let text = content.json?.string { return [.assistant(text, reasoning: "")] }
            return [try ChatMessage(anthropicBlocks: content)]
        default: throw message["role"].isNot("user, assistant or system")
        }
    }

    private static func results(_ content: WireField) throws(ProtocolError) -> [ChatMessage] {
        var messages: [ChatMessage] = []
        var said: [ContentPart] = []
        let blocks = try content.elements("a text or a list of blocks")
        for block in blocks {
            guard block["type"].json?.string == "tool_result" else {
                said.append(try ContentPart(anthropic: block, of: .user))
                continue
            }
            if !said.isEmpty { messages.append(ChatMessage(.user, .parts(said))) }
            said = []
            let id = try block["tool_use_id"].name("the id of the call that this answers")
            _ = try block["is_error"].flag()  // it says so in words, or the model cannot see it
            let result = block["content"]
            messages.append(
                ChatMessage(
                    .tool, result.isAbsent ? .absent : try Content(anthropicText: result, of: .tool), toolCallID: id))
        }
        if !said.isEmpty || blocks.isEmpty { messages.append(ChatMessage(.user, .parts(said))) }
        return messages
    }

    private init(anthropicBlocks content: WireField) throws(ProtocolError) {
        self = .assistant("", reasoning: "")
        var texts: [String] = []
        for block in try content.elements("a text or a list of blocks") {
            switch block["type"].json?.string {
            case "thinking": reasoning?.append(try block["thinking"].string())
            case "redacted_thinking":
                throw block["type"].cannotBeUsed("only who made it can read it; leave it out")
            case "tool_use": toolCalls.append(try ToolCall(anthropic: block))
            default: texts.append(try ContentPart(anthropic: block, of: .assistant).words)
            }
        }
        self.content = texts.count > 1 ? .parts(texts.map(ContentPart.text)) : .text(texts.first ?? "")
    }

    // MARK: Writing

    /// - Parameter messages: without a leading one of the system, which has its place elsewhere.
    static func anthropic(_ messages: ArraySlice<ChatMessage>) throws(ProtocolError) -> [JSON] {
        var (turns, results): ([JSON], [JSON]) = ([], [])
        func turn(_ role: String, _ content: JSON) -> JSON { .object(of: ["role": .string(role), "content": content]) }
        for message in messages {
            if message.role == .tool {
                results.append(
                    try message.anthropicResult(at: "messages[\(turns.count)].content[\(results.count)]"))
                continue
            }
            if !results.isEmpty { turns.append(turn("user", .array(results))) }
            results = []
            let place = "messages[\(turns.count)]"
            let content =
                message.role == .assistant
                ? try message.anthropicBlocks(at: place)
                : try message.content.anthropicText(of: message.role, at: "\(place).content")
            turns.append(turn(message.role.rawValue, content))
        }
        if !results.isEmpty { turns.append(turn("user", .array(results))) }
        return turns
    }

    private func anthropicResult(at place: String) throws(ProtocolError) -> JSON {
        guard let toolCallID else {
            throw .malformed("\(place).tool_use_id", nil, expected: "the id of the call that this answers")
        }
        let isAbsent = content == .absent || content == .null
        return .object(of: [
            "type": .string("tool_result"), "tool_use_id": .string(toolCallID),
            "content": isAbsent ? nil : try content.anthropicText(of: .tool, at: "\(place).content"),
        ])
    }

    /// An assistant's content: a text where that is all.
    private func anthropicBlocks(at place: String) throws(ProtocolError) -> JSON {
        if (reasoning ?? "").isEmpty, toolCalls.isEmpty {
            return try content.anthropicText(of: .assistant, at: "\(place).content")
        }
        var blocks = (reasoning ?? "").isEmpty ? [] : [Self.anthropicThinking(reasoning ?? "")]
        switch try content.anthropicText(of: .assistant, at: "\(place).content") {
        case .array(let texts): blocks += texts
        case .string(let text) where !text.isEmpty: blocks.append(ContentPart.text(text).json)
        default: break
        }
        for call in toolCalls {
            guard let id = call.id else {
                throw .malformed("\(place).content[\(blocks.count)].id", nil, expected: "an id for each call")
            }
            blocks.append(call.anthropic(id: id))
        }
        return .array(blocks)
    }

    /// What thinking is signed with. Nobody checks it, but clients send back only what is signed.
    static let anthropicSignature = "glim"

    static func anthropicThinking(_ text: String) -> JSON {
        .object(of: [
            "type": .string("thinking"), "thinking": .string(text), "signature": .string(anthropicSignature),
        ])
    }
}

extension ChatMessage.Content {
    /// Reads a text or a list of blocks of text.
    init(anthropicText content: WireField, of role: ChatMessage.Role = .system) throws(ProtocolError) {
        if let text = content.json?.string {
            self = .text(text)
            return
        }
        var parts: [ContentPart] = []
        for block in try content.elements("a text or a list of blocks of text") {
            parts.append(try ContentPart(anthropic: block, of: role))
        }
        self = .parts(parts)
    }

    /// The API knows neither null nor absent texts: both are empty.
    func anthropicText(of role: ChatMessage.Role, at place: String) throws(ProtocolError) -> JSON {
        switch self {
        case .absent, .null: return .string("")
        case .text(let text): return .string(text)
        case .parts(let parts):
            var blocks: [JSON] = []
            for (index, part) in parts.enumerated() {
                blocks.append(try part.wire(of: role, at: "\(place)[\(index)]", reference: "tool_name"))
            }
            return .array(blocks)
        }
    }
}

extension ContentPart {
    fileprivate init(anthropic block: WireField, of role: ChatMessage.Role) throws(ProtocolError) {
        try block.mustBeObject("a block such as {\"type\":\"text\",\"text\":…}")
        switch block["type"].json?.string {
        case "text": self = .text(try block["text"].string())
        case "tool_reference" where role == .tool:
            self = .toolReference(try block["tool_name"].name("the name of a tool"))
        case "image", "document", "search_result", "container_upload":
            throw block["type"].cannotBeUsed("this model reads text only; send what it should know as text")
        case "thinking", "tool_use", "tool_result":
            throw block["type"].cannotBeUsed("it has no place in what is of role \(role.rawValue)")
        default: throw block["type"].isNot(Self.kinds(for: role))
        }
    }

    private static func kinds(for role: ChatMessage.Role) -> String {
        switch role {
        case .system: "text"
        case .user: "text or tool_result"
        case .assistant: "text, thinking or tool_use"
        case .tool: "text or tool_reference"
        }
    }
}

extension ToolCall {
    fileprivate init(anthropic block: WireField) throws(ProtocolError) {
        let id = try block["id"].name("an id that the result names")
        let name = try block["name"].name("the name of a tool")
        guard let members = block["input"].json?.members else { throw block["input"].isNot("an object of arguments") }
        self.init(id: id, name: name, arguments: members.map { ToolArgument($0.key, $0.value) })
    }

    func anthropic(id: String) -> JSON { Self.anthropic(id: id, name: name, input: json) }

    static func anthropic(id: String, name: String, input: JSON) -> JSON {
        .object(of: ["type": .string("tool_use"), "id": .string(id), "name": .string(name), "input": input])
    }
}

extension ToolDefinition {
    /// Reads a tool into the envelope that templates know, its members in their order.
    fileprivate init(checked tool: JSON) {
        var members: [JSON.Member] = []
        for member in tool.members ?? [] {
            switch member.key {
            case "input_schema": members.append(.init("parameters", member.value))
            case "name", "description", "strict", "defer_loading": members.append(member)
            default: break
            }
        }
        self.init(.object(of: ["type": .string("function"), "function": .object(members)]))
    }

    init(anthropic tool: WireField) throws(ProtocolError) {
        try tool.mustBeObject("a tool with name, description and input_schema")
        switch tool["type"].json {
        case nil, .null, .string("custom"): break
        case .string: throw tool["type"].cannotBeUsed("only tools of one's own, of type custom, are supported")
        default: throw tool["type"].isNot("custom")
        }
        _ = try tool["name"].name("the name of the tool")
        _ = try tool["description"].stringIfPresent()
        try tool["input_schema"].mustBeObject("a JSON schema")
        self.init(checked: tool.json ?? .null)
    }

    var anthropic: JSON {
        var members: [JSON.Member] = []
        for member in function.members ?? [] {
            switch member.key {
            case "parameters": members.append(.init("input_schema", member.value))
            case "name", "description", "strict", "defer_loading": members.append(member)
            default: break
            }
        }
        if function["parameters"] == nil {
            members.append(.init("input_schema", .object(of: ["type": .string("object")])))
        }
        return .object(members)
    }
}
