// Responses of OpenAI's chat completions, both ways.

extension GenerationResponse {
    /// The response as OpenAI's API has it. Calls without an id get one of the response's.
    public var openAI: JSON {
        .object(of: [
            "id": .string(id), "object": .string("chat.completion"), "created": .integer(created),
            "model": .string(model),
            "choices": .array(replies.enumerated().map { $1.openAI(response: id, number: $0) }),
            "usage": usage?.openAI,
        ])
    }

    /// Reads a response of OpenAI's API.
    ///
    /// Arguments that are no JSON object are a ``BrokenCall``: models write such, and what to tell them is for the
    /// caller to decide.
    ///
    /// - Throws: `EndpointError`, also for a body that tells an error.
    public init(openAI json: JSON) throws(EndpointError) {
        if json["error"] != nil { throw .reported(ServiceError(body: json)) }
        do { try self.init(openAI: WireField(json)) } catch { throw .malformed(error) }
    }

    private init(openAI body: WireField) throws(ProtocolError) {
        try body.mustBeObject("a chat completion")
        self.init(
            id: try body["id"].stringIfPresent() ?? "", model: try body["model"].stringIfPresent() ?? "",
            created: try body["created"].integer() ?? 0, replies: [], usage: try TokenUsage(openAI: body["usage"]))
        var numbered: [(Int, GenerationReply)] = []
        for choice in try body["choices"].elements("a list of choices") {
            numbered.append((try choice["index"].integer() ?? numbered.count, try GenerationReply(openAI: choice)))
        }
        replies = numbered.sorted { $0.0 < $1.0 }.map(\.1)
    }
}

extension GenerationReply {
    fileprivate func openAI(response: String, number: Int) -> JSON {
        func id(_ given: String?, _ place: Int) -> String {
            given ?? ReplyComposer.callID(response: response, number: number, place: place)
        }
        let calls = allCalls { place, call in
            call.openAI(id: id(call.id, place))
        } broken: { call in
            ToolCall.openAI(id: id(call.id, call.place), name: call.name, arguments: call.arguments)
        }
        let content: JSON? =
            switch message.content {
            case .absent: nil
            case .null: .null
            case .text(let text): .string(text)
            case .parts(let parts): .string(parts.map(\.words).joined())
            }
        let message = JSON.object(of: [
            "role": .string("assistant"), "content": content,
            "reasoning_content": message.reasoning.map(JSON.string), "tool_calls": calls.isEmpty ? nil : .array(calls),
        ])
        return .object(of: [
            "index": .integer(number), "message": message, "logprobs": logprobs?.openAI ?? .null,
            "finish_reason": .string(finish.openAI), "stop_reason": finish.text.map(JSON.string),
        ])
    }

    /// All calls in their order, the broken ones among them.
    func allCalls<T>(_ whole: (Int, ToolCall) -> T, broken: (BrokenCall) -> T) -> [T] {
        var (calls, left): ([T], ArraySlice<BrokenCall>) = ([], brokenCalls[...])
        for call in message.toolCalls {
            while let next = left.first, next.place <= calls.count { calls.append(broken(left.removeFirst())) }
            calls.append(whole(calls.count, call))
        }
        return calls + left.map(broken)
    }

    fileprivate init(openAI choice: WireField) throws(ProtocolError) {
        try choice.mustBeObject("a choice with message and finish_reason")
        let told = choice["message"]
        try told.mustBeObject("a message")
        // Its calls are read by themselves, as they may be broken.
        let withoutCalls = JSON.object((told.json?.members ?? []).filter { $0.key != "tool_calls" })
        var reader = ReplyReader()
        for (place, call) in try told["tool_calls"].elementsIfPresent("a list of calls").enumerated() {
            try ToolCall.checkType(openAI: call)
            let name = try call["function"]["name"].string("the name of a tool")
            reader.add(.callBegin(place: place, id: try call["id"].stringIfPresent(), name: name))
            let arguments = try call["function"]["arguments"].stringIfPresent("a text that holds a JSON object") ?? ""
            reader.add(.arguments(place: place, arguments))
        }
        let calls = reader.reply(.endOfTurn)
        var message = try ChatMessage(openAIAssistant: WireField(withoutCalls, path: told.path))
        message.toolCalls = calls.message.toolCalls
        self.init(
            message, brokenCalls: calls.brokenCalls,
            finish: try FinishReason(openAI: choice["finish_reason"], stop: choice["stop_reason"]),
            logprobs: try [TokenLogprob](openAI: choice["logprobs"]))
    }
}

