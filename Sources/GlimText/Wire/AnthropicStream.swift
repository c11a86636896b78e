/// Writes a reply as the stream of Anthropic's messages.
///
/// ```swift
/// var composer = ReplyComposer(response: id)
/// var writer = AnthropicStreamWriter(id: id, model: model, usage: TokenUsage(prompt: ids.count, reply: 0))
/// for event in parser.push(token) { send(writer.push(composer.push(event))) }
/// send(writer.finish(composer.finish, usage: usage))
/// ```
public struct AnthropicStreamWriter: Sendable {
    private let start: GenerationResponse
    private var hasBegun = false
    private var block: Block?
    private var blockCount = 0

    private enum Block: Equatable { case text, thinking, call(Int) }

    /// - Parameter usage: what is known before the first token of the reply.
    public init(id: String, model: String, usage: TokenUsage) {
        start = GenerationResponse(id: id, model: model, replies: [], usage: usage)
    }

    public mutating func push(_ deltas: [ReplyDelta]) -> [ServerSentEvent] {
        var events = begin()
        for delta in deltas { events += push(delta) }
        return events
    }

    private mutating func push(_ delta: ReplyDelta) -> [ServerSentEvent] {
        switch delta {
        case .reasoning(let text):
            let empty = JSON.object(of: [
                "type": .string("thinking"), "thinking": .string(""), "signature": .string(""),
            ])
            return open(.thinking, empty) + [more(["type": .string("thinking_delta"), "thinking": .string(text)])]
        case .content(let text):
            return open(.text, ContentPart.text("").json)
                + [more(["type": .string("text_delta"), "text": .string(text)])]
        case .callBegin(let place, let id, let name):
            let id = id ?? ReplyComposer.callID(response: start.id, number: 0, place: place)
            return open(.call(place), ToolCall.anthropic(id: id, name: name, input: .object([])))
        case .arguments(_, let text):
            return [more(["type": .string("input_json_delta"), "partial_json": .string(text)])]
        }
    }

    /// - Parameter usage: of the whole request.
    public mutating func finish(_ reason: FinishReason, usage: TokenUsage) -> [ServerSentEvent] {
        let delta = JSON.object(of: [
            "stop_reason": .string(reason.anthropic), "stop_sequence": reason.text.map(JSON.string) ?? .null,
        ])
        return begin() + close() + [
            Self.event(.object(of: ["type": .string("message_delta"), "delta": delta, "usage": usage.anthropic])),
            Self.event(.object(of: ["type": .string("message_stop")])),
        ]
    }

    private mutating func begin() -> [ServerSentEvent] {
        if hasBegun { return [] }
        hasBegun = true
        let message = start.anthropicMessage(content: [], finish: nil)
        return [Self.event(.object(of: ["type": .string("message_start"), "message": message]))]
    }

    private mutating func open(_ next: Block, _ empty: JSON) -> [ServerSentEvent] {
        if block == next { return [] }
        defer { block = next }
        return close() + [
            Self.event(
                .object(of: [
                    "type": .string("content_block_start"), "index": .integer(blockCount), "content_block": empty,
                ]))
        ]
    }

    private mutating func close() -> [ServerSentEvent] {
        guard let ended = block else { return [] }
        var events: [ServerSentEvent] = []
        if ended == .thinking {
            let signature = JSON.string(ChatMessage.anthropicSignature)
            events.append(more(["type": .string("signature_delta"), "signature": signature]))
        }
        events.append(
            Self.event(.object(of: ["type": .string("content_block_stop"), "index": .integer(blockCount)])))
        (block, blockCount) = (nil, blockCount + 1)
        return events
    }

    /// More of the open block.
    private func more(_ delta: KeyValuePairs<String, JSON?>) -> ServerSentEvent {
        Self.event(
            .object(of: [
                "type": .string("content_block_delta"), "index": .integer(blockCount), "delta": .object(of: delta),
            ]))
    }

    /// An event bears the name of its type.
    private static func event(_ json: JSON) -> ServerSentEvent { ServerSentEvent(name: json["type"]?.string, json) }
}

