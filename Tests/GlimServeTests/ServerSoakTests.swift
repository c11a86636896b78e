import Foundation
import GlimEngine
import GlimServe
import GlimTestSupport
import GlimText
import Testing

/// Much at a time over HTTP, for a while.
///
/// `GLIM_SOAK_MINUTES` sets for how long, `GLIM_FUZZ_SEED` what exactly.
@Suite("server soak") struct ServerSoakTests {
    @Test("64 clients that come, leave and read slowly: memory stays flat, nothing is stuck") func soak() async throws {
        // In a process of its own: memory is counted by process.
        let result = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
            try await ServerSoak(
                seconds: Fuzz.number("GLIM_SOAK_MINUTES").map { Double($0) * 60 } ?? 4,
                seed: Fuzz.number("GLIM_FUZZ_SEED") ?? 1
            ).run()
        }
        if Fuzz.number("GLIM_SOAK_MINUTES") != nil, let result {
            print(String(decoding: result.standardOutputContent, as: UTF8.self))
        }
    }
}

/// A server under clients of all kinds, in phases; at the end of each it is looked at while nothing runs.
struct ServerSoak: Sendable {
    let seconds: Double
    let seed: Int

    private static let clientCount = 64
    private static let phaseCount = 4

    /// What a client does.
    private enum Kind: String, CaseIterable {
        case streams, waits, leaves, dawdles, errs
    }

    func run() async throws {
        try await ServerUnderTest.run { server in
            var (resident, times) = ([Int](), [Kind: [Duration]]())
            for phase in 0..<Self.phaseCount {
                let end = ContinuousClock.now + .seconds(seconds / Double(Self.phaseCount))
                try await withThrowingTaskGroup(of: [Kind: [Duration]].self) { group in
                    for client in 0..<Self.clientCount {
                        group.addTask {
                            var draw = Draw(seed, "client \(phase) \(client)")
                            return try await Self.visit(server, until: end, &draw)
                        }
                    }
                    for try await more in group { times.merge(more) { $0 + $1 } }
                }
                #expect(try await server.wait { $0.active == 0 && $0.waiting == 0 && $0.usedPages == 0 })
                resident.append(Machine.residentBytes)
                // The first phase is the warm-up.
                let grown = resident[phase] - resident[0]
                #expect(grown < 48 << 20, "\(grown >> 10) KiB more are resident after phase \(phase)")
                print("soak: phase \(phase + 1) of \(Self.phaseCount), \(resident[phase] >> 10) KiB resident")
            }
            print("soak: \(server.engine.metrics)")
            print("client    visits  median      95%      most  (seconds)")
            for kind in Kind.allCases {
                let sorted = (times[kind] ?? []).sorted()
                #expect(!sorted.isEmpty, "nobody \(kind)")
                func at(_ share: Double) -> String {
                    let time = sorted.isEmpty ? .zero : sorted[Int(share * Double(sorted.count - 1))]
                    return String(format: "%8.3f", time / .seconds(1))
                }
                let name = kind.rawValue.padding(toLength: 8, withPad: " ", startingAt: 0)
                print(name, String(format: "%7d", sorted.count), at(0.5), at(0.95), at(1), separator: " ")
            }
        }
    }

    /// One visit after another, by one client.
    private static func visit(
        _ server: ServerUnderTest, until end: ContinuousClock.Instant, _ draw: inout Draw
    ) async throws -> [Kind: [Duration]] {
        var times: [Kind: [Duration]] = [:]
        while ContinuousClock.now < end {
            let kind = draw.pick(Kind.allCases)
            let (path, body) = request(&draw, streams: kind != .waits)
            let text = HTTP.request("POST", path, kind == .errs ? String(body.dropLast(draw.integer(1...9))) : body)
            let (most, pause) = (draw.integer(1...2000), draw.integer(1...20))
            let began = ContinuousClock.now
            let received = try await HTTP.exchange(server.port, Array(text.utf8)) { soFar in
                if kind == .dawdles { try await Task.sleep(for: .milliseconds(pause)) }
                return kind == .leaves && soFar.count > most
            }
            times[kind, default: []].append(ContinuousClock.now - began)
            if kind == .leaves { continue }
            let reply = try HTTP.Reply(received)
            #expect(reply.status == (kind == .errs ? 400 : 200), "\(kind): \(reply.text.prefix(300))")
            if kind == .streams || kind == .dawdles {
                let last = reply.events.last
                #expect(
                    last?.data == "[DONE]" || last?.name == "message_stop" || last?.name == "response.completed"
                        || last?.name == "response.incomplete", "\(reply.text.suffix(300))")
            }
        }
        return times
    }

    private static func request(_ draw: inout Draw, streams: Bool) -> (path: String, body: String) {
        let words = String(repeating: draw.pick(["a ", "word ", "é"]), count: draw.integer(1...80))
        let messages = "\"messages\": [{\"role\": \"user\", \"content\": \"\(words)\"}]"
        let common = "\"model\": \"tiny\", \"stream\": \(streams), "
        let count = draw.integer(1...80)
        switch draw.integer(0...4) {
        case 0: return ("/v1/chat/completions", "{\(common)\(messages), \"max_tokens\": \(count), \"logprobs\": true}")
        case 1: return ("/v1/messages", "{\(common)\(messages), \"max_tokens\": \(count)}")
        case 2: return ("/v1/completions", "{\(common)\"prompt\": \"\(words)\", \"max_tokens\": \(count), \"n\": 2}")
        case 3: return ("/v1/responses", "{\(common)\"input\": \"\(words)\", \"max_output_tokens\": \(count)}")
        default:
            let tokens = draw.tokens(draw.integer(1...200), below: 320)
            return ("/generate", "{\(common)\"tokens\": \(tokens), \"max_tokens\": \(count), \"top_logprobs\": 3}")
        }
    }
}
