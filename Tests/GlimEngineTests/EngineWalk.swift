import Foundation
import GlimEngine
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

/// A random history of engines on one folder, a turn at a time: everything that may happen to a request, in an order
/// that the seed decides.
struct EngineWalk {
    /// The numbers that a model is in.
    enum Numbers: String, CaseIterable, CustomStringConvertible {
        case f32, bf16, w8a8, w4a8

        var description: String { rawValue }

        /// A model as it is deployed: held in these numbers, and computing with them.
        func model(_ config: ModelConfig, _ seed: Int, _ folder: URL) throws -> Model {
            let made = Tiny.model(config, seed)
            if self == .f32 { return made }
            try made.save(to: folder)
            if self == .bf16 { return try Model(folder: folder, format: .inference, computeType: .bfloat16) }
            let quantised = folder.appending(path: rawValue)
            _ = try Conversion(folder, to: quantised, Scheme(self == .w8a8 ? .w8a8 : .w4a8)).run()
            return try Model(folder: quantised, computeType: config.computeType)
        }
    }

    let name: String
    /// Weights of one network; a version of them is one of these, in turn.
    private let models: [Model]
    /// Where prefixes are kept; nil keeps none.
    private let folder: URL?
    private var draw: Draw
    private var loop: EngineLoop
    private var version = 0
    /// How often a turn cancels a request, and swaps weights.
    private var (cancels, swaps) = (0.0, 0.0)
    /// Swaps that a life has left: after each everything is read again, and by one row a step that may take longer than
    /// the next one is away.
    private var swapsLeft = 0
    private var open: [(id: Int, answer: Answer)] = []
    private var all: [(request: Engine.Request, answer: Answer)] = []
    private var beginnings: [[Int32]] = []
    /// What happened in all lives.
    private(set) var sum = Sum()

    /// What happened in walks, to know that they are worth something.
    struct Sum {
        var (requests, tokens, swaps, threads, damages) = (0, 0, 0, Set<Int>(), 0)
        var (isSparse, isDense) = (false, false)
        var (preemptions, foundTokens, restoredPages, evictedPages) = (0, 0, 0, 0)
        var (draftsAccepted, draftsTried, cancelled) = (0, 0, 0)

        mutating func add(_ metrics: Engine.Metrics) {
            preemptions += metrics.preemptions
            foundTokens += metrics.foundTokens
            restoredPages += metrics.restoredPages
            evictedPages += metrics.evictedPages
            draftsAccepted += metrics.draftsAccepted
            draftsTried += metrics.draftsTried
            cancelled += metrics.cancelled
        }

        mutating func add(_ other: Sum) {
            requests += other.requests
            tokens += other.tokens
            swaps += other.swaps
            threads.formUnion(other.threads)
            damages += other.damages
            (isSparse, isDense) = (isSparse || other.isSparse, isDense || other.isDense)
            preemptions += other.preemptions
            foundTokens += other.foundTokens
            restoredPages += other.restoredPages
            evictedPages += other.evictedPages
            draftsAccepted += other.draftsAccepted
            draftsTried += other.draftsTried
            cancelled += other.cancelled
        }
    }

    init(_ numbers: Numbers, seed: Int, _ place: URL) throws {
        name = "\(numbers), seed \(seed)"
        var draw = Draw(seed, "walk")
        // Of every kind of attention; some with MTP layers, some short of context.
        let config = Tiny.wideConfig(seed).with {
            $0.mtpLayerCount = draw.pick([0, 1, 1, 3])
            $0.maximumPositions = draw.chance(0.2) ? 150 : 1024
            // Something ends a reply now and then.
            $0.endOfTextIDs = [0]
            if numbers == .f32 { $0.computeType = .float32 }
            if numbers == .bf16 { $0.computeType = .bfloat16 }
        }
        models = try (0..<2).map { try numbers.model(config, seed + 1000 * $0, place.appending(path: "model \($0)")) }
        folder = draw.chance(0.8) ? place.appending(path: "prefixes") : nil
        (sum.isSparse, sum.isDense) = (config.indexer != nil, config.indexer == nil)
        loop = try Self.start(models[0], version: 0, folder, &draw)
        self.draw = draw
    }

