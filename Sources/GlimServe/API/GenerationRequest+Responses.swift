import GlimText

// OpenAI's responses, `POST /v1/responses`, in their basic form: the whole conversation comes with each request, and
// the server keeps nothing.
//
// Source: the types of OpenAI's Python client, 3.57.

extension GenerationRequest {
    /// Reads a request for a response.
    ///
    /// - Throws: `ProtocolError` with the path to what is wrong or cannot be used.
    init(responses json: JSON) throws(ProtocolError) {
        let body = WireField(json)
        try body.mustBeObject("an object with model and input")
        let model = try body["model"].name("the name of a model")
        try body.refuse([
            "previous_response_id": "nothing is kept here; send the whole conversation as input",
            "conversation": "nothing is kept here; send the whole conversation as input",
            "prompt": "there are no stored prompts here", "max_tool_calls": "tools are the client's to call",
            "moderation": "there is no moderation here",
            "context_management": "nothing is left out here; send what the model is to know",
        ])
        if try body["background"].flag() == true {
            throw body["background"].cannotBeUsed("a response comes at once here; stream it if it takes long")
        }
        let truncation = try body["truncation"].stringIfPresent() ?? "disabled"
        if truncation != "disabled" { throw body["truncation"].isNot("disabled: nothing is left out here") }
        if let top = try body["top_logprobs"].integer(0...20), top > 0 {
            throw body["top_logprobs"].cannotBeUsed("/v1/chat/completions tells log-probabilities")
        }
        for part in try body["include"].elementsIfPresent("a list of names")
        where part.json?.string != "reasoning.encrypted_content" {
            // Reasoning is told in clear anyway.
            throw part.cannotBeUsed("there is nothing to include beside the output")
        }

        var prompt = ChatPrompt([], addsGenerationPrompt: true)
        if let text = try body["instructions"].stringIfPresent() { prompt.messages.append(.system(text)) }
        prompt.messages += try ResponsesInput.messages(body["input"])
        for tool in try body["tools"].elementsIfPresent("a list of tools") {
            prompt.tools.append(try ToolDefinition(responses: tool))
        }
        let reasoning = body["reasoning"]
        try reasoning.mustBeObjectIfPresent("an object such as {\"effort\":\"high\"}")
        if reasoning["effort"].json?.string == "none" {
            prompt.enablesThinking = false
        } else {
            prompt.effort = try ReasoningEffort(reasoning["effort"]) ?? .max
        }

        // The names that both of OpenAI's APIs have; the others are read here.
        var sampling = try SamplingOptions(openAI: WireField(json.without(["top_logprobs"])))
        sampling.maximumTokens = try body["max_output_tokens"].integer(1 ... .max)
        self.init(model: model, prompt: prompt, sampling: sampling)
        toolChoice = try ToolChoice(responses: body["tool_choice"], of: prompt.tools)
        allowsParallelCalls = try body["parallel_tool_calls"].flag() ?? true
        try body["text"].mustBeObjectIfPresent("an object such as {\"format\":{\"type\":\"text\"}}")
        format = try OutputFormat(responses: body["text"]["format"])
        try body["text"].refuse(Self.refusedTextMembers)
        streams = try body["stream"].flag() ?? false
        try body["stream_options"].mustBeObjectIfPresent("an object")
    }

    private static let refusedTextMembers: KeyValuePairs = ["verbosity": refusedVerbosity]

    static let knownResponsesMembers: Set = [
        "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text",
        "max_output_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty",
        "frequency_penalty", "repetition_penalty", "logit_bias", "stream", "stream_options", "include",
        "previous_response_id", "conversation", "prompt", "max_tool_calls", "background", "truncation",
        "top_logprobs", "moderation", "context_management",
        // What is no business of the model.
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
        "prompt_cache_options", "prompt_cache_retention",
    ]
}

