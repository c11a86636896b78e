// OpenAI's chat completions, `POST /v1/chat/completions`, with what GLM's own API and the servers of open models add to
// them: `reasoning_content`, `thinking`, `top_k`, `min_p`, `repetition_penalty`, `chat_template_kwargs`.
//
// Source: the types of OpenAI's Python client, 3.57; docs.z.ai on `thinking` and `clear_thinking`.

extension GenerationRequest {
    /// Reads a request to OpenAI's API.
    ///
    /// - Throws: `ProtocolError` with the path to what is wrong. Members that nobody knows are no error: see
    ///   ``unknownOpenAIMembers(of:)``.
    public init(openAI bytes: some Sequence<UInt8>) throws(ProtocolError) {
        try self.init(openAI: try JSON(request: bytes))
    }

    public init(openAI json: JSON) throws(ProtocolError) {
        let body = WireField(json)
        try body.mustBeObject("an object with model and messages")
        let model = try body["model"].name("the name of a model")
        let thinking = try WireThinking(openAI: body)
        let messages = try body["messages"].elements("a list of messages")
        if messages.isEmpty { throw body["messages"].isNot("at least one message") }
        var prompt = ChatPrompt([], addsGenerationPrompt: try body["add_generation_prompt"].flag() ?? true)
        for message in messages { prompt.messages.append(try ChatMessage(openAI: message)) }
        for tool in try body["tools"].elementsIfPresent("a list of tools") {
            prompt.tools.append(try ToolDefinition(openAI: tool))
        }
        (prompt.enablesThinking, prompt.clearsThinking) = (thinking.enables, thinking.clears)
        let effort = body["reasoning_effort"]
        if effort.json?.string != "none" { prompt.effort = try ReasoningEffort(effort) ?? .max }
        self.init(model: model, prompt: prompt, sampling: try SamplingOptions(openAI: body))
        sampling.maximumThinkingTokens = thinking.maximumTokens

        toolChoice = try ToolChoice(openAI: body["tool_choice"], of: prompt.tools)
        allowsParallelCalls = try body["parallel_tool_calls"].flag() ?? true
        format = try OutputFormat(openAI: body["response_format"])
        streams = try body["stream"].flag() ?? false
        let options = body["stream_options"]
        try options.mustBeObjectIfPresent("an object such as {\"include_usage\":true}")
        reportsUsage = try options["include_usage"].flag() ?? false
        if !options.isAbsent, !streams {
            throw options.cannotBeUsed("only a request with \"stream\": true has such options")
        }
        try body.refuse(Self.refusedOpenAIMembers)
        for kind in try body["modalities"].elementsIfPresent("[\"text\"]") where kind.json?.string != "text" {
            throw kind.isNot("text: nothing else is made here")
        }
    }

    private static let refusedOpenAIMembers: KeyValuePairs = [
        "functions": "it is the old form of tools", "function_call": "it is the old form of tool_choice",
        "audio": "nothing but text is made here", "prediction": "predicted outputs are not supported",
        "web_search_options": "there is no web search here; give a tool for it",
        "moderation": "there is no moderation here", "verbosity": refusedVerbosity,
    ]

    /// Of both of OpenAI's APIs.
    package static let refusedVerbosity = "the model knows no such switch; say how long the reply should be"

    /// The members of a request that are neither read nor known to mean nothing here, for a server that would rather
    /// say so than ignore them.
    public static func unknownOpenAIMembers(of request: JSON) -> [String] {
        (request.members ?? []).map(\.key).filter { !knownOpenAIMembers.contains($0) }
    }

    private static let knownOpenAIMembers: Set = [
        "model", "messages", "add_generation_prompt", "tools", "tool_choice", "parallel_tool_calls", "response_format",
        "stream", "stream_options", "modalities", "thinking", "chat_template_kwargs", "reasoning_effort", "max_tokens",
        "max_completion_tokens", "temperature", "top_p", "top_k", "seed", "stop", "presence_penalty",
        "frequency_penalty", "min_p", "repetition_penalty", "logit_bias", "n", "logprobs", "top_logprobs", "functions",
        "function_call", "audio", "prediction", "web_search_options", "moderation", "verbosity",
        // What is no business of the model.
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "tool_stream",
    ]

