import Foundation
import GlimEngine
import GlimServe
import GlimTestSupport
import GlimText
import Testing

/// What the server does not do, and how it says so.
@Suite("server's refusals", .timeLimit(.minutes(10))) struct RefusalTests {
    private static let chat = "/v1/chat/completions"
    private static let hi = "\"model\": \"tiny\", \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]"

    @Test("a request that is wrong gets a 4xx that names what is") func malformed() async throws {
        let cases: [(path: String, body: String, status: Int, says: String)] = [
            (Self.chat, "", 400, "JSON"), (Self.chat, "{", 400, "JSON"), (Self.chat, "[]", 400, "object"),
            (Self.chat, "\"\u{0}\"", 400, "JSON"), (Self.chat, "{}", 400, "model"),
            (Self.chat, "{\"model\": \"tiny\"}", 400, "messages"),
            (Self.chat, "{\(Self.hi.replacing("tiny", with: "huge"))}", 404, "huge"),
            (Self.chat, "{\(Self.hi), \"best_of\": 2}", 400, "best_of"),
            (Self.chat, "{\(Self.hi), \"temperature\": -1}", 400, "temperature"),
            (Self.chat, "{\(Self.hi), \"min_p\": 2}", 400, "min_p"),
            (Self.chat, "{\(Self.hi), \"max_tokens\": 0}", 400, "max_tokens"),
            (Self.chat, "{\(Self.hi), \"n\": 129}", 400, "129"),
            (Self.chat, "{\(Self.hi), \"logit_bias\": {\"320\": 1}}", 400, "logit_bias"),
            (Self.chat, "{\(Self.hi), \"top_logprobs\": 3}", 400, "top_logprobs"),
            (Self.chat, "{\(Self.hi), \"tool_choice\": \"required\"}", 400, "tool_choice"),
            (
                Self.chat,
                "{\(Self.hi), \"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"name\": \"n\", "
                    + "\"schema\": {\"not\": {}}}}}", 400, "\"not\""
            ),
            (Self.chat, "{\(Self.hi), \"audio\": {}}", 400, "audio"),
            ("/v1/messages", "{\(Self.hi)}", 400, "max_tokens"),
            ("/v1/messages", "{\(Self.hi), \"max_tokens\": 5, \"n\": 2}", 400, "parameter n"),
            ("/v1/messages", "{\(Self.hi.replacing("tiny", with: "huge")), \"max_tokens\": 5}", 404, "huge"),
            ("/v1/messages/count_tokens", "{\"model\": \"tiny\"}", 400, "messages"),
            ("/v1/completions", "{\"model\": \"tiny\"}", 400, "prompt"),
            ("/v1/completions", "{\"model\": \"tiny\", \"prompt\": [1, 320]}", 400, "prompt[1]"),
            ("/v1/completions", "{\"model\": \"tiny\", \"prompt\": \"a\", \"echo\": true}", 400, "echo"),
            ("/v1/completions", "{\"model\": \"tiny\", \"prompt\": \"a\", \"suffix\": \"b\"}", 400, "suffix"),
            ("/v1/responses", "{\"model\": \"tiny\"}", 400, "input"),
            ("/v1/responses", "{\"model\": \"tiny\", \"input\": \"a\", \"previous_response_id\": \"r\"}", 400, "kept"),
            ("/v1/responses", "{\"model\": \"tiny\", \"input\": \"a\", \"messages\": []}", 400, "parameter messages"),
            ("/generate", "{}", 400, "tokens"), ("/generate", "{\"tokens\": []}", 400, "tokens"),
            ("/generate", "{\"tokens\": [-1]}", 400, "tokens[0]"),
            ("/generate", "{\"tokens\": [1], \"prompt\": \"a\"}", 400, "prompt"),
            ("/generate", "{\"tokens\": \([Int](repeating: 1, count: 5000))}", 400, "5000 tokens"),
        ]
        try await ServerUnderTest.run { server in
            for (path, body, status, says) in cases {
                let reply = try await server.post(path, body)
                #expect(
                    reply.status == status && reply.problem.contains(says),
                    "\(path) \(body.prefix(99)): \(reply.status) \(reply.problem)")
                #expect(try (reply.json["type"] == .string("error")) == path.hasPrefix("/v1/messages"))
            }
            #expect(server.engine.metrics.steps == 0)
        }
    }

    @Test("whatever comes, the server lives and answers with a 4xx or closes") func fuzz() async throws {
        let seeds = [
            HTTP.request("POST", Self.chat, "{\(Self.hi), \"max_tokens\": 2, \"stop\": [\"a\"], \"tools\": []}"),
            HTTP.request(
                "POST", "/v1/messages", "{\(Self.hi), \"max_tokens\": 2, \"thinking\": {\"type\": \"enabled\"}}"),
            HTTP.request("POST", "/v1/completions", "{\"model\": \"tiny\", \"prompt\": [1, 2], \"max_tokens\": 2}"),
            HTTP.request("POST", "/v1/responses", "{\"model\": \"tiny\", \"input\": \"a\", \"max_output_tokens\": 2}"),
            HTTP.request("POST", "/generate", "{\"tokens\": [1, 2], \"max_tokens\": 2, \"top_logprobs\": 1}"),
            HTTP.request("GET", "/v1/models/a%20b"),
        ].map { Array($0.utf8) }
        try await ServerUnderTest.run(with: { ($0.arrivalLimit, $0.replyLimit) = (.seconds(1), .seconds(20)) }) {
            server in
            let count = Fuzz.number("GLIM_FUZZ_COUNT") ?? 300
            var draw = Draw(Fuzz.number("GLIM_FUZZ_SEED") ?? 1, "requests")
            let answered = try await withThrowingTaskGroup(of: Bool.self) { group in
                var answered = 0
                for number in 0..<count {
                    let sent = Self.broken(seeds[draw.integer(0...seeds.count - 1)], &draw)
                    // Several at a time: most of it is waiting.
                    if number >= 32, try await group.next() == true { answered += 1 }
                    group.addTask { try await Self.send(sent, to: server.port) }
                }
                for try await isAnswered in group where isAnswered { answered += 1 }
                return answered
            }
            // The others lack an end, for which the server waits longer than who sent them, or were cut.
            #expect(answered > count / 10)
            #expect(try await server.get("/health").status == 200)
            #expect(try await server.wait { $0.active == 0 && $0.waiting == 0 && $0.usedPages == 0 })
        }
    }

    private static func broken(_ request: [UInt8], _ draw: inout Draw) -> [UInt8] {
        var bytes = request
        for _ in 0..<draw.integer(1...4) {
            let place = draw.integer(0...bytes.count - 1)
            switch draw.integer(0...3) {
            case 0: bytes[place] = UInt8(draw.integer(0...255))
            case 1: bytes.insert(UInt8(draw.integer(32...126)), at: place)
            case 2: bytes.removeSubrange(place..<min(bytes.count, place + draw.integer(1...9)))
            default: bytes = Array(bytes[..<place] + bytes[draw.integer(0...bytes.count - 1)...])
            }
            if bytes.isEmpty { bytes = [0x0A] }
        }
        return bytes
    }

    /// - Returns: whether there was an answer.
    private static func send(_ bytes: [UInt8], to port: Int) async throws -> Bool {
        // A request that lacks its end is waited for: who sent it leaves.
        let received = try await withThrowingTaskGroup(of: [UInt8].self) { group in
            group.addTask { (try? await HTTP.exchange(port, bytes)) ?? [] }
            group.addTask {
                try? await Task.sleep(for: .milliseconds(200))
                return []
            }
            defer { group.cancelAll() }
            return try await group.next() ?? []
        }
        guard !received.isEmpty, let reply = try? HTTP.Reply(received) else { return false }
        let isFine = reply.status == 200 || (400..<500).contains(reply.status)
        #expect(isFine, "\(reply.status) for \(String(decoding: bytes, as: UTF8.self))")
        return true
    }

    @Test("only who has a key comes in") func keys() async throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "glim-keys-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: file) }
        for (text, says) in [("# none\n\n", "no key"), ("good\nb d\n", "line 2")] {
            try Data(text.utf8).write(to: file)
            let error = #expect(throws: ServeError.self) { try APIKeys(file: file) }
            #expect(error?.description.contains(says) == true)
        }
        try Data("# two\nfirst-key\r\nsecond-key\n".utf8).write(to: file)
        let keys = try APIKeys(file: file)
        try await ServerUnderTest.run(with: { $0.keys = keys }) { server in
            let wrong = [
                [], ["Authorization: Bearer first-kez"], ["Authorization: Bearer first-ke"], ["x-api-key: "],
                ["Authorization: Bearer first-keyfirst-key"], ["Authorization: Basic first-key"], ["x-api-key: # two"],
            ]
            for headers in wrong {
                let reply = try await server.get("/v1/models", headers: headers)
                #expect(reply.status == 401 && reply.headers["www-authenticate"] == "Bearer", "\(headers)")
                #expect(try reply.json["error"]?["type"]?.string == "authentication_error")
            }
            let right = [
                ["Authorization: Bearer first-key"], ["authorization: bearer second-key"], ["X-Api-Key: first-key"],
            ]
            for headers in right {
                #expect(try await server.get("/v1/models", headers: headers).status == 200, "\(headers)")
            }
            #expect(try await server.get("/health").status == 200)
            #expect(try await server.get("/metrics").status == 401)
        }
    }

    @Test("pages from elsewhere may not send requests, but for who asks for a key") func origins() async throws {
        func status(_ server: ServerUnderTest, _ origin: String, host: String) async throws -> Int {
            let body = "{\"tokens\": [1], \"max_tokens\": 1}"
            let head = "POST /generate HTTP/1.1\r\nHost: \(host)\r\nOrigin: \(origin)\r\nConnection: close\r\n"
            let text = "\(head)x-api-key: k\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
            return try HTTP.Reply(await HTTP.exchange(server.port, Array(text.utf8))).status
        }
        try await ServerUnderTest.run { server in
            let port = server.port
            for name in ["127.0.0.1", "localhost", "[::1]"] {
                let found = try await status(server, "http://\(name):\(port)", host: "\(name):\(port)")
                #expect(found == 200, "\(name)")
            }
            // A page of another server, of no server, and of a name that leads here.
            for (origin, host) in [
                ("https://evil.example", "127.0.0.1:\(port)"), ("null", "127.0.0.1:\(port)"),
                ("http://127.0.0.1:1", "127.0.0.1:\(port)"), ("http://evil.example:\(port)", "evil.example:\(port)"),
            ] {
                let found = try await status(server, origin, host: host)
                #expect(found == 403, "\(origin)")
            }
        }
        let file = try TemporaryFolder()
        let keys = try APIKeys(file: URL(filePath: file.write("k\n", to: "keys")))
        try await ServerUnderTest.run(with: { $0.keys = keys }) { server in
            let found = try await status(server, "https://app.example", host: "127.0.0.1:\(server.port)")
            #expect(found == 200)
        }
    }

    @Test("bodies, prompts and queues have bounds") func bounds() async throws {
        try await ServerUnderTest.run(
            with: {
                ($0.bodyByteLimit, $0.promptLimit) = (1000, 10)
                $0.arrivalLimit = .seconds(3600)
            }, engine: { $0.openLimit = 2 }
        ) { server in
            let large = "{\"tokens\": [1], \"stop\": \"\(String(repeating: "x", count: 2000))\"}"
            let reply = try await server.post("/generate", large)
            #expect(reply.status == 413 && reply.problem.contains("1000"))
            let chunk = String(large.utf8.count, radix: 16)
            let chunked =
                "POST /generate HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                + "\(chunk)\r\n\(large)\r\n0\r\n\r\n"
            #expect(try HTTP.Reply(await HTTP.exchange(server.port, Array(chunked.utf8))).status == 413)
            // What is missing of a refused request is not waited for, though the client would.
            let half = "POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n{"
            #expect(try HTTP.Reply(await HTTP.exchange(server.port, Array(half.utf8))).status == 413)
            let prompt = try await server.post("/generate", "{\"tokens\": \([Int](repeating: 1, count: 11))}")
            #expect(prompt.status == 400 && prompt.problem.contains("at most 10"))

            let long = "{\"tokens\": [1], \"max_tokens\": 3000, \"stop_tokens\": [], \"n\": 2}"
            let first = Task { try await server.post("/generate", long) }
            #expect(try await server.wait { $0.decoding == 2 })
            let next = try await server.post("/generate", "{\"tokens\": [1]}")
            #expect(next.status == 429 && next.headers["retry-after"] == "1")
            #expect(try next.json["error"]?["type"]?.string == "rate_limit_error")
            #expect(try await first.value.status == 200)
            // Of several replies none is drawn where there is no room for all.
            let many = try await server.post("/generate", "{\"tokens\": [1], \"n\": 3}")
            #expect(many.status == 429)
            #expect(try await server.wait { $0.cancelled == 2 })
            #expect(try await server.post("/generate", "{\"tokens\": [1], \"max_tokens\": 2}").status == 200)
        }
    }

    @Test("what is on its way at one time has bounds, too") func room() async throws {
        try await ServerUnderTest.run(with: { $0.bodyByteLimit = 1000 }) { server in
            let most = "{\"tokens\":\(String(repeating: " ", count: 980))"
            let half = "POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n\(most)"
            let last = "{\"tokens\": [1], \"max_tokens\": 1\(String(repeating: " ", count: 900))}"
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        // Who comes when there is no room comes again.
                        while !Task.isCancelled { _ = try? await HTTP.exchange(server.port, Array(half.utf8)) }
                    }
                }
                var status = 200
                for _ in 0..<300 where status == 200 {
                    status = try await server.post("/generate", last).status
                    try await Task.sleep(for: .milliseconds(10))
                }
                #expect(status == 429)
                group.cancelAll()
            }
            // Who left holds no room, nor who has only said how much will come.
            let nothing = "POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
            let silent = Task {
                await withTaskGroup(of: Void.self) { group in
                    for _ in 0..<16 { group.addTask { _ = try? await HTTP.exchange(server.port, Array(nothing.utf8)) } }
                }
            }
            defer { silent.cancel() }
            var status = 429
            for _ in 0..<300 where status != 200 {
                status = try await server.post("/generate", last).status
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(status == 200)
        }
    }

    @Test("a reply that takes too long ends, and a request that does not arrive is not waited for")
    func times() async throws {
        try await ServerUnderTest.run(
            with: { ($0.replyLimit, $0.arrivalLimit) = (.milliseconds(50), .milliseconds(300)) }
        ) { server in
            let long = "{\"tokens\": [1], \"max_tokens\": 4000, \"stop_tokens\": [], \"n\": 8"
            let late = try await server.post("/generate", "\(long)}")
            #expect(late.status == 504 && late.problem.contains("longer"))
            let stream = try await server.post("/generate", "\(long), \"stream\": true}")
            #expect(stream.status == 200)
            let last = try JSON(parsing: (stream.events.last?.data ?? "").utf8)
            #expect(last["error"]?["type"]?.string == "timeout_error")
            #expect(try await server.wait { $0.active == 0 && $0.usedPages == 0 })

            let half = "POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{\"tokens\":"
            let answer = try await HTTP.exchange(server.port, Array(half.utf8))
            #expect(try HTTP.Reply(answer).status == 408)
        }
    }

    @Test("a port that is taken is named") func port() async throws {
        try await ServerUnderTest.run { server in
            let error = await #expect(throws: ServeError.self) {
                try await ServerUnderTest.run(with: { $0.port = server.port }) { _ in }
            }
            #expect(error?.description.contains("\(server.port)") == true)
        }
    }
}
