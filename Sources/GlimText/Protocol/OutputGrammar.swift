/// The grammar of what a model writes: reasoning up to `</think>`, content, calls.
///
/// It is given text, and tags that are known to be such; who tells one from the other are ``OutputParser``, by ids, and
/// ``OutputTextParser``, by spelling. Every byte is looked at once and kept at most twice.
struct OutputGrammar: Sendable {
    enum State: Sendable {
        case reasoning, content
        /// Behind `<tool_call>`.
        case name
        /// Behind `<arg_key>`.
        case key
        /// Behind `</arg_key>`, where only `<arg_value>` may come.
        case beforeValue
        case value
        /// Behind `</arg_value>`, where another argument or the end of the call may come.
        case afterValue
        case over
    }

    static let stops: Set<ControlToken> = [.user, .observation, .endOfText]

    private(set) var state: State
    /// Nothing but white space has come.
    private(set) var isAtStart = true
    private(set) var events: [OutputEvent] = []

    private let types: [String: [String: ArgumentType]]
    /// Cuts the deltas of reasoning, content and values between characters.
    private var stream = TextStream()
    /// White space behind a call, which is content if more content follows.
    private var space: [UInt8] = []
    private var isBehindCall = false
    /// All that the open call is made of, for the case that it is none.
    private var raw: [UInt8] = []
    /// The name or key that is being read.
    private var word: [UInt8] = []
    private var call: ToolCall?
    private var value = ""

    init(tools: [ToolDefinition], startsThinking: Bool) {
        state = startsThinking ? .reasoning : .content
        types = Dictionary(
            tools.compactMap { tool in tool.name.map { ($0, tool.argumentTypes) } }, uniquingKeysWith: { $1 })
    }

    /// The events since they were last taken.
    mutating func takeEvents() -> [OutputEvent] {
        defer { events.removeAll(keepingCapacity: true) }
        return events
    }

    // MARK: Text

    mutating func text(_ bytes: ArraySlice<UInt8>) {
        if bytes.isEmpty { return }
        if isAtStart, !bytes.allSatisfy(Self.isSpace) { isAtStart = false }
        switch state {
        case .reasoning: emit(stream.push(bytes)) { .reasoning($0) }
        case .content: content(bytes)
        case .name:
            raw.append(contentsOf: bytes)
            for (i, byte) in zip(bytes.indices, bytes) {
                if canFollow(byte) { word.append(byte) } else { return fail(before: bytes[i...]) }
            }
        case .key:
            raw.append(contentsOf: bytes)
            word.append(contentsOf: bytes)
        case .value:
            raw.append(contentsOf: bytes)
            append(stream.push(bytes))
        case .beforeValue, .afterValue:
            raw.append(contentsOf: bytes)
            if let i = bytes.firstIndex(where: { !Self.isSpace($0) }) { fail(before: bytes[i...]) }
        case .over: break
        }
    }

    private mutating func content(_ bytes: ArraySlice<UInt8>) {
        guard isBehindCall else { return emit(stream.push(bytes)) { .content($0) } }
        guard let i = bytes.firstIndex(where: { !Self.isSpace($0) }) else { return space.append(contentsOf: bytes) }
        space.append(contentsOf: bytes[..<i])
        isBehindCall = false
        emit(stream.push(space[...]) + stream.push(bytes[i...])) { .content($0) }
        space.removeAll()
    }

    private mutating func append(_ text: String) {
        value += text
        emit(text) { .argument($0) }
    }

    private mutating func emit(_ text: String, _ event: (String) -> OutputEvent) {
        if !text.isEmpty { events.append(event(text)) }
    }

    /// Longer ones are no names.
    private static let longestName = 1024

    /// Whether a name, as far as it is read, can go on with this byte: it has no spaces within and is no tag. What ends
    /// a name that is too long is the beginning of a character.
    private func canFollow(_ byte: UInt8) -> Bool {
        if Self.isSpace(byte) { return word.count < Self.longestName }
        if byte == UInt8(ascii: "<") { return false }
        if let last = word.last, Self.isSpace(last), !word.allSatisfy(Self.isSpace) { return false }
        return word.count < Self.longestName || byte & 0xC0 == 0x80
    }

    static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

    // MARK: Tags

    mutating func tag(_ token: ControlToken) {
        let wasAtStart = isAtStart
        isAtStart = false
        if Self.stops.contains(token) { return stop(token) }
        switch state {
        case .reasoning: tagInReasoning(token, wasAtStart)
        case .content: tagInContent(token, wasAtStart)
        case .name: tagInName(token)
        case .key: tagInKey(token)
        case .beforeValue: tagBeforeValue(token)
        case .value: tagInValue(token)
        case .afterValue: tagAfterValue(token)
        case .over: break
        }
    }

    private mutating func tagInReasoning(_ token: ControlToken, _ wasAtStart: Bool) {
        switch token {
        case .endThink:
            emit(stream.finish()) { .reasoning($0) }
            events.append(.reasoningEnd)
            state = .content
        case .beginThink where wasAtStart: break  // it was in the prompt already
        case _ where token.isSpecial: stray(token)
        // A model that thinks about its format writes tags: thoughts end at `</think>` alone.
        default: text(Array(token.rawValue.utf8)[...])
        }
    }

