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
    private let loop: EngineLoop

    /// Starts an engine.
    ///
    /// - Parameters:
    ///   - model: nobody may change its weights while the engine has it; for others there is
    ///     ``swapWeights(_:version:)``.
    ///   - version: of its weights; every token carries it.
    /// - Throws: `EngineError` for a cache without room, limits that let nothing run, drafts that the model cannot make,
    ///   or a folder that cannot be used.
    public init(_ model: Model, version: Int = 0, options: Options) throws(EngineError) {
        loop = try EngineLoop(model, version: version, options)
        let thread = Thread { [loop] in loop.run() }
        thread.name = "glim engine"
        thread.start()
    }

    deinit { loop.stop() }

    /// Positions that one request may come to, because the cache holds no more.
    public var positionLimit: Int { loop.positionLimit }

    /// Answers a request.
    ///
    /// The stream ends with `.finished`. Whoever stops reading it, or drops it, cancels the request: its pages are free
    /// before the next step. A stream that is read slowly holds its own tokens only, as many as were asked for.
    /// - Throws: `EngineError` for a prompt that cannot be read, and where too many requests are open. The stream itself
    ///   throws `.stopped` where the engine stops first, and `.nothingAllowed` where the request's rule leads into a dead
    ///   end, behind what was drawn until then.
    public func submit(_ request: Request) throws(EngineError) -> AsyncThrowingStream<Event, any Error> {
        let (stream, continuation) = AsyncThrowingStream<Event, any Error>.makeStream()
        _ = try loop.submit(request) { [loop] id in
            continuation.onTermination = { reason in if case .cancelled = reason { loop.cancel(id) } }
            return EventSink(
                send: { continuation.yield($0) },
                finish: { error in
                    if let error { continuation.finish(throwing: error) } else { continuation.finish() }
                })
        }
        return stream
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
        let problem = await withCheckedContinuation { (continuation: CheckedContinuation<EngineError?, Never>) in
            do throws(EngineError) {
                try loop.swap(model, version: version) { isDone in
                    continuation.resume(returning: isDone ? nil : EngineError.stopped)
                }
            } catch { continuation.resume(returning: error) }
        }
        if let problem { throw problem }
    }

    /// What the engine does and has done, as of its last step.
    public var metrics: Metrics { loop.latestMetrics }

    /// Ends all requests, writes what outlasts the process, and returns when that is done.
    public func stop() async {
        loop.stop()
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            loop.afterEnd { continuation.resume() }
        }
    }
}
