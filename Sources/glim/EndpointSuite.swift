import Foundation
import GlimModel
import GlimTensor

/// Asks a server, over HTTP, whether its numbers are the model's: whatever it has cached, whoever else is served, however
/// the reply is sent.
///
/// Sparse attention that chooses wrongly still writes fluent text: with the same checkpoint at hand the server's
/// log-probabilities are held against its own, also beyond `index_topk`.
struct EndpointSuite: Sendable {
    let endpoint: Endpoint
    /// The same checkpoint, read here.
    let reference: Model?

    /// How far two log-probabilities may be apart, nats. Glim promises the same bits; servers whose kernels depend on who
    /// else is served differ in the last of bf16.
    private var tolerance: Double { endpoint.tellsTokens ? 0 : 0.05 }

    private struct Property: Sendable {
        let name: String
        let sentence: String
        /// Returns what was looked at.
        let check: @Sendable (EndpointSuite) async throws -> String
    }

    private struct Flaw: Error {
        let text: String
        init(_ text: String) { self.text = text }
    }

    private struct Inapplicable: Error {
        let why: String
        init(_ why: String) { self.why = why }
    }

    func run(report: (ConformanceResult) throws -> Void) async throws -> [ConformanceResult] {
        if lengths.isEmpty {
            throw Failure("\(endpoint.model) has a context of \(endpoint.context ?? 0) tokens: too short to ask about")
        }
        var results: [ConformanceResult] = []
        for property in Self.properties {
            let start = ContinuousClock.now
            func result(_ status: ConformanceResult.Status, _ detail: String) -> ConformanceResult {
                var result = ConformanceResult(property.name, property.sentence, status, detail)
                result.seconds = start.duration(to: .now) / .seconds(1)
                return result
            }
            let found: ConformanceResult
            do {
                found = result(.passed, try await property.check(self))
            } catch let flaw as Flaw {
                found = result(.failed, flaw.text)
            } catch let reason as Inapplicable {
                found = result(.notAsked, reason.why)
            } catch let failure as Failure {
                found = result(.failed, failure.description)
            }
            try report(found)
            results.append(found)
        }
        return results
    }

    // MARK: What is asked with

    /// Of ids that every vocabulary has.
    private func prompt(_ count: Int, _ purpose: String) -> [Int32] {
        let random = CounterRandom(seed: 1, purpose: "conformance.endpoint.\(purpose)")
        return (0..<count).map { 2 + Int32(random.integer(UInt64($0), below: 48)) }
    }

    /// Below, around and above a page of the cache, and beyond what sparse attention chooses of where that is known.
    private var lengths: [Int] {
        let beyond = reference?.config.indexer.map { $0.topK + 40 } ?? 1100
        return [24, 64, 65, 300, min(beyond, 4200)].filter { $0 + 40 < endpoint.context ?? .max }
    }

    private func compare(_ a: Endpoint.Reply, _ b: Endpoint.Reply, _ place: String) throws {
        for i in 0..<min(a.tokens.count, b.tokens.count) {
            let (x, y) = (a.logprobs[i], b.logprobs[i])
            let isFar = !(abs(x - y) <= tolerance)
            // Where two tokens are as probable, what is a little apart may draw either.
            if a.tokens[i] != b.tokens[i], tolerance == 0 || isFar {
                throw Flaw("\(place), token \(i): \(a.tokens[i]) (\(x)), otherwise \(b.tokens[i]) (\(y))")
            }
            if isFar { throw Flaw("\(place), token \(i): log-probability \(x), otherwise \(y)") }
            for (token, p) in a.top[i] {
                guard let q = b.top[i][token] else {
                    if tolerance > 0 { continue }
                    throw Flaw("\(place), token \(i): \(token) is among the most probable, otherwise not")
                }
                if !(abs(p - q) <= tolerance) {
                    throw Flaw("\(place), token \(i): log-probability of \(token) \(p), otherwise \(q)")
                }
            }
            // From here on they continue different texts.
            if a.tokens[i] != b.tokens[i] { return }
        }
        if a.tokens.count != b.tokens.count {
            throw Flaw("\(place): the text ends after \(a.tokens.count) tokens, otherwise after \(b.tokens.count)")
        }
    }