    private mutating func tagInContent(_ token: ControlToken, _ wasAtStart: Bool) {
        switch token {
        case .beginToolCall: beginCall()
        case .beginThink:
            endContent()
            state = .reasoning
        case .endThink where wasAtStart: break  // of a thinking that the prompt closed already
        case .noThink: text(Array(token.rawValue.utf8)[...])
        default: stray(token)
        }
    }

    private mutating func stray(_ token: ControlToken) {
        if state == .reasoning { emit(stream.finish()) { .reasoning($0) } } else { endContent() }
        events.append(.stray(token))
    }

    private mutating func endContent() {
        emit(stream.finish()) { .content($0) }
        space.removeAll()
    }

    private mutating func beginCall() {
        endContent()
        isBehindCall = false
        raw = Array(ControlToken.beginToolCall.rawValue.utf8)
        word = []
        state = .name
    }

    private mutating func tagInName(_ token: ControlToken) {
        switch token {
        case .beginArgumentKey where beginNamedCall():
            keep(token)
            state = .key
        case .endToolCall where beginNamedCall(): endCall()
        default: misplaced(token)
        }
    }

    /// Begins the call whose name has been read; false where that is no name.
    private mutating func beginNamedCall() -> Bool {
        let name = PythonText.strip(String(decoding: word, as: UTF8.self))
        if name.isEmpty { return false }
        call = ToolCall(name: name)
        events.append(.callBegin(name: name))
        word = []
        return true
    }

    private mutating func tagInKey(_ token: ControlToken) {
        switch token {
        case .endArgumentKey:
            keep(token)
            beginArgument()
            state = .beforeValue
        case .beginArgumentValue:
            // The end of the key is forgotten more often than it is meant to be part of one.
            keep(token)
            beginArgument()
            state = .value
        case .beginToolCall, .endToolCall, .beginArgumentKey, .endArgumentValue: misplaced(token)
        default: text(Array(token.rawValue.utf8)[...])
        }
    }

    private mutating func beginArgument() {
        let key = String(decoding: word, as: UTF8.self)
        events.append(.argumentBegin(name: key, isString: type(of: key).isString))
        word = []
        call?.arguments.append(ToolArgument(key, .null))
    }

    private func type(of argument: String) -> ArgumentType { types[call?.name ?? ""]?[argument] ?? .any }

    private mutating func tagBeforeValue(_ token: ControlToken) {
        guard token == .beginArgumentValue else { return misplaced(token) }
        keep(token)
        state = .value
    }

    private mutating func tagInValue(_ token: ControlToken) {
        guard token == .endArgumentValue else { return text(Array(token.rawValue.utf8)[...]) }
        keep(token)
        append(stream.finish())
        if let key = call?.arguments.popLast()?.name {
            let argument = ToolArgument(key, written: value, as: type(of: key))
            call?.arguments.append(argument)
            events.append(.argumentEnd(argument))
        }
        value = ""
        state = .afterValue
    }

    private mutating func tagAfterValue(_ token: ControlToken) {
        switch token {
        case .beginArgumentKey:
            keep(token)
            state = .key
        case .endToolCall: endCall()
        case .beginToolCall:
            // The call before it is whole but for its end.
            endCall()
            beginCall()
        default: misplaced(token)
        }
    }

    private mutating func keep(_ token: ControlToken) { raw.append(contentsOf: token.rawValue.utf8) }

    private mutating func endCall() {
        if let call { events.append(.callEnd(call)) }
        call = nil
        raw = []
        isBehindCall = true
        state = .content
    }

    // MARK: What is no call

    private mutating func misplaced(_ token: ControlToken) {
        if token == .beginToolCall {
            fail()
            beginCall()
        } else {
            keep(token)
            fail()
        }
    }

    /// The call ends before these bytes, which are content.
    private mutating func fail(before rest: ArraySlice<UInt8>) {
        raw.removeLast(rest.count)
        fail()
        text(rest)
    }

    private mutating func fail(isCut: Bool = false) {
        events.append(.callFailed(String(decoding: raw, as: UTF8.self), isCut: isCut))
        _ = stream.finish()
        (raw, word, value, call) = ([], [], "", nil)
        isBehindCall = false
        state = .content
    }

    // MARK: The end

    private mutating func stop(_ token: ControlToken) {
        // Who hands over to the tools after a whole argument or name has only forgotten to close the call.
        if token == .observation, state == .afterValue || state == .name && beginNamedCall() { endCall() }
        finish(token)
    }

    /// - Parameter token: the stop token, if there was one.
    mutating func finish(_ token: ControlToken? = nil) {
        switch state {
        case .over: return
        case .reasoning: emit(stream.finish()) { .reasoning($0) }
        case .content: endContent()
        case .name, .key, .beforeValue, .value, .afterValue: fail(isCut: true)
        }
        events.append(.end(token))
        state = .over
    }
}