extension ContentPart {
    /// Its text, if it has one.
    var words: String { if case .text(let text) = kind { text } else { "" } }
}

extension FinishReason {
    /// - Parameter stop: the text that ended the reply, which servers of open models tell beside the reason.
    init(openAI reason: WireField, stop: WireField) throws(ProtocolError) {
        switch reason.json?.string {
        case "stop": self = stop.json?.string.map { .stopText($0) } ?? .endOfTurn
        case "tool_calls", "function_call": self = .toolCalls
        case "length": self = .length
        case "content_filter": self = .filtered
        case let other?: self = .other(other)
        case nil: throw reason.isNot("stop, length, tool_calls or content_filter")
        }
    }

    package var openAI: String {
        switch self {
        case .endOfTurn, .stopText: "stop"
        case .toolCalls: "tool_calls"
        case .length: "length"
        case .filtered: "content_filter"
        case .other(let reason): reason
        }
    }

    /// The text that came, if one did.
    package var text: String? { if case .stopText(let text) = self { text } else { nil } }
}

extension TokenUsage {
    /// What a count can be: sums of them must not overflow.
    static let counts = 0...1 << 50

    /// nil where none is told.
    init?(openAI usage: WireField) throws(ProtocolError) {
        if usage.isAbsent { return nil }
        try usage.mustBeObject("an object with prompt_tokens and completion_tokens")
        self.init(
            prompt: try usage["prompt_tokens"].integer(Self.counts) ?? 0,
            cached: try usage["prompt_tokens_details"]["cached_tokens"].integer(Self.counts) ?? 0,
            divergence: try usage["prompt_tokens_details"]["divergence"].integer(Self.counts),
            reply: try usage["completion_tokens"].integer(Self.counts) ?? 0,
            reasoning: try usage["completion_tokens_details"]["reasoning_tokens"].integer(Self.counts))
    }

    package var openAI: JSON {
        .object(of: [
            "prompt_tokens": .integer(prompt), "completion_tokens": .integer(reply),
            "total_tokens": .integer(prompt + reply),
            "prompt_tokens_details": .object(of: [
                "cached_tokens": .integer(cached), "divergence": divergence.map(JSON.integer),
            ]),
            "completion_tokens_details": reasoning.map { .object(of: ["reasoning_tokens": .integer($0)]) },
        ])
    }
}

extension [TokenLogprob] {
    init?(openAI logprobs: WireField) throws(ProtocolError) {
        if logprobs["content"].isAbsent { return nil }
        self = []
        for token in try logprobs["content"].elements("a list of tokens") {
            var top: [TokenLogprob.Token] = []
            for other in try token["top_logprobs"].elementsIfPresent("a list of tokens") {
                top.append(try TokenLogprob.Token(openAI: other))
            }
            append(TokenLogprob(try TokenLogprob.Token(openAI: token), top: top))
        }
    }

    var openAI: JSON {
        let content = map { token in
            JSON.object((token.token.openAI.members ?? []) + [.init("top_logprobs", .array(token.top.map(\.openAI)))])
        }
        return .object(of: ["content": .array(content), "refusal": .null])
    }
}

extension TokenLogprob.Token {
    fileprivate init(openAI token: WireField) throws(ProtocolError) {
        try token.mustBeObject("an object with token and logprob")
        let text = try token["token"].string()
        var bytes = Array(text.utf8)
        if !token["bytes"].isAbsent {
            bytes = []
            for byte in try token["bytes"].elements("a list of bytes") {
                guard let value = try byte.integer(0...255) else { throw byte.isNot("a byte") }
                bytes.append(UInt8(value))
            }
        }
        guard let logprob = try token["logprob"].number(-.greatestFiniteMagnitude ... .greatestFiniteMagnitude) else {
            throw token["logprob"].isNot("a number")
        }
        self.init(bytes, logprob: logprob)
    }

    fileprivate var openAI: JSON {
        .object(of: [
            "token": .string(String(decoding: bytes, as: UTF8.self)),
            // JSON has no infinity: the API's own number for what never comes.
            "logprob": .decimal(logprob.isFinite ? logprob : -9999), "bytes": .array(bytes.map { .integer(Int($0)) }),
        ])
    }
}
