/// Writes a reply as the stream of OpenAI's chat completions. Requests for several replies have a writer for each.
///
/// ```swift
/// var composer = ReplyComposer(response: id)
/// var writer = OpenAIStreamWriter(id: id, model: model, created: now)
/// for event in parser.push(token) { send(writer.push(composer.push(event))) }
/// send(writer.finish(composer.finish) + [OpenAIStreamWriter.done])
/// ```
public struct OpenAIStreamWriter: Sendable {
    private let id: String
    private let model: String
    private let created: Int
    private let number: Int
    private let reportsUsage: Bool
    private var hasBegun = false

    /// What a stream ends with, behind everything else.
    public static let done = ServerSentEvent(data: "[DONE]")

    /// - Parameters:
    ///   - created: seconds since 1970.
    ///   - number: of the reply within the response.
    ///   - reportsUsage: as the request had it.
    public init(id: String, model: String, created: Int, number: Int = 0, reportsUsage: Bool = false) {
        (self.id, self.model, self.created, self.number) = (id, model, created, number)
        self.reportsUsage = reportsUsage
    }

    /// - Parameter logprobs: of the tokens that these pieces are of.
    public mutating func push(_ deltas: [ReplyDelta], logprobs: [TokenLogprob] = []) -> [ServerSentEvent] {
        var chunks = begin()
        var logprobs = logprobs.isEmpty ? nil : logprobs
        for delta in deltas {
            chunks.append(chunk(Self.json(delta), logprobs: logprobs))
            logprobs = nil
        }
        if let logprobs { chunks.append(chunk(.object([]), logprobs: logprobs)) }
        return chunks
    }

    public mutating func finish(_ reason: FinishReason) -> [ServerSentEvent] {
        begin() + [chunk(.object([]), finish: reason)]
    }

    /// What the whole response used, told once all its replies have ended: nothing unless it was asked for.
    public func usage(_ usage: TokenUsage) -> [ServerSentEvent] {
        reportsUsage ? [event(choices: [], usage: usage.openAI)] : []
    }

    /// Says who speaks, and that there is nothing yet.
    private mutating func begin() -> [ServerSentEvent] {
        if hasBegun { return [] }
        hasBegun = true
        return [
            chunk(
                .object(of: [
                    "role": .string("assistant"), "content": .string(""), "reasoning_content": .string(""),
                ]))
        ]
    }

    private static func json(_ delta: ReplyDelta) -> JSON {
        switch delta {
        case .reasoning(let text): return .object(of: ["reasoning_content": .string(text)])
        case .content(let text): return .object(of: ["content": .string(text)])
        case .callBegin(let place, let id, let name):
            let function = JSON.object(of: ["name": .string(name), "arguments": .string("")])
            return .object(of: [
                "tool_calls": .array([
                    .object(of: [
                        "index": .integer(place), "id": id.map(JSON.string), "type": .string("function"),
                        "function": function,
                    ])
                ])
            ])
        case .arguments(let place, let text):
            let function = JSON.object(of: ["arguments": .string(text)])
            return .object(of: [
                "tool_calls": .array([.object(of: ["index": .integer(place), "function": function])])
            ])
        }
    }

    private func chunk(_ delta: JSON, logprobs: [TokenLogprob]? = nil, finish: FinishReason? = nil) -> ServerSentEvent {
        let choice = JSON.object(of: [
            "index": .integer(number), "delta": delta, "logprobs": logprobs?.openAI ?? .null,
            "finish_reason": finish.map { .string($0.openAI) } ?? .null,
            "stop_reason": finish?.text.map(JSON.string),
        ])
        return event(choices: [choice], usage: .null)
    }

    private func event(choices: [JSON], usage: JSON) -> ServerSentEvent {
        ServerSentEvent(
            .object(of: [
                "id": .string(id), "object": .string("chat.completion.chunk"), "created": .integer(created),
                "model": .string(model), "choices": .array(choices), "usage": reportsUsage ? usage : nil,
            ]))
    }
}

