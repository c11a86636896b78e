import Foundation
import GlimEngine
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

/// An engine under many requests that come and leave at random, in phases; at the end of each it is looked at while
/// nothing runs: then what is in memory are the weights and the pages that are kept, to the byte.
///
/// It is to run in a process of its own.
struct Soak: Sendable {
    private static let workerCount = 64
    private static let pages = 80
    private let seconds: Double
    private let seed: Int
    private let phases: Int
    private let models: [Model]

    init(seconds: Double, seed: Int) {
        (self.seconds, self.seed, phases) = (seconds, seed, max(4, Int(seconds / 30)))
        let config = Tiny.config(4).with { ($0.mtpLayerCount, $0.endOfTextIDs) = (1, [0]) }
        models = (0..<2).map { Tiny.model(config, $0) }
    }

    /// What was counted in a phase.
    private struct Count {
        var (requests, left, tokens) = (0, 0, 0)
        var slowest = Duration.zero

        static func + (a: Count, b: Count) -> Count {
            var sum = a
            (sum.requests, sum.left, sum.tokens) = (a.requests + b.requests, a.left + b.left, a.tokens + b.tokens)
            sum.slowest = max(a.slowest, b.slowest)
            return sum
        }
    }

    func run() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "glim-soak-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        for model in models {
            // What models make for themselves when they first run.
            var generator = Generator(model, sampler: Sampler(), stops: [], drafts: 2)
            generator.feed([1, 2, 3])
            for _ in 0..<9 { _ = generator.next() }
        }
        let before = BufferPool.liveBytes
        let layout = CacheLayout(models[0].config)
        var engine: Engine? = try start(layout, folder)
        var (resident, total) = ([Int](), Count())
        for phase in 0..<phases {
            let count = try await run(phase, engine!)
            total = total + count
            try await rest(engine!, requests: total.requests)
            // Nothing but weights and the cache, to the byte.
            let more = BufferPool.liveBytes - before - engine!.metrics.cacheBytes
            #expect(more == 0, "\(more) bytes more after phase \(phase)")
            #expect(engine!.metrics.usedPages == 0)
            resident.append(Machine.residentBytes)
            print(
                """
                soak: phase \(phase + 1) of \(phases): \(count.requests) requests, \(count.left) left early, \
                \(count.tokens) tokens, the slowest \(count.slowest); \(resident[phase] >> 10) KiB resident
                """)
            // The first phase is the warm-up.
            let grown = resident[phase] - resident[0]
            #expect(grown < 32 << 20, "\(grown >> 10) KiB more are resident after phase \(phase)")
        }
        print("soak: \(total.requests) requests, \(total.left) left early, \(engine!.metrics)")
        check(engine!.metrics)
        // Other weights forget what is kept.
        try await engine!.swapWeights(models[0], version: phases)
        #expect(engine!.metrics.keptPages == 0 && engine!.metrics.usedPages == 0)
        await engine!.stop()
        engine = nil
        // The engine's thread lets go of what it had a moment after.
        #expect(try await wait { BufferPool.liveBytes == before }, "\(BufferPool.liveBytes - before) bytes more")
    }

    private func start(_ layout: CacheLayout, _ folder: URL) throws -> Engine {
        var options = Engine.Options(cacheByteCount: Self.pages * layout.pageByteCount)
        options.activeLimit = Self.workerCount
        options.drafts = 2
        options.store = Engine.Store(
            folder: folder, identity: "soak", byteLimit: 2 * Self.pages * layout.pageByteCount,
            report: { line in Issue.record("\(line)") })
        return try Engine(models[0], options: options)
    }

    // MARK: A phase

    private func run(_ phase: Int, _ engine: Engine) async throws -> Count {
        let end = ContinuousClock.now + .seconds(seconds / Double(phases))
        let watch = Watch()
        defer { watch.stop() }
        return try await withThrowingTaskGroup(of: Count.self) { group in
            for worker in 0..<Self.workerCount {
                group.addTask {
                    var draw = Draw(seed, "soak \(phase) \(worker)")
                    var count = Count()
                    // Twice at least, however slow the machine is.
                    while count.requests < 2 || ContinuousClock.now < end {
                        let began = ContinuousClock.now
                        try await answer(engine, &draw, &count)
                        count.slowest = max(count.slowest, ContinuousClock.now - began)
                        watch.alive()
                    }
                    return count
                }
            }
            // Every other phase has other weights from its middle on.
            if phase % 2 == 1 {
                group.addTask {
                    try await Task.sleep(for: .seconds(seconds / Double(phases) / 2))
                    try await engine.swapWeights(models[phase / 2 % 2 == 0 ? 1 : 0], version: phase)
                    return Count()
                }
            }
            return try await group.reduce(Count()) { $0 + $1 }
        }
    }

    /// Asks for something, and listens to the end, or leaves.
    private func answer(_ engine: Engine, _ draw: inout Draw, _ count: inout Count) async throws {
        let width = models[0].config.vocabularySize
        // Two dozen beginnings that many have.
        var common = Draw(draw.integer(0...23), "beginning")
        let prompt = common.tokens(common.integer(0...300), below: width).prefix(draw.integer(0...300))
        let leaves = draw.chance(0.4)
        // Some have to go on for long, which makes room scarce.
        let isLong = leaves || draw.chance(0.2)
        var request = Engine.Request(
            prompt: prompt + draw.tokens(draw.integer(1...40), below: width),
            maxTokens: isLong ? 600 : draw.integer(0...60))
        request.sampler = Sampler(temperature: draw.pick([0, 1]), seed: UInt64(draw.integer(0...99)))
        if draw.chance(0.2) { request.sampler.repetitionPenalty = 1.2 }
        if isLong { request.stops = [] }
        request.topLogprobs = draw.pick([0, 2])
        count.requests += 1
        count.left += leaves ? 1 : 0
        let most = draw.integer(0...20)
        switch leaves ? draw.integer(0...2) : 3 {
        case 0: _ = try engine.submit(request)
        case 1:
            let stream = try engine.submit(request)
            let task = Task { for try await _ in stream {} }
            for _ in 0..<draw.integer(0...20) { await Task.yield() }
            task.cancel()
            _ = await task.result
        default:
            var (tokens, isOver) = (0, false)
            for try await event in try engine.submit(request) {
                switch event {
                case .reading: break
                case .token: tokens += 1
                case .finished: isOver = true
                }
                if leaves, tokens >= most { break }
            }
            count.tokens += tokens
            #expect(leaves || isOver)
        }
    }

    // MARK: At rest

    private func rest(_ engine: Engine, requests: Int) async throws {
        let isIdle = try await wait {
            let metrics = engine.metrics
            return metrics.finished + metrics.cancelled == requests && metrics.active == 0 && metrics.waiting == 0
                && metrics.usedPages == 0
        }
        #expect(isIdle, "\(requests) requests came: \(engine.metrics)")
    }

    private func wait(_ condition: () -> Bool) async throws -> Bool {
        for _ in 0..<6000 where !condition() { try await Task.sleep(for: .milliseconds(10)) }
        return condition()
    }

    /// It would prove little if nothing happened in it.
    private func check(_ metrics: Engine.Metrics) {
        #expect(metrics.cancelled > 0 && metrics.preemptions > 0 && metrics.evictedPages > 0, "\(metrics)")
        #expect(metrics.restoredPages > 0 && metrics.draftsTried > 0 && metrics.version > 0, "\(metrics)")
        #expect(metrics.keptPages <= metrics.pages, "\(metrics)")
    }

    /// Ends the process if no request ends for minutes: a test that hangs tells nothing.
    private final class Watch: Sendable {
        private let last = Locked<ContinuousClock.Instant?>(.now)

        init() {
            Thread.detachNewThread { [last] in
                while let since = last.withLock({ $0 }) {
                    if ContinuousClock.now - since > .seconds(180) { fatalError("soak: requests are stuck") }
                    Thread.sleep(forTimeInterval: 0.1)
                }
            }
        }

        func alive() { last.withLock { if $0 != nil { $0 = .now } } }

        func stop() { last.withLock { $0 = nil } }
    }
}
