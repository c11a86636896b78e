/// Puts the pieces of a reply together: the inverse of ``ReplyComposer``, for whatever server they come from.
public struct ReplyReader: Sendable {
    private var reasoning: String?
    private var content: String?
    private var calls: [Call] = []
    private var places: [Int: Int] = [:]

    private struct Call: Sendable {
        let place: Int
        var id: String?
        var name: String
        var arguments = ""
    }

    public init() {}

    public mutating func add(_ delta: ReplyDelta) {
        switch delta {
        case .reasoning(let text):
            reasoning = reasoning ?? ""
            reasoning?.append(text)
        case .content(let text):
            content = content ?? ""
            content?.append(text)
        case .callBegin(let place, let id, let name):
            let index = index(of: place)
            if calls[index].name.isEmpty { calls[index].name = name }
            if calls[index].id == nil { calls[index].id = id }
        case .arguments(let place, let text):
            let index = index(of: place)
            calls[index].arguments += text
        }
    }

    private mutating func index(of place: Int) -> Int {
        if let index = places[place] { return index }
        places[place] = calls.count
        calls.append(Call(place: place, name: ""))
        return calls.count - 1
    }

    /// The reply that the pieces so far make.
    public func reply(_ finish: FinishReason, logprobs: [TokenLogprob]? = nil) -> GenerationReply {
        var message = ChatMessage(.assistant, content.map(ChatMessage.Content.text) ?? .null, reasoning: reasoning)
        var broken: [BrokenCall] = []
        for (place, call) in calls.sorted(by: { $0.place < $1.place }).enumerated() {
            if let arguments = ToolCall.arguments(parsing: call.arguments), !call.name.isEmpty {
                message.toolCalls.append(ToolCall(id: call.id, name: call.name, arguments: arguments))
            } else {
                broken.append(BrokenCall(place: place, id: call.id, name: call.name, arguments: call.arguments))
            }
        }
        return GenerationReply(message, brokenCalls: broken, finish: finish, logprobs: logprobs)
    }
}

extension ToolCall {
    /// The arguments that a text holds, in their order: those of one JSON object, or none where it is empty, as some
    /// servers have it. nil where it is neither.
    static func arguments(parsing text: String) -> [ToolArgument]? {
        if text.isEmpty { return [] }
        return (try? JSON(parsing: text.utf8))?.members.map { $0.map { ToolArgument($0.key, $0.value) } }
    }
}
