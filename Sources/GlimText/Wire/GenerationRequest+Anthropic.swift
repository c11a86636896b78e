// Anthropic's messages, `POST /v1/messages`, with `clear_thinking` as GLM's own API has it.
//
// Source: the types of Anthropic's Python client, 2.14.

extension GenerationRequest {
    /// Reads a request to Anthropic's API.
    ///
    /// A last message of the assistant is to be continued: such a prompt adds nothing that asks for a reply.
    ///
    /// - Parameter countsTokens: it is one to `/v1/messages/count_tokens`, which needs no `max_tokens`.
    /// - Throws: `ProtocolError` with the path to what is wrong. Members that nobody knows are no error: see
    ///   ``unknownAnthropicMembers(of:)``.
    public init(anthropic bytes: some Sequence<UInt8>, countsTokens: Bool = false) throws(ProtocolError) {
        try self.init(anthropic: try JSON(request: bytes), countsTokens: countsTokens)
    }

    public init(anthropic json: JSON, countsTokens: Bool = false) throws(ProtocolError) {
        let body = WireField(json)
        try body.mustBeObject("an object with model, max_tokens and messages")
        let model = try body["model"].name("the name of a model")
        let limit = body["max_tokens"]
        if limit.isAbsent, !countsTokens { throw limit.isNot("how many tokens the reply may have") }
        // A client that says nothing of thinking expects the reply first, and no block before it.
        let thinking = try WireThinking(body["thinking"], unsaid: false)
        let messages = try body["messages"].elements("a list of messages")
        if messages.isEmpty { throw body["messages"].isNot("at least one message") }
        var prompt = ChatPrompt([], enablesThinking: thinking.enables, clearsThinking: thinking.clears)
        if !body["system"].isAbsent {
            prompt.messages.append(ChatMessage(.system, try .init(anthropicText: body["system"])))
        }
        for message in messages { prompt.messages += try ChatMessage.messages(anthropic: message) }
        for tool in try body["tools"].elementsIfPresent("a list of tools") {
            prompt.tools.append(try ToolDefinition(anthropic: tool))
        }
        prompt.addsGenerationPrompt = prompt.messages.last?.role != .assistant
        let output = body["output_config"]
        try output.mustBeObjectIfPresent("an object with effort or format")
        prompt.effort = try ReasoningEffort(output["effort"]) ?? .max

        self.init(model: model, prompt: prompt, sampling: try SamplingOptions(anthropic: body))
        sampling.maximumThinkingTokens = thinking.maximumTokens
        let choice = body["tool_choice"]
        toolChoice = try ToolChoice(anthropic: choice, of: prompt.tools)
        allowsParallelCalls = try choice["disable_parallel_tool_use"].flag() != true
        format = try OutputFormat(anthropic: output["format"])
        streams = try body["stream"].flag() ?? false
        reportsUsage = streams
        try body.refuse([
            "container": "there are no containers here", "mcp_servers": "servers of tools are the client's business",
        ])
    }

    /// The members of a request that are neither read nor known to mean nothing here, for a server that would rather
    /// say so than ignore them.
    public static func unknownAnthropicMembers(of request: JSON) -> [String] {
        (request.members ?? []).map(\.key).filter { !knownAnthropicMembers.contains($0) }
    }

    private static let knownAnthropicMembers: Set = [
        "model", "max_tokens", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "stream",
        "stop_sequences", "temperature", "top_p", "top_k", "container", "mcp_servers",
        // What is no business of the model, or a hint that may be left alone.
        "metadata", "service_tier", "speed", "cache_control", "context_management", "diagnostics", "inference_geo",
        "user_profile_id", "workspace_id", "betas",
    ]

    // MARK: Writing

    /// The request to Anthropic's API.
    ///
    /// - Throws: `ProtocolError` where the API has no way to say something.
    public func anthropic(countsTokens: Bool = false) throws(ProtocolError) -> JSON {
        if !countsTokens { try checkAnthropicCanSay() }
        var rest = prompt.messages[...]
        var system: JSON?
        if let first = rest.first, first.role == .system {
            system = try first.content.anthropicText(of: .system, at: "system")
            rest.removeFirst()
        }
        if rest.isEmpty { throw .malformed("messages", .array([]), expected: "at least one message not of the system") }
        if (rest.last?.role != .assistant) != prompt.addsGenerationPrompt {
            throw .unsupported(
                place: "messages",
                why: "the API continues a last message of the assistant, and answers one of anybody else")
        }
        let messages = try ChatMessage.anthropic(rest)
        let tools = prompt.tools.isEmpty ? nil : JSON.array(prompt.tools.map(\.anthropic))
        let output = JSON.object(of: ["effort": prompt.effort.wireWord, "format": try format.anthropic()])
        return .object(of: [
            "model": .string(model), "max_tokens": countsTokens ? nil : sampling.maximumTokens.map(JSON.integer),
            "system": system, "messages": .array(messages), "tools": tools,
            "tool_choice": toolChoice.anthropic(allowsParallelCalls: allowsParallelCalls),
            "thinking": WireThinking(self).json(unsaid: false, enabled: "adaptive"),
            "output_config": output.members?.isEmpty == true ? nil : output,
            "stream": streams ? .bool(true) : nil,
            "stop_sequences": sampling.stop.isEmpty ? nil : .array(sampling.stop.map(JSON.string)),
            "temperature": sampling.temperature.map(JSON.decimal), "top_p": sampling.topP.map(JSON.decimal),
            "top_k": sampling.topK.map(JSON.integer),
        ])
    }