    /// An engine with room for one of the largest requests, or for several.
    private static func start(
        _ model: Model, version: Int, _ folder: URL?, _ draw: inout Draw
    ) throws -> EngineLoop {
        let drafts = model.config.mtpLayerCount > 0 ? draw.integer(0...4) : 0
        let layout = CacheLayout(model.config)
        var page = layout.pageByteCount
        if drafts > 0 {
            let ahead = model.config.layerCount..<model.config.layerCount + 1
            page += drafts * CacheLayout(model.config, layers: ahead).pageByteCount
        }
        var options = Engine.Options(cacheByteCount: page * draw.pick([6, 6, 9, 14, 60]))
        options.activeLimit = draw.pick([1, 3, 8, 8])
        options.drafts = drafts
        options.limits.chunk = draw.pick([1, 9, 64, 200])
        options.limits.mixedChunk = draw.pick([1, 5, 33, 128])
        // Not what the clock says: cheap enough to be tried always, or so that they pay now and then.
        options.draftCosts =
            draw.chance(0.7) ? .init(step: 1, row: 0.01, guess: 0.01) : .init(step: 1, row: 0.3, guess: 0.2)
        options.store = folder.map {
            let byteLimit = draw.chance(0.5) ? 1 << 24 : 24 * layout.pageByteCount
            return Engine.Store(folder: $0, identity: "walk", byteLimit: byteLimit, report: { _ in })
        }
        return try EngineLoop(model, version: version, options)
    }

    // MARK: What happens

    /// Several lives of an engine, each with requests that come and end.
    mutating func run(lives: Int, requests: Int) throws {
        for life in 1...lives {
            try live(requests: life * requests)
            loop.end()
            if life == lives { break }
            try damageSomePage()
            loop = try Self.start(models[version % models.count], version: version, folder, &draw)
        }
        sum.requests = all.count
        sum.swaps = version
    }

    private mutating func live(requests: Int) throws {
        var (turns, goesOn) = (0, true)
        // Some lives are quiet, so that what is long may come to its end.
        (cancels, swaps) = (draw.pick([0, 0.005, 0.03]), draw.pick([0, 0.005, 0.02]))
        swapsLeft = 100
        while goesOn || !open.isEmpty || all.count < requests {
            let threads = draw.integer(1...3)
            sum.threads.insert(threads)
            try Machine.alone(threads: threads) {
                for _ in 0..<draw.integer(1...12) {
                    if all.count < requests, open.isEmpty || draw.chance(0.1) { try arrive() }
                    try disturb()
                    goesOn = loop.next()
                    open.removeAll { $0.answer.isOver }
                    turns += 1
                }
            }
            try #require(turns < 60_000, "\(name): \(open.count) requests do not end")
        }
        let metrics = loop.latestMetrics
        #expect(metrics.active == 0 && metrics.waiting == 0 && metrics.usedPages == 0, "\(name): \(metrics)")
        #expect(metrics.keptPages <= metrics.pages, "\(name): \(metrics)")
        sum.add(metrics)
    }

    private mutating func arrive() throws {
        var request = request()
        // Several replies to one prompt come together.
        for _ in 0..<draw.pick(request.maxTokens > 100 ? [1, 3] : [1, 1, 1, 3]) {
            let answer = Answer()
            open.append((try loop.submit(request) { _ in answer.sink }, answer))
            all.append((request, answer))
            request.sampler.seed += 1
        }
    }