    // MARK: Writing

    /// The request to OpenAI's API.
    ///
    /// - Throws: `ProtocolError` where the API has no way to say something.
    public func openAI() throws(ProtocolError) -> JSON {
        if prompt.messages.isEmpty { throw .malformed("messages", .array([]), expected: "at least one message") }
        var messages: [JSON] = []
        for (index, message) in prompt.messages.enumerated() {
            messages.append(try message.openAI(at: "messages[\(index)]"))
        }
        let sampling = self.sampling
        let tools = prompt.tools.isEmpty ? nil : JSON.array(prompt.tools.map(\.openAI))
        return .object(of: [
            "model": .string(model), "messages": .array(messages), "tools": tools,
            "tool_choice": toolChoice.openAI, "parallel_tool_calls": allowsParallelCalls ? nil : .bool(false),
            "response_format": format.openAI,
            "stream": streams ? .bool(true) : nil,
            "stream_options": streams && reportsUsage ? .object(of: ["include_usage": .bool(true)]) : nil,
            "thinking": WireThinking(self).json(unsaid: true, enabled: "enabled"),
            "reasoning_effort": prompt.effort.wireWord,
            "add_generation_prompt": prompt.addsGenerationPrompt ? nil : .bool(false),
            // The older of two names: all servers know it.
            "max_tokens": sampling.maximumTokens.map(JSON.integer),
            "temperature": sampling.temperature.map(JSON.decimal), "top_p": sampling.topP.map(JSON.decimal),
            "top_k": sampling.topK.map(JSON.integer), "seed": sampling.seed.map(JSON.integer),
            "stop": sampling.stop.isEmpty ? nil : .array(sampling.stop.map(JSON.string)),
            "presence_penalty": sampling.presencePenalty.map(JSON.decimal),
            "frequency_penalty": sampling.frequencyPenalty.map(JSON.decimal),
            "min_p": sampling.minP.map(JSON.decimal),
            "repetition_penalty": sampling.repetitionPenalty.map(JSON.decimal),
            "logit_bias": sampling.tokenBias.isEmpty
                ? nil
                : .object(sampling.tokenBias.sorted { $0.key < $1.key }.map { .init(String($0), .decimal($1)) }),
            "n": sampling.replyCount == 1 ? nil : .integer(sampling.replyCount),
            "logprobs": sampling.topLogprobs == nil ? nil : .bool(true),
            "top_logprobs": sampling.topLogprobs.map(JSON.integer),
        ])
    }
}

extension JSON {
    /// Reads a body, with the room's own error.
    package init(request bytes: some Sequence<UInt8>) throws(ProtocolError) {
        do { try self.init(parsing: bytes) } catch { throw .notJSON(why: error.description) }
    }
}

extension WireThinking {
    /// Also reads what servers of open models pass on to the template, and an effort that is none.
    fileprivate init(openAI body: WireField) throws(ProtocolError) {
        try self.init(body["thinking"], unsaid: true)
        let forTemplate = body["chat_template_kwargs"]
        try forTemplate.mustBeObjectIfPresent("an object such as {\"enable_thinking\":false}")
        if try forTemplate["enable_thinking"].flag() == false { enables = false }
        clears = try forTemplate["clear_thinking"].flag() ?? clears
        if body["reasoning_effort"].json?.string == "none" { enables = false }
    }
}