/// Reads the stream of Anthropic's messages, of any server.
public struct AnthropicStreamReader: Sendable {
    private var id = ""
    private var model = ""
    private var usage: TokenUsage?
    private var reader = ReplyReader()
    /// The places of calls by the indices of their blocks.
    private var calls: [Int: Int] = [:]
    private var reason: FinishReason?
    private var isOver = false

    public init() {}

    /// What this event adds. Events of unknown types add nothing: the API may get new ones.
    public mutating func push(_ event: ServerSentEvent) throws(EndpointError) -> [ReplyDelta] {
        let json: JSON
        do { json = try JSON(request: event.data.utf8) } catch { throw .malformed(error) }
        if json["type"]?.string == "error" { throw .reported(ServiceError(body: json)) }
        do {
            let deltas = try deltas(WireField(json))
            for delta in deltas { reader.add(delta) }
            return deltas
        } catch { throw .malformed(error) }
    }

    private mutating func deltas(_ event: WireField) throws(ProtocolError) -> [ReplyDelta] {
        switch try event["type"].string("the type of an event") {
        case "message_start":
            let message = event["message"]
            try message.mustBeObject("a message")
            (id, model) = (try message["id"].stringIfPresent() ?? "", try message["model"].stringIfPresent() ?? "")
            usage = try TokenUsage(anthropic: message["usage"])
            return [.reasoning(""), .content("")]
        case "content_block_start": return try begin(event["content_block"], index: try index(event))
        case "content_block_delta": return try more(event["delta"], index: try index(event))
        case "message_delta":
            let delta = event["delta"]
            if !delta["stop_reason"].isAbsent {
                reason = try FinishReason(anthropic: delta["stop_reason"], stop: delta["stop_sequence"])
            }
            if !event["usage"].isAbsent {
                var told = usage ?? TokenUsage(prompt: 0, reply: 0)
                try told.update(anthropic: event["usage"])
                usage = told
            }
        case "message_stop": isOver = true
        default: break
        }
        return []
    }

    private func index(_ event: WireField) throws(ProtocolError) -> Int {
        guard let index = try event["index"].integer(0 ... .max) else {
            throw event["index"].isNot("the place of the block")
        }
        return index
    }

    /// What a block begins with, which is mostly nothing.
    private mutating func begin(_ block: WireField, index: Int) throws(ProtocolError) -> [ReplyDelta] {
        switch block["type"].json?.string {
        case "text": return [.content(try block["text"].stringIfPresent() ?? "")]
        case "thinking": return [.reasoning(try block["thinking"].stringIfPresent() ?? "")]
        case "redacted_thinking": return []
        case "tool_use":
            let place = calls.count
            calls[index] = place
            let name = try block["name"].name("the name of a tool")
            let input = block["input"].json?.members ?? []
            return [.callBegin(place: place, id: try block["id"].stringIfPresent(), name: name)]
                + (input.isEmpty ? [] : [.arguments(place: place, JSON.object(input).compact)])
        default: throw block["type"].isNot("text, thinking or tool_use")
        }
    }

    private func more(_ delta: WireField, index: Int) throws(ProtocolError) -> [ReplyDelta] {
        switch delta["type"].json?.string {
        case "text_delta": return [.content(try delta["text"].string())]
        case "thinking_delta": return [.reasoning(try delta["thinking"].string())]
        case "input_json_delta":
            guard let place = calls[index] else { throw delta.cannotBeUsed("block \(index) is no call") }
            return [.arguments(place: place, try delta["partial_json"].string())]
        default: return []  // signatures, and what may come
        }
    }

    /// The response, once the stream is over.
    ///
    /// - Throws: `EndpointError.cut` if the message had not ended: what was lost with a connection is not a reply.
    public func finish() throws(EndpointError) -> GenerationResponse {
        guard isOver, let reason else { throw .cut }
        return GenerationResponse(id: id, model: model, replies: [reader.reply(reason)], usage: usage)
    }
}