    /// One of the things that happen between two steps.
    private mutating func disturb() throws {
        if draw.chance(cancels), !open.isEmpty { loop.cancel(draw.pick(open).id) }
        if draw.chance(swaps), swapsLeft > 0 {
            swapsLeft -= 1
            version += 1
            try loop.swap(models[version % models.count], version: version) { #expect($0) }
        }
    }

    private mutating func request() -> Engine.Request {
        let config = models[0].config
        let base = beginnings.isEmpty || draw.chance(0.25) ? [] : draw.pick(beginnings)
        let kept = base.prefix(draw.integer(0...base.count))
        var prompt = kept + draw.tokens(draw.integer(1...(draw.chance(0.3) ? 140 : 30)), below: config.vocabularySize)
        if draw.chance(0.2), !beginnings.isEmpty { prompt = draw.pick(beginnings)[...] }
        // Now and then a long reply, for which several at a time find no room.
        let isLong = draw.chance(0.15)
        prompt = prompt.prefix(draw.integer(1...min(isLong ? 60 : 250, config.maximumPositions)))
        beginnings.append(Array(prompt))
        var request = Engine.Request(
            prompt: Array(prompt), maxTokens: isLong ? draw.integer(150...300) : draw.integer(0...30))
        request.sampler = Sampler(
            temperature: draw.pick([0, 0.7, 6]), topP: draw.pick([1, 0.9]), seed: UInt64(draw.integer(0...3)))
        if isLong || draw.chance(0.5) { request.stops = [] }
        if draw.chance(0.2) {
            request.rule = TurningRule(
                vocabulary: config.vocabularySize, modulus: draw.integer(1...3), left: draw.integer(1...30))
        }
        if draw.chance(0.2) {
            (request.sampler.repetitionPenalty, request.sampler.frequencyPenalty) = (1.3, 0.4)
            (request.sampler.topK, request.sampler.minP) = (draw.pick([0, 5]), draw.pick([0, 0.05]))
        }
        request.topLogprobs = draw.pick([0, 0, 3])
        return request
    }

    /// Between two lives a disk may lose what it was given.
    private mutating func damageSomePage() throws {
        guard let folder, draw.chance(0.3) else { return }
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasSuffix(".page") }
        if names.isEmpty { return }
        let file = folder.appending(path: draw.pick(names.sorted()))
        var bytes = try Data(contentsOf: file)
        if draw.chance(0.3) {
            bytes = bytes.prefix(draw.integer(0...bytes.count - 1))
        } else {
            bytes[draw.integer(0...bytes.count - 1)] ^= 1 << UInt8(draw.integer(0...7))
        }
        try bytes.write(to: file)
        sum.damages += 1
    }

    // MARK: What came of it

    /// Holds every answer against what its request alone gets, to the bit.
    mutating func check() {
        for (request, answer) in all {
            let tokens = answer.tokens
            sum.tokens += tokens.count
            var (start, ended) = (0, false)
            while start < tokens.count {
                // What one version drew.
                let version = tokens[start].version
                let end = tokens[start...].firstIndex { $0.version != version } ?? tokens.count
                let lone = Lone.draw(
                    models[version % models.count], request, after: tokens[..<start].map(\.id), count: end - start,
                    version: version)
                expectSame(Array(tokens[start..<end]), lone.tokens, request)
                (start, ended) = (end, lone.ends)
            }
            checkEvents(request, answer, ended: ended)
        }
    }

    private func expectSame(_ found: [Engine.Token], _ expected: [Engine.Token], _ request: Engine.Request) {
        let i = zip(found, expected).prefix { Self.bits($0) == Self.bits($1) }.count
        if i == found.count, i == expected.count { return }
        let (token, other) = (i < found.count ? found[i] : nil, i < expected.count ? expected[i] : nil)
        Issue.record(
            """
            \(name): of a prompt of \(request.prompt.count) tokens: \(found.count) tokens of one version, alone \
            \(expected.count); the first that differs: \(String(describing: token)), alone \(String(describing: other))
            """)
    }

    private static func bits(_ token: Engine.Token) -> [Int] {
        [Int(token.id), token.position, token.version, Int(token.logprob.bitPattern)]
            + token.top.flatMap { [Int($0.id), Int($0.logprob.bitPattern)] }
    }

    /// A request tells its story in order: what it reads, what it draws, how it ends.
    private func checkEvents(_ request: Engine.Request, _ answer: Answer, ended: Bool) {
        guard let ending = answer.ending, answer.error == nil else {
            Issue.record("\(name): a request without an end")
            return
        }
        var drawn = 0
        for event in answer.events.dropLast() {
            switch event {
            case .reading(let done, let count):
                #expect(done <= count && count == request.prompt.count + drawn, "\(name): \(done) of \(count)")
            case .token(let token):
                #expect(token.position == request.prompt.count + drawn, "\(name)")
                drawn += 1
            case .finished: Issue.record("\(name): a request with two ends")
            }
        }
        #expect(ending.usage.tokens == drawn && ending.usage.promptTokens == request.prompt.count, "\(name)")
        #expect(ending.usage.cachedTokens < request.prompt.count, "\(name)")
        switch ending.reason {
        case .length: #expect(drawn == request.maxTokens, "\(name)")
        case .stop, .context: #expect(ended, "\(name)")
        case .cancelled: break
        }
    }
}
