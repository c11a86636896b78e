/// All that a template renders: messages, tools, and how to think.
public struct ChatPrompt: Sendable, Equatable {
    public var messages: [ChatMessage]
    public var tools: [ToolDefinition]
    /// Ends with what asks the assistant for a reply.
    public var addsGenerationPrompt: Bool
    /// Whether the assistant thinks in the reply that is asked for. It may change from turn to turn. GLM-5.3 always
    /// thinks.
    public var enablesThinking: Bool
    /// Whether the reasoning of turns before the last message of the user is left out. nil is the template's own way:
    /// left out up to GLM-5.2, kept in 5.3. Between tool calls of one turn reasoning always stays.
    public var clearsThinking: Bool?
    /// How long to think, where the template knows levels.
    public var effort: ReasoningEffort

    public init(
        _ messages: [ChatMessage], tools: [ToolDefinition] = [], addsGenerationPrompt: Bool = false,
        enablesThinking: Bool = true, clearsThinking: Bool? = nil, effort: ReasoningEffort = .max
    ) {
        (self.messages, self.tools, self.addsGenerationPrompt) = (messages, tools, addsGenerationPrompt)
        (self.enablesThinking, self.clearsThinking, self.effort) = (enablesThinking, clearsThinking, effort)
    }
}

/// How long the assistant should think.
public enum ReasoningEffort: String, Sendable, CaseIterable {
    case low, high, max

    /// As a prompt spells it.
    var word: String { rawValue.prefix(1).uppercased() + rawValue.dropFirst() }

    /// Templates know these words only: everything else is `max`.
    public init(named name: String?) { self = name.flatMap(ReasoningEffort.init) ?? .max }
}

// MARK: - From JSON

extension ChatPrompt {
    /// Reads `{"messages": […], "tools": […], "add_generation_prompt": true, …}`: what Hugging Face's
    /// `apply_chat_template` takes. Of the other keys `enable_thinking`, `clear_thinking` and `reasoning_effort` are
    /// read.
    ///
    /// - Throws: `ProtocolError` that says which value is not what it should be.
    public init(parsing bytes: some Sequence<UInt8>) throws(ProtocolError) {
        let json: JSON
        do { json = try JSON(parsing: bytes) } catch { throw .notJSON(why: error.description) }
        try self.init(json)
    }

    public init(_ json: JSON) throws(ProtocolError) {
        guard json.members != nil else { throw .malformed("the input", json, expected: "an object with messages") }
        self.init(
            try ChatMessage.list(json.member("messages"), at: "messages"),
            tools: try ToolDefinition.list(json["tools"], at: "tools"),
            addsGenerationPrompt: try json.flag("add_generation_prompt") ?? false,
            enablesThinking: try json.flag("enable_thinking") ?? true,
            clearsThinking: try json.flag("clear_thinking"),
            effort: ReasoningEffort(named: json["reasoning_effort"]?.string))
    }

    /// The prompt in the form that `init` reads. What is taken for granted there is left out.
    public var json: JSON {
        var members: [JSON.Member] = [.init("messages", .array(messages.map(\.json)))]
        if !tools.isEmpty { members.append(.init("tools", .array(tools.map(\.json)))) }
        if addsGenerationPrompt { members.append(.init("add_generation_prompt", .bool(true))) }
        if !enablesThinking { members.append(.init("enable_thinking", .bool(false))) }
        if let clearsThinking { members.append(.init("clear_thinking", .bool(clearsThinking))) }
        if effort != .max { members.append(.init("reasoning_effort", .string(effort.rawValue))) }
        return .object(members)
    }
}

extension ChatMessage {
    static func list(_ json: JSON?, at place: String) throws(ProtocolError) -> [ChatMessage] {
        guard let values = json?.array else { throw .malformed(place, json, expected: "a list of messages") }
        var messages: [ChatMessage] = []
        for (index, value) in values.enumerated() {
            messages.append(try ChatMessage(value, at: "\(place)[\(index)]"))
        }
        return messages
    }

