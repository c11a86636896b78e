import GlimText

/// Writes a reply as the events of OpenAI's responses, and keeps the response that they amount to.
///
/// A response is a list of items: reasoning, messages, calls. Each event bears the name of its type and a number.
struct ResponsesWriter: Sendable {
    /// The item that is being written.
    private enum Item: Equatable {
        case reasoning, message
        case call(place: Int, id: String, name: String)
    }

    private let stamp: ReplyStamp
    /// What the request said, as far as the response tells it again.
    private let asked: JSON
    private var eventCount = 0
    private var items: [JSON] = []
    private var item: Item?
    /// Of the open item: its text, or its arguments.
    private var text = ""
    private var status = "in_progress"
    private var reason: FinishReason?
    private var usage: TokenUsage?
    private var error: ServiceError?

    /// - Parameter asked: the request's body.
    init(_ stamp: ReplyStamp, asked: JSON) {
        self.stamp = stamp
        self.asked = .object((asked.members ?? []).filter { Self.toldAgain.contains($0.key) })
    }

    private static let toldAgain: Set = [
        "instructions", "max_output_tokens", "metadata", "model", "parallel_tool_calls", "reasoning", "temperature",
        "text", "tool_choice", "tools", "top_p",
    ]

    /// The response as far as it has come.
    var response: JSON {
        func said(_ key: String, or other: JSON) -> JSON { asked[key] ?? other }
        let failure = error.map {
            JSON.object(of: ["code": .string("server_error"), "message": .string($0.message)])
        }
        return .object(of: [
            "id": .string(stamp.id), "object": .string("response"), "created_at": .integer(stamp.created),
            "status": .string(status), "error": failure ?? .null,
            "incomplete_details": reason == .length ? .object(of: ["reason": .string("max_output_tokens")]) : .null,
            "instructions": said("instructions", or: .null), "max_output_tokens": said("max_output_tokens", or: .null),
            "metadata": said("metadata", or: .object([])), "model": said("model", or: .null),
            "output": .array(items), "parallel_tool_calls": said("parallel_tool_calls", or: .bool(true)),
            "previous_response_id": .null, "reasoning": said("reasoning", or: .null), "store": .bool(false),
            "temperature": said("temperature", or: .integer(1)),
            "text": said("text", or: .object(of: ["format": .object(of: ["type": .string("text")])])),
            "tool_choice": said("tool_choice", or: .string("auto")), "tools": said("tools", or: .array([])),
            "top_p": said("top_p", or: .integer(1)), "truncation": .string("disabled"),
            "usage": usage.map(Self.json) ?? .null,
        ])
    }

    private static func json(_ usage: TokenUsage) -> JSON {
        .object(of: [
            "input_tokens": .integer(usage.prompt),
            "input_tokens_details": .object(of: [
                "cached_tokens": .integer(usage.cached), "divergence": usage.divergence.map(JSON.integer),
            ]),
            "output_tokens": .integer(usage.reply),
            "output_tokens_details": .object(of: ["reasoning_tokens": .integer(usage.reasoning ?? 0)]),
            "total_tokens": .integer(usage.prompt + usage.reply),
        ])
    }

    // MARK: Events

    mutating func push(_ deltas: [ReplyDelta]) -> [ServerSentEvent] {
        var events = begin()
        for delta in deltas {
            switch delta {
            case .reasoning(let more): events += add(more, to: .reasoning)
            case .content(let more): events += add(more, to: .message)
            case .callBegin(let place, let id, let name):
                events += open(.call(place: place, id: id ?? "call_\(stamp.id)_\(place)", name: name))
            case .arguments(_, let more):
                text += more
                events.append(event("response.function_call_arguments.delta", ["delta": .string(more)], ofItem: true))
            }
        }
        return events
    }

    mutating func finish(_ finish: FinishReason, _ used: TokenUsage) -> [ServerSentEvent] {
        let events = begin() + close(isWhole: finish != .length)
        (reason, usage) = (finish, used)
        status = finish == .length ? "incomplete" : "completed"
        return events + [event("response.\(status)", ["response": response])]
    }

    mutating func fail(_ failure: ServiceError) -> [ServerSentEvent] {
        let events = begin() + close(isWhole: false)
        (status, error) = ("failed", failure)
        return events + [event("response.failed", ["response": response])]
    }

