import Foundation
import GlimEngine
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

/// The exactness contract of the engine: whatever else runs, waits, is shared, guessed, cancelled, swapped or brought
/// from disk, every token and log-probability is what the request alone gets, to the bit.
@Suite("engine exactness") struct EngineExactnessTests {
    static let seeds = Array(0..<36)

    /// Of every kind of attention; some with MTP layers, some short of context.
    private static func config(_ seed: Int) -> ModelConfig {
        Tiny.config(seed).with {
            $0.mtpLayerCount = [0, 1, 1, 3][seed % 4]
            $0.maximumPositions = seed % 5 == 0 ? 150 : 1024
            // Something ends a reply now and then.
            $0.endOfTextIDs = [0]
        }
    }

    /// A random history of one engine, a turn at a time.
    private struct Walk {
        let seed: Int
        /// By version: each is other weights of the same network.
        let models: [Model]
        let folder: URL?
        var draw: Draw
        var loop: EngineLoop
        var version = 0
        var open: [(id: Int, request: Engine.Request, answer: Answer)] = []
        var all: [(request: Engine.Request, answer: Answer)] = []
        var beginnings: [[Int32]] = []
        var sum = Engine.Metrics()

        init(_ seed: Int, folder: URL?) throws {
            let config = EngineExactnessTests.config(seed)
            (self.seed, self.folder) = (seed, folder)
            models = (0..<3).map { Tiny.model(config, seed + 1000 * $0) }
            var draw = Draw(seed, "walk")
            loop = try Self.start(models[0], version: 0, seed, folder, &draw)
            self.draw = draw
        }

        /// An engine with room for one of the largest requests, or for several.
        private static func start(
            _ model: Model, version: Int, _ seed: Int, _ folder: URL?, _ draw: inout Draw
        ) throws -> EngineLoop {
            let drafts = model.config.mtpLayerCount > 0 ? draw.integer(0...4) : 0
            var page = CacheLayout(model.config).pageByteCount
            if drafts > 0 {
                let ahead = model.config.layerCount..<model.config.layerCount + 1
                page += drafts * CacheLayout(model.config, layers: ahead).pageByteCount
            }
            var options = Engine.Options(cacheByteCount: page * draw.pick([6, 8, 14, 60]))
            options.activeLimit = draw.pick([1, 3, 8])
            options.drafts = drafts
            options.limits.chunk = draw.pick([1, 9, 64, 200])
            options.limits.mixedChunk = draw.pick([1, 5, 33, 128])
            // Cheap enough to be tried always, or what the clock says.
            if draw.chance(0.8) { options.draftCosts = .init(step: 1, row: 0.01, guess: 0.01) }
            options.store = folder.map {
                Engine.Store(folder: $0, identity: "walk \(seed)", byteLimit: 1 << 24, report: { _ in })
            }
            return try EngineLoop(model, version: version, options)
        }

        mutating func request() -> Engine.Request {
            let config = models[0].config
            let base = beginnings.isEmpty || draw.chance(0.25) ? [] : draw.pick(beginnings)
            let kept = base.prefix(draw.integer(0...base.count))
            var prompt =
                kept + draw.tokens(draw.integer(1...(draw.chance(0.3) ? 140 : 30)), below: config.vocabularySize)
            if draw.chance(0.2), !beginnings.isEmpty { prompt = draw.pick(beginnings)[...] }
            prompt = prompt.prefix(draw.integer(1...min(250, config.maximumPositions)))
            beginnings.append(Array(prompt))
            var request = Engine.Request(prompt: Array(prompt), maxTokens: draw.integer(0...40))
            request.sampler = Sampler(
                temperature: draw.pick([0, 0.7, 6]), topP: draw.pick([1, 0.9]), seed: UInt64(draw.integer(0...3)))
            if draw.chance(0.5) { request.stops = [] }
            if draw.chance(0.2) {
                request.rule =
                    TurningRule(
                        vocabulary: config.vocabularySize, modulus: draw.integer(1...3), left: draw.integer(1...30))
            }
            if draw.chance(0.2) {
                (request.sampler.repetitionPenalty, request.sampler.frequencyPenalty) = (1.3, 0.4)
                (request.sampler.topK, request.sampler.minP) = (draw.pick([0, 5]), draw.pick([0, 0.05]))
            }
            request.topLogprobs = draw.pick([0, 0, 3])
            return request
        }

        mutating func arrive() throws {
            var request = request()
            // Several replies to one prompt come together.
            for _ in 0..<draw.pick([1, 1, 1, 3]) {
                let answer = Answer()
                let id = try loop.submit(request) { _ in answer.sink }
                open.append((id, request, answer))
                all.append((request, answer))
                request.sampler.seed += 1
            }
        }

        /// One of the things that happen between two steps.
        mutating func disturb() throws {
            if draw.chance(0.02), !open.isEmpty { loop.cancel(draw.pick(open).id) }
            if draw.chance(0.008) {
                version = (version + 1) % models.count
                try loop.swap(models[version], version: version) { _ in }
            }
        }

