import GlimEngine
import GlimModel
import GlimText

/// Glim's own `POST /generate`: token ids in and out, as training wants them. Each token comes with its log-probability
/// under the model's own distribution and with the version of the weights that drew it.
///
/// ```json
/// {"tokens": [1, 2, 3], "max_tokens": 8, "temperature": 1, "seed": 7, "n": 2, "top_logprobs": 2, "stop_tokens": [0]}
/// {"model": "m", "replies": [{"tokens": […], "logprobs": […], "versions": […], "top_logprobs": [[{"token": 5,
///  "logprob": -0.5}, …], …], "text": "…", "finish_reason": "length"}, …], "usage": {…}}
/// ```
///
/// A token that ends a reply is told, too.
struct TokenGeneration: ServedRequest {
    static let idPrefix = "gen-"
    static func body(_ error: ServiceError) -> JSON { error.openAI }

    let job: Job
    let streams: Bool
    private let model: String

    private static let known: Set = [
        "model", "tokens", "max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty",
        "frequency_penalty", "repetition_penalty", "logit_bias", "stop", "stop_tokens", "n", "top_logprobs", "stream",
    ]

    init(_ json: JSON, _ served: ServedModel, _ stamp: ReplyStamp) throws {
        let body = WireField(json)
        try body.mustBeObject("an object with tokens")
        try ServiceError.refuse(json, allBut: Self.known)
        if let model = try body["model"].stringIfPresent() { try served.check(model: model) }
        model = served.name
        // There it needs a flag beside it, here it stands alone.
        var options = try SamplingOptions(openAI: WireField(json.without(["top_logprobs"])))
        options.topLogprobs = try body["top_logprobs"].integer(0...20) ?? 0
        streams = try body["stream"].flag() ?? false
        var stops = served.endOfText
        if !body["stop_tokens"].isAbsent { stops = Set(try body["stop_tokens"].tokens(served, allowsNone: true)) }
        if !options.stop.isEmpty { _ = try served.tokenizer() }
        let form = ReplyForm(
            text: served.anyTokenizer.map { StreamDecoder($0, skipsSpecial: true) }, response: stamp.id,
            stopTexts: options.stop)
        job = try Job(prompts: [try body["tokens"].tokens(served)], options, served, stops: stops, form: form)
    }

    func response(_ answers: [Answer], _ usage: TokenUsage) -> JSON {
        let replies = answers.map { answer in
            let tokens = answer.pieces.map(\.token)
            return JSON.object(of: [
                "tokens": .array(tokens.map { .integer(Int($0.id)) }),
                "logprobs": .array(tokens.map { Self.number($0.logprob) }),
                "versions": .array(tokens.map { .integer($0.version) }),
                "top_logprobs": job.topLogprobs == 0 ? nil : .array(tokens.map(Self.top)),
                "text": job.form.text == nil ? nil : .string(answer.deltas.content),
                "finish_reason": answer.ending.map { .string($0.reason.rawValue) } ?? .null,
            ])
        }
        return .object(of: ["model": .string(model), "replies": .array(replies), "usage": usage.openAI])
    }

    private static func number(_ logprob: Float) -> JSON {
        // The shortest decimal that is this number in 32 bits.
        logprob.isFinite ? .number(logprob.description) : .null
    }

    private static func top(_ token: Engine.Token) -> JSON {
        .array(token.top.map { .object(of: ["token": .integer(Int($0.id)), "logprob": number($0.logprob)]) })
    }

    func teller() -> any ReplyTeller {
        Teller(model: model, hasTop: job.topLogprobs != 0, hasText: job.form.text != nil)
    }

    private struct Teller: ReplyTeller {
        let model: String
        let hasTop: Bool
        let hasText: Bool

        mutating func tell(_ piece: ReplyPiece, of number: Int) -> [ServerSentEvent] {
            let token = piece.token
            return [
                ServerSentEvent(
                    .object(of: [
                        "index": .integer(number), "token": .integer(Int(token.id)),
                        "logprob": TokenGeneration.number(token.logprob), "version": .integer(token.version),
                        "top_logprobs": hasTop ? TokenGeneration.top(token) : nil,
                        "text": hasText ? .string(piece.deltas.content) : nil,
                    ]))
            ]
        }

        mutating func tell(_ ending: ReplyEnding, of number: Int) -> [ServerSentEvent] {
            [
                ServerSentEvent(
                    .object(of: [
                        "index": .integer(number), "finish_reason": .string(ending.reason.rawValue),
                        "text": hasText ? .string(ending.deltas.content) : nil,
                    ]))
            ]
        }

        mutating func end(_ usage: TokenUsage) -> [ServerSentEvent] {
            [
                ServerSentEvent(.object(of: ["model": .string(model), "usage": usage.openAI])),
                OpenAIStreamWriter.done,
            ]
        }

        mutating func fail(_ error: ServiceError) -> [ServerSentEvent] { [ServerSentEvent(error.openAI)] }
    }
}
