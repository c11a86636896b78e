/// One message of a conversation.
public struct ChatMessage: Sendable, Equatable {
    public enum Role: String, Sendable, CaseIterable {
        case system, user, assistant
        /// What a tool gave back.
        case tool
    }

    /// What a message says. The first two differ because the template tells them apart: what is absent is empty, and
    /// null is the word `None`. Whoever speaks for a person sends an empty text instead of null.
    public enum Content: Sendable, Equatable {
        case absent
        case null
        case text(String)
        case parts([ContentPart])
    }

    public var role: Role
    public var content: Content
    /// What the assistant thought before it answered. Empty says that it thought nothing; nil that nobody knows: the
    /// template then takes what stands before `</think>` in the content.
    public var reasoning: String?
    public var toolCalls: [ToolCall]
    /// The call that a tool's message answers, where it is known.
    public var toolCallID: String?

    public init(
        _ role: Role, _ content: Content, reasoning: String? = nil, toolCalls: [ToolCall] = [],
        toolCallID: String? = nil
    ) {
        (self.role, self.content, self.reasoning) = (role, content, reasoning)
        (self.toolCalls, self.toolCallID) = (toolCalls, toolCallID)
    }

    public static func system(_ text: String) -> ChatMessage { ChatMessage(.system, .text(text)) }
    public static func user(_ text: String) -> ChatMessage { ChatMessage(.user, .text(text)) }

    public static func assistant(_ text: String, reasoning: String? = nil, calls: [ToolCall] = []) -> ChatMessage {
        ChatMessage(.assistant, .text(text), reasoning: reasoning, toolCalls: calls)
    }

    public static func tool(_ text: String, answering id: String? = nil) -> ChatMessage {
        ChatMessage(.tool, .text(text), toolCallID: id)
    }
}

/// A part of a message whose content is a list: any JSON value, of which templates know some.
public struct ContentPart: Sendable, Equatable {
    public let json: JSON

    public init(_ json: JSON) { self.json = json }

    public static func text(_ text: String) -> ContentPart {
        ContentPart(.object([.init("type", .string("text")), .init("text", .string(text))]))
    }

    public enum Kind: Sendable, Equatable {
        case text(String)
        case image, video, audio
        /// What a tool put out: `{"output": …}`.
        case output(JSON)
        /// A tool that a search found, by its name.
        case toolReference(String)
        case other
    }

    public var kind: Kind {
        if let text = json.string { return .text(text) }
        switch json["type"]?.string {
        case "text": return .text(json.member("text").map(PythonText.str) ?? "")
        case "image", "image_url": return .image
        case "video", "video_url": return .video
        case "audio", "audio_url", "input_audio": return .audio
        case "tool_reference": return .toolReference((json["name"] ?? json["tool_name"])?.string ?? "")
        default: return json.member("output").map(Kind.output) ?? .other
        }
    }
}
