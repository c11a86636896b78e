import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import ServiceLifecycle
import UnixSignals

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Answers OpenAI's and Anthropic's clients, and programs that speak in token ids, with one model.
///
/// ```swift
/// let served = ServedModel(engine, config, name: "glim-nano", tokenizer: tokenizer)
/// let server = Server(served, options: ServerOptions()) { port in print("http://127.0.0.1:\(port)") }
/// try await server.run()
/// ```
///
/// It belongs on a machine of one's own, or behind what speaks TLS. The engine is the caller's, and runs on.
public struct Server: Sendable {
    private let group: ServiceGroup
    private let listening: Listening
    /// What stops it.
    private let signals: [UnixSignal]

    /// Of Hummingbird, which has nothing to say that is not said otherwise.
    static let logger: Logger = {
        var logger = Logger(label: "glim serve")
        logger.logLevel = .critical
        return logger
    }()

    /// - Parameters:
    ///   - whenListening: is told the port once clients can come.
    ///   - obeysSignals: whether SIGTERM and SIGINT stop it. The second one ends replies that still run.
    ///   - whenWaiting: is told, a second after it was told to stop, for how many connections it waits, if for any.
    public init(
        _ served: ServedModel, options: ServerOptions, obeysSignals: Bool = false,
        whenListening: @escaping @Sendable (_ port: Int) async -> Void,
        whenWaiting: @escaping @Sendable (_ connections: Int) -> Void = { _ in }
    ) {
        signals = obeysSignals ? [.sigterm, .sigint] : []
        listening = Listening(
            Routes(served, options), whenListening: whenListening, whenWaiting: whenWaiting)
        var configuration = ServiceGroupConfiguration(services: [listening], logger: Self.logger)
        // It sees to that itself; what it does not come to an end with is cancelled.
        configuration.maximumGracefulShutdownDuration = min(options.shutdownLimit, .seconds(1 << 30)) + .seconds(10)
        group = ServiceGroup(configuration: configuration)
    }

    /// Serves until it is told to stop. Then nobody new comes in, running replies come to their ends, and those that
    /// have not after a while end with an error.
    ///
    /// - Throws: `ServeError` where nobody can be heard at the address, or not any more, or no file may be opened for a
    ///   connection, and `CancellationError`.
    public func run() async throws {
        let options = listening.options
        do { try await runObeying() } catch {
            guard listening.port.value != nil else {
                if let error = error as? ServeError { throw error }
                let why = (error as? IOError).map { String(cString: strerror($0.errnoCode)).lowercased() } ?? "\(error)"
                throw ServeError.cannotListen(host: options.host, port: options.port, why: why)
            }
            // What outlasts its limit is cancelled.
            if error is CancellationError, listening.isTold.value { return }
            try Task.checkCancellation()
            throw ServeError.stoppedListening(why: listening.errors.latest ?? "\(error)")
        }
    }

    private func runObeying() async throws {
        // Nobody is heard before signals are.
        let told = await UnixSignalsSequence(trapping: signals)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                var count = 0
                for await _ in told {
                    count += 1
                    if count == 1 { await stop() }
                    if count == 2 { await listening.connections.cut() }
                }
            }
            defer { tasks.cancelAll() }
            try await group.run()
        }
    }

    /// Tells it to stop: ``run()`` returns when that is done.
    public func stop() async { await group.triggerGracefulShutdown() }
}
