// Responses of Anthropic's messages, both ways.

extension GenerationResponse {
    /// The response as Anthropic's API has it, which is the first reply. Calls without an id get one of the response's.
    public var anthropic: JSON {
        guard let reply = replies.first else { return anthropicMessage(content: [], finish: nil) }
        return anthropicMessage(content: reply.anthropicBlocks(response: id), finish: reply.finish)
    }

    /// A message with this content, whatever the replies are.
    ///
    /// - Parameter finish: nil while the message is not over.
    func anthropicMessage(content: [JSON], finish: FinishReason?) -> JSON {
        .object(of: [
            "id": .string(id), "type": .string("message"), "role": .string("assistant"), "model": .string(model),
            "content": .array(content), "stop_reason": finish.map { .string($0.anthropic) } ?? .null,
            "stop_sequence": finish?.text.map(JSON.string) ?? .null,
            "usage": (usage ?? TokenUsage(prompt: 0, reply: 0)).anthropic,
        ])
    }

    /// Reads a response of Anthropic's API.
    ///
    /// - Throws: `EndpointError`, also for a body that tells an error.
    public init(anthropic json: JSON) throws(EndpointError) {
        if json["type"]?.string == "error" { throw .reported(ServiceError(body: json)) }
        do { try self.init(anthropic: WireField(json)) } catch { throw .malformed(error) }
    }

    private init(anthropic body: WireField) throws(ProtocolError) {
        try body.mustBeObject("a message")
        let reply = try GenerationReply(anthropic: body)
        self.init(
            id: try body["id"].stringIfPresent() ?? "", model: try body["model"].stringIfPresent() ?? "",
            replies: [reply], usage: try TokenUsage(anthropic: body["usage"]))
    }

    /// What `/v1/messages/count_tokens` answers.
    public static func anthropicTokenCount(_ count: Int) -> JSON { .object(of: ["input_tokens": .integer(count)]) }

    /// Reads what `/v1/messages/count_tokens` answers.
    public static func anthropicTokenCount(_ json: JSON) throws(EndpointError) -> Int {
        if json["type"]?.string == "error" { throw .reported(ServiceError(body: json)) }
        let field = WireField(json)["input_tokens"]
        do throws(ProtocolError) {
            guard let count = try field.integer(0 ... .max) else { throw field.isNot("how many tokens there are") }
            return count
        } catch { throw .malformed(error) }
    }
}

extension GenerationReply {
    fileprivate func anthropicBlocks(response: String) -> [JSON] {
        func id(_ given: String?, _ place: Int) -> String {
            given ?? ReplyComposer.callID(response: response, number: 0, place: place)
        }
        let reasoning = message.reasoning ?? ""
        var blocks = reasoning.isEmpty ? [] : [ChatMessage.anthropicThinking(reasoning)]
        let text =
            switch message.content {
            case .absent, .null: ""
            case .text(let text): text
            case .parts(let parts): parts.map(\.words).joined()
            }
        if !text.isEmpty { blocks.append(ContentPart.text(text).json) }
        return blocks
            + allCalls { place, call in
                call.anthropic(id: id(call.id, place))
            } broken: { call in
                ToolCall.anthropic(id: id(call.id, call.place), name: call.name, input: Self.broken(call.arguments))
            }
    }

    /// Anthropic's way to keep in an object what is none.
    private static let brokenKey = "INVALID_JSON"

    private static func broken(_ arguments: String) -> JSON { .object([.init(brokenKey, .string(arguments))]) }

    fileprivate init(anthropic body: WireField) throws(ProtocolError) {
        var reader = ReplyReader()
        reader.add(.reasoning(""))
        reader.add(.content(""))
        var callCount = 0
        for block in try body["content"].elements("a list of blocks") {
            switch block["type"].json?.string {
            case "text": reader.add(.content(try block["text"].string()))
            case "thinking": reader.add(.reasoning(try block["thinking"].string()))
            case "redacted_thinking": break  // it has no words
            case "tool_use":
                let name = try block["name"].name("the name of a tool")
                try block["input"].mustBeObject("an object of arguments")
                reader.add(.callBegin(place: callCount, id: try block["id"].stringIfPresent(), name: name))
                reader.add(.arguments(place: callCount, Self.arguments(block["input"].json ?? .object([]))))
                callCount += 1
            default: throw block["type"].isNot("text, thinking or tool_use")
            }
        }
        self = reader.reply(try FinishReason(anthropic: body["stop_reason"], stop: body["stop_sequence"]))
    }

    private static func arguments(_ input: JSON) -> String {
        guard let members = input.members, members.count == 1, members[0].key == brokenKey,
            let text = members[0].value.string
        else { return input.compact }
        return text
    }
}

extension FinishReason {
    init(anthropic reason: WireField, stop: WireField) throws(ProtocolError) {
        switch reason.json?.string {
        case "end_turn": self = .endOfTurn
        case "stop_sequence": self = .stopText(try stop.stringIfPresent() ?? "")
        case "tool_use": self = .toolCalls
        case "max_tokens", "model_context_window_exceeded": self = .length
        case "refusal": self = .filtered
        case let other?: self = .other(other)
        case nil: throw reason.isNot("end_turn, stop_sequence, tool_use, max_tokens or refusal")
        }
    }

    var anthropic: String {
        switch self {
        case .endOfTurn: "end_turn"
        case .stopText: "stop_sequence"
        case .toolCalls: "tool_use"
        case .length: "max_tokens"
        case .filtered: "refusal"
        case .other(let reason): reason
        }
    }
}

extension TokenUsage {
    /// nil where none is told.
    init?(anthropic usage: WireField) throws(ProtocolError) {
        if usage.isAbsent { return nil }
        self.init(prompt: 0, reply: 0)
        try update(anthropic: usage)
    }

    /// Takes over what is told: the end of a stream need not repeat what its beginning told.
    mutating func update(anthropic usage: WireField) throws(ProtocolError) {
        try usage.mustBeObject("an object with input_tokens and output_tokens")
        if let uncached = try usage["input_tokens"].integer(Self.counts) {
            let written = try usage["cache_creation_input_tokens"].integer(Self.counts) ?? 0
            cached = try usage["cache_read_input_tokens"].integer(Self.counts) ?? cached
            divergence = try usage["cache_divergence"].integer(Self.counts) ?? divergence
            prompt = uncached + written + cached
        }
        reply = try usage["output_tokens"].integer(Self.counts) ?? reply
        reasoning = try usage["output_tokens_details"]["thinking_tokens"].integer(Self.counts) ?? reasoning
    }

    /// There the tokens of the prompt are only those that no cache had.
    var anthropic: JSON {
        .object(of: [
            // Some servers do not count what was cached among the prompt.
            "input_tokens": .integer(max(0, prompt - cached)), "cache_creation_input_tokens": .integer(0),
            "cache_read_input_tokens": .integer(cached), "cache_divergence": divergence.map(JSON.integer),
            "output_tokens": .integer(reply),
            "output_tokens_details": reasoning.map { .object(of: ["thinking_tokens": .integer($0)]) },
        ])
    }
}
