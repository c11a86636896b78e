/// Writes one prompt, from its opening to what asks for a reply.
struct TemplateRenderer {
    private let template: ChatTemplate
    private let prompt: ChatPrompt
    /// Which message comes at each place, and the messages so ordered.
    private let order: [Int]
    private let messages: [ChatMessage]
    /// The last message of the user: reasoning after it is always shown.
    private let lastUser: Int
    private(set) var pieces: [PromptPiece] = []
    /// Where the pieces that come next belong.
    private var part = PromptPiece.Part.opening
    private var message: Int?

    init(_ template: ChatTemplate, _ prompt: ChatPrompt) {
        (self.template, self.prompt) = (template, prompt)
        order = template.ordersResults ? Self.orderOfCalls(prompt.messages) : Array(prompt.messages.indices)
        messages = order.map { prompt.messages[$0] }
        lastUser = messages.lastIndex { $0.role == .user } ?? -1
    }

    mutating func render() {
        put(.generationMask, .startOfPrompt)
        if template.statesEffort, template.opensThinking(prompt) {
            part = .effort
            put(.system)
            put("Reasoning Effort: \(template.effort(prompt).word)")
        }
        if !prompt.tools.isEmpty { putTools() }
        for index in messages.indices {
            message = order[index]
            put(messages[index], at: index)
        }
        message = nil
        part = .generation
        if prompt.addsGenerationPrompt {
            put(.assistant)
            let opens = template.opensThinking(prompt)
            if opens || template.opensEmptyThinking { put(.beginThink) }
            if !opens { put(.endThink) }
        }
    }

    // MARK: Pieces

    private mutating func put(_ tokens: ControlToken..., produced: Bool = false) {
        for token in tokens {
            pieces.append(PromptPiece(.control(token), part, message: message, isProduced: produced))
        }
    }

    /// Text between two control tokens is put at once, for the tokenizer must see it whole.
    private mutating func put(_ text: String, produced: Bool = false) {
        if text.isEmpty { return }
        pieces.append(PromptPiece(.text(text), part, message: message, isProduced: produced))
    }

    // MARK: Tools

    private mutating func putTools() {
        part = .tools
        put(.system)
        let tools = prompt.tools.filter { !template.unwrapsTools || !$0.isDeferred }
        put(
            """

            # Tools

            You may call one or more functions to assist with the user query.

            You are provided with function signatures within <tools></tools> XML tags:
            <tools>
            \(tools.map(line(of:)).joined())</tools>

            For each function call, output the function name and arguments within the following XML format:

            """)
        // The tags of the format are control tokens here as they are in a call.
        put(.beginToolCall)
        put("{function-name}")
        for number in 1...2 {
            put(.beginArgumentKey)
            put("{arg-key-\(number)}")
            put(.endArgumentKey, .beginArgumentValue)
            put("{arg-value-\(number)}")
            put(.endArgumentValue)
        }
        put("...")
        put(.endToolCall)
    }

    private func line(of tool: ToolDefinition) -> String {
        guard template.unwrapsTools else { return tool.json.pythonText + "\n" }
        let members = tool.function.members ?? []
        return JSON.object(members.filter { !["defer_loading", "strict"].contains($0.key) }).pythonText + "\n"
    }

    // MARK: Messages

    private mutating func put(_ message: ChatMessage, at index: Int) {
        part = .marker
        switch message.role {
        case .system:
            put(.system)
            part = .content
            putVisible(message.content)
        case .user:
            put(.user, produced: isStop(.user, index))
            part = .content
            putVisible(message.content)
        case .assistant:
            put(.assistant)
            putAssistant(message, at: index)
        case .tool: putResult(message, at: index)
        }
    }

    private func follows(_ role: ChatMessage.Role, _ index: Int) -> Bool {
        index > 0 && messages[index - 1].role == role
    }

    /// Whether this token at the head of a message is how the assistant ended the one before.
    private func isStop(_ token: ControlToken, _ index: Int) -> Bool {
        follows(.assistant, index) && ChatTemplate.stop(after: messages[index - 1]) == token
    }

    /// The text of a system's or user's message.
    private mutating func putVisible(_ content: ChatMessage.Content) {
        guard template.showsMedia, case .parts(let parts) = content else { return put(text(of: content)) }
        var words: [ContentPart] = []
        for part in parts {
            if case .image = part.kind {
                put(text(of: .parts(words)))
                words = []
                for token in Self.imageTokens { put(token) }
            } else {
                words.append(part)
            }
        }
        put(text(of: .parts(words)))
    }

    private static func reminder(_ medium: String) -> String {
        "<reminder>You are unable to process this \(medium) because you don't have multi-modal input ability. "
            + "Try different methods.</reminder>"
    }

    /// The text of a content. Where templates show media, so do they in what an assistant is said to have written; as
    /// it cannot write any, their tags are plain text there.
    private func text(of content: ChatMessage.Content) -> String {
        switch content {
        case .absent: return ""
        case .null: return "None"
        case .text(let text): return text
        case .parts(let parts):
            var text = ""
            for part in parts {
                switch part.kind {
                case .text(let part): text += part
                case .image where template.showsMedia: text += Self.imageTokens.map(\.rawValue).joined()
                case .video where template.showsMedia: text += Self.reminder("video")
                case .audio where template.showsMedia: text += Self.reminder("audio")
                default: break
                }
            }
            return text
        }
    }