/// The items of a response's input as messages.
private enum ResponsesInput {
    static func messages(_ input: WireField) throws(ProtocolError) -> [ChatMessage] {
        if let text = input.json?.string { return [.user(text)] }
        var messages: [ChatMessage] = []
        // Reasoning stands before what it led to.
        var reasoning: String?
        for item in try input.elements("a text or a list of items") {
            try item.mustBeObject("an item such as {\"role\":\"user\",\"content\":…}")
            switch item["type"].json?.string ?? "message" {
            case "message":
                var message = ChatMessage(try role(item["role"]), try content(item["content"]))
                if message.role == .assistant {
                    message.reasoning = reasoning ?? ""
                    reasoning = nil
                }
                messages.append(message)
            case "reasoning":
                var text = ""
                for part in try item["content"].elementsIfPresent("a list of parts") {
                    text += try part["text"].string()
                }
                reasoning = (reasoning ?? "") + text
            case "function_call":
                if messages.last?.role != .assistant || reasoning != nil {
                    messages.append(.assistant("", reasoning: reasoning ?? ""))
                    reasoning = nil
                }
                messages[messages.count - 1].toolCalls.append(try call(item))
            case "function_call_output":
                let id = try item["call_id"].name("the id of the call that this answers")
                messages.append(ChatMessage(.tool, try content(item["output"]), toolCallID: id))
            case "item_reference":
                throw item["type"].cannotBeUsed("nothing is kept here; send the item itself")
            default:
                throw item["type"].isNot("message, reasoning, function_call or function_call_output")
            }
        }
        if messages.isEmpty { throw input.isNot("at least one item that says something") }
        return messages
    }

    private static func role(_ role: WireField) throws(ProtocolError) -> ChatMessage.Role {
        switch role.json?.string {
        case "system", "developer": return .system
        case "user": return .user
        case "assistant": return .assistant
        default: throw role.isNot("system, developer, user or assistant")
        }
    }

    private static func content(_ content: WireField) throws(ProtocolError) -> ChatMessage.Content {
        if let text = content.json?.string { return .text(text) }
        var parts: [ContentPart] = []
        for part in try content.elements("a text or a list of parts") {
            switch part["type"].json?.string {
            case "input_text", "output_text", "text": parts.append(.text(try part["text"].string()))
            case "input_image", "input_file", "input_audio":
                throw part["type"].cannotBeUsed("this model reads text only; send what it should know as text")
            case "refusal": throw part["type"].cannotBeUsed("a refusal is text here")
            default: throw part["type"].isNot("input_text or output_text")
            }
        }
        return .parts(parts)
    }

    private static func call(_ item: WireField) throws(ProtocolError) -> ToolCall {
        let id = try item["call_id"].name("an id that the output names")
        let name = try item["name"].name("the name of a tool")
        let text = try item["arguments"].string("a text that holds a JSON object")
        let members = text.isEmpty ? [] : (try? JSON(parsing: text.utf8))?.members
        guard let members else { throw item["arguments"].isNot("a text that holds a JSON object") }
        return ToolCall(id: id, name: name, arguments: members.map { ToolArgument($0.key, $0.value) })
    }
}

extension ToolDefinition {
    /// Reads a tool, which this API tells without an envelope, into the one that templates know.
    fileprivate init(responses tool: WireField) throws(ProtocolError) {
        try tool.mustBeObject("a tool such as {\"type\":\"function\",\"name\":…}")
        guard try tool["type"].string("function") == "function" else {
            throw tool["type"].cannotBeUsed("only tools that are functions are supported")
        }
        _ = try tool["name"].name("the name of the tool")
        _ = try tool["description"].stringIfPresent()
        try tool["parameters"].mustBeObjectIfPresent("a JSON schema")
        let function = JSON.object(
            (tool.json?.members ?? []).filter {
                ["name", "description", "parameters", "strict"].contains($0.key) && $0.value != .null
            })
        self.init(.object(of: ["type": .string("function"), "function": function]))
    }
}

extension ToolChoice {
    fileprivate init(responses choice: WireField, of tools: [ToolDefinition]) throws(ProtocolError) {
        switch choice.json {
        case nil, .null, .string("auto"): self = .auto
        case .string("none"): self = .never
        case .string("required"): self = .required
        case .object where choice["type"].json?.string == "function":
            self = .named(try choice["name"].name("the name of a tool"))
        default: throw choice.isNot("none, auto, required, or {\"type\":\"function\",\"name\":…}")
        }
        try checkIsPossible(with: tools, choice, choice["name"])
    }
}

extension OutputFormat {
    fileprivate init(responses format: WireField) throws(ProtocolError) {
        switch format["type"].json?.string {
        case nil where format.isAbsent, "text": self = .text
        case "json_object": self = .json
        case "json_schema":
            let name = try format["name"].name("a name for the format")
            try format["schema"].mustBeObject("a JSON schema")
            self = .schema(
                OutputSchema(
                    format["schema"].json ?? .null, name: name,
                    description: try format["description"].stringIfPresent(), isStrict: try format["strict"].flag()))
        default: throw format["type"].isNot("text, json_object or json_schema")
        }
    }
}
