import Hummingbird
import HummingbirdCore
import NIOCore
import NIOPosix
import ServiceLifecycle

/// Listens at an address and hands on what comes, until it is told to stop.
struct Listening: Service {
    let options: ServerOptions
    let connections: Connections
    let errors = AcceptErrors()
    /// Whether it was told to stop.
    let isTold = Held(false)
    /// Where it listens, once it does.
    let port = Held<Int?>(nil)
    private let routes: Routes
    private let whenListening: @Sendable (_ port: Int) async -> Void
    private let whenWaiting: @Sendable (_ connections: Int) -> Void

    init(
        _ routes: Routes, whenListening: @escaping @Sendable (_ port: Int) async -> Void,
        whenWaiting: @escaping @Sendable (_ connections: Int) -> Void
    ) {
        (self.routes, self.whenListening, self.whenWaiting) = (routes, whenListening, whenWaiting)
        options = routes.options
        connections = Connections(routes.curfew)
    }

    func run() async throws {
        // Its files are open before those are counted.
        let group = MultiThreadedEventLoopGroup.singleton
        let limit = OpenFiles.room(for: options.connectionLimit)
        guard limit > 0 else { throw ServeError.noFiles(missing: 1 - limit) }
        // A little later than a request that does not arrive is answered.
        let http = HTTP1Channel.Configuration(
            additionalChannelHandlers: [LastResponse()], idleTimeout: TimeAmount(options.arrivalLimit) + .seconds(2))
        let application = Application(
            responder: routes,
            server: HTTPServerBuilder { [connections] responder in
                ConnectionSetup(http: HTTP1Channel(responder: responder, configuration: http), connections: connections)
            },
            configuration: ApplicationConfiguration(
                address: .hostname(options.host, port: options.port),
                availableConnectionsDelegate: MaximumAvailableConnections(limit, logger: Server.logger)),
            onServerRunning: { await began($0) }, eventLoopGroupProvider: .shared(group), logger: Server.logger)
        // Whatever ends it, nobody may wait for an answer that does not come.
        defer { connections.close() }
        try await withGracefulShutdownHandler {
            try await application.run()
        } onGracefulShutdown: {
            isTold.set(true)
            let loop = group.any()
            drain(loop)
            // Those over which nobody is being answered are closed by then.
            loop.alarm(after: .seconds(1)) { [connections, whenWaiting] in
                let count = connections.count
                if count > 0 { whenWaiting(count) }
            }
        }
    }

    private func began(_ channel: any Channel) async {
        let number = channel.localAddress?.port ?? options.port
        // Who listens otherwise than is known here does it less well, but does it.
        try? await errors.guardListening(channel)
        channel.closeFuture.whenComplete { _ in drain(channel.eventLoop) }
        port.set(number)
        await whenListening(number)
    }

    /// Lets running replies come to their ends for a while.
    private func drain(_ loop: any EventLoop) {
        connections.end()
        // It holds no model for as long as it waits.
        loop.alarm(after: options.shutdownLimit) { [connections] in Task { await connections.cut() } }
    }
}
