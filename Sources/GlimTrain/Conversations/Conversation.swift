public import GlimText

/// A conversation to learn from, and what of it was a mistake.
///
/// A line of data is what `ChatPrompt` reads. A message of the assistant, or a call in it, that says `"error": true` is
/// read by the model and not learned (GLM-5 report, section 3: erroneous segments stay in the context, masked).
public struct Conversation: Sendable, Equatable {
    /// What is said, without asking for a reply.
    public let prompt: ChatPrompt
    /// Messages of the assistant that are mistakes.
    private let wrongMessages: Set<Int>
    /// Calls that are, by message.
    private let wrongCalls: [Int: Set<Int>]
    /// Members of the line and of its messages that mean nothing here, each once, in the order of their letters: a name
    /// may be misspelt.
    public let unreadMembers: [String]

    /// Reads one line.
    ///
    /// - Throws: `ProtocolError` that says which value is not what it should be.
    public init(parsing bytes: some Sequence<UInt8>) throws(ProtocolError) {
        let json: JSON
        do throws(JSONError) { json = try JSON(parsing: bytes) } catch { throw .notJSON(why: error.description) }
        try self.init(json)
    }

    init(_ json: JSON) throws(ProtocolError) {
        var prompt = try ChatPrompt(json)
        prompt.addsGenerationPrompt = false
        guard !prompt.messages.isEmpty else {
            throw .malformed("messages", json["messages"], expected: "at least one message")
        }
        var (messages, calls): (Set<Int>, [Int: Set<Int>]) = ([], [:])
        for (index, message) in (json["messages"]?.array ?? []).enumerated()
        where prompt.messages[index].role == .assistant {
            let place = "messages[\(index)]"
            if try Self.isWrong(message, at: place) { messages.insert(index) }
            for (number, call) in (message["tool_calls"]?.array ?? []).enumerated()
            where try Self.isWrong(call, at: "\(place).tool_calls[\(number)]") {
                calls[index, default: []].insert(number)
            }
        }
        (self.prompt, wrongMessages, wrongCalls) = (prompt, messages, calls)
        let names = json.members?.map(\.key).filter { !Self.members.contains($0) } ?? []
        let inMessages = (json["messages"]?.array ?? []).flatMap { $0.members?.map(\.key) ?? [] }
        unreadMembers = Set(names + inMessages.filter { !Self.messageMembers.contains($0) }).sorted()
    }

    private static let members: Set = [
        "messages", "tools", "add_generation_prompt", "enable_thinking", "clear_thinking", "reasoning_effort",
    ]
    private static let messageMembers: Set = [
        "role", "content", "reasoning_content", "tool_calls", "tool_call_id", "name", "error",
    ]

    private static func isWrong(_ json: JSON, at place: String) throws(ProtocolError) -> Bool {
        guard let value = json["error"] else { return false }
        guard let flag = value.bool else { throw .malformed("\(place).error", value, expected: "true or false") }
        return flag
    }

    /// The conversation as a model reads it, each piece with whether it is learned: what the assistant produces, with
    /// the token that ends its turn, and is no mistake.
    public func pieces(_ template: ChatTemplate) -> [(piece: PromptPiece, isTaught: Bool)] {
        var speaker: Int?
        return template.trainingPieces(prompt).map { piece in
            if let message = piece.message, prompt.messages[message].role == .assistant { speaker = message }
            // The token that ends a turn is the marker of who comes next: it is the last speaker's all the same.
            guard piece.isProduced, let speaker, !wrongMessages.contains(speaker) else { return (piece, false) }
            if case .call(let number) = piece.part, wrongCalls[speaker]?.contains(number) ?? false {
                return (piece, false)
            }
            return (piece, true)
        }
    }

    /// What is asked before the assistant first speaks; nil where it begins.
    var opening: ChatPrompt? {
        guard let first = prompt.messages.firstIndex(where: { $0.role == .assistant }), first > 0 else { return nil }
        var opening = prompt
        opening.messages = Array(prompt.messages[..<first])
        opening.addsGenerationPrompt = true
        return opening
    }
}