    private mutating func begin() -> [ServerSentEvent] {
        if eventCount > 0 { return [] }
        return [
            event("response.created", ["response": response]), event("response.in_progress", ["response": response]),
        ]
    }

    private mutating func add(_ more: String, to next: Item) -> [ServerSentEvent] {
        let events = open(next)
        text += more
        let name = next == .reasoning ? "response.reasoning_text.delta" : "response.output_text.delta"
        var members: KeyValuePairs<String, JSON?> = ["content_index": .integer(0), "delta": .string(more)]
        if next == .message {
            members = ["content_index": .integer(0), "delta": .string(more), "logprobs": .array([])]
        }
        return events + [event(name, members, ofItem: true)]
    }

    private mutating func open(_ next: Item) -> [ServerSentEvent] {
        if item == next { return [] }
        var events = close(isWhole: true)
        (item, text) = (next, "")
        events.append(
            event(
                "response.output_item.added",
                ["output_index": .integer(items.count), "item": json(next, status: "in_progress", isEmpty: true)]))
        if let part = part(next) {
            events.append(
                event("response.content_part.added", ["content_index": .integer(0), "part": part], ofItem: true))
        }
        return events
    }

    private mutating func close(isWhole: Bool) -> [ServerSentEvent] {
        guard let ended = item else { return [] }
        var (isWhole, events) = (isWhole, [ServerSentEvent]())
        switch ended {
        case .reasoning:
            events.append(
                event(
                    "response.reasoning_text.done", ["content_index": .integer(0), "text": .string(text)],
                    ofItem: true))
        case .message:
            events.append(
                event(
                    "response.output_text.done",
                    ["content_index": .integer(0), "text": .string(text), "logprobs": .array([])], ofItem: true))
        case .call(_, _, let name):
            // One that broke off is none that can be carried out.
            isWhole = isWhole && (try? JSON(parsing: text.utf8))?.members != nil
            events.append(
                event(
                    "response.function_call_arguments.done", ["name": .string(name), "arguments": .string(text)],
                    ofItem: true))
        }
        if let part = part(ended) {
            events.append(
                event("response.content_part.done", ["content_index": .integer(0), "part": part], ofItem: true))
        }
        let whole = json(ended, status: isWhole ? "completed" : "incomplete", isEmpty: false)
        events.append(event("response.output_item.done", ["output_index": .integer(items.count), "item": whole]))
        items.append(whole)
        item = nil
        return events
    }

    /// The part that the open item's text is in; calls have none.
    private func part(_ item: Item) -> JSON? {
        switch item {
        case .reasoning: .object(of: ["type": .string("reasoning_text"), "text": .string(text)])
        case .message:
            .object(of: [
                "type": .string("output_text"), "text": .string(text), "annotations": .array([]),
                "logprobs": .array([]),
            ])
        case .call: nil
        }
    }

    private func json(_ item: Item, status: String, isEmpty: Bool) -> JSON {
        let content: [JSON] = isEmpty ? [] : part(item).map { [$0] } ?? []
        return switch item {
        case .reasoning:
            .object(of: [
                "id": .string(itemID), "type": .string("reasoning"), "summary": .array([]),
                "content": .array(content), "status": .string(status),
            ])
        case .message:
            .object(of: [
                "id": .string(itemID), "type": .string("message"), "role": .string("assistant"),
                "content": .array(content), "status": .string(status),
            ])
        case .call(_, let id, let name):
            .object(of: [
                "id": .string(itemID), "type": .string("function_call"), "call_id": .string(id),
                "name": .string(name), "arguments": .string(isEmpty ? "" : text), "status": .string(status),
            ])
        }
    }

    /// The name of the item that is open.
    private var itemID: String { "item_\(stamp.id)_\(items.count)" }

    private mutating func event(
        _ type: String, _ members: KeyValuePairs<String, JSON?>, ofItem: Bool = false
    ) -> ServerSentEvent {
        defer { eventCount += 1 }
        var all: [JSON.Member] = [
            .init("type", .string(type)), .init("sequence_number", .integer(eventCount)),
        ]
        if ofItem {
            all += [.init("output_index", .integer(items.count)), .init("item_id", .string(itemID))]
        }
        all += members.compactMap { key, value in value.map { .init(key, $0) } }
        return ServerSentEvent(name: type, .object(all))
    }
}
