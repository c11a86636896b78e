import Foundation
import GlimEngine
import GlimServe
import GlimTestSupport
import NIOCore
import NIOPosix
import Testing

/// Connections that come and go at the wrong time.
@Suite("a server that listens", .timeLimit(.minutes(3))) struct ListeningTests {
    @Test("a connection that cannot be set up does not end the listening") func failedSetup() async throws {
        let errors = AcceptErrors()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            // There is no such option, which is found out for each connection.
            .childChannelOption(.socketOption(.init(rawValue: 9999)), value: 1)
            .bind(host: "127.0.0.1", port: 0) { $0.eventLoop.makeSucceededFuture(0) }
        try await errors.guardListening(channel.channel)
        let port = try #require(channel.channel.localAddress?.port)
        var failure: (any Error)?
        do {
            try await channel.executeThenClose { connections in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { for try await _ in connections {} }
                    for _ in 0..<20 { _ = try? await HTTP.exchange(port, [0x0A]) }
                    // What listens still ends only now.
                    channel.channel.close(promise: nil)
                    try await group.waitForAll()
                }
            }
        } catch { failure = error }
        #expect(failure == nil && errors.latest != nil, "\(String(describing: failure))")
    }

    @Test("connections that are reset, at once, within a request or a stream, leave a server that answers")
    func resets() async throws {
        let stream = Array(
            HTTP.request(
                "POST", "/generate", "{\"tokens\": [1], \"max_tokens\": 900, \"stop_tokens\": [], \"stream\": true}"
            ).utf8)
        try await ServerUnderTest.run { server in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<600 {
                    if number >= 16 { try await group.next() }
                    group.addTask {
                        let count = [0, number % stream.count, stream.count, stream.count][number % 4]
                        try await HTTP.reset(server.port, Array(stream[..<count]), awaitsReply: number % 4 == 3)
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await server.get("/health").status == 200)
            #expect(try await server.wait { $0.active == 0 && $0.waiting == 0 && $0.usedPages == 0 })
        }
    }

    #if !canImport(Darwin)
    @Test("listening that the system ends, ends the server with an error") func ended() async throws {
        let error = await #expect(throws: ServeError.self) {
            try await ServerUnderTest.run { server in
                #expect(Self.shutListening(at: server.port))
                // One comes, and cannot.
                for _ in 0..<200 where (try? await server.get("/health")) != nil {
                    try await Task.sleep(for: .milliseconds(20))
                }
                // The server sees it, before it is told to stop.
                try await Task.sleep(for: .seconds(2))
            }
        }
        #expect(error?.description.contains("listening") == true, "\(String(describing: error))")
    }

    /// Ends what listens at a port of this process behind its back.
    private static func shutListening(at port: Int) -> Bool {
        for descriptor in Int32(3)..<1024 {
            var (address, size) = (sockaddr_in(), socklen_t(MemoryLayout<sockaddr_in>.size))
            var (listens, optionSize) = (Int32(0), socklen_t(MemoryLayout<Int32>.size))
            let status = withUnsafeMutableBytes(of: &address) { bytes in
                bytes.withMemoryRebound(to: sockaddr.self) { getsockname(descriptor, $0.baseAddress, &size) }
            }
            guard status == 0, address.sin_port == UInt16(port).bigEndian,
                getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &optionSize) == 0, listens != 0
            else { continue }
            return shutdown(descriptor, Int32(SHUT_RDWR)) == 0
        }
        return false
    }
    #endif

    @Test("whoever comes while it stops is let go, and holds nothing up") func stops() async throws {
        let clock = ContinuousClock()
        for _ in 0..<10 {
            let began = try await ServerUnderTest.run { server in
                let clients = (0..<32).map { number in
                    Task {
                        // Some say nothing, some half of what they want.
                        let bytes = Array("GET /health HTTP/1.1\r\n\r\n".utf8.prefix(number % 3 * 12))
                        while (try? await HTTP.exchange(server.port, bytes)) != nil {}
                    }
                }
                try await Task.sleep(for: .milliseconds(20))
                let began = clock.now
                await server.server.stop()
                for client in clients { await client.value }
                return began
            }
            // Far less than what an idle connection has.
            #expect(clock.now - began < .seconds(15))
        }
    }
}
