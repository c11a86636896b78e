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

    private func request(_ count: Int = 30, seed: UInt64 = 1, prompt: [Int32] = [1, 2, 3]) -> Engine.Request {
        Engine.Request(prompt: prompt, maxTokens: count, sampler: Sampler(seed: seed), stops: [])
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

    @Test("whoever leaves frees everything at once, in whatever state", arguments: [1, 40, 700])
    func leaves(count: Int) async throws {
        let engine = try Engine(model, options: options())
        let long = (0..<count).map { Int32($0 % 11) }
        // Reading a while, drawing a while, not listening at all, or cancelled from outside.
        for try await event in try engine.submit(request(300, prompt: long)) {
            if case .token = event { break }
        }
        _ = try engine.submit(request(300, prompt: long))
        let stream = try engine.submit(request(300, seed: 2, prompt: long))
        let task = Task { try await collect(stream) }
        try await Task.sleep(for: .milliseconds(20))
        task.cancel()
        _ = try? await task.value
        #expect(try await wait(engine) { $0.active == 0 && $0.waiting == 0 && $0.usedPages == 0 })
        #expect(engine.metrics.cancelled >= 2)
        // And goes on as if nothing had been.
        let events = try await collect(try engine.submit(request(10)))
        #expect(tokens(events).map(\.id) == Lone.draw(model, request(10), after: [], count: 10).tokens.map(\.id))
        await engine.stop()
    }

    @Test("weights are swapped between two steps; no request notices but by the version") func swaps() async throws {
        let models = [model, Tiny.model(model.config, 99)]
        let engine = try Engine(models[0], options: options())
        let requests = (0..<4).map { request(200, seed: $0) }
        let answers = try requests.map { request in
            let stream = try engine.submit(request)
            return Task { try await collect(stream) }
        }
        #expect(try await wait(engine) { $0.drawnTokens > 40 })
        try await engine.swapWeights(models[1], version: 1)
        for (request, answer) in zip(requests, answers) {
            let found = tokens(try await answer.value)
            let change = found.firstIndex { $0.version == 1 } ?? found.count
            #expect(found.count == 200 && found[change...].allSatisfy { $0.version == 1 })
            let before = Lone.draw(models[0], request, after: [], count: change).tokens
            let after = Lone.draw(
                models[1], request, after: before.map(\.id), count: 200 - change
            ).tokens
            #expect(found.map(\.id) == (before + after).map(\.id))
            expectSame(found.map(\.logprob), (before + after).map(\.logprob), "swapped at \(change)")
        }
        #expect(engine.metrics.version == 1)
        await #expect(throws: EngineError.otherShape) {
            try await engine.swapWeights(Tiny.model(2), version: 2)
        }
        await engine.stop()
        await #expect(throws: EngineError.stopped) { try await engine.swapWeights(models[0], version: 3) }
    }

    @Test("what cannot be answered is one error, before anything is done") func refused() async throws {
        var options = options(pages: 3)
        options.openLimit = 2
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
        #expect(error(request(200)) == .tooLarge(positions: 203, available: 192))
        #expect(error(request(.max)) == .tooLarge(positions: 1024, available: 192))
        #expect(engine.positionLimit == 192)
        let held = [try engine.submit(request(180)), try engine.submit(request(180))]
        #expect(error(request(1)) == .tooMany(2) || engine.metrics.finished > 0)
        for stream in held { _ = try await collect(stream) }
        await engine.stop()
        #expect(error(request(1)) == .stopped)
        for message in [EngineError.noDrafts, .otherShape, .tooMany(3), .store(path: "x", reason: "y")] {
            #expect(!"\(message)".isEmpty && !"\(message)".contains("\n"))
        }
        var none = self.options()
        none.drafts = 2
        #expect(throws: EngineError.noDrafts) {
            try Engine(Tiny.model(model.config.with { $0.mtpLayerCount = 0 }, 1), options: none)
        }
        #expect(throws: EngineError.self) { try Engine(model, options: .init(cacheByteCount: 5)) }
    }

    @Test("an engine that is stopped says so to whoever still listens") func stopped() async throws {
        let engine = try Engine(model, options: options())
        let stream = try engine.submit(request(900))
        let task = Task { try await collect(stream) }
        #expect(try await wait(engine) { $0.drawnTokens > 0 })
        await engine.stop()
        await #expect(throws: EngineError.stopped) { try await task.value }
        // Twice is once.
        await engine.stop()
    }

    @Test("an engine that nobody holds any more ends") func dropped() async throws {
        var engine: Engine? = try Engine(model, options: options())
        let stream = try #require(engine).submit(request(900))
        engine = nil
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

    @Test("a long prompt does not keep those waiting who draw") func stalls() async throws {
        let engine = try Engine(model, options: options())
        let drawing = Task { try await collect(try engine.submit(request(1000))) }
        #expect(try await wait(engine) { $0.decoding == 1 })
        let before = engine.metrics
        let prompt = (0..<900).map { Int32($0 % 9) }
        for try await event in try engine.submit(request(1, prompt: prompt)) {
            if case .token = event { break }
        }
        // 128 rows a step: in each of its eight steps the other has drawn.
        let after = engine.metrics
        #expect(after.drawnTokens - before.drawnTokens >= 8)
        _ = try await drawing.value
        await engine.stop()
    }

    @Test("many requests with cancels, for a while: nothing is stuck, nothing grows") func steady() async throws {
        let engine = try Engine(model, options: options(pages: 20, drafts: 0))
        @Sendable func round(_ number: Int) async throws {
            var draw = Draw(number, "steady")
            let prompt = [Int32](repeating: Int32(number % 3), count: draw.integer(1...150))
            let leaves = draw.chance(0.4) ? draw.integer(0...20) : .max
            var count = 0
            for try await event in try engine.submit(
                request(draw.integer(1...40), seed: UInt64(number), prompt: prompt))
            {
                if case .token = event { count += 1 }
                if count >= leaves { break }
            }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<16 {
                group.addTask { for i in 0..<12 { try await round(worker * 100 + i) } }
            }
            try await group.waitForAll()
        }
        #expect(try await wait(engine) { $0.active == 0 && $0.waiting == 0 && $0.usedPages == 0 })
        let metrics = engine.metrics
        #expect(metrics.finished + metrics.cancelled == 16 * 12 && metrics.cancelled > 0)
        #expect(metrics.keptPages <= metrics.pages)
        await engine.stop()
    }
}