    private func checkAnthropicCanSay() throws(ProtocolError) {
        func refuse(_ isWanted: Bool, _ place: String, _ why: String) throws(ProtocolError) {
            if isWanted { throw .unsupported(place: place, why: "Anthropic's API \(why)") }
        }
        if sampling.maximumTokens == nil {
            throw .malformed("max_tokens", nil, expected: "how many tokens the reply may have")
        }
        try refuse(sampling.replyCount != 1, "n", "gives one reply to a request")
        try refuse(sampling.topLogprobs != nil, "logprobs", "tells no log-probabilities")
        try refuse(sampling.seed != nil, "seed", "takes no seed")
        try refuse(
            sampling.presencePenalty != nil || sampling.frequencyPenalty != nil || sampling.repetitionPenalty != nil,
            "presence_penalty", "has no penalties")
        try refuse(sampling.minP != nil, "min_p", "has no least probability")
        try refuse(!sampling.tokenBias.isEmpty, "logit_bias", "has no bias of tokens")
        try refuse((sampling.temperature ?? 0) > 1, "temperature", "has none above 1")
        try refuse(
            toolChoice == .never && !allowsParallelCalls, "parallel_tool_calls",
            "has no such thing where no tool is called")
    }
}

extension SamplingOptions {
    fileprivate init(anthropic body: WireField) throws(ProtocolError) {
        self.init()
        maximumTokens = try body["max_tokens"].integer(0 ... .max)
        temperature = try body["temperature"].number(0...1)
        topP = try body["top_p"].number(0...1)
        topK = try body["top_k"].integer(1 ... .max)
        for text in try body["stop_sequences"].elementsIfPresent("a list of texts") {
            stop.append(try text.name("a text that is not empty"))
        }
    }
}

extension ToolChoice {
    fileprivate init(anthropic choice: WireField, of tools: [ToolDefinition]) throws(ProtocolError) {
        self = .auto
        if choice.isAbsent { return }
        try choice.mustBeObject("an object such as {\"type\":\"auto\"}")
        switch choice["type"].json?.string {
        case "auto": break
        case "any": self = .required
        case "none": self = .never
        case "tool": self = .named(try choice["name"].name("the name of a tool"))
        default: throw choice["type"].isNot("auto, any, tool or none")
        }
        try checkIsPossible(with: tools, choice, choice["name"])
    }

    fileprivate func anthropic(allowsParallelCalls: Bool) -> JSON? {
        if self == .auto, allowsParallelCalls { return nil }
        let (type, name): (String, String?) =
            switch self {
            case .auto: ("auto", nil)
            case .never: ("none", nil)
            case .required: ("any", nil)
            case .named(let name): ("tool", name)
            }
        return .object(of: [
            "type": .string(type), "name": name.map(JSON.string),
            "disable_parallel_tool_use": allowsParallelCalls ? nil : .bool(true),
        ])
    }
}

extension OutputFormat {
    fileprivate init(anthropic format: WireField) throws(ProtocolError) {
        if format.isAbsent {
            self = .text
            return
        }
        try format.mustBeObject("an object such as {\"type\":\"json_schema\",\"schema\":…}")
        guard format["type"].json?.string == "json_schema" else { throw format["type"].isNot("json_schema") }
        try format["schema"].mustBeObject("a JSON schema")
        self = .schema(OutputSchema(format["schema"].json ?? .null))
    }

    fileprivate func anthropic() throws(ProtocolError) -> JSON? {
        switch self {
        case .text: return nil
        case .json: throw .unsupported(place: "output_config.format", why: "Anthropic's API needs a schema")
        case .schema(let schema): return .object(of: ["type": .string("json_schema"), "schema": schema.schema])
        }
    }
}
