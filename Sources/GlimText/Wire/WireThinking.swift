/// How to think, as both APIs are told: `thinking` as Anthropic has it, which GLM's own API in OpenAI's form took over.
struct WireThinking {
    var enables = true
    var clears: Bool?
    var maximumTokens: Int?

    init(_ request: GenerationRequest) {
        (enables, clears) = (request.prompt.enablesThinking, request.prompt.clearsThinking)
        maximumTokens = request.sampling.maximumThinkingTokens
    }

    /// - Parameter enables: where nothing is said.
    init(_ thinking: WireField, unsaid enables: Bool) throws(ProtocolError) {
        self.enables = enables
        if thinking.isAbsent { return }
        try thinking.mustBeObject("an object such as {\"type\":\"enabled\"}")
        switch thinking["type"].json?.string {
        case "enabled", "adaptive": self.enables = true
        case "disabled": self.enables = false
        default: throw thinking["type"].isNot("enabled, adaptive or disabled")
        }
        clears = try thinking["clear_thinking"].flag()
        maximumTokens = try thinking["budget_tokens"].integer(1 ... .max)
    }

    /// nil where nothing is said that is not so anyway.
    ///
    /// - Parameters:
    ///   - unsaid: whether a model thinks where nothing is said.
    ///   - enabled: the word for thinking without a bound.
    func json(unsaid: Bool, enabled: String) -> JSON? {
        if enables == unsaid, clears == nil, maximumTokens == nil { return nil }
        return .object(of: [
            "type": .string(!enables ? "disabled" : maximumTokens == nil ? enabled : "enabled"),
            "budget_tokens": maximumTokens.map(JSON.integer), "clear_thinking": clears.map(JSON.bool),
        ])
    }
}

extension ReasoningEffort {
    /// Reads a level by the words of both APIs, of which templates have fewer. nil where none is named.
    package init?(_ level: WireField) throws(ProtocolError) {
        switch try level.stringIfPresent() {
        case nil: return nil
        case "minimal", "low": self = .low
        case "medium", "high": self = .high
        case "xhigh", "max": self = .max
        default: throw level.isNot("minimal, low, medium, high, xhigh or max")
        }
    }

    /// nil for the level that is meant where none is named.
    var wireWord: JSON? { self == .max ? nil : .string(rawValue) }
}
