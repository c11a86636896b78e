import GlimEngine
import GlimModel
import GlimText

/// What a request comes to, whichever API it came by: prompts, and how to go on from them.
struct Job: Sendable {
    var prompts: [[Int32]]
    /// Replies to each prompt. They are told in the order of the prompts, those of one prompt in a row.
    var replyCount = 1
    /// Tokens of a reply; nil takes as many as there is room for.
    var maximumTokens: Int?
    var sampler: Sampler
    /// nil where the request named none.
    var seed: UInt64?
    /// Tokens that end a reply.
    var stops: Set<Int32>
    /// How many of the likeliest tokens to report beside the one that was drawn; nil reports no log-probabilities.
    var topLogprobs: Int?
    var form: ReplyForm
    /// nil where nothing keeps the reply to anything.
    var control: ReplyControl?

    /// The number of all replies.
    var count: Int { prompts.count * replyCount }

    /// More would be no request but a load.
    static let largestCount = 128

    /// - Parameters:
    ///   - options: of which the stop texts are the form's.
    ///   - stops: tokens that end a reply.
    /// - Throws: `ServiceError` for too many replies, or a bias of a token that there is not.
    init(
        prompts: [[Int32]], _ options: SamplingOptions, _ served: ServedModel, stops: Set<Int32>, form: ReplyForm
    ) throws(ServiceError) {
        (self.prompts, self.stops, self.form) = (prompts, stops, form)
        (replyCount, maximumTokens, topLogprobs) = (options.replyCount, options.maximumTokens, options.topLogprobs)
        seed = options.seed.map { UInt64(bitPattern: Int64($0)) }
        sampler = Sampler(temperature: options.temperature ?? 1, topP: options.topP ?? 1)
        guard replyCount <= Self.largestCount, count <= Self.largestCount else {
            throw ServiceError(
                .invalidRequest,
                "\(replyCount) replies to \(prompts.count) prompts are asked for; "
                    + "all together may be \(Self.largestCount)", parameter: "n")
        }
        sampler.topK = options.topK ?? 0
        // No share at all is the likeliest alone, as OpenAI has it.
        if options.topP == 0 { (sampler.topP, sampler.topK) = (1, 1) }
        sampler.minP = options.minP ?? 0
        sampler.repetitionPenalty = options.repetitionPenalty ?? 1
        sampler.presencePenalty = options.presencePenalty ?? 0
        sampler.frequencyPenalty = options.frequencyPenalty ?? 0
        for (id, bias) in options.tokenBias {
            guard (0..<served.vocabularySize).contains(id) else {
                throw ServiceError(
                    .invalidRequest, "logit_bias.\(id) is no token of the model's 0..<\(served.vocabularySize)",
                    parameter: "logit_bias")
            }
            sampler.bias[Int32(id)] = bias
        }
        if !form.stopTexts.isEmpty {
            control = ReplyControl(
                form, vocabularySize: served.vocabularySize, constraint: nil, thinkingLimit: nil, calls: .free,
                stops: stops)
        }
    }

    /// What the engine is asked for, in the order of the replies. Replies to one prompt have successive seeds, so that
    /// each is what a request alone gets with that seed.
    ///
    /// - Parameters:
    ///   - seed: for a request that names none.
    ///   - promptLimit: tokens that a prompt may have.
    /// - Throws: `ServiceError` for a prompt that is too long.
    func requests(_ served: ServedModel, seed drawn: UInt64, promptLimit: Int?) throws(ServiceError) -> [Engine.Request]
    {
        var requests: [Engine.Request] = []
        for prompt in prompts {
            let longest = min(promptLimit ?? .max, served.context - 1)
            guard prompt.count <= longest else {
                throw ServiceError(
                    .invalidRequest,
                    "the prompt has \(prompt.count) tokens, but at most \(longest) are read here; "
                        + "shorten it")
            }
            let room = served.context - prompt.count
            for number in 0..<replyCount {
                var request = Engine.Request(
                    prompt: prompt, maxTokens: min(maximumTokens ?? room, room), sampler: sampler, stops: stops)
                request.sampler.seed = (seed ?? drawn) &+ UInt64(number)
                request.rule = control
                request.topLogprobs = topLogprobs ?? 0
                requests.append(request)
            }
        }
        return requests
    }
}
