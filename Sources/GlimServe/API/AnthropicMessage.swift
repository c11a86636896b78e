import GlimText

/// Anthropic's `POST /v1/messages`.
struct AnthropicMessage: ServedRequest {
    static let idPrefix = "msg_"
    static func body(_ error: ServiceError) -> JSON { error.anthropic }

    let job: Job
    private let request: GenerationRequest
    private let stamp: ReplyStamp

    init(_ body: JSON, _ served: ServedModel, _ stamp: ReplyStamp) throws {
        try ServiceError.refuse(GenerationRequest.unknownAnthropicMembers(of: body))
        request = try GenerationRequest(anthropic: body)
        job = try Job(chat: request, served, response: stamp.id)
        self.stamp = stamp
    }

    var streams: Bool { request.streams }

    func response(_ answers: [Answer], _ usage: TokenUsage) -> JSON {
        GenerationResponse(
            id: stamp.id, model: request.model, replies: answers.map { $0.reply(hasLogprobs: false) }, usage: usage
        ).anthropic
    }

    func teller() -> any ReplyTeller {
        let known = TokenUsage(prompt: job.prompts[0].count, reply: 0)
        return Teller(writer: AnthropicStreamWriter(id: stamp.id, model: request.model, usage: known))
    }

    private struct Teller: ReplyTeller {
        var writer: AnthropicStreamWriter
        var finish = FinishReason.endOfTurn

        mutating func tell(_ piece: ReplyPiece, of number: Int) -> [ServerSentEvent] { writer.push(piece.deltas) }

        mutating func tell(_ ending: ReplyEnding, of number: Int) -> [ServerSentEvent] {
            finish = ending.finish
            return writer.push(ending.deltas)
        }

        mutating func end(_ usage: TokenUsage) -> [ServerSentEvent] { writer.finish(finish, usage: usage) }

        mutating func fail(_ error: ServiceError) -> [ServerSentEvent] {
            [ServerSentEvent(name: "error", error.anthropic)]
        }
    }

    /// Anthropic's `POST /v1/messages/count_tokens`.
    static func count(_ body: JSON, _ served: ServedModel) throws -> JSON {
        try ServiceError.refuse(GenerationRequest.unknownAnthropicMembers(of: body))
        let request = try GenerationRequest(anthropic: body, countsTokens: true)
        try served.check(model: request.model)
        let tokens = try served.chatFormat().tokens(request.prompt.forTemplate)
        return GenerationResponse.anthropicTokenCount(tokens.count)
    }
}