/// Reads the stream of OpenAI's chat completions, of any server.
public struct OpenAIStreamReader: Sendable {
    private var id = ""
    private var model = ""
    private var created = 0
    private var usage: TokenUsage?
    private var choices: [Int: Choice] = [:]

    private struct Choice: Sendable {
        var reader = ReplyReader()
        var logprobs: [TokenLogprob]?
        var finish: FinishReason?

        mutating func add(_ more: [TokenLogprob]) {
            logprobs = logprobs ?? []
            logprobs?.append(contentsOf: more)
        }
    }

    public init() {}

    /// What this event adds, each piece with the number of the reply that it belongs to.
    public mutating func push(
        _ event: ServerSentEvent
    ) throws(EndpointError) -> [(number: Int, delta: ReplyDelta)] {
        if event.data == "[DONE]" { return [] }
        let json: JSON
        do { json = try JSON(request: event.data.utf8) } catch { throw .malformed(error) }
        if json["error"] != nil { throw .reported(ServiceError(body: json)) }
        do { return try push(WireField(json)) } catch { throw .malformed(error) }
    }

    private mutating func push(_ body: WireField) throws(ProtocolError) -> [(number: Int, delta: ReplyDelta)] {
        try body.mustBeObject("a chunk of a chat completion")
        if let id = try body["id"].stringIfPresent() { self.id = id }
        if let model = try body["model"].stringIfPresent() { self.model = model }
        if let created = try body["created"].integer() { self.created = created }
        if let usage = try TokenUsage(openAI: body["usage"]) { self.usage = usage }
        var all: [(number: Int, delta: ReplyDelta)] = []
        for choice in try body["choices"].elementsIfPresent("a list of choices") {
            let number = try choice["index"].integer(0 ... .max) ?? 0
            let deltas = try Self.deltas(choice["delta"])
            for delta in deltas { choices[number, default: Choice()].reader.add(delta) }
            if let logprobs = try [TokenLogprob](openAI: choice["logprobs"]) {
                choices[number, default: Choice()].add(logprobs)
            }
            if !choice["finish_reason"].isAbsent {
                choices[number, default: Choice()].finish = try FinishReason(
                    openAI: choice["finish_reason"], stop: choice["stop_reason"])
            }
            all += deltas.map { (number, $0) }
        }
        return all
    }

    private static func deltas(_ delta: WireField) throws(ProtocolError) -> [ReplyDelta] {
        try delta.mustBeObjectIfPresent("an object")
        var deltas: [ReplyDelta] = []
        let reasoning = delta["reasoning_content"]
        if let text = try (reasoning.isAbsent ? delta["reasoning"] : reasoning).stringIfPresent() {
            deltas.append(.reasoning(text))
        }
        if let text = try delta["content"].stringIfPresent() { deltas.append(.content(text)) }
        for call in try delta["tool_calls"].elementsIfPresent("a list of calls") {
            try ToolCall.checkType(openAI: call)
            guard let place = try call["index"].integer(0 ... .max) else {
                throw call["index"].isNot("the place of the call among all calls")
            }
            let (id, name) = (try call["id"].stringIfPresent(), try call["function"]["name"].stringIfPresent())
            if id != nil || name != nil { deltas.append(.callBegin(place: place, id: id, name: name ?? "")) }
            if let text = try call["function"]["arguments"].stringIfPresent(), !text.isEmpty {
                deltas.append(.arguments(place: place, text))
            }
        }
        return deltas
    }

    /// The response, once the stream is over.
    ///
    /// - Throws: `EndpointError.cut` if a reply had not ended: what was lost with a connection is not a reply.
    public func finish() throws(EndpointError) -> GenerationResponse {
        var replies: [GenerationReply] = []
        for (_, choice) in choices.sorted(by: { $0.key < $1.key }) {
            guard let finish = choice.finish else { throw .cut }
            replies.append(choice.reader.reply(finish, logprobs: choice.logprobs))
        }
        if replies.isEmpty { throw .cut }
        return GenerationResponse(id: id, model: model, created: created, replies: replies, usage: usage)
    }
}
