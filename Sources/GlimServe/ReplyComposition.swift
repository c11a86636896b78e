import GlimEngine
import GlimText

/// How the tokens of a reply are to be read.
struct ReplyForm: Sendable {
    /// What a chat's reply is read by. Without it, and without a decoder, a reply has no words.
    var chat: OutputParser?
    var text: StreamDecoder?
    /// The id of the response, of which calls get theirs.
    var response: String
    /// Texts that end the content, and are no part of it.
    var stopTexts: [String] = []
    /// The prompt ends within the reasoning, which this token ends.
    var thinkingEnd: Int32?
    /// Whether a reply ends with its first call.
    var endsAfterCall = false
}

/// The reply that tokens make, piece by piece.
///
/// Both who draws and who tells follow a reply with one: a stop text is then found at the same token by both. Stop texts
/// are looked for in the content, not in reasoning or in the arguments of calls.
struct ReplyComposition: Sendable {
    private var form: ReplyForm
    private var composer: ReplyComposer
    /// nil where there is nothing to look for.
    private var stops: StopStrings?
    private var callCount = 0
    /// The text that ended the reply.
    private(set) var stopText: String?
    /// Nothing that follows is part of the reply.
    private(set) var isOver = false
    /// The reply has not left its reasoning.
    private(set) var isThinking: Bool
    private(set) var thinkingTokens = 0

    /// - Parameter number: of the reply within its response.
    init(_ form: ReplyForm, number: Int) {
        self.form = form
        composer = ReplyComposer(response: form.response, number: number)
        stops = form.stopTexts.isEmpty ? nil : StopStrings(form.stopTexts)
        isThinking = form.thinkingEnd != nil
    }

    /// What this token adds.
    mutating func push(_ token: Int32) -> [ReplyDelta] {
        if isThinking {
            thinkingTokens += 1
            isThinking = token != form.thinkingEnd
        }
        return isOver ? [] : tell(events(of: token))
    }

    /// What the end of the tokens adds.
    mutating func finish() -> [ReplyDelta] {
        if isOver { return [] }
        var deltas = tell(form.chat?.finish() ?? content(form.text?.finish()))
        if !isOver { deltas += endText() }
        isOver = true
        return deltas
    }

    /// Why the reply ended, as its engine has it.
    func reason(_ reason: Engine.Reason) -> FinishReason {
        if let stopText { return .stopText(stopText) }
        return switch reason {
        case .stop: callCount > 0 ? .toolCalls : .endOfTurn
        case .length, .context: .length
        case .cancelled: .other("cancelled")
        }
    }

    private mutating func events(of token: Int32) -> [OutputEvent] {
        if let events = form.chat?.push(token) { return events }
        // A model may have more ids than its tokenizer has words: those have no text.
        return content(try? form.text?.push(token))
    }

    private func content(_ text: String?) -> [OutputEvent] { (text ?? "").isEmpty ? [] : [.content(text ?? "")] }

    private mutating func tell(_ events: [OutputEvent]) -> [ReplyDelta] {
        var told: [ReplyDelta] = []
        for event in events {
            for delta in composer.push(event) {
                switch delta {
                case .content(let text):
                    let shown = stops?.push(text) ?? text
                    if !shown.isEmpty { told.append(.content(shown)) }
                    noteStop()
                case .reasoning, .callBegin:
                    told += endText()
                    if isOver { return told }
                    if case .callBegin = delta { callCount += 1 }
                    told.append(delta)
                case .arguments: told.append(delta)
                }
                if isOver { return told }
            }
            if case .callEnd = event, form.endsAfterCall {
                isOver = true
                return told
            }
        }
        return told
    }

    /// The content pauses or ends here: what was held back cannot become a stop text any more.
    private mutating func endText() -> [ReplyDelta] {
        guard let rest = stops?.finish() else { return [] }
        noteStop()
        if !isOver { stops = StopStrings(form.stopTexts) }
        return rest.isEmpty ? [] : [.content(rest)]
    }

    private mutating func noteStop() {
        guard let found = stops?.found else { return }
        (stopText, isOver) = (found, true)
    }
}