extension SamplingOptions {
    /// What all of OpenAI's APIs that take these name alike.
    package init(openAI body: WireField) throws(ProtocolError) {
        self.init()
        let oldMaximum = try body["max_tokens"].integer(1 ... .max)
        maximumTokens = try body["max_completion_tokens"].integer(1 ... .max) ?? oldMaximum
        temperature = try body["temperature"].number(0...2)
        topP = try body["top_p"].number(0...1)
        topK = try body["top_k"].integer(1 ... .max)
        seed = try body["seed"].integer()
        presencePenalty = try body["presence_penalty"].number(-2...2)
        frequencyPenalty = try body["frequency_penalty"].number(-2...2)
        minP = try body["min_p"].number(0...1)
        repetitionPenalty = try body["repetition_penalty"].number(0.01...100)
        replyCount = try body["n"].integer(1 ... .max) ?? 1

        let stop = body["stop"]
        let expected = "a text, or a list of texts, none of them empty"
        if stop.json?.string != nil {
            self.stop = [try stop.name(expected)]
        } else {
            for text in try stop.elementsIfPresent(expected) { self.stop.append(try text.name(expected)) }
        }

        let bias = body["logit_bias"]
        try bias.mustBeObjectIfPresent("an object of token ids and what to add to their logits")
        for (key, added) in bias.members {
            guard let id = Int(key) else { throw added.cannotBeUsed("its key is not the id of a token") }
            tokenBias[id] = try added.number(-100...100)
        }

        let wantsLogprobs = try body["logprobs"].flag() ?? false
        let top = try body["top_logprobs"].integer(0...20)
        if wantsLogprobs { topLogprobs = top ?? 0 }
        if top != nil, !wantsLogprobs { throw body["top_logprobs"].cannotBeUsed("it needs \"logprobs\": true") }
    }
}

extension ToolChoice {
    fileprivate init(openAI choice: WireField, of tools: [ToolDefinition]) throws(ProtocolError) {
        let expected = "none, auto, required, or {\"type\":\"function\",\"function\":{\"name\":…}}"
        switch choice.json {
        case nil, .null: self = .auto
        case .string("auto"): self = .auto
        case .string("none"): self = .never
        case .string("required"): self = .required
        case .object:
            switch choice["type"].json?.string {
            case "function": self = .named(try choice["function"]["name"].name("the name of a tool"))
            case "allowed_tools", "custom":
                throw choice["type"].cannotBeUsed(
                    "only a function can be named; leave out the tools that are not allowed")
            default: throw choice["type"].isNot("function")
            }
        default: throw choice.isNot(expected)
        }
        try checkIsPossible(with: tools, choice, choice["function"]["name"])
    }

    /// - Parameter name: where the tool is named, if one is.
    package func checkIsPossible(with tools: [ToolDefinition], _ choice: WireField, _ name: WireField)
        throws(ProtocolError)
    {
        switch self {
        case .auto, .never: break
        case .required: if tools.isEmpty { throw choice.cannotBeUsed("the request has no tools") }
        case .named(let tool):
            if !tools.contains(where: { $0.name == tool }) {
                throw name.isNot("the name of one of the request's tools")
            }
        }
    }

    fileprivate var openAI: JSON? {
        switch self {
        case .auto: nil
        case .never: .string("none")
        case .required: .string("required")
        case .named(let name):
            .object(of: ["type": .string("function"), "function": .object(of: ["name": .string(name)])])
        }
    }
}

extension OutputFormat {
    fileprivate init(openAI format: WireField) throws(ProtocolError) {
        if format.isAbsent {
            self = .text
            return
        }
        try format.mustBeObject("an object such as {\"type\":\"json_object\"}")
        switch format["type"].json?.string {
        case "text": self = .text
        case "json_object": self = .json
        case "json_schema":
            let described = format["json_schema"]
            try described.mustBeObject("an object with name and schema")
            let name = try described["name"].name("a name for the format")
            try described["schema"].mustBeObject("a JSON schema")
            self = .schema(
                OutputSchema(
                    described["schema"].json ?? .null, name: name,
                    description: try described["description"].stringIfPresent(),
                    isStrict: try described["strict"].flag()))
        default: throw format["type"].isNot("text, json_object or json_schema")
        }
    }

    fileprivate var openAI: JSON? {
        switch self {
        case .text: return nil
        case .json: return .object(of: ["type": .string("json_object")])
        case .schema(let schema):
            let described = JSON.object(of: [
                "name": .string(schema.name ?? "output"), "description": schema.description.map(JSON.string),
                "schema": schema.schema, "strict": schema.isStrict.map(JSON.bool),
            ])
            return .object(of: ["type": .string("json_schema"), "json_schema": described])
        }
    }
}
