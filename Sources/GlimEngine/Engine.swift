import Foundation
public import GlimModel

/// Answers many requests at a time with one model.
///
/// ```swift
/// let engine = try Engine(model, options: .init(cacheByteCount: 1 << 30))
/// for try await event in try engine.submit(.init(prompt: ids, maxTokens: 256)) {
///     if case .token(let token) = event { … }
/// }
/// ```
///
/// Requests share passes: their newest tokens, drafts behind these, and chunks of prompts. They share memory: what
/// begins alike is read and kept once. None of it shows: every token and log-probability is what the request alone
/// would get, to the bit, from the weights whose version it carries.
///
/// A loop on its own thread does the work, so none of it is on Swift's cooperative threads. Dropping the engine stops
/// it; ``stop()`` also waits until what is to outlast it is on disk.
public final class Engine: Sendable {
    private let inbox: Inbox
    private let config: ModelConfig
    private let stepsAhead: Int
    private let openLimit: Int
    /// Positions that one request may come to, because the cache holds no more.
    public let positionLimit: Int

    /// Starts an engine.
    ///
    /// - Parameters:
    ///   - model: nobody may change its weights while the engine has it; for others there is
    ///     ``swapWeights(_:version:)``.
    ///   - version: of its weights; every token carries it.
    /// - Throws: `EngineError` for a cache without room, drafts that the model cannot make, or a folder that cannot be
    ///   used.
    public init(_ model: Model, version: Int = 0, options: Options) throws(EngineError) {
        let loop = try EngineLoop(model, version: version, options)
        (inbox, config, stepsAhead) = (loop.inbox, model.config, model.predictions.count)
        openLimit = options.openLimit
        positionLimit = loop.positionLimit
        let thread = Thread { loop.run() }
        thread.name = "glim engine"
        thread.start()
    }

    deinit { inbox.send(.stop) }

    /// Answers a request.
    ///
    /// The stream ends with `.finished`. Whoever stops reading it, or drops it, cancels the request: its pages are free
    /// before the next step. A stream that is read slowly holds its own tokens only, as many as were asked for.
    /// - Throws: `EngineError` for a prompt that cannot be read, and where too many requests are open. The stream itself
    ///   throws `.stopped` where the engine stops first.
    public func submit(_ request: Request) throws(EngineError) -> AsyncThrowingStream<Event, any Error> {
        try check(request)
        let id = try inbox.admit(openLimit: openLimit)
        let (stream, continuation) = AsyncThrowingStream<Event, any Error>.makeStream()
        continuation.onTermination = { [inbox] reason in
            if case .cancelled = reason { inbox.send(.cancel(id: id)) }
        }
        let sink = EventSink(
            send: { continuation.yield($0) },
            finish: { error in if let error { continuation.finish(throwing: error) } else { continuation.finish() } })
        guard inbox.send(.submit(id: id, request, sink)) else { throw .stopped }
        return stream
    }

    private func check(_ request: Request) throws(EngineError) {
        let prompt = request.prompt
        if prompt.isEmpty { throw .emptyPrompt }
        if let bad = prompt.first(where: { $0 < 0 || Int($0) >= config.vocabularySize }) {
            throw .unknownToken(bad, vocabulary: config.vocabularySize)
        }
        guard prompt.count <= config.maximumPositions else {
            throw .tooLong(count: prompt.count, context: config.maximumPositions)
        }
        // Without overflow, whatever was asked for.
        let most = config.maximumPositions - prompt.count
        let positions = prompt.count + min(max(0, request.maxTokens), most)
        guard positions <= positionLimit else { throw .tooLarge(positions: positions, available: positionLimit) }
    }

    /// Goes on with other weights of the same network, from the next step on; returns when that has happened.
    ///
    /// No request is dropped. What running ones have read is read again with the new weights, and nothing that the old
    /// ones made is used any more: so a token's numbers are a function of its history and of the weights whose version
    /// it carries, whether its request had to wait, to give pages back or to share. With the old rows kept, a token would
    /// come of a mixture that nobody can compute again, and its importance ratio, which asynchronous RL takes against
    /// this very log-probability (GLM-5 report, equations 3 to 5), would not be 1 even for the weights that drew it. The
    /// price is a forward pass over the running tokens, a third of what learning from as many costs.
    /// - Throws: `EngineError.otherShape`, or `.stopped`.
    public func swapWeights(_ model: Model, version: Int) async throws(EngineError) {
        guard model.config == config, model.predictions.count == stepsAhead else { throw .otherShape }
        let inbox = inbox
        let isTaken = await withCheckedContinuation { (continuation: CheckedContinuation<Bool, Never>) in
            let command = Inbox.Command.swap(model, version: version) { continuation.resume(returning: $0) }
            if !inbox.send(command) { continuation.resume(returning: false) }
        }
        if !isTaken { throw .stopped }
    }

    /// What the engine does and has done.
    public var metrics: Metrics { inbox.metrics }

    /// Ends all requests, writes what outlasts the process, and returns when that is done.
    public func stop() async {
        inbox.send(.stop)
        let inbox = inbox
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            inbox.afterClose { continuation.resume() }
        }
    }
}
