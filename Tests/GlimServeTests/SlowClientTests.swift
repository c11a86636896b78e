import GlimEngine
import GlimServe
import GlimTestSupport
import GlimText
import Testing

/// Clients that take their time, and replies that take too much of it.
@Suite("slow clients of a server", .timeLimit(.minutes(3)), .serialized) struct SlowClientTests {
    /// A whole answer of more bytes than the system holds between two programs.
    private static let large = Array(
        HTTP.request(
            "POST", "/generate",
            "{\"tokens\": [1], \"n\": 120, \"max_tokens\": 250, \"top_logprobs\": 20, \"stop_tokens\": []}"
        ).utf8)

    @Test("a whole answer comes to its end, however long a client takes to read it") func whole() async throws {
        // Nothing may count from when all was handed over.
        try await ServerUnderTest.run(with: { $0.arrivalLimit = .milliseconds(500) }) { server in
            var count = 0
            let received = try await HTTP.exchange(server.port, Self.large) { _ in
                count += 1
                if count <= 4 { try await Task.sleep(for: .seconds(1)) }
                return false
            }
            let reply = try HTTP.Reply(received)
            #expect(reply.status == 200 && reply.body.count == Int(reply.headers["content-length"] ?? ""))
            #expect(try reply.json["replies"]?.array?.count == 120)
        }
    }

    @Test("who reads nothing of a whole answer is let go") func stalled() async throws {
        try await ServerUnderTest.run(with: { $0.stallLimit = .seconds(1) }) { server in
            var hasWaited = false
            let received = try await HTTP.exchange(server.port, Self.large) { _ in
                if hasWaited { return false }
                hasWaited = true
                for _ in 0..<600 {
                    if try await server.get("/metrics").text.contains("glim_clients_left_total 1\n") { return false }
                    try await Task.sleep(for: .milliseconds(100))
                }
                Issue.record("it was not let go")
                return true
            }
            let reply = try HTTP.Reply(received)
            #expect(reply.status == 200 && reply.body.count < Int(reply.headers["content-length"] ?? "") ?? 0)
        }
    }

    @Test("who reads nothing holds no server up that stops") func stopping() async throws {
        let clock = ContinuousClock()
        let (began, client) = try await ServerUnderTest.run(with: { $0.shutdownLimit = .seconds(1) }) { server in
            let stream = String(decoding: Self.large, as: UTF8.self)
                .replacing("\"tokens\"", with: "\"stream\": true, \"tokens\"")
                .replacing(/Content-Length: (\d+)/) { "Content-Length: \((Int($0.1) ?? 0) + 16)" }
            let client = Task {
                try await HTTP.exchange(server.port, Array(stream.utf8)) { _ in
                    try await Task.sleep(for: .seconds(20))
                    return false
                }
            }
            let isDrawn = try await server.wait { $0.drawnTokens > 120 * 200 }
            #expect(isDrawn)
            await server.server.stop()
            return (clock.now, client)
        }
        #expect(clock.now - began < .seconds(10))
        client.cancel()
    }

    @Test("what has not ended when a server must ends with an error") func cut() async throws {
        let long = "\(ServerUnderTest.endless), \"max_tokens\": 3500, \"n\": 8"
        let chat = "{\"model\": \"tiny\", \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]"
        for isStream in [false, true] {
            let reply = try await ServerUnderTest.run(with: { $0.shutdownLimit = .zero }) { server in
                let reply = Task {
                    try await server.post("/v1/chat/completions", "\(chat), \"stream\": \(isStream), \(long)}")
                }
                let isDrawn = try await server.wait { $0.decoding == 8 }
                #expect(isDrawn)
                await server.server.stop()
                return reply
            }
            let received = try await reply.value
            #expect(received.status == (isStream ? 200 : 503))
            let body = try isStream ? JSON(parsing: (received.events.last?.data ?? "").utf8) : received.json
            #expect(body["error"]?["message"]?.string == "the server is stopping", "\(received.text.suffix(300))")
        }
    }

    @Test("a stream whose time is over ends as its API's clients expect of an error") func late() async throws {
        try await ServerUnderTest.run(with: { $0.replyLimit = .milliseconds(1) }) { server in
            let messages = "\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]"
            let common = "{\"model\": \"tiny\", \"stream\": true, "
            let openAI = "\(ServerUnderTest.endless), \"max_tokens\": 3500"
            for (path, body) in [
                ("/v1/chat/completions", "\(common)\(messages), \(openAI)}"),
                ("/v1/completions", "\(common)\"prompt\": \"hi\", \(openAI)}"),
            ] {
                let last = try #require(try await server.post(path, body).events.last)
                let error = try JSON(parsing: last.data.utf8)["error"]
                #expect(error?["type"]?.string == "timeout_error" && error?["message"]?.string != nil, "\(last)")
            }
            let anthropic = try await server.post("/v1/messages", "\(common)\(messages), \"max_tokens\": 3500}")
            let end = try #require(anthropic.events.last)
            #expect(end.name == "error")
            #expect(try JSON(parsing: end.data.utf8)["error"]?["type"]?.string == "timeout_error")
            let responses = try await server.post(
                "/v1/responses", "\(common)\"input\": \"hi\", \"max_output_tokens\": 3500}")
            let failed = try #require(responses.events.last)
            let response = try JSON(parsing: failed.data.utf8)["response"]
            #expect(failed.name == "response.failed" && response?["status"]?.string == "failed")
            #expect(response?["error"]?["message"]?.string?.contains("longer") == true)
        }
    }
}
