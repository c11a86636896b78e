import HummingbirdCore
import Logging
import NIOCore
import Synchronization

/// The open connections of a server, and how they end with it.
///
/// Left to itself, Hummingbird forgets a connection that comes in just as it stops: nobody answers there, and nobody
/// closes it. One that cannot be set up it never closes, and waits for it in the end.
final class Connections: Sendable {
    struct Connection: ServerChildChannelValue {
        let channel: any Channel
        /// nil where it could not be set up.
        let http: HTTP1Channel.Value?
    }

    private struct State {
        /// Each is held until it is closed: one that is dropped before traps.
        var open: [ObjectIdentifier: Connection] = [:]
        var isEnding = false
        var isOver = false
    }

    private let state = Mutex(State())
    private let curfew: Curfew
    /// How long replies have to tell that they were ended.
    private static let lastWords = Duration.seconds(3)

    /// How many are open.
    var count: Int { state.withLock(\.open.count) }

    /// - Parameter curfew: of the replies that go over them.
    init(_ curfew: Curfew) { self.curfew = curfew }

    func add(_ connection: Connection) {
        let channel = connection.channel
        let id = ObjectIdentifier(channel)
        let (isEnding, isOver) = state.withLock { state in
            state.open[id] = connection
            return (state.isEnding, state.isOver)
        }
        channel.closeFuture.whenComplete { _ in self.remove(id) }
        if isOver || connection.http == nil { return channel.close(promise: nil) }
        if isEnding { Self.quiesce(channel) }
    }

    private func remove(_ id: ObjectIdentifier) { _ = state.withLock { $0.open.removeValue(forKey: id) } }

    /// Closes those over which nobody is being answered, now and from now on, and the others once they are.
    func end() {
        let open = state.withLock { state in
            state.isEnding = true
            return Array(state.open.values)
        }
        for connection in open { Self.quiesce(connection.channel) }
    }

    /// Ends the replies that run, and closes all once those have told it.
    func cut() async {
        curfew.fall()
        try? await Task.sleep(for: Self.lastWords)
        close()
    }

    /// Closes all, now and from now on.
    func close() {
        let open = state.withLock { state in
            (state.isEnding, state.isOver) = (true, true)
            return Array(state.open.values)
        }
        for connection in open { connection.channel.close(promise: nil) }
    }

    private static func quiesce(_ channel: any Channel) {
        channel.eventLoop.execute { channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }
    }
}

/// Speaks HTTP/1.1 over each connection.
struct ConnectionSetup: ServerChildChannel {
    let http: HTTP1Channel
    let connections: Connections

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Connections.Connection> {
        http.setup(channel: channel, logger: logger)
            .map { Connections.Connection(channel: channel, http: $0) }
            .flatMapErrorThrowing { _ in Connections.Connection(channel: channel, http: nil) }
            .map { [connections] connection in
                connections.add(connection)
                return connection
            }
    }

    func handle(value: Connections.Connection, logger: Logger) async {
        if let channel = value.http { await http.handle(value: channel, logger: logger) }
    }
}
