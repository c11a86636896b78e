import Foundation
import GlimTestSupport
import GlimText
import Testing

/// `glim conformance --endpoint` asks a server that keeps each property but one, for something on the way breaks it.
@Suite("a server that is wrong", .timeLimit(.minutes(5))) struct EndpointConformanceTests {
    /// Asks through a proxy with a fault.
    ///
    /// - Returns: what is said of each property.
    private static func ask(
        _ server: URL, _ fault: Proxy.Fault, model: String? = Golden.model("sparse")
    ) async throws -> [String: String] {
        let proxy = try Proxy(to: server.port ?? 0, fault)
        defer { withExtendedLifetime(proxy) {} }
        let output = try await Program.run(
            ["conformance", "--endpoint", proxy.address, "--json"] + (model.map { ["--model", $0] } ?? []))
        let json = try output.json
        let properties = try #require(json["properties"] as? [[String: Any]], "\(output.stderr)")
        let pairs = properties.map { ($0["name"] as? String ?? "", $0["status"] as? String ?? "") }
        let failed = pairs.count { $0.1 == "failed" }
        #expect(output.status == (failed == 0 ? 0 : 1), "\(output.text)")
        return Dictionary(pairs) { $1 }
    }

    /// Answers that are others where `isWrong` says so.
    private static func answers(
        from first: Int = 0, wrong isWrong: @escaping @Sendable (Proxy.Exchange) -> Bool
    ) -> Proxy.Fault {
        var fault = Proxy.Fault()
        fault.answer = { exchange, body in isWrong(exchange) ? shifted(body, from: first) : body }
        return fault
    }

    private static func requests(_ change: @escaping @Sendable (String) -> String) -> Proxy.Fault {
        var fault = Proxy.Fault()
        fault.request = change
        return fault
    }

    /// By the property that it breaks. Others may fail besides: who answers a repetition otherwise breaks more.
    private static var faults: [(property: String, fault: Proxy.Fault)] {
        let known = Locked<Set<String>>([])
        let prefixes = answers { exchange in
            // What a prompt shares with another is taken from it, and a little changed.
            guard let page = page(exchange.body) else { return false }
            let isNew = known.withLock { $0.insert(page).inserted }
            return !isNew
        }
        var leaving = answers { $0.isAfterLeaving }
        leaving.holds = { $0.contains("\"max_tokens\":200,") }
        return [
            ("again", answers { $0.repetition == 2 }), ("company", answers { $0.hadCompany }),
            ("streams", answers { $0.body.contains("\"stream\":true") }),
            ("seeds", requests { $0.replacing(/"seed":[0-9]+/, with: "\"seed\":0") }),
            // Numbers of drawn tokens differ from those of tokens that are read.
            ("drawn as read", answers(from: 1) { _ in true }), ("prefixes", prefixes), ("leaving", leaving),
            ("refusals", requests { $0.replacing("\"no_such_member\":1,", with: "") }),
            ("the checkpoint's numbers", answers { _ in true }),
        ]
    }

    /// The first 64 tokens of a prompt; nil for one that has fewer, or is no prompt.
    private static func page(_ body: String) -> String? {
        guard let tokens = (try? JSON(parsing: body.utf8))?["tokens"]?.array, tokens.count >= 64 else { return nil }
        return tokens.prefix(64).map(\.compact).joined(separator: ",")
    }

    /// A reply, whole or in events, whose log-probabilities from token `first` on are others.
    private static func shifted(_ body: [UInt8], from first: Int) -> [UInt8] {
        if let json = try? JSON(parsing: body) {
            let reply = json.changing("replies") { replies in
                .array((replies.array ?? []).map { $0.changing("logprobs") { shifted($0, from: first) } })
            }
            return Array(reply.compact.utf8)
        }
        var token = 0
        let lines = String(decoding: body, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        let changed = lines.map { line in
            guard line.hasPrefix("data: "), let event = try? JSON(parsing: line.dropFirst(6).utf8),
                event["logprob"] != nil
            else { return String(line) }
            token += 1
            return token <= first ? String(line) : "data: " + event.changing("logprob") { shifted($0) }.compact
        }
        return Array(changed.joined(separator: "\n").utf8)
    }

    private static func shifted(_ list: JSON, from first: Int) -> JSON {
        .array((list.array ?? []).enumerated().map { i, number in i < first ? number : shifted(number) })
    }

    private static func shifted(_ number: JSON) -> JSON {
        if case .number(let text) = number, let value = Double(text) { .number("\(value - 0.5)") } else { number }
    }

    @Test("a proxy without a fault changes nothing; each fault is found, under its own name") func faults() async throws
    {
        let status = try await Program.serve(["--model", Golden.model("sparse")]) { server, _ in
            let faultless = try await Self.ask(server, Proxy.Fault())
            #expect(faultless.count == 9 && faultless.values.allSatisfy { $0 == "passed" }, "\(faultless)")
            let faults = Self.faults
            // One for each: a new property wants a fault of its own.
            #expect(faults.map(\.property).sorted() == faultless.keys.sorted())
            for (property, fault) in faults {
                let found = try await Self.ask(server, fault)
                #expect(found[property] == "failed", "\(property): \(found)")
            }
        }
        #expect(status == 0)
    }

    @Test("what breaks one property only is found by that one only") func alone() async throws {
        let status = try await Program.serve(["--model", Golden.model("sparse")]) { server, _ in
            for (property, fault) in Self.faults
            where ["seeds", "streams", "refusals", "the checkpoint's numbers"].contains(property) {
                let found = try await Self.ask(server, fault)
                #expect(found.filter { $0.value == "failed" }.keys.sorted() == [property])
            }
        }
        #expect(status == 0)
    }

    @Test("a server that tells words only is asked through OpenAI's completions") func words() async throws {
        let speaker = try Golden.speaker()
        let status = try await Program.serve(["--model", speaker.url.path]) { server, _ in
            var fault = Proxy.Fault()
            fault.hides = { $0 == "/generate" }
            let found = try await Self.ask(server, fault, model: nil)
            #expect(found.values.count { $0 == "passed" } == 7, "\(found)")
            #expect(found["drawn as read"] == "not asked" && found["the checkpoint's numbers"] == "not asked")
            fault.request = { $0.replacing(/"seed":[0-9]+/, with: "\"seed\":0") }
            let seedless = try await Self.ask(server, fault, model: nil)
            #expect(seedless["seeds"] == "failed", "\(seedless)")
        }
        #expect(status == 0)
    }
}

extension JSON {
    /// The same object with another value of one member.
    fileprivate func changing(_ key: String, _ change: (JSON) -> JSON) -> JSON {
        .object((members ?? []).map { $0.key == key ? Member(key, change($0.value)) : $0 })
    }
}
