import Foundation

/// Stands between a client and a server on this machine, and passes on what they say, or something else.
///
/// A connection has one request, and an answer goes on as a whole: the events of a stream come together when it has ended.
public final class Proxy: Sendable {
    /// A request, and what went on around it.
    public struct Exchange: Sendable {
        public let body: String
        /// How often the same had come before.
        public let repetition: Int
        /// Whether there was another at the same time.
        public var hadCompany = false
        /// Whether a client had left before the answer came.
        public var isAfterLeaving = false
    }

    /// What goes wrong on the way.
    public struct Fault: Sendable {
        /// The body that the server gets.
        public var request: @Sendable (String) -> String = { $0 }
        /// The body that the client gets.
        public var answer: @Sendable (Exchange, [UInt8]) -> [UInt8] = { $1 }
        /// Which requests stay without an answer until their client leaves.
        public var holds: @Sendable (String) -> Bool = { _ in false }
        /// Which paths the server does not have.
        public var hides: @Sendable (String) -> Bool = { _ in false }

        public init() {}
    }

    private struct State {
        var count = 0
        var open: Set<Int> = []
        var accompanied: Set<Int> = []
        var repetitions: [String: Int] = [:]
        var hasLeft = false
    }

    private let listener: SocketListener
    private let server: Int
    private let fault: Fault
    private let state = Locked(State())

    /// Where clients are to send their requests.
    public var address: String { "http://127.0.0.1:\(listener.port)" }

    /// - Parameter server: its port.
    public init(to server: Int, _ fault: Fault = Fault()) throws {
        (self.server, self.fault, listener) = (server, fault, try SocketListener())
        listener.start { [weak self] in self?.serve($0) }
    }

    deinit { listener.stop() }

    private func serve(_ peer: SocketPeer) {
        guard let head = peer.readHead() else { return }
        let words = head.prefix { $0 != "\r\n" }.split(separator: " ").map(String.init)
        let length = head.split(separator: "\r\n").first { $0.lowercased().hasPrefix("content-length:") }
            .flatMap { Int($0.drop { $0 != ":" }.dropFirst().trimmingCharacters(in: .whitespaces)) }
        guard words.count == 3, let bytes = peer.read(length ?? 0) else { return }
        if fault.hides(words[1]) { return peer.send(status: "404 Not Found", [:], Data()) }
        let body = String(decoding: bytes, as: UTF8.self)
        let (number, repetition) = begin(words[1] + body)
        if fault.holds(body) {
            peer.waitUntilItLeaves()
            state.withLock { $0.hasLeft = true }
            _ = end(number)
            return
        }
        let reply = forward(words[0], words[1], fault.request(body))
        var exchange = Exchange(body: body, repetition: repetition)
        (exchange.hadCompany, exchange.isAfterLeaving) = end(number)
        guard let reply else { return }
        let kind = reply.headers["content-type"].map { ["Content-Type": $0] } ?? [:]
        peer.send(status: "\(reply.status) Passed", kind, Data(fault.answer(exchange, reply.body)))
    }

    private func begin(_ request: String) -> (number: Int, repetition: Int) {
        state.withLock { state in
            state.count += 1
            state.open.insert(state.count)
            if state.open.count > 1 { state.accompanied.formUnion(state.open) }
            state.repetitions[request, default: -1] += 1
            return (state.count, state.repetitions[request] ?? 0)
        }
    }

    private func end(_ number: Int) -> (hadCompany: Bool, isAfterLeaving: Bool) {
        state.withLock { state in
            state.open.remove(number)
            return (state.accompanied.remove(number) != nil, state.hasLeft)
        }
    }

    /// What the server answers; nil where the connection breaks.
    private func forward(_ method: String, _ path: String, _ body: String) -> HTTP.Reply? {
        let descriptor = connectedSocket(to: server)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        let peer = SocketPeer(descriptor: descriptor)
        let sent = HTTP.request(method, path, body, headers: ["Content-Type: application/json"])
        guard peer.write(Data(sent.utf8)) else { return nil }
        return try? HTTP.Reply(peer.readAll())
    }
}
