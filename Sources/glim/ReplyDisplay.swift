import GlimText

/// Prints a reply as it comes: thinking dim on a terminal, and in its tags elsewhere.
struct ReplyDisplay {
    private let isTerminal: Bool
    private var parser: OutputParser
    private var isThinking = false
    private var endsLine = true

    init(_ tokenizer: Tokenizer, startsThinking: Bool, isTerminal: Bool) {
        self.isTerminal = isTerminal
        parser = OutputParser(tokenizer, startsThinking: startsThinking)
    }

    mutating func show(_ id: Int32) throws { try show(parser.push(id)) }

    mutating func finish() throws {
        try show(parser.finish())
        if isTerminal, isThinking { try emit("\u{1B}[0m") }
        if !endsLine || !isTerminal { try emit("\n") }
    }

    private mutating func show(_ events: [OutputEvent]) throws {
        for event in events {
            switch event {
            case .reasoning(let text):
                if !isThinking { try emit(isTerminal ? "\u{1B}[2m" : "<think>") }
                isThinking = true
                try write(text)
            case .reasoningEnd where isThinking:
                isThinking = false
                try emit(isTerminal ? "\u{1B}[0m\n" : "</think>")
                endsLine = true
            case .content(let text), .callFailed(let text, _): try write(text)
            case .callEnd(let call): try write("\(call.name)(\(call.json.pythonText))\n")
            case .reasoningEnd, .callBegin, .argumentBegin, .argument, .argumentEnd, .stray, .end: break
            }
        }
    }

    private mutating func write(_ text: String) throws {
        if text.isEmpty { return }
        endsLine = text.hasSuffix("\n")
        try emit(isTerminal ? harmless(text) : text)
    }

    /// A model's text must not move the cursor or rename the window: control characters show as U+FFFD.
    private func harmless(_ text: String) -> String {
        var safe = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            let isControl = scalar.properties.generalCategory == .control && scalar != "\n" && scalar != "\t"
            safe.append(isControl ? "\u{FFFD}" : scalar)
        }
        return String(safe)
    }
}
