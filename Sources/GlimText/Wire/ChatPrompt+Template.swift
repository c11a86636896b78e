extension ChatPrompt {
    /// The prompt as a template should see it.
    ///
    /// APIs allow what GLM's templates write in ways that nobody means: `None` for a content that is null, Python's
    /// notation for the parts of a tool's result, no result at all where its content is absent. Each becomes the text
    /// that it stands for.
    public var forTemplate: ChatPrompt {
        var prompt = self
        for index in messages.indices { prompt.messages[index].content = messages[index].contentForTemplate }
        return prompt
    }
}

extension ChatMessage {
    fileprivate var contentForTemplate: Content {
        switch content {
        case .null, .absent: return .text("")
        case .parts(let parts) where role == .tool:
            var text = ""
            for part in parts {
                guard case .text(let words) = part.kind else { return content }
                text += words
            }
            return .text(text)
        case .text, .parts: return content
        }
    }
}
