import GlimEngine
import GlimModel
import GlimText
import NIOCore

/// What a token adds to a reply.
struct ReplyPiece: Sendable {
    let deltas: [ReplyDelta]
    let token: Engine.Token
    /// nil where nobody asked, and for a token that ends the reply.
    let logprob: TokenLogprob?
}

/// How a reply ended.
struct ReplyEnding: Sendable {
    /// What was held back until then.
    let deltas: [ReplyDelta]
    let finish: FinishReason
    let reason: Engine.Reason
    let usage: Engine.Usage
    /// Tokens of the reasoning; nil where a reply has none to speak of.
    let thinkingTokens: Int?
}

/// What happens to the replies of a job, told by their numbers.
enum ReplyEvent: Sendable {
    /// So many tokens of a prompt are read.
    case reading(done: Int, of: Int)
    case piece(Int, ReplyPiece)
    case ended(Int, ReplyEnding)
}

/// A whole reply.
struct Answer: Sendable {
    var pieces: [ReplyPiece] = []
    var ending: ReplyEnding?

    var deltas: [ReplyDelta] { pieces.flatMap(\.deltas) + (ending?.deltas ?? []) }
    var finish: FinishReason { ending?.finish ?? .other("cancelled") }
    var logprobs: [TokenLogprob] { pieces.compactMap(\.logprob) }

    /// As the APIs of chats have it.
    func reply(hasLogprobs: Bool) -> GenerationReply {
        var reader = ReplyReader()
        for delta in [.reasoning(""), .content("")] + deltas { reader.add(delta) }
        return reader.reply(finish, logprobs: hasLogprobs ? logprobs : nil)
    }
}

/// The replies to a job while an engine draws them. Whoever drops it, or stops reading, cancels them.
struct Drawing: Sendable {
    let job: Job
    private let served: ServedModel
    private let curfew: Curfew
    private let streams: [AsyncThrowingStream<Engine.Event, any Error>]

    /// Hands the job to the engine.
    ///
    /// - Parameters:
    ///   - seed: for a request that names none.
    ///   - curfew: ends it before its time.
    /// - Throws: `ServiceError` where it cannot be done, or not now.
    init(
        _ job: Job, _ served: ServedModel, seed: UInt64, promptLimit: Int?, until curfew: Curfew
    ) throws(ServiceError) {
        (self.job, self.served, self.curfew) = (job, served, curfew)
        let requests = try job.requests(served, seed: seed, promptLimit: promptLimit)
        var streams: [AsyncThrowingStream<Engine.Event, any Error>] = []
        do throws(EngineError) {
            for request in requests { streams.append(try served.engine.submit(request)) }
        } catch { throw ServiceError(error) }
        self.streams = streams
    }

    /// Reads all replies side by side, to their ends.
    ///
    /// - Parameters:
    ///   - limit: how long that may take.
    ///   - loop: whose clock it is.
    /// - Throws: `ServiceError` where the limit is reached or the server stops, `CancellationError`, and whatever `body`
    ///   throws. In any case no reply goes on.
    func read(
        within limit: Duration, on loop: any EventLoop, _ body: (ReplyEvent) async throws -> Void
    ) async throws {
        let end = ContinuousClock.now + limit
        let seconds = limit.components.seconds
        let late = ServiceError(
            .timeout, "the reply took longer than the \(seconds) seconds it may; ask for fewer tokens")
        try await withThrowingTaskGroup(of: Void.self) { group in
            let (events, merged) = AsyncThrowingStream<(Int, Engine.Event), any Error>.makeStream()
            for (number, stream) in streams.enumerated() {
                group.addTask {
                    do {
                        for try await event in stream { merged.yield((number, event)) }
                    } catch { merged.finish(throwing: error) }
                }
            }
            group.addTask {
                guard (try? await loop.sleep(for: limit)) != nil else { return }
                merged.finish(throwing: late)
            }
            defer { group.cancelAll() }
            do {
                let stopping = ServiceError.stopping
                try await curfew.watching(end: { merged.finish(throwing: stopping) }) {
                    try await follow(events) { event in
                        // What is drawn may wait long for a client that is slow.
                        if ContinuousClock.now > end { throw late }
                        if curfew.isOver { throw stopping }
                        try await body(event)
                    }
                }
            } catch let error as EngineError { throw ServiceError(error) }
        }
    }

    private func follow(
        _ events: AsyncThrowingStream<(Int, Engine.Event), any Error>, _ body: (ReplyEvent) async throws -> Void
    ) async throws {
        var compositions = (0..<job.count).map { ReplyComposition(job.form, number: $0) }
        var left = job.count
        for try await (number, event) in events {
            switch event {
            case .reading(let done, let count): try await body(.reading(done: done, of: count))
            case .token(let token):
                let deltas = compositions[number].push(token.id)
                try await body(
                    .piece(number, ReplyPiece(deltas: deltas, token: token, logprob: logprob(of: token))))
            case .finished(let reason, let usage):
                let deltas = compositions[number].finish()
                let composition = compositions[number]
                try await body(
                    .ended(
                        number,
                        ReplyEnding(
                            deltas: deltas, finish: composition.reason(reason), reason: reason, usage: usage,
                            thinkingTokens: job.form.chat == nil ? nil : composition.thinkingTokens)))
                left -= 1
                if left == 0 { return }
            }
        }
        throw CancellationError()
    }

    /// Reads all replies, and tells nothing before the last has ended.
    func answers(
        within limit: Duration, on loop: any EventLoop, _ note: (ReplyEvent) -> Void = { _ in }
    ) async throws -> [Answer] {
        var answers = [Answer](repeating: Answer(), count: job.count)
        try await read(within: limit, on: loop) { event in
            note(event)
            switch event {
            case .reading: break
            case .piece(let number, let piece): answers[number].pieces.append(piece)
            case .ended(let number, let ending): answers[number].ending = ending
            }
        }
        return answers
    }

    private func logprob(of token: Engine.Token) -> TokenLogprob? {
        guard job.topLogprobs != nil, !job.stops.contains(token.id) else { return nil }
        return TokenLogprob(
            .init(served.bytes(of: token.id), logprob: Double(token.logprob)),
            top: token.top.map { .init(served.bytes(of: $0.id), logprob: Double($0.logprob)) })
    }

    /// What the whole request used. A prompt counts once, however many replies it has.
    ///
    /// - Parameter endings: of all replies, in their order.
    func usage(_ endings: [ReplyEnding]) -> TokenUsage {
        var usage = TokenUsage(prompt: 0, reply: 0)
        for (number, ending) in endings.enumerated() {
            usage.reply += ending.usage.tokens
            if let tokens = ending.thinkingTokens { usage.reasoning = (usage.reasoning ?? 0) + tokens }
            guard number % job.replyCount == 0 else { continue }
            usage.prompt += ending.usage.promptTokens
            usage.cached += ending.usage.cachedTokens
            // Of several prompts there is no one place to tell.
            if job.prompts.count == 1 { usage.divergence = ending.usage.divergence }
        }
        return usage
    }
}

extension ServiceError {
    static let stopping = ServiceError(.overloaded, "the server is stopping")

    init(_ error: EngineError) {
        switch error {
        case .emptyPrompt, .unknownToken, .tooLong, .tooLarge, .badSampler, .nothingAllowed:
            self.init(.invalidRequest, "\(error)")
        case .tooMany: self.init(.rateLimit, "\(error)")
        case .stopped: self = .stopping
        case .badOption, .noDrafts, .otherShape, .store, .experts: self.init(.failure, "\(error)")
        }
    }
}
