import Foundation
public import GlimText
import NIOCore
import NIOPosix
import Testing

/// A client that sends bytes as they are told and reads what comes: nothing between a test and the server.
public enum HTTP {
    public struct Cut: Error {}

    public struct Reply: Sendable {
        public let status: Int
        /// By their names in small letters.
        public let headers: [String: String]
        public let body: [UInt8]

        public var text: String { String(decoding: body, as: UTF8.self) }
        public var json: JSON {
            get throws { try JSON(parsing: body) }
        }

        /// The events of a stream.
        public var events: [ServerSentEvent] {
            var parser = ServerSentEventParser()
            return parser.push(body)
        }

        /// The message of an error, in either API.
        public var problem: String { (try? json)?["error"]?["message"]?.string ?? "no error: \(text.prefix(200))" }

        /// - Throws: `Cut` where the connection ended before the head did.
        public init(_ bytes: [UInt8]) throws {
            guard let end = bytes.indices.first(where: { bytes[$0...].starts(with: "\r\n\r\n".utf8) }) else {
                throw Cut()
            }
            let lines = String(decoding: bytes[..<end], as: UTF8.self).split(separator: "\r\n")
            status = try #require(lines.first?.split(separator: " ").dropFirst().first.flatMap { Int($0) })
            var headers: [String: String] = [:]
            for line in lines.dropFirst() {
                let parts = line.split(separator: ":", maxSplits: 1)
                headers[parts[0].lowercased()] = parts.count > 1 ? String(parts[1].drop { $0 == " " }) : ""
            }
            self.headers = headers
            let rest = bytes[(end + 4)...]
            body = headers["transfer-encoding"] == "chunked" ? HTTP.unchunked(rest) : Array(rest)
        }
    }

    /// As far as the chunks go: a stream that was cut has no last one.
    private static func unchunked(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        var (body, rest): ([UInt8], ArraySlice<UInt8>) = ([], bytes)
        while let end = rest.firstIndex(of: 0x0D),
            let count = Int(String(decoding: rest[..<end], as: UTF8.self), radix: 16), count > 0
        {
            let chunk = rest[(end + 2)...].prefix(count)
            body += chunk
            rest = rest[chunk.endIndex...].dropFirst(2)
        }
        return body
    }

    /// A request as it is sent.
    public static func request(_ method: String, _ path: String, _ body: String = "", headers: [String] = []) -> String
    {
        let head = ["\(method) \(path) HTTP/1.1", "Host: test", "Connection: close"] + headers
        let length = body.isEmpty && method == "GET" ? [] : ["Content-Length: \(body.utf8.count)"]
        return (head + length).map { $0 + "\r\n" }.joined() + "\r\n" + body
    }

    /// Sends a request and reads the response to its end.
    public static func send(
        _ port: Int, _ method: String, _ path: String, _ body: String = "", headers: [String] = []
    ) async throws -> Reply {
        try Reply(await exchange(port, Array(request(method, path, body, headers: headers).utf8)))
    }

    public static func post(_ port: Int, _ path: String, _ body: String, headers: [String] = []) async throws -> Reply {
        try await send(port, "POST", path, body, headers: headers)
    }

    /// Sends bytes and is gone without a word: the connection is reset, at once or once something has come.
    public static func reset(_ port: Int, _ bytes: [UInt8], awaitsReply: Bool) async throws {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        let socket = try #require(channel.channel as? any SocketOptionProvider)
        try await socket.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
        try await channel.executeThenClose { inbound, outbound in
            if !bytes.isEmpty { try await outbound.write(ByteBuffer(bytes: bytes)) }
            guard awaitsReply else { return }
            for try await _ in inbound { return }
        }
    }

    /// Sends bytes and reads what comes, until the server closes the connection or `leave` says that it is enough.
    public static func exchange(
        _ port: Int, _ bytes: [UInt8], leave: (_ soFar: [UInt8]) async throws -> Bool = { _ in false }
    ) async throws -> [UInt8] {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            // Little of a stream waits on the way: whoever reads slowly holds up the server soon.
            .channelOption(ChannelOptions.socketOption(.so_rcvbuf), value: 8192)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        var received: [UInt8] = []
        do {
            try await channel.executeThenClose { inbound, outbound in
                // Nobody reads what comes behind a mistake.
                try? await outbound.write(ByteBuffer(bytes: bytes))
                for try await part in inbound {
                    received += part.readableBytesView
                    if try await leave(received) { return }
                }
            }
        } catch is IOError {
            // The server closed before all that was sent was read.
        } catch is ChannelError {
        }
        return received
    }
}