    /// Reads one message in the form of OpenAI's API, `reasoning_content` beside `content`.
    public init(_ json: JSON, at place: String = "message") throws(ProtocolError) {
        guard json.members != nil else { throw .malformed(place, json, expected: "an object with role and content") }
        guard let role = json["role"]?.string.flatMap(Role.init) else {
            throw .malformed("\(place).role", json.member("role"), expected: "system, user, assistant or tool")
        }
        self.init(
            role, try Self.content(json.member("content"), at: "\(place).content"),
            reasoning: json["reasoning_content"]?.string,
            toolCalls: try ToolCall.list(json["tool_calls"], at: "\(place).tool_calls"),
            toolCallID: json["tool_call_id"]?.string)
    }

    private static func content(_ json: JSON?, at place: String) throws(ProtocolError) -> Content {
        switch json {
        case nil: return .absent
        case .null: return .null
        case .string(let text): return .text(text)
        case .array(let parts): return .parts(parts.map(ContentPart.init))
        default: throw .malformed(place, json, expected: "a text, a list of parts, or null")
        }
    }

    /// The message in the form that `init` reads.
    public var json: JSON {
        var members: [JSON.Member] = [.init("role", .string(role.rawValue))]
        switch content {
        case .absent: break
        case .null: members.append(.init("content", .null))
        case .text(let text): members.append(.init("content", .string(text)))
        case .parts(let parts): members.append(.init("content", .array(parts.map(\.json))))
        }
        if let reasoning { members.append(.init("reasoning_content", .string(reasoning))) }
        if !toolCalls.isEmpty { members.append(.init("tool_calls", .array(toolCalls.map(\.envelope)))) }
        if let toolCallID { members.append(.init("tool_call_id", .string(toolCallID))) }
        return .object(members)
    }
}

extension ToolCall {
    static func list(_ json: JSON?, at place: String) throws(ProtocolError) -> [ToolCall] {
        guard let json else { return [] }
        guard let values = json.array else { throw .malformed(place, json, expected: "a list of tool calls") }
        var calls: [ToolCall] = []
        for (index, value) in values.enumerated() { calls.append(try ToolCall(value, at: "\(place)[\(index)]")) }
        return calls
    }

    /// Reads `{"id": …, "function": {"name": …, "arguments": …}}`, or the function alone. Arguments are an object, or
    /// one written as a text, as OpenAI's API has it.
    public init(_ json: JSON, at place: String = "tool_call") throws(ProtocolError) {
        let function = json["function"] ?? json
        guard let name = function["name"]?.string else {
            throw .malformed("\(place).name", function.member("name"), expected: "the name of a tool")
        }
        var arguments = function["arguments"] ?? .object([])
        if let text = arguments.string {
            arguments = text.isEmpty ? .object([]) : (try? JSON(parsing: text.utf8)) ?? arguments
        }
        guard let members = arguments.members else {
            throw .malformed("\(place).arguments", arguments, expected: "an object")
        }
        self.init(
            id: json["id"]?.string, name: name, arguments: members.map { ToolArgument($0.key, $0.value) })
    }

    /// The call in the form that `init` reads, its arguments an object.
    var envelope: JSON {
        let function: [JSON.Member] = [.init("name", .string(name)), .init("arguments", json)]
        var members: [JSON.Member] = [.init("type", .string("function")), .init("function", .object(function))]
        if let id { members.insert(.init("id", .string(id)), at: 0) }
        return .object(members)
    }
}

extension ToolDefinition {
    /// Reads a list of tools.
    public static func list(parsing bytes: some Sequence<UInt8>) throws(ProtocolError) -> [ToolDefinition] {
        let json: JSON
        do { json = try JSON(parsing: bytes) } catch { throw .notJSON(why: error.description) }
        return try list(json, at: "the input")
    }

    static func list(_ json: JSON?, at place: String) throws(ProtocolError) -> [ToolDefinition] {
        guard let json else { return [] }
        guard let values = json.array else { throw .malformed(place, json, expected: "a list of tools") }
        for (index, value) in values.enumerated() where value.members == nil {
            throw .malformed("\(place)[\(index)]", value, expected: "an object that describes a tool")
        }
        return values.map(ToolDefinition.init)
    }
}

extension JSON {
    /// The boolean that stands under a key, nil where none does.
    fileprivate func flag(_ key: String) throws(ProtocolError) -> Bool? {
        guard let value = self[key] else { return nil }
        guard let flag = value.bool else { throw .malformed(key, value, expected: "true or false") }
        return flag
    }
}
