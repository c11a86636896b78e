/// What a piece of a model's output says. Nothing is ever taken back.
///
/// However the output was cut, the events are the same once neighbouring deltas are joined (``merged()``). One call is
/// open at a time: from `callBegin` to `callEnd` or `callFailed`.
public enum OutputEvent: Sendable, Equatable {
    /// More of what the model thinks.
    case reasoning(String)
    /// The model closed its thinking, be it empty.
    case reasoningEnd
    /// More of what it says.
    case content(String)
    case callBegin(name: String)
    /// - isString: what follows is the value itself; otherwise its type is known at the end only.
    case argumentBegin(name: String, isString: Bool)
    /// More of the text of the argument that is open.
    case argument(String)
    case argumentEnd(ToolArgument)
    case callEnd(ToolCall)
    /// What began like a call is none: all of its text, tags included. It may come without a `callBegin`.
    ///
    /// - isCut: the output ended within the call; otherwise something stood where it has no place.
    case callFailed(String, isCut: Bool)
    /// A control token that has no place here and is not text.
    case stray(ControlToken)
    /// The output is over, with this stop token or without one.
    case end(ControlToken?)
}

extension Sequence<OutputEvent> {
    /// The same events, each run of deltas as one.
    public func merged() -> [OutputEvent] {
        var merged: [OutputEvent] = []
        // A run is joined in place: within its event it would be copied at each delta.
        var run: (kind: OutputEvent.Delta, text: String)?
        for event in self {
            if let (kind, text) = event.delta, kind == run?.kind {
                run?.text += text
                continue
            }
            if let run { merged.append(run.kind.event(run.text)) }
            run = event.delta
            if run == nil { merged.append(event) }
        }
        if let run { merged.append(run.kind.event(run.text)) }
        return merged
    }
}

extension OutputEvent {
    /// Events that are more of what the one before began.
    fileprivate enum Delta {
        case reasoning, content, argument

        func event(_ text: String) -> OutputEvent {
            switch self {
            case .reasoning: .reasoning(text)
            case .content: .content(text)
            case .argument: .argument(text)
            }
        }
    }

    fileprivate var delta: (kind: Delta, text: String)? {
        switch self {
        case .reasoning(let text): (.reasoning, text)
        case .content(let text): (.content, text)
        case .argument(let text): (.argument, text)
        default: nil
        }
    }
}

/// A whole output, taken apart.
public struct ParsedOutput: Sendable, Equatable {
    /// nil where the model did not think.
    public private(set) var reasoning: String?
    public private(set) var content = ""
    public private(set) var toolCalls: [ToolCall] = []
    /// The texts of calls that are none.
    public private(set) var malformedCalls: [String] = []
    /// The token that ended the output, nil where it was cut off.
    public private(set) var stop: ControlToken?
    /// Content and malformed calls in the order in which they came.
    public private(set) var written = ""

    public init() {}

    public init(_ events: some Sequence<OutputEvent>) { for event in events { add(event) } }

    public mutating func add(_ event: OutputEvent) {
        switch event {
        case .reasoning(let text):
            reasoning = reasoning ?? ""
            reasoning?.append(text)
        case .reasoningEnd: reasoning = reasoning ?? ""
        case .content(let text):
            content += text
            written += text
        case .callEnd(let call): toolCalls.append(call)
        case .callFailed(let text, _):
            malformedCalls.append(text)
            written += text
        case .end(let token): stop = token
        case .callBegin, .argumentBegin, .argument, .argumentEnd, .stray: break
        }
    }

    /// The output as a message to go on from. What was no call is content: nothing that the model wrote is lost.
    public var message: ChatMessage { .assistant(written, reasoning: reasoning ?? "", calls: toolCalls) }
}
