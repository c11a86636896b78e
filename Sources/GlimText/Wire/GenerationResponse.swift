/// What a model answered to a ``GenerationRequest``, whichever API tells it.
public struct GenerationResponse: Sendable, Equatable {
    public var id: String
    public var model: String
    /// Seconds since 1970; 0 where the API does not tell.
    public var created: Int
    public var replies: [GenerationReply]
    /// nil where a stream did not tell.
    public var usage: TokenUsage?

    public init(id: String, model: String, created: Int = 0, replies: [GenerationReply], usage: TokenUsage?) {
        (self.id, self.model, self.created, self.replies, self.usage) = (id, model, created, replies, usage)
    }
}

/// One of the answers to a request.
public struct GenerationReply: Sendable, Equatable {
    /// Without the calls that are broken.
    public var message: ChatMessage
    public var brokenCalls: [BrokenCall]
    public var finish: FinishReason
    /// nil where nobody asked for them.
    public var logprobs: [TokenLogprob]?

    public init(
        _ message: ChatMessage, brokenCalls: [BrokenCall] = [], finish: FinishReason, logprobs: [TokenLogprob]? = nil
    ) {
        (self.message, self.brokenCalls, self.finish, self.logprobs) = (message, brokenCalls, finish, logprobs)
    }

    /// The whole of a model's output: what its stream, read to the end, amounts to.
    ///
    /// - Parameter response: the id of the response, of which calls get theirs.
    public init(
        _ events: some Sequence<OutputEvent>, response: String, number: Int = 0, logprobs: [TokenLogprob]? = nil
    ) {
        var composer = ReplyComposer(response: response, number: number)
        var reader = ReplyReader()
        for delta in [.reasoning(""), .content("")] + events.flatMap({ composer.push($0) }) { reader.add(delta) }
        self = reader.reply(composer.finish, logprobs: logprobs)
    }
}

/// A call that the model began to write and did not write to its end, or not as a call is written.
///
/// It is told as such because a stream had told its beginning. Its arguments are no JSON object: nobody can take it for
/// a call.
public struct BrokenCall: Sendable, Equatable {
    /// Its place among all calls of the reply.
    public var place: Int
    public var id: String?
    public var name: String
    /// As far as they were written.
    public var arguments: String

    public init(place: Int, id: String?, name: String, arguments: String) {
        (self.place, self.id, self.name, self.arguments) = (place, id, name, arguments)
    }
}

/// Why a reply ended.
public enum FinishReason: Sendable, Equatable {
    case endOfTurn
    /// It waits for the results of its calls.
    case toolCalls
    /// This text of ``SamplingOptions/stop`` came.
    case stopText(String)
    /// It had no more tokens.
    case length
    /// Somebody held it back.
    case filtered
    /// What only this server's API has a word for.
    case other(String)
}

/// How many tokens a request took.
public struct TokenUsage: Sendable, Equatable {
    public var prompt: Int
    /// Those of the prompt that were in a cache.
    public var cached: Int
    /// The first token of the prompt that is not what followed the same beginning before: what keeps a cache from
    /// knowing more. nil where nothing else followed, or nobody tells.
    public var divergence: Int?
    public var reply: Int
    /// Those of the reply that are reasoning; nil where that is not known.
    public var reasoning: Int?

    public init(prompt: Int, cached: Int = 0, divergence: Int? = nil, reply: Int, reasoning: Int? = nil) {
        (self.prompt, self.cached, self.divergence) = (prompt, cached, divergence)
        (self.reply, self.reasoning) = (reply, reasoning)
    }
}

/// A token of a reply, and the likeliest tokens in its place.
public struct TokenLogprob: Sendable, Equatable {
    /// A token's bytes, which need not be whole characters, and the natural logarithm of its probability.
    public struct Token: Sendable, Equatable {
        public var bytes: [UInt8]
        public var logprob: Double

        public init(_ bytes: [UInt8], logprob: Double) { (self.bytes, self.logprob) = (bytes, logprob) }
    }

    public var token: Token
    public var top: [Token]

    public init(_ token: Token, top: [Token] = []) { (self.token, self.top) = (token, top) }
}
