import GlimText

/// OpenAI's `POST /v1/completions`: texts, or lists of token ids, to go on from.
struct TextCompletion: ServedRequest {
    static let idPrefix = "cmpl-"
    static func body(_ error: ServiceError) -> JSON { error.openAI }

    let job: Job
    let streams: Bool
    private let reportsUsage: Bool
    private let head: Head

    /// What each part of a response tells.
    private struct Head: Sendable {
        let stamp: ReplyStamp
        let model: String

        func body(_ choices: [JSON], usage: JSON?) -> JSON {
            .object(of: [
                "id": .string(stamp.id), "object": .string("text_completion"), "created": .integer(stamp.created),
                "model": .string(model), "choices": .array(choices), "usage": usage,
            ])
        }
    }

    private static let known: Set = [
        "model", "prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty",
        "frequency_penalty", "repetition_penalty", "logit_bias", "n", "logprobs", "stream", "stream_options", "echo",
        "best_of", "suffix",
        // What is no business of the model.
        "user",
    ]

    init(_ json: JSON, _ served: ServedModel, _ stamp: ReplyStamp) throws {
        let body = WireField(json)
        try body.mustBeObject("an object with model and prompt")
        try ServiceError.refuse(json, allBut: Self.known)
        let model = try body["model"].name("the name of a model")
        try served.check(model: model)
        // There it is a number, here a flag.
        var options = try SamplingOptions(openAI: WireField(json.without(["logprobs"])))
        options.topLogprobs = try body["logprobs"].integer(0...20)
        // The API's own default.
        options.maximumTokens = options.maximumTokens ?? 16
        if try body["echo"].flag() == true { throw body["echo"].cannotBeUsed("a prompt is not told again here") }
        if let best = try body["best_of"].integer(1 ... .max), best != options.replyCount {
            throw body["best_of"].cannotBeUsed("all replies are told here: ask for as many as n")
        }
        try body.refuse(["suffix": "text is continued here, not filled in"])
        streams = try body["stream"].flag() ?? false
        try body["stream_options"].mustBeObjectIfPresent("an object such as {\"include_usage\":true}")
        reportsUsage = try body["stream_options"]["include_usage"].flag() ?? false

        let tokenizer = try served.tokenizer()
        let end = tokenizer.id(of: .endOfText).map { Set([$0]) } ?? []
        let form = ReplyForm(
            text: StreamDecoder(tokenizer, skipsSpecial: true), response: stamp.id, stopTexts: options.stop)
        job = try Job(
            prompts: try Self.prompts(body["prompt"], served, tokenizer), options, served,
            stops: served.endOfText.union(end), form: form)
        head = Head(stamp: stamp, model: model)
    }

    private static func prompts(
        _ prompt: WireField, _ served: ServedModel, _ tokenizer: Tokenizer
    ) throws -> [[Int32]] {
        if prompt.json?.string != nil { return [try encode(prompt, served, tokenizer)] }
        let expected = "a text, a list of token ids, or a list of either"
        let parts = try prompt.elements(expected)
        if parts.isEmpty { throw prompt.isNot(expected) }
        if case .number? = parts[0].json { return [try prompt.tokens(served)] }
        var prompts: [[Int32]] = []
        for part in parts {
            prompts.append(
                part.json?.string == nil ? try part.tokens(served) : try encode(part, served, tokenizer))
        }
        return prompts
    }

    private static func encode(_ text: WireField, _ served: ServedModel, _ tokenizer: Tokenizer) throws -> [Int32] {
        let tokens = tokenizer.encode(try text.string())
        if !tokens.isEmpty { return tokens }
        // An empty text begins as every text does: behind the end of another.
        guard let end = tokenizer.id(of: .endOfText) ?? served.endOfText.min() else {
            throw text.isNot("a text that is not empty")
        }
        return [end]
    }

    func response(_ answers: [Answer], _ usage: TokenUsage) -> JSON {
        let choices = answers.enumerated().map { number, answer in
            Self.choice(
                number, text: answer.deltas.content, finish: answer.finish,
                logprobs: job.topLogprobs == nil ? nil : Self.logprobs(answer.logprobs, from: 0).json)
        }
        return head.body(choices, usage: usage.openAI)
    }

    private static func choice(_ number: Int, text: String, finish: FinishReason?, logprobs: JSON?) -> JSON {
        .object(of: [
            "index": .integer(number), "text": .string(text), "logprobs": logprobs ?? .null,
            "finish_reason": finish.map { .string($0.openAI) } ?? .null, "stop_reason": finish?.text.map(JSON.string),
        ])
    }

    /// Log-probabilities in the form of this API: lists side by side.
    ///
    /// - Parameter start: where in the text the first token begins.
    private static func logprobs(_ tokens: [TokenLogprob], from start: Int) -> (json: JSON, end: Int) {
        func number(_ token: TokenLogprob.Token) -> JSON { token.logprob.isFinite ? .decimal(token.logprob) : .null }
        var (offsets, end): ([JSON], Int) = ([], start)
        for token in tokens {
            offsets.append(.integer(end))
            end += String(decoding: token.token.bytes, as: UTF8.self).unicodeScalars.count
        }
        let top = tokens.map { JSON.object($0.top.map { .init(spelled($0), number($0)) }) }
        let json = JSON.object(of: [
            "tokens": .array(tokens.map { .string(spelled($0.token)) }),
            "token_logprobs": .array(tokens.map { number($0.token) }), "top_logprobs": .array(top),
            "text_offset": .array(offsets),
        ])
        return (json, end)
    }

    /// As OpenAI spells tokens that are parts of characters, of which many would else be one key.
    private static func spelled(_ token: TokenLogprob.Token) -> String {
        if let text = String(validating: token.bytes, as: UTF8.self) { return text }
        let digits = token.bytes.map { ($0 < 16 ? "\\x0" : "\\x") + String($0, radix: 16) }
        return "bytes:" + digits.joined()
    }

    func teller() -> any ReplyTeller {
        Teller(
            head: head, reportsUsage: reportsUsage, hasLogprobs: job.topLogprobs != nil,
            offsets: [Int](repeating: 0, count: job.count))
    }

    private struct Teller: ReplyTeller {
        let head: Head
        let reportsUsage: Bool
        let hasLogprobs: Bool
        /// Characters of each text so far.
        var offsets: [Int]

        private func chunk(_ choice: JSON) -> ServerSentEvent {
            ServerSentEvent(head.body([choice], usage: reportsUsage ? .null : nil))
        }

        mutating func tell(_ piece: ReplyPiece, of number: Int) -> [ServerSentEvent] {
            let text = piece.deltas.content
            var logprobs: JSON?
            if hasLogprobs, let token = piece.logprob {
                let told = TextCompletion.logprobs([token], from: offsets[number])
                (logprobs, offsets[number]) = (told.json, told.end)
            }
            if text.isEmpty, logprobs == nil { return [] }
            return [chunk(TextCompletion.choice(number, text: text, finish: nil, logprobs: logprobs))]
        }

        mutating func tell(_ ending: ReplyEnding, of number: Int) -> [ServerSentEvent] {
            let text = ending.deltas.content
            return [chunk(TextCompletion.choice(number, text: text, finish: ending.finish, logprobs: nil))]
        }

        mutating func end(_ usage: TokenUsage) -> [ServerSentEvent] {
            (reportsUsage ? [ServerSentEvent(head.body([], usage: usage.openAI))] : []) + [OpenAIStreamWriter.done]
        }

        mutating func fail(_ error: ServiceError) -> [ServerSentEvent] { [ServerSentEvent(error.openAI)] }
    }
}