    // MARK: Properties

    private static let properties = [
        Property(name: "again", sentence: "A request that comes again is answered alike, from what is cached.") {
            suite in
            for count in suite.lengths {
                let prompt = suite.prompt(count, "again")
                let first = try await suite.endpoint.draw(prompt, count: 4)
                for _ in 0..<2 {
                    try suite.compare(try await suite.endpoint.draw(prompt, count: 4), first, "\(count) tokens")
                }
            }
            return "prompts of \(suite.lengths) tokens, three times each"
        },
        Property(
            name: "company", sentence: "What a request is answered does not depend on who else is served at the time."
        ) { suite in
            let prompts = (0..<8).map { suite.prompt(suite.lengths[$0 % suite.lengths.count], "company.\($0 / 5)") }
            var alone: [Endpoint.Reply] = []
            for (i, prompt) in prompts.enumerated() {
                alone.append(try await suite.endpoint.draw(prompt, count: 12, temperature: 1, seed: i))
            }
            let together = try await withThrowingTaskGroup(of: (Int, Endpoint.Reply).self) { group in
                for (i, prompt) in prompts.enumerated() {
                    group.addTask {
                        (i, try await suite.endpoint.draw(prompt, count: 12, temperature: 1, seed: i))
                    }
                }
                return try await group.reduce(into: [Int: Endpoint.Reply]()) { $0[$1.0] = $1.1 }
            }
            for i in prompts.indices {
                guard let other = together[i] else { continue }
                try suite.compare(other, alone[i], "request \(i) of 8 at a time")
            }
            return "8 requests at a time and one by one"
        },
        Property(name: "streams", sentence: "A stream says what the whole reply says.") { suite in
            for count in suite.lengths {
                let prompt = suite.prompt(count, "streams")
                let whole = try await suite.endpoint.draw(prompt, count: 12, temperature: 1, seed: 3)
                let streamed = try await suite.endpoint.draw(prompt, count: 12, temperature: 1, seed: 3, streams: true)
                try suite.compare(streamed, whole, "\(count) tokens")
            }
            return "prompts of \(suite.lengths) tokens, 12 tokens each"
        },
        Property(name: "seeds", sentence: "A seed draws the same tokens each time, another seed others.") { suite in
            let prompt = suite.prompt(24, "seeds")
            var replies: [Endpoint.Reply] = []
            for seed in [1, 2, 3, 1, 2, 3] {
                replies.append(try await suite.endpoint.draw(prompt, count: 16, temperature: 1.5, seed: seed))
            }
            for i in 0..<3 { try suite.compare(replies[i + 3], replies[i], "seed \(i + 1)") }
            if Set(replies.map { $0.tokens.joined(separator: " ") }).count == 1 {
                throw Flaw("three seeds draw the same 16 tokens at temperature 1.5")
            }
            return "3 seeds, 16 tokens, twice"
        },
        Property(
            name: "drawn as read",
            sentence: "A token has the probability with which it was drawn when what came before is a prompt."
        ) { suite in
            guard suite.endpoint.tellsTokens else { throw Inapplicable("the server tells no token ids") }
            for count in suite.lengths {
                var prompt = suite.prompt(count, "drawn")
                let drawn = try await suite.endpoint.draw(prompt, count: 8)
                for i in 0..<8 {
                    let one = try await suite.endpoint.draw(prompt, count: 1)
                    let part = Endpoint.Reply(
                        tokens: [drawn.tokens[i]], logprobs: [drawn.logprobs[i]], top: [drawn.top[i]])
                    try suite.compare(one, part, "\(count) tokens and \(i) drawn ones")
                    prompt.append(Int32(drawn.tokens[i]) ?? 0)
                }
            }
            return "8 tokens after prompts of \(suite.lengths) tokens"
        },
        Property(
            name: "prefixes",
            sentence: "Of a prompt that begins like an earlier one only what is the same is taken from it."
        ) { suite in
            var count = 0
            for length in suite.lengths where length > 64 {
                let stem = suite.prompt(length, "prefixes")
                // Each goes on from the same beginning, at a page's edge and beside it.
                let prompts = [0, 1, 63, 64, 65, length - 1].map {
                    Array(stem.prefix($0)) + suite.prompt(9, "tail.\($0)")
                }
                var first: [Endpoint.Reply] = []
                for prompt in prompts { first.append(try await suite.endpoint.draw(prompt, count: 3)) }
                for (i, prompt) in prompts.enumerated().reversed() {
                    let again = try await suite.endpoint.draw(prompt, count: 3)
                    try suite.compare(again, first[i], "a prompt of \(prompt.count) tokens, \(prompt.count - 9) shared")
                }
                count += prompts.count
            }
            return "\(count) prompts that begin alike, in two orders"
        },
        Property(name: "leaving", sentence: "Whoever leaves a stream changes nothing for others.") { suite in
            let prompt = suite.prompt(65, "leaving")
            let before = try await suite.endpoint.draw(prompt, count: 6)
            let body = suite.endpoint.drawBody(prompt, count: 200, streams: true)
            for moment in [1, 50, 200] {
                let stream = Task { try await suite.endpoint.post(suite.endpoint.drawPath, body) }
                try await Task.sleep(for: .milliseconds(moment))
                stream.cancel()
                _ = try? await stream.value
                try suite.compare(try await suite.endpoint.draw(prompt, count: 6), before, "after \(moment) ms")
            }
            return "3 streams left"
        },
        Property(name: "refusals", sentence: "What it cannot do it refuses with a status that says whose fault it is.")
        {
            suite in
            let endpoint = suite.endpoint
            let prompt = suite.prompt(8, "refusals")
            var asked: [(what: String, body: Data, says: String?)] = [
                ("no JSON", Data("{\"prompt\"".utf8), nil),
                ("a temperature of -1", endpoint.drawBody(prompt, count: 1, temperature: -1), "temperature"),
                (
                    "a member that there is not",
                    endpoint.drawBody(prompt, count: 1, adding: ["no_such_member": "1"]), "no_such_member"
                ),
            ]
            if let context = endpoint.context, context < 1 << 20 {
                asked.append(
                    ("a prompt beyond the context", endpoint.drawBody(suite.prompt(context + 1, "long"), count: 1), nil)
                )
            }
            for (what, body, says) in asked {
                let answer = try await endpoint.post(endpoint.drawPath, body)
                guard (400...422).contains(answer.status) else {
                    throw Flaw("\(what) is answered with \(answer.status): \(answer.text)")
                }
                if let says, !answer.text.contains(says) {
                    throw Flaw("\(what) is refused without naming \(says): \(answer.text)")
                }
            }
            let nowhere = try await endpoint.get("no/such/place")
            guard nowhere.status == 404 else { throw Flaw("/no/such/place is answered with \(nowhere.status)") }
            return asked.map(\.what).joined(separator: ", ")
        },
        Property(
            name: "the checkpoint's numbers",
            sentence: "Log-probabilities are those of the same checkpoint read here, also beyond index_topk."
        ) { suite in
            guard let model = suite.reference else {
                throw Inapplicable("give --model with the checkpoint that is served")
            }
            guard suite.endpoint.tellsTokens else { throw Inapplicable("the server tells no token ids") }
            for count in suite.lengths {
                let prompt = suite.prompt(count, "numbers")
                let reply = try await suite.endpoint.draw(prompt, count: 4)
                let drawn = reply.tokens.compactMap { Int32($0) }
                guard drawn.allSatisfy({ 0 <= $0 && Int($0) < model.config.vocabularySize }) else {
                    throw Flaw("\(count) tokens: tokens \(drawn) are not within 0..<\(model.config.vocabularySize)")
                }
                let read = Scorer(model).logprobs(prompt + drawn)
                for (i, logprob) in reply.logprobs.enumerated() where Float(logprob) != read[count + i - 1] {
                    throw Flaw(
                        "\(count) tokens, token \(i): log-probability \(logprob), of the checkpoint \(read[count + i - 1])"
                    )
                }
            }
            return "4 tokens after prompts of \(suite.lengths) tokens"
        },
    ]
}
