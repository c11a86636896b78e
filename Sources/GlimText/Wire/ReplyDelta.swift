/// A piece of a reply, as both APIs tell it.
public enum ReplyDelta: Sendable, Equatable {
    case reasoning(String)
    case content(String)
    /// - place: the call's among all calls of the reply.
    case callBegin(place: Int, id: String?, name: String)
    /// More of the one JSON text that the call's arguments are.
    case arguments(place: Int, String)
}

/// Turns a model's output into the pieces of its reply: each is what one event adds, so that the time is linear in the
/// output.
///
/// Arguments become JSON as they are written. A call is told once its first value begins; what fails before that was a
/// text about calls, and is content. One that fails later stays as it is: its arguments lack their end, so no client
/// takes them for whole. An argument that comes twice is told twice: of members with one name readers of JSON take the
/// last.
public struct ReplyComposer: Sendable {
    private let response: String
    private let number: Int
    /// Calls that were told.
    private var callCount = 0
    private var call: Call?
    private var stop: ControlToken?

    /// The call that is open.
    private struct Call: Sendable {
        let name: String
        var isTold = false
        var hasArguments = false
        /// The open argument is a string: its text can go out before its end is known.
        var isString = false
        /// What stands before the next value.
        var held = ""
    }

    /// - Parameters:
    ///   - response: the id of the response, of which calls get theirs.
    ///   - number: of the reply within it.
    public init(response: String, number: Int = 0) { (self.response, self.number) = (response, number) }

    public mutating func push(_ event: OutputEvent) -> [ReplyDelta] {
        switch event {
        case .reasoning(let text): return [.reasoning(text)]
        case .content(let text): return [.content(text)]
        case .callBegin(let name): call = Call(name: name)
        case .argumentBegin(let name, let isString):
            let before = call?.hasArguments == true ? "," : "{"
            call?.held += "\(before)\(JSON.string(name).compact):\(isString ? "\"" : "")"
            call?.hasArguments = true
            call?.isString = isString
        case .argument(let text): return tell(call?.isString == true ? Self.withinQuotes(text) : "")
        case .argumentEnd(let argument): return tell(call?.isString == true ? "\"" : argument.value.compact)
        case .callEnd:
            defer { call = nil }
            return tell(call?.hasArguments == true ? "}" : "{}")
        case .callFailed(let text, _):
            defer { call = nil }
            return call?.isTold == true ? [] : [.content(text)]
        case .end(let token): stop = token
        case .reasoningEnd, .stray: break
        }
        return []
    }

    /// Why the reply ended, once the output has. Who ends without a stop token was cut off, whatever it had called.
    public var finish: FinishReason { stop == nil ? .length : callCount > 0 ? .toolCalls : .endOfTurn }

    /// More of the arguments of the open call.
    private mutating func tell(_ json: String) -> [ReplyDelta] {
        guard var open = call else { return [] }
        var deltas: [ReplyDelta] = []
        if !open.isTold {
            open.isTold = true
            deltas.append(
                .callBegin(
                    place: callCount, id: Self.callID(response: response, number: number, place: callCount),
                    name: open.name))
            callCount += 1
        }
        if !(open.held + json).isEmpty { deltas.append(.arguments(place: callCount - 1, open.held + json)) }
        open.held = ""
        call = open
        return deltas
    }

    /// What a call is named whose reply is this one of this response.
    static func callID(response: String, number: Int, place: Int) -> String { "call_\(response)_\(number)_\(place)" }

    /// A text as it stands between the quotation marks of JSON.
    private static func withinQuotes(_ text: String) -> String {
        // By bytes: a quotation mark and an accent after it are one character to Swift.
        String(decoding: JSON.string(text).compact.utf8.dropFirst().dropLast(), as: UTF8.self)
    }
}