        mutating func run(requests count: Int) throws {
            var turns = 0
            while true {
                if all.count < count, open.isEmpty || draw.chance(0.1) { try arrive() }
                try disturb()
                let goesOn = Machine.alone(threads: draw.integer(1...3)) { loop.next() }
                open.removeAll { $0.answer.isOver }
                if !goesOn, open.isEmpty, all.count >= count { break }
                turns += 1
                try #require(turns < 60_000, "\(open.count) requests do not end")
            }
            let metrics = loop.latestMetrics
            #expect(metrics.active == 0 && metrics.waiting == 0 && metrics.usedPages == 0)
            #expect(metrics.keptPages <= metrics.pages)
            add(metrics)
        }

        /// Ends the engine and begins another, which knows what is on disk.
        mutating func restart() throws {
            loop.end()
            loop = try Self.start(models[version], version: version, seed, folder, &draw)
        }

        private mutating func add(_ metrics: Engine.Metrics) {
            sum.preemptions += metrics.preemptions
            sum.foundTokens += metrics.foundTokens
            sum.restoredPages += metrics.restoredPages
            sum.evictedPages += metrics.evictedPages
            sum.draftsAccepted += metrics.draftsAccepted
            sum.draftsTried += metrics.draftsTried
            sum.cancelled += metrics.cancelled
        }

        /// Holds every answer against what its request alone gets.
        func check() {
            for (request, answer) in all {
                let tokens = answer.tokens
                let ids = tokens.map(\.id)
                #expect(tokens.map(\.position) == Array(request.prompt.count..<request.prompt.count + ids.count))
                var (start, ended) = (0, false)
                while start < tokens.count {
                    // What one version drew.
                    let version = tokens[start].version
                    let end = tokens[start...].firstIndex { $0.version != version } ?? tokens.count
                    let lone = Lone.draw(models[version], request, after: Array(ids[..<start]), count: end - start)
                    #expect(lone.tokens.map(\.id) == Array(ids[start..<end]), "seed \(seed), version \(version)")
                    expectSame(tokens[start..<end].map(\.logprob), lone.tokens.map(\.logprob), "seed \(seed)")
                    (start, ended) = (end, lone.ends)
                }
                for token in tokens {
                    #expect(token.top.count == min(request.topLogprobs, models[0].config.vocabularySize))
                    #expect(token.top.allSatisfy { $0.logprob >= token.top.last!.logprob })
                    if let own = token.top.first(where: { $0.id == token.id }) { #expect(own.logprob == token.logprob) }
                }
                checkEnding(request, answer, ended: ended)
            }
        }

        private func checkEnding(_ request: Engine.Request, _ answer: Answer, ended: Bool) {
            guard let ending = answer.ending else {
                Issue.record("seed \(seed): a request without an end")
                return
            }
            let count = answer.tokens.count
            #expect(ending.usage.tokens == count && ending.usage.promptTokens == request.prompt.count)
            #expect(ending.usage.cachedTokens < request.prompt.count)
            switch ending.reason {
            case .length: #expect(count == request.maxTokens)
            case .stop, .context: #expect(ended)
            case .cancelled: break
            }
        }
    }

    @Test("random histories", arguments: seeds) func walk(seed: Int) throws {
        var walk = try Walk(seed, folder: nil)
        try walk.run(requests: 14)
        walk.check()
    }

    @Test("random histories over several lives of a store", arguments: seeds.prefix(16)) func lives(seed: Int) throws {
        try withTemporaryFolder { folder in
            var walk = try Walk(seed, folder: folder)
            for life in 1...3 {
                try walk.run(requests: 8 * life)
                try walk.restart()
            }
            walk.check()
        }
    }

    /// The walks would prove little if nothing happened in them.
    @Test("the walks meet everything that is claimed of them") func reach() throws {
        var sum = Engine.Metrics()
        for seed in 0..<8 {
            try withTemporaryFolder { folder in
                var walk = try Walk(seed, folder: folder)
                for life in 1...3 {
                    try walk.run(requests: 10 * life)
                    try walk.restart()
                }
                sum.preemptions += walk.sum.preemptions
                sum.foundTokens += walk.sum.foundTokens
                sum.restoredPages += walk.sum.restoredPages
                sum.evictedPages += walk.sum.evictedPages
                sum.draftsAccepted += walk.sum.draftsAccepted
                sum.draftsTried += walk.sum.draftsTried
                sum.cancelled += walk.sum.cancelled
            }
        }
        #expect(sum.preemptions > 0 && sum.foundTokens > 100 && sum.restoredPages > 3 && sum.evictedPages > 10)
        #expect(sum.draftsAccepted > 20 && sum.draftsTried > sum.draftsAccepted && sum.cancelled > 3)
    }
}
