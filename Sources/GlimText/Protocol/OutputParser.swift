/// Reads what a model draws, token by token, and says what it means.
///
/// Control tokens are known by their ids: text that only looks like a tag stays text, in code, in arguments and
/// elsewhere.
///
/// ```swift
/// var parser = OutputParser(tokenizer, tools: tools, startsThinking: template.opensThinking(prompt))
/// for event in parser.push(id) { … }
/// for event in parser.finish() { … }
/// ```
public struct OutputParser: Sendable {
    private let tokenizer: Tokenizer
    private let tags: [Int32: ControlToken]
    private var grammar: OutputGrammar

    /// - Parameters:
    ///   - tools: their schemas say which arguments are strings.
    ///   - startsThinking: the prompt ended with `<think>`.
    public init(_ tokenizer: Tokenizer, tools: [ToolDefinition] = [], startsThinking: Bool) {
        self.tokenizer = tokenizer
        tags = Dictionary(
            ControlToken.allCases.compactMap { token in tokenizer.id(of: token).map { ($0, token) } },
            uniquingKeysWith: { first, _ in first })
        grammar = OutputGrammar(tools: tools, startsThinking: startsThinking)
    }

    /// What this token adds. After a stop token nothing does. An id that the tokenizer does not know has no text, nor
    /// has an added token that is special and none of GLM's.
    public mutating func push(_ id: Int32) -> [OutputEvent] {
        if let tag = tags[id] {
            grammar.tag(tag)
        } else if tokenizer.addedToken(id)?.isSpecial != true, let bytes = try? tokenizer.bytes(of: id) {
            grammar.text(bytes)
        }
        return grammar.takeEvents()
    }

    /// What the end of the output adds.
    public mutating func finish() -> [OutputEvent] {
        grammar.finish()
        return grammar.takeEvents()
    }
}

/// Reads a model's output as text, in pieces of any size.
///
/// Tags are known by their spelling where the grammar expects them, and are text elsewhere: a value ends at
/// `</arg_value>` and nothing else does. A stop token counts as one at the end of the text only.
public struct OutputTextParser: Sendable {
    private var grammar: OutputGrammar
    /// What may become a tag, or the whole stop token that may be the end.
    private var held: [UInt8] = []
    private var heldStop: ControlToken?

    /// As of ``OutputParser``.
    public init(tools: [ToolDefinition] = [], startsThinking: Bool) {
        grammar = OutputGrammar(tools: tools, startsThinking: startsThinking)
    }

    /// Whether a whole output begins with reasoning. It does if there is a `</think>` that is not part of an argument.
    public static func startsThinking(_ output: String) -> Bool {
        let bytes = Array(output.utf8)
        var isArgument = false
        for i in bytes.indices where bytes[i] == UInt8(ascii: "<") {
            let rest = bytes[i...]
            if rest.starts(with: ControlToken.endThink.rawValue.utf8), !isArgument { return true }
            if rest.starts(with: ControlToken.beginArgumentValue.rawValue.utf8) { isArgument = true }
            if rest.starts(with: ControlToken.endArgumentValue.rawValue.utf8) { isArgument = false }
        }
        return false
    }

    public mutating func push(_ text: String) -> [OutputEvent] { push(Array(text.utf8)) }

    /// - Parameter bytes: UTF-8, which may be cut anywhere.
    public mutating func push(_ bytes: some Sequence<UInt8>) -> [OutputEvent] {
        let bytes = Array(bytes)
        var start = 0
        while start < bytes.count {
            if held.isEmpty {
                let end = bytes[start...].firstIndex(of: UInt8(ascii: "<")) ?? bytes.count
                grammar.text(bytes[start..<end])
                start = end
                if end < bytes.count {
                    held.append(bytes[end])
                    start += 1
                }
            } else if canFollow(bytes[start]) {
                held.append(bytes[start])
                start += 1
                takeTag()
            } else {
                releaseHeld()
            }
        }
        return grammar.takeEvents()
    }

    public mutating func finish() -> [OutputEvent] {
        if let heldStop { grammar.tag(heldStop) } else { releaseHeld() }
        grammar.finish()
        return grammar.takeEvents()
    }

    /// Tags begin with the only `<` in them, so what is held is the one beginning there can be.
    private func canFollow(_ byte: UInt8) -> Bool {
        guard heldStop == nil else { return false }
        return expected.contains {
            $0.bytes.count > held.count && $0.bytes[held.count] == byte && $0.begins(with: held)
        }
    }

    private mutating func takeTag() {
        guard held.last == UInt8(ascii: ">"), let tag = expected.first(where: { $0.bytes == held })?.token else {
            return
        }
        if OutputGrammar.stops.contains(tag) {
            heldStop = tag
        } else {
            held = []
            grammar.tag(tag)
        }
    }

    private mutating func releaseHeld() {
        grammar.text(held[...])
        held = []
        heldStop = nil
    }

    // MARK: Which tags have a meaning where the output stands

    private struct Tag: Sendable {
        let token: ControlToken
        let bytes: [UInt8]

        init(_ token: ControlToken) { (self.token, bytes) = (token, Array(token.rawValue.utf8)) }

        func begins(with held: [UInt8]) -> Bool { bytes.starts(with: held) }
    }

    private var expected: [Tag] {
        switch grammar.state {
        case .reasoning: grammar.isAtStart ? Self.thinkTags : Self.endThink
        case .content: grammar.isAtStart ? Self.firstTags : Self.contentTags
        case .value: Self.endValue
        case .name, .key, .beforeValue, .afterValue: Self.callTags
        case .over: []
        }
    }

    private static let stopTags = [.user, .observation, .endOfText].map(Tag.init)
    private static let endThink = [Tag(.endThink)] + stopTags
    private static let thinkTags = [Tag(.beginThink)] + endThink
    private static let contentTags = [Tag(.beginToolCall)] + stopTags
    private static let firstTags = thinkTags + contentTags
    private static let endValue = [Tag(.endArgumentValue)] + stopTags
    private static let callTags =
        [.endToolCall, .beginArgumentKey, .endArgumentKey, .beginArgumentValue, .endArgumentValue].map(Tag.init)
        + contentTags
}
