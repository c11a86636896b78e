import GlimEngine
import GlimServe
import GlimTestSupport
import GlimText
import Testing

/// Many clients at a time, and clients that leave.
@Suite("server under load", .timeLimit(.minutes(3)), .serialized) struct LoadTests {
    private static let apis = ["/v1/chat/completions", "/v1/messages", "/v1/completions", "/generate"]

    /// A request of its own for each number.
    private static func body(_ number: Int) -> (path: String, body: String) {
        let path = apis[number % apis.count]
        let words = String(repeating: "word \(number % 3) ", count: number + 1)
        let messages = "\"messages\": [{\"role\": \"user\", \"content\": \"\(words)\"}]"
        let common = "\"model\": \"tiny\", \"stream\": true, \"max_tokens\": \(40 + 5 * number)"
        switch number % apis.count {
        case 0: return (path, "{\(common), \(messages), \"seed\": \(number), \"logprobs\": true}")
        case 1: return (path, "{\(common), \(messages), \"temperature\": 0}")
        case 2: return (path, "{\(common), \"prompt\": \"\(words)\", \"seed\": \(number), \"logprobs\": 2}")
        default: return (path, "{\(common), \"tokens\": [1, 2, \(number)], \"seed\": \(number), \"top_logprobs\": 2}")
        }
    }

    /// What a stream said, but for ids, times and caches.
    private static func essence(_ number: Int, _ reply: HTTP.Reply) throws -> String {
        switch number % apis.count {
        case 0: return try reply.openAIStream.essence
        case 1: return try reply.anthropicStream.essence
        default:
            return try reply.events.map { event in
                guard event.data != "[DONE]" else { return event.data }
                let json = try JSON(parsing: event.data.utf8)
                return json["choices"]?.compact ?? (json["usage"] == nil ? json.compact : "")
            }.joined(separator: "\n")
        }
    }

    @Test("every stream under load is what the request gets alone") func load() async throws {
        let numbers = Array(0..<16)
        let together = try await ServerUnderTest.run { server in
            try await withThrowingTaskGroup(of: (Int, String).self) { group in
                for number in numbers {
                    group.addTask {
                        let (path, body) = Self.body(number)
                        return (number, try Self.essence(number, try await server.post(path, body)))
                    }
                }
                return try await group.reduce(into: [Int: String]()) { $0[$1.0] = $1.1 }
            }
        }
        for number in numbers {
            let alone = try await ServerUnderTest.run { server in
                let (path, body) = Self.body(number)
                return try Self.essence(number, try await server.post(path, body))
            }
            #expect(!alone.isEmpty && together[number] == alone, "request \(number)")
        }
    }

    private static func long(_ more: String) -> String {
        """
        {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3500, \
        \(ServerUnderTest.endless)\(more)}
        """
    }

    @Test("who leaves is cancelled at once, before the first token too, with a stream or without")
    func leaving() async throws {
        try await ServerUnderTest.run(with: { $0.seed = 1 }, engine: { $0.activeLimit = 1 }) { server in
            func leave(_ body: String, _ path: String = Self.apis[0], when: (Engine.Metrics) -> Bool) async throws {
                let request = Array(HTTP.request("POST", path, body).utf8)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { _ = try await HTTP.exchange(server.port, request) }
                    let isThere = try await server.wait(when)
                    #expect(isThere)
                    group.cancelAll()
                }
            }
            // While it draws.
            try await leave(Self.long(", \"stream\": true")) { $0.decoding == 1 && $0.drawnTokens > 5 }
            #expect(try await server.wait { $0.cancelled == 1 && $0.usedPages == 0 && $0.active == 0 })
            try await leave(Self.long("")) { $0.decoding == 1 }
            #expect(try await server.wait { $0.cancelled == 2 && $0.usedPages == 0 && $0.active == 0 })
            // While it waits for another, of which nothing is lost.
            let first = Task { try await server.post(Self.apis[0], Self.long(", \"seed\": 4, \"stream\": true")) }
            #expect(try await server.wait { $0.decoding == 1 })
            try await leave(Self.long(", \"n\": 3")) { $0.waiting == 3 }
            #expect(try await server.wait { $0.cancelled == 5 && $0.waiting == 0 })
            #expect(try await first.value.openAIStream.replies[0].finish == .length)
            let metrics = server.engine.metrics
            #expect(metrics.finished == 1 && metrics.usedPages == 0 && metrics.drawnTokens < 3 * 3500)
        }
    }

    @Test("a client that reads nothing is let go, and holds nobody up") func stalled() async throws {
        try await ServerUnderTest.run(with: { $0.stallLimit = .seconds(1) }) { server in
            // More than what the system holds between two programs.
            let body = """
                {"tokens": [1], "n": 48, "max_tokens": 250, "top_logprobs": 20, "stop_tokens": [], "stream": true}
                """
            let request = Array(HTTP.request("POST", "/generate", body).utf8)
            var hasWaited = false
            let received = try await HTTP.exchange(server.port, request) { _ in
                if hasWaited { return false }
                hasWaited = true
                // Meanwhile somebody else comes and goes.
                let other = try await server.post("/generate", "{\"tokens\": [2], \"max_tokens\": 5}")
                #expect(other.status == 200)
                for _ in 0..<600 {
                    if try await server.get("/metrics").text.contains("glim_clients_left_total 1\n") { return false }
                    try await Task.sleep(for: .milliseconds(100))
                }
                Issue.record("nobody was let go")
                return true
            }
            #expect(received.count > 100 && !String(decoding: received, as: UTF8.self).contains("[DONE]"))
            #expect(try await server.wait { $0.active == 0 && $0.usedPages == 0 })
        }
    }

    @Test("a server that stops ends the streams that run, and cuts them after a while")
    func shutdown() async throws {
        let clock = ContinuousClock()
        for limit in [60, 0] {
            let reply = try await ServerUnderTest.run(with: { $0.shutdownLimit = .seconds(limit) }) { server in
                let body = limit > 0 ? Self.long("").replacing("3500", with: "1000") : Self.long("")
                let stream = body.replacing("\"model\"", with: "\"stream\": true, \"model\"")
                let first = Task { try await server.post(Self.apis[0], stream) }
                let isDrawing = try await server.wait { $0.decoding == 1 && $0.drawnTokens > 5 }
                #expect(isDrawing)
                let began = clock.now
                await server.server.stop()
                await #expect(throws: (any Error).self) {
                    // Nobody new comes in.
                    for _ in 0..<100 {
                        _ = try await server.get("/health")
                        try await Task.sleep(for: .milliseconds(20))
                    }
                }
                let reply = try? await first.value
                #expect(clock.now - began < .seconds(50))
                return reply
            }
            let finish = (try? reply?.openAIStream)?.replies[0].finish
            #expect(finish == (limit > 0 ? .length : nil))
        }
    }
}
