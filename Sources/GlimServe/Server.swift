import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import ServiceLifecycle
import UnixSignals

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
    private let options: ServerOptions
    private let port = Held<Int?>(nil)

    /// - Parameters:
    ///   - whenListening: is told the port once clients can come.
    ///   - obeysSignals: whether SIGTERM and SIGINT stop it.
    public init(
        _ served: ServedModel, options: ServerOptions, obeysSignals: Bool = false,
        whenListening: @escaping @Sendable (_ port: Int) async -> Void
    ) {
        self.options = options
        var logger = Logger(label: "glim serve")
        logger.logLevel = .critical
        let idle = TimeAmount(options.arrivalLimit)
        let application = Application(
            responder: Routes(served, options),
            server: .http1(configuration: .init(idleTimeout: idle)),
            configuration: ApplicationConfiguration(
                address: .hostname(options.host, port: options.port),
                availableConnectionsDelegate: MaximumAvailableConnections(options.connectionLimit, logger: logger)),
            onServerRunning: { [port] channel in
                let number = channel.localAddress?.port ?? options.port
                port.set(number)
                await whenListening(number)
            }, logger: logger)
        var configuration = ServiceGroupConfiguration(
            services: [application], gracefulShutdownSignals: obeysSignals ? [.sigterm, .sigint] : [], logger: logger)
        configuration.maximumGracefulShutdownDuration = options.shutdownLimit
        group = ServiceGroup(configuration: configuration)
    }

    /// Serves until it is told to stop. Then nobody new comes in, running replies come to their ends, and those that
    /// have not after a while are cut.
    ///
    /// - Throws: `ServeError` where nobody can be heard at the address.
    public func run() async throws {
        do { try await group.run() } catch {
            guard port.value == nil else {
                if error is CancellationError { return }
                throw error
            }
            throw ServeError.cannotListen(host: options.host, port: options.port, why: "\(error)")
        }
    }

    /// Tells it to stop: ``run()`` returns when that is done.
    public func stop() async { await group.triggerGracefulShutdown() }
}
