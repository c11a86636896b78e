import Foundation
import GlimModel
import GlimTestSupport
import GlimText
import Testing

/// Much at a time over HTTP, for a while.
///
/// `GLIM_SOAK_MINUTES` sets for how long, `GLIM_FUZZ_SEED` what exactly.
@Suite("server soak") struct ServerSoakTests {
    @Test("64 clients that come, leave and read slowly: memory stays flat, nothing is stuck") func soak() async throws {
        let soak = ServerSoak(
            seconds: Fuzz.number("GLIM_SOAK_MINUTES").map { Double($0) * 60 } ?? 4,
            seed: Fuzz.number("GLIM_FUZZ_SEED") ?? 1)
        let folder = try TemporaryFolder()
        let model = folder.path("tiny")
        try ServerUnderTest.model.save(to: model)
        try ServerUnderTest.tokenizer.save(folder: model)
        // A process of its own: memory is counted by process. What it keeps of prompts is full within the first phase.
        let status = try await Program.serve(["--model", model.path, "--memory", "400MB"]) { server, process in
            try await soak.run(try #require(server.port), process)
        }
        #expect(status == 0)
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

    func run(_ port: Int, _ process: Int32) async throws {
        var (resident, times) = ([Int](), [Kind: [Duration]]())
        for phase in 0..<Self.phaseCount {
            let end = ContinuousClock.now + .seconds(seconds / Double(Self.phaseCount))
            try await withThrowingTaskGroup(of: [Kind: [Duration]].self) { group in
                for client in 0..<Self.clientCount {
                    group.addTask {
                        var draw = Draw(seed, "client \(phase) \(client)")
                        return try await Self.visit(port, until: end, &draw)
                    }
                }
                for try await more in group { times.merge(more) { $0 + $1 } }
            }
            #expect(try await Self.isQuiet(port), "requests are left after phase \(phase)")
            resident.append(Machine.residentBytes(of: process))
            // The first phase is the warm-up.
            let grown = resident[phase] - resident[0]
            #expect(grown < 24 << 20, "\(grown >> 10) KiB more are resident after phase \(phase)")
            print("soak: phase \(phase + 1) of \(Self.phaseCount), \(resident[phase] >> 10) KiB resident")
        }
        print(Self.table(times))
        for kind in Kind.allCases { #expect(times[kind]?.isEmpty == false, "nobody \(kind)") }
    }

    private static func table(_ times: [Kind: [Duration]]) -> String {
        var lines = ["client    visits  median      95%      most  (seconds)"]
        for kind in Kind.allCases {
            let sorted = (times[kind] ?? []).sorted()
            func at(_ share: Double) -> String {
                let time = sorted.isEmpty ? .zero : sorted[Int(share * Double(sorted.count - 1))]
                return String(format: "%8.3f", time / .seconds(1))
            }
            let name = kind.rawValue.padding(toLength: 8, withPad: " ", startingAt: 0)
            lines.append([name, String(format: "%7d", sorted.count), at(0.5), at(0.95), at(1)].joined(separator: " "))
        }
        return lines.joined(separator: "\n")
    }

    /// Waits until no request has a page, a quarter of a minute at most.
    private static func isQuiet(_ port: Int) async throws -> Bool {
        for _ in 0..<150 {
            let lines = Set(try await HTTP.send(port, "GET", "/metrics").text.split(separator: "\n"))
            let names = ["requests_waiting", "requests_active", "cache_pages_used"]
            if names.allSatisfy({ lines.contains("glim_\($0) 0") }) { return true }
            try await Task.sleep(for: .milliseconds(100))
        }
        return false
    }

    /// One visit after another, by one client.
    private static func visit(
        _ port: Int, until end: ContinuousClock.Instant, _ draw: inout Draw
    ) async throws -> [Kind: [Duration]] {
        var times: [Kind: [Duration]] = [:]
        while ContinuousClock.now < end {
            let kind = draw.pick(Kind.allCases)
            let (path, body) = request(&draw, streams: kind != .waits)
            let text = HTTP.request("POST", path, kind == .errs ? String(body.dropLast(draw.integer(1...9))) : body)
            let (most, pause) = (draw.integer(1...2000), draw.integer(1...20))
            let began = ContinuousClock.now
            let received = try await HTTP.exchange(port, Array(text.utf8)) { soFar in
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
