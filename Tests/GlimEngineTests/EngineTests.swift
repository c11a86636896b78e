import Foundation
import GlimEngine
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

/// The engine on its own thread, as programs use it.
@Suite("engine") struct EngineTests {
    private let model = Tiny.model(1)

    private func options(pages: Int = 60, drafts: Int = 0) -> Engine.Options {
        var options = Engine.Options(cacheByteCount: pages * CacheLayout(model.config).pageByteCount)
        options.drafts = drafts
        return options
    }

    private func request(
        _ count: Int = 30, seed: UInt64 = 1, prompt: [Int32] = [1, 2, 3], rule: (any TokenRule)? = nil
    ) -> Engine.Request {
        var request = Engine.Request(prompt: prompt, maxTokens: count, sampler: Sampler(seed: seed), stops: [])
        request.rule = rule
        return request
    }

    /// Everything that a stream says.
    private func collect(_ stream: AsyncThrowingStream<Engine.Event, any Error>) async throws -> [Engine.Event] {
        var events: [Engine.Event] = []
        for try await event in stream { events.append(event) }
        return events
    }

    private func tokens(_ events: [Engine.Event]) -> [Engine.Token] {
        events.compactMap { if case .token(let token) = $0 { token } else { nil } }
    }

    /// Waits until the engine's own account says so; a minute at most.
    private func wait(_ engine: Engine, _ condition: (Engine.Metrics) -> Bool) async throws -> Bool {
        for _ in 0..<6000 {
            if condition(engine.metrics) { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return condition(engine.metrics)
    }

    @Test("many at a time get what each would get alone, and leave nothing behind") func many() async throws {
        let engine = try Engine(model, version: 7, options: options())
        try await withThrowingTaskGroup(of: Void.self) { group in
            for seed in UInt64(0)..<24 {
                group.addTask {
                    let prompt = [Int32](repeating: Int32(seed % 5), count: Int(seed) * 7 + 1)
                    let request = request(20, seed: seed, prompt: prompt)
                    let events = try await collect(try engine.submit(request))
                    let (found, lone) = (tokens(events), Lone.draw(model, request, after: [], count: 20).tokens)
                    #expect(found.map(\.id) == lone.map(\.id) && found.allSatisfy { $0.version == 7 })
                    expectSame(found.map(\.logprob), lone.map(\.logprob), "seed \(seed)")
                    // Reading is told to its end before the first token.
                    let first = events.firstIndex { if case .token = $0 { true } else { false } }
                    #expect(first.map { events[$0 - 1] } == .reading(done: prompt.count, of: prompt.count))
                }
            }
            try await group.waitForAll()
        }
        #expect(try await wait(engine) { $0.active == 0 && $0.usedPages == 0 && $0.finished == 24 })
        #expect(engine.metrics.drawnTokens == 24 * 20 && engine.metrics.keptPages > 0)
        await engine.stop()
    }

    @Test("a prompt that is known is not read again, and what is in the way is named") func usage() async throws {
        let engine = try Engine(model, options: options())
        var prompt = (0..<200).map { Int32($0 % 13) }
        func usage(_ prompt: [Int32]) async throws -> Engine.Usage? {
            let events = try await collect(try engine.submit(request(3, prompt: prompt)))
            if case .finished(.length, let usage)? = events.last { return usage }
            return nil
        }
        let first = try await usage(prompt)
        #expect(first?.cachedTokens == 0 && first?.divergence == nil && first?.promptTokens == 200)
        #expect(try await usage(prompt)?.cachedTokens == 199)
        #expect(try await usage(prompt + [1, 2])?.cachedTokens ?? 0 >= 200)
        prompt[150] = 14
        let other = try await usage(prompt)
        #expect(other?.cachedTokens == 150 && other?.divergence == 150 && other?.tokens == 3)
        await engine.stop()
    }

    @Test("how long a request took is told as it was, whenever its events are looked at") func times() async throws {
        let engine = try Engine(model, options: options())
        let began = ContinuousClock.now
        let events = try engine.submit(request(20, prompt: [1, 2, 3]))
        #expect(try await wait(engine) { $0.finished == 1 })
        let elapsed = ContinuousClock.now - began
        guard case .finished(_, let usage)? = try await collect(events).last else {
            Issue.record("it has no end")
            return
        }
        #expect(usage.readingTime > .zero && usage.drawingTime > .zero)
        #expect(usage.readingTime + usage.drawingTime <= elapsed)
        await engine.stop()
    }

    /// Listens until a request has drawn something, and leaves.
    private func leave(_ engine: Engine, _ request: Engine.Request) async throws {
        for try await event in try engine.submit(request) {
            if case .token = event { break }
        }
    }

    @Test("whoever leaves frees everything at once, in whatever state", arguments: [1, 40, 700])
    func leaves(count: Int) async throws {
        let engine = try Engine(model, options: options())
        let long = (0..<count).map { Int32($0 % 11) }
        // Drawing a while. What has left is noticed before the next step, so one more token is the last.
        let drawing = PermittedRule()
        drawing.permit()
        try await leave(engine, request(300, prompt: long, rule: drawing))
        drawing.permit()
        #expect(try await wait(engine) { $0.cancelled == 1 && $0.active == 0 && $0.usedPages == 0 })
        // Not listening at all.
        let ignored = PermittedRule()
        _ = try engine.submit(request(300, prompt: long, rule: ignored))
        ignored.permit()
        #expect(try await wait(engine) { $0.cancelled == 2 && $0.active == 0 && $0.usedPages == 0 })
        // Cancelled from outside.
        let held = PermittedRule()
        let stream = try engine.submit(request(300, seed: 2, prompt: long, rule: held))
        let task = Task { try await collect(stream) }
        #expect(try await wait(engine) { $0.active == 1 })
        task.cancel()
        _ = try? await task.value
        held.permit()
        #expect(try await wait(engine) { $0.cancelled == 3 && $0.active == 0 && $0.usedPages == 0 })
        #expect(engine.metrics.waiting == 0 && engine.metrics.finished == 0)
        // And goes on as if nothing had been.
        let events = try await collect(try engine.submit(request(10)))
        #expect(tokens(events).map(\.id) == Lone.draw(model, request(10), after: [], count: 10).tokens.map(\.id))
        await engine.stop()
    }

    @Test("weights are swapped between two steps; no request notices but by the version") func swaps() async throws {
        let models = [model, Tiny.model(model.config, 99)]
        let engine = try Engine(models[0], options: options())
        let rule = PermittedRule()
        let request = request(200, rule: rule)
        let stream = try engine.submit(request)
        // A token is permitted for each that has come: the swap cannot be too late for the last.
        rule.permit()
        async let swap: Void = engine.swapWeights(models[1], version: 1)
        var found: [Engine.Token] = []
        for try await event in stream {
            guard case .token(let token) = event else { continue }
            found.append(token)
            rule.permit()
        }
        try await swap
        let change = found.firstIndex { $0.version == 1 } ?? found.count
        #expect(found.count == 200 && change < 200 && found[change...].allSatisfy { $0.version == 1 })
        let free = self.request(200)
        let before = Lone.draw(models[0], free, after: [], count: change).tokens
        let after = Lone.draw(models[1], free, after: before.map(\.id), count: 200 - change).tokens
        #expect(found.map(\.id) == (before + after).map(\.id))
        expectSame(found.map(\.logprob), (before + after).map(\.logprob), "swapped at \(change)")
        #expect(engine.metrics.version == 1)
        await #expect(throws: EngineError.otherShape) {
            try await engine.swapWeights(Tiny.model(2), version: 2)
        }
        await engine.stop()
        await #expect(throws: EngineError.stopped) { try await engine.swapWeights(models[0], version: 3) }
    }

    @Test("what cannot be answered is one error, before anything is done") func refused() async throws {
        var options = options(pages: 3)
        options.openLimit = 1
        let engine = try Engine(model, options: options)
        func error(_ request: Engine.Request) -> EngineError? {
            do throws(EngineError) { _ = try engine.submit(request) } catch { return error }
            return nil
        }
        let width = Int32(model.config.vocabularySize)
        #expect(error(request(prompt: [])) == .emptyPrompt)
        #expect(error(request(prompt: [1, width])) == .unknownToken(width, vocabulary: Int(width)))
        #expect(error(request(prompt: [-1])) == .unknownToken(-1, vocabulary: Int(width)))
        #expect(
            error(request(prompt: .init(repeating: 1, count: 1025))) == .tooLong(count: 1025, context: 1024))
        var sampled = request(1)
        sampled.sampler.repetitionPenalty = 0
        #expect(error(sampled) == .badSampler("repetitionPenalty is 0.0; it must be above 0"))
        sampled.sampler = Sampler(temperature: .nan)
        #expect(error(sampled) == .badSampler("temperature is nan; it must be 0 or more"))
        #expect(error(request(200)) == .tooLarge(positions: 203, available: 192))
        #expect(error(request(.max)) == .tooLarge(positions: 1024, available: 192))
        #expect(engine.positionLimit == 192)
        let rule = PermittedRule()
        let held = try engine.submit(request(180, rule: rule))
        #expect(error(request(1)) == .tooMany(1))
        rule.permit(180)
        #expect(tokens(try await collect(held)).count == 180)
        await engine.stop()
        #expect(error(request(1)) == .stopped)
        for message in [
            EngineError.noDrafts, .otherShape, .tooMany(3), .store(path: "x", reason: "y"),
            .nothingAllowed(position: 4),
        ] {
            #expect(!"\(message)".isEmpty && !"\(message)".contains("\n"))
        }
        var none = self.options()
        none.drafts = 2
        #expect(throws: EngineError.noDrafts) {
            try Engine(Tiny.model(model.config.with { $0.mtpLayerCount = 0 }, 1), options: none)
        }
        for bytes in [5, 0, -1] {
            #expect(throws: EngineError.self) { try Engine(model, options: .init(cacheByteCount: bytes)) }
        }
        let paths: [(String, WritableKeyPath<Engine.Options, Int>)] = [
            ("activeLimit", \.activeLimit), ("openLimit", \.openLimit), ("drafts", \.drafts),
        ]
        for (name, path) in paths {
            var options = self.options()
            options[keyPath: path] = -1
            #expect(throws: EngineError.badOption(name, -1, least: name == "drafts" ? 0 : 1)) {
                try Engine(model, options: options)
            }
        }
    }

    @Test("an engine that is stopped says so to whoever still listens") func stopped() async throws {
        let engine = try Engine(model, options: options())
        let rule = PermittedRule()
        let stream = try engine.submit(request(900, rule: rule))
        rule.permit()
        async let stop: Void = engine.stop()
        await #expect(throws: EngineError.stopped) {
            for try await event in stream {
                if case .token = event { rule.permit() }
            }
        }
        await stop
        #expect(engine.metrics.active == 0 && engine.metrics.usedPages == 0)
        // Twice is once.
        await engine.stop()
    }

    @Test("an engine that nobody holds any more ends") func dropped() async throws {
        let rule = PermittedRule()
        var engine: Engine? = try Engine(model, options: options())
        let stream = try #require(engine).submit(request(900, rule: rule))
        engine = nil
        rule.permit(900)
        await #expect(throws: EngineError.stopped) { for try await _ in stream {} }
    }

    @Test("prompts of no token to draw are read and kept") func warmed() async throws {
        let engine = try Engine(model, options: options())
        let prompt = (0..<100).map { Int32($0 % 7) }
        let events = try await collect(try engine.submit(request(0, prompt: prompt)))
        #expect(tokens(events).isEmpty)
        let next = try await collect(try engine.submit(request(2, prompt: prompt)))
        guard case .finished(.length, let usage)? = next.last else {
            Issue.record("no end")
            return
        }
        #expect(usage.cachedTokens == 99)
        await engine.stop()
    }

    @Test("a long prompt does not keep those waiting who draw") func stalls() throws {
        let loop = try EngineLoop(model, version: 0, options())
        let (drawing, reading) = (Answer(), Answer())
        _ = try loop.submit(request(500)) { _ in drawing.sink }
        while drawing.tokens.isEmpty { _ = loop.next() }
        let before = drawing.tokens.count
        _ = try loop.submit(request(1, prompt: (0..<900).map { Int32($0 % 9) })) { _ in reading.sink }
        while !reading.isOver { _ = loop.next() }
        // 128 rows a step: in each of its eight steps the other has drawn.
        #expect(drawing.tokens.count - before == 8 && reading.tokens.count == 1)
    }
}
