import GlimText

/// OpenAI's `POST /v1/chat/completions`.
struct ChatCompletion: ServedRequest {
    static let idPrefix = "chatcmpl-"
    static func body(_ error: ServiceError) -> JSON { error.openAI }

    let job: Job
    private let request: GenerationRequest
    private let stamp: ReplyStamp

    init(_ body: JSON, _ served: ServedModel, _ stamp: ReplyStamp) throws {
        try ServiceError.refuse(GenerationRequest.unknownOpenAIMembers(of: body))
        request = try GenerationRequest(openAI: body)
        job = try Job(chat: request, served, response: stamp.id)
        self.stamp = stamp
    }

    var streams: Bool { request.streams }

    func response(_ answers: [Answer], _ usage: TokenUsage) -> JSON {
        GenerationResponse(
            id: stamp.id, model: request.model, created: stamp.created,
            replies: answers.map { $0.reply(hasLogprobs: job.topLogprobs != nil) }, usage: usage
        ).openAI
    }

    func teller() -> any ReplyTeller {
        Teller(
            writers: (0..<job.count).map {
                OpenAIStreamWriter(
                    id: stamp.id, model: request.model, created: stamp.created, number: $0,
                    reportsUsage: request.reportsUsage)
            })
    }

    private struct Teller: ReplyTeller {
        var writers: [OpenAIStreamWriter]

        mutating func tell(_ piece: ReplyPiece, of number: Int) -> [ServerSentEvent] {
            writers[number].push(piece.deltas, logprobs: piece.logprob.map { [$0] } ?? [])
        }

        mutating func tell(_ ending: ReplyEnding, of number: Int) -> [ServerSentEvent] {
            (ending.deltas.isEmpty ? [] : writers[number].push(ending.deltas)) + writers[number].finish(ending.finish)
        }

        mutating func end(_ usage: TokenUsage) -> [ServerSentEvent] {
            writers[0].usage(usage) + [OpenAIStreamWriter.done]
        }

        mutating func fail(_ error: ServiceError) -> [ServerSentEvent] { [ServerSentEvent(error.openAI)] }
    }
}