    private static let imageTokens: [ControlToken] = [.beginOfImage, .image, .endOfImage]

    // MARK: The assistant

    private mutating func putAssistant(_ message: ChatMessage, at index: Int) {
        var (content, reasoning) = (text(of: message.content), message.reasoning)
        if reasoning == nil, let split = Self.splitThinking(content) {
            content = split.content
            reasoning = template.stripsReasoning ? PythonText.stripNewlines(split.reasoning) : split.reasoning
        }
        part = .reasoning
        let isShown = index > lastUser || !template.clearsThinking(prompt)
        if isShown, let reasoning, !reasoning.isEmpty || template.opensEmptyThinking {
            put(.beginThink)
            put(template.stripsReasoning ? PythonText.strip(reasoning) : reasoning, produced: true)
            put(.endThink, produced: true)
        } else if template.opensEmptyThinking || template == .glm51 && isShown && prompt.enablesThinking {
            // Nothing was thought: by the assistant itself if that is known, else by whoever asked.
            put(.beginThink)
            put(.endThink, produced: isShown && reasoning != nil)
        } else {
            put(.endThink)
        }
        part = .content
        put(PythonText.strip(content), produced: true)
        for (number, call) in message.toolCalls.enumerated() {
            part = .call(number)
            put(call)
        }
    }

    private mutating func put(_ call: ToolCall) {
        put(.beginToolCall, produced: true)
        put(call.name, produced: true)
        for argument in call.arguments {
            put(.beginArgumentKey, produced: true)
            put(argument.name, produced: true)
            put(.endArgumentKey, .beginArgumentValue, produced: true)
            put(argument.text, produced: true)
            put(.endArgumentValue, produced: true)
        }
        put(.endToolCall, produced: true)
    }

    /// What stands before the first `</think>` of a content, behind its last `<think>`; and what stands behind the last
    /// `</think>`.
    private static func splitThinking(_ content: String) -> (reasoning: String, content: String)? {
        let bytes = Array(content.utf8)
        let end = Array(ControlToken.endThink.rawValue.utf8)
        guard let first = bytes.first(end), let last = bytes.last(end) else { return nil }
        var reasoning = bytes[..<first]
        let begin = Array(ControlToken.beginThink.rawValue.utf8)
        if let start = Array(reasoning).last(begin) { reasoning = reasoning[(start + begin.count)...] }
        return (
            String(decoding: reasoning, as: UTF8.self),
            String(decoding: bytes[(last + end.count)...], as: UTF8.self)
        )
    }

    // MARK: Tools' results

    private mutating func putResult(_ message: ChatMessage, at index: Int) {
        let begins = !follows(.tool, index)
        // GLM-5 writes the marker again before every list, and takes what is absent for an empty one.
        let parts: [ContentPart]? =
            switch message.content {
            case .parts(let parts): parts
            case .absent where template == .glm5: []
            default: nil
            }
        if begins || parts != nil && template == .glm5 {
            put(.observation, produced: begins && isStop(.observation, index))
        }
        part = .result
        guard let parts else { return putResponse(text(of: message.content)) }
        if case .toolReference? = parts.first?.kind, template != .glm5 {
            putReferences(parts)
        } else if template == .glm5 || parts.contains(where: \.isOutput) {
            // An element without an output comes as Python writes it.
            for part in parts { putResponse(PythonText.str(part.json.member("output") ?? part.json)) }
        } else {
            put(.beginToolResponse)
            putVisible(message.content)
            put(.endToolResponse)
        }
    }

    private mutating func putResponse(_ text: String) {
        put(.beginToolResponse)
        put(text)
        put(.endToolResponse)
    }

    /// The tools that a search found, as they would stand among the tools.
    private mutating func putReferences(_ parts: [ContentPart]) {
        var text = "<tools>\n"
        for part in parts {
            guard case .toolReference(let name) = part.kind else { continue }
            for tool in prompt.tools where tool.name == name { text += line(of: tool) }
        }
        putResponse(text + "</tools>")
    }

    /// The messages' places, each run of results in the order of the calls before it where every call has its one
    /// result.
    private static func orderOfCalls(_ messages: [ChatMessage]) -> [Int] {
        var (order, start) = (Array(messages.indices), 0)
        while start < messages.count {
            let end = messages[start...].firstIndex { $0.role != .tool } ?? messages.count
            if start > 0, end > start {
                let calls = messages[start - 1].toolCalls.compactMap(\.id)
                let places = Dictionary(
                    zip(messages[start..<end].map(\.toolCallID), start..<end), uniquingKeysWith: { first, _ in first })
                let found = calls.compactMap { places[$0] }
                if messages[start - 1].toolCalls.count == end - start, Set(found).count == end - start {
                    order.replaceSubrange(start..<end, with: found)
                }
            }
            start = end + 1
        }
        return order
    }
}

extension ContentPart {
    fileprivate var isOutput: Bool { if case .output = kind { true } else { false } }
}

extension [UInt8] {
    /// Where `other` first stands. It must not be empty.
    fileprivate func first(_ other: [UInt8]) -> Int? {
        if count < other.count { return nil }
        return (0...count - other.count).first { self[$0] == other[0] && self[$0..<$0 + other.count] == other[...] }
    }

    /// Where it last stands.
    fileprivate func last(_ other: [UInt8]) -> Int? {
        if count < other.count { return nil }
        return (0...count - other.count).last { self[$0] == other[0] && self[$0..<$0 + other.count] == other[...] }
    }
}
