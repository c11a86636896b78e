/// What a client asks a model for, whichever API it speaks.
///
/// Reading a request and writing it are inverse: whatever ``ChatPrompt`` and the options here can say comes back from
/// either API as it was. What an API cannot say is refused when it is written, never left out. Anthropic's tells fewer
/// things apart: an absent text, null and an empty one are alike there, and so are no reasoning and one that nobody
/// knows of; a schema has no name, description or strictness.
///
/// ```swift
/// let request = try GenerationRequest(openAI: body)  // a server reads
/// template.pieces(request.prompt.forTemplate)
/// let json = try request.anthropic()                 // a client writes
/// ```
public struct GenerationRequest: Sendable, Equatable {
    public var model: String
    /// As it was sent: ``ChatPrompt/forTemplate`` is what to render.
    public var prompt: ChatPrompt
    public var sampling: SamplingOptions
    public var toolChoice: ToolChoice
    /// Whether one reply may call several tools.
    public var allowsParallelCalls: Bool
    public var format: OutputFormat
    /// Whether the reply should come in pieces.
    public var streams: Bool
    /// Whether a stream should end with what it used. Anthropic's always does.
    public var reportsUsage: Bool

    public init(
        model: String, prompt: ChatPrompt, sampling: SamplingOptions = SamplingOptions(),
        toolChoice: ToolChoice = .auto,
        allowsParallelCalls: Bool = true, format: OutputFormat = .text, streams: Bool = false,
        reportsUsage: Bool = false
    ) {
        (self.model, self.prompt, self.sampling, self.toolChoice) = (model, prompt, sampling, toolChoice)
        (self.allowsParallelCalls, self.format) = (allowsParallelCalls, format)
        (self.streams, self.reportsUsage) = (streams, reportsUsage)
    }
}

/// How tokens are to be drawn. nil leaves it to whoever draws them.
public struct SamplingOptions: Sendable, Equatable {
    /// Tokens of the reply, reasoning included.
    public var maximumTokens: Int?
    /// Tokens of reasoning.
    public var maximumThinkingTokens: Int?
    public var temperature: Double?
    public var topP: Double?
    public var topK: Int?
    public var seed: Int?
    /// Texts that end the reply and are not part of it.
    public var stop: [String] = []
    public var presencePenalty: Double?
    public var frequencyPenalty: Double?
    /// Tokens less probable than this part of the most probable one are left out.
    public var minP: Double?
    /// Divides or multiplies the logits of tokens that have come, be it in the prompt.
    public var repetitionPenalty: Double?
    /// What is added to the logits of tokens, by their ids.
    public var tokenBias: [Int: Double] = [:]
    /// How many replies are asked for.
    public var replyCount = 1
    /// How many of the likeliest tokens to report at each place, beside the log-probability of the one that was drawn.
    /// nil reports neither.
    public var topLogprobs: Int?

    public init() {}
}

/// Whether the assistant calls a tool.
public enum ToolChoice: Sendable, Equatable {
    /// If it sees fit.
    case auto
    case never
    /// At least one.
    case required
    case named(String)
}

/// What form the content of a reply must have.
public enum OutputFormat: Sendable, Equatable {
    case text
    /// Any JSON object.
    case json
    case schema(OutputSchema)
}

/// A JSON schema that a reply's content must fit.
public struct OutputSchema: Sendable, Equatable {
    public var schema: JSON
    /// OpenAI's API wants one; Anthropic's knows none, nor a description, nor strictness.
    public var name: String?
    public var description: String?
    public var isStrict: Bool?

    public init(_ schema: JSON, name: String? = nil, description: String? = nil, isStrict: Bool? = nil) {
        (self.schema, self.name, self.description, self.isStrict) = (schema, name, description, isStrict)
    }
}
