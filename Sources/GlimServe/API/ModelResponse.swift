import GlimText

/// OpenAI's `POST /v1/responses`, in its basic form.
struct ModelResponse: ServedRequest {
    static let idPrefix = "resp_"
    static func body(_ error: ServiceError) -> JSON { error.openAI }

    let job: Job
    private let request: GenerationRequest
    private let writer: ResponsesWriter

    init(_ body: JSON, _ served: ServedModel, _ stamp: ReplyStamp) throws {
        try ServiceError.refuse(body, allBut: GenerationRequest.knownResponsesMembers)
        request = try GenerationRequest(responses: body)
        job = try Job(chat: request, served, response: stamp.id)
        writer = ResponsesWriter(stamp, asked: body)
    }

    var streams: Bool { request.streams }

    func response(_ answers: [Answer], _ usage: TokenUsage) -> JSON {
        var writer = writer
        _ = writer.push(answers[0].deltas)
        _ = writer.finish(answers[0].finish, usage)
        return writer.response
    }

    func teller() -> any ReplyTeller { Teller(writer: writer) }

    private struct Teller: ReplyTeller {
        var writer: ResponsesWriter
        var finish = FinishReason.endOfTurn

        mutating func tell(_ piece: ReplyPiece, of number: Int) -> [ServerSentEvent] { writer.push(piece.deltas) }

        mutating func tell(_ ending: ReplyEnding, of number: Int) -> [ServerSentEvent] {
            finish = ending.finish
            return writer.push(ending.deltas)
        }

        mutating func end(_ usage: TokenUsage) -> [ServerSentEvent] { writer.finish(finish, usage) }
        mutating func fail(_ error: ServiceError) -> [ServerSentEvent] { writer.fail(error) }
    }
}
