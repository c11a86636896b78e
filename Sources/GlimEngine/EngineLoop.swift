package import GlimModel
import GlimTensor

/// What the engine does, one turn after another: on its own thread, or step by step in a test.
///
/// It owns the cache, the known prefixes and every request; nothing of them is touched elsewhere.
// @unchecked: the thread that runs it uses it; others call what stands under "From any thread", which only uses what is
// constant and the inbox.
package final class EngineLoop: @unchecked Sendable {
    private let inbox = Inbox()
    let options: Engine.Options
    /// Of the network, whatever its weights are.
    private let config: ModelConfig
    private let stepsAhead: Int
    var model: Model
    /// Where the model reads experts, if it does.
    private(set) var experts: ExpertStream?
    let pool: PagePool
    let tree: PrefixTree
    var scheduler: Scheduler
    var requests: [Int: LiveRequest] = [:]
    var metrics = Engine.Metrics()
    var costs = PassCosts()
    /// Positions that one request may come to, because the cache holds no more.
    package let positionLimit: Int
    /// Requests whose prefixes are on their way from disk, as they came.
    private var restoring: [Int] = []
    private var isStopped = false

    /// Tokens before the end of a prompt that multi-token prediction reads, too: it needs what is near, and reading all
    /// would cost every prompt a layer more for each step.
    static let draftWindow = 256
    /// Prompts that begin with so many of the same tokens, beyond what is known, are not read at the same time.
    private static let leastShared = 16
    /// Bytes that a turn brings from disk while others wait for their step.
    private static let restoredBytes = 32 << 20

    package init(_ model: Model, version: Int, _ options: Engine.Options) throws(EngineError) {
        for (name, value, least) in [
            ("activeLimit", options.activeLimit, 1), ("openLimit", options.openLimit, 1), ("drafts", options.drafts, 0),
        ] where value < least { throw .badOption(name, value, least: least) }
        guard options.drafts == 0 || !model.predictions.isEmpty else { throw .noDrafts }
        let layout = CacheLayout(model.config)
        // A page is budgeted with what drafting adds to it for a request that reads it.
        var pageByteCount = layout.pageByteCount
        if options.drafts > 0 {
            let ahead = model.config.layerCount..<model.config.layerCount + 1
            pageByteCount += options.drafts * CacheLayout(model.config, layers: ahead).pageByteCount
        }
        let pages = options.cacheByteCount / pageByteCount
        guard pages >= 1 else { throw .tooLarge(positions: 1, available: 0) }
        var store: PrefixStore?
        if let wanted = options.store {
            store = try PrefixStore(
                folder: wanted.folder, identity: wanted.identity, version: version, layout: layout,
                byteLimit: wanted.byteLimit, report: wanted.report)
        }
        (self.model, self.options, config, stepsAhead) = (model, options, model.config, model.predictions.count)
        experts = model.expertStream
        var limits = options.limits
        limits.active = options.activeLimit
        pool = PagePool(valueCount: layout.pageValueCount, limit: pages)
        tree = PrefixTree(layout, pool, store: store)
        positionLimit = pages * KeyPages.positions
        scheduler = Scheduler(limits)
        (metrics.version, metrics.failure) = (version, nil)
        metrics.pages = pages
    }

    // MARK: From any thread

    /// - Returns: the request's number, to cancel it by.
    /// - Throws: `EngineError` for a prompt that cannot be read, where too many are open, or after the end.
    package func submit(_ request: Engine.Request, _ sink: (_ id: Int) -> EventSink) throws(EngineError) -> Int {
        try check(request)
        let id = try inbox.admit(openLimit: options.openLimit)
        guard inbox.send(.submit(id: id, request, sink(id))) else { throw .stopped }
        return id
    }

    package func cancel(_ id: Int) { inbox.send(.cancel(id: id)) }

    /// - Parameter done: is told whether it was done, which it is not after the end.
    package func swap(
        _ model: Model, version: Int, done: @escaping @Sendable (Bool) -> Void
    ) throws(EngineError) {
        guard model.config == config, model.predictions.count == stepsAhead else { throw .otherShape }
        if !inbox.send(.swap(model, version: version, done: done)) { done(false) }
    }

    package func stop() { inbox.send(.stop) }

    /// Calls `body` once the loop has ended.
    func afterEnd(_ body: @escaping @Sendable () -> Void) { inbox.afterClose(body) }

    /// As they were after the last turn.
    package var latestMetrics: Engine.Metrics { inbox.metrics }

    package var expertTokens: [Int: [Int]] { inbox.expertTokens }

    private func check(_ request: Engine.Request) throws(EngineError) {
        let prompt = request.prompt
        if prompt.isEmpty { throw .emptyPrompt }
        if let bad = prompt.first(where: { $0 < 0 || Int($0) >= config.vocabularySize }) {
            throw .unknownToken(bad, vocabulary: config.vocabularySize)
        }
        guard prompt.count <= config.maximumPositions else {
            throw .tooLong(count: prompt.count, context: config.maximumPositions)
        }
        if let problem = request.sampler.problem { throw .badSampler(problem) }
        // Without overflow, whatever was asked for.
        let most = config.maximumPositions - prompt.count
        let positions = prompt.count + min(max(0, request.maxTokens), most)
        guard positions <= positionLimit else { throw .tooLarge(positions: positions, available: positionLimit) }
    }

    // MARK: Turns

    /// Takes turns until the engine is stopped.
    func run() {
        var isIdle = false
        while !isStopped {
            for command in inbox.take(waits: isIdle) { obey(command) }
            isIdle = !isStopped && !turn()
        }
        end()
    }

    /// Obeys what was asked since, and takes one turn: for tests, which decide what happens between two of them.
    ///
    /// - Returns: false where there was nothing to do.
    package func next() -> Bool {
        for command in inbox.take(waits: false) { obey(command) }
        return turn()
    }

    /// Does one thing: gives a request pages, takes them away, computes a step, or writes a page to disk.
    private func turn() -> Bool {
        defer { publishMetrics() }
        restoreSome()
        switch scheduler.next(available: tree.available, sharedPages: sharedPages) {
        case .admit(let id): admit(requests[id]!)
        case .preempt(let id): preempt(requests[id]!)
        case .run(let step): perform(step)
        case .idle: return !restoring.isEmpty || tree.storeNext()
        }
        return true
    }

    private func obey(_ command: Inbox.Command) {
        switch command {
        case .submit(let id, let request, let sink): submit(id, request, sink)
        case .cancel(let id): if let live = requests[id] { finish(live, .cancelled) }
        case .swap(let model, let version, let done):
            swap(model, version)
            // Whoever waited for it may look at once.
            publishMetrics()
            done(true)
        case .stop: isStopped = true
        }
    }

    /// Ends every request, and writes what is to outlast the process.
    package func end() {
        for live in requests.values.sorted(by: { $0.id < $1.id }) {
            release(live)
            scheduler.remove(live.id)
            live.sink.finish(.stopped)
        }
        requests = [:]
        while tree.storeNext() {}
        tree.store?.release()
        publishMetrics()
        for command in inbox.close() {
            switch command {
            case .submit(_, _, let sink): sink.finish(.stopped)
            case .swap(_, _, let done): done(false)
            case .cancel, .stop: break
            }
        }
    }

    // MARK: Requests

    private func submit(_ id: Int, _ request: Engine.Request, _ sink: EventSink) {
        let stops = Set(model.config.endOfTextIDs.map { Int32($0) })
        let live = LiveRequest(id, request, stops: stops, sink: sink, drafts: options.drafts)
        scheduler.add(id, known: live.tokens.count, after: leader(of: live))
        requests[id] = live
    }

    /// Who is going to read the same beginning anyway: several replies to one prompt come at one time, as a rule.
    private func leader(of live: LiveRequest) -> (id: Int, count: Int)? {
        let limit = live.tokens.count - 1
        var best: (id: Int, count: Int)?
        for other in requests.values.sorted(by: { $0.id < $1.id }) {
            let count = zip(live.tokens[..<limit], other.tokens).prefix { $0 == $1 }.count
            let isRead = (other.cache?.count ?? 0) >= count
            if !isRead, count > best?.count ?? 0 { best = (other.id, count) }
        }
        guard let best, best.count >= tree.match(live.tokens, limit: limit).count + Self.leastShared else { return nil }
        return best
    }

    private func sharedPages(_ id: Int) -> Int {
        let tokens = requests[id]!.tokens
        return tree.match(tokens, limit: tokens.count - 1).nodes.prefix { $0.users > 0 }.count
    }

    /// Gives a request the pages of what is known of its prefix.
    private func admit(_ live: LiveRequest) {
        let cache = Cache(tree.layout, pool)
        live.cache = cache
        let match = tree.match(live.tokens, limit: live.tokens.count - 1)
        if live.usage.tokens == 0 { live.usage.divergence = match.divergence }
        let held = match.nodes.prefix { $0.page != nil }
        for node in held { adopt(node, live, cache) }
        (live.restoring, live.restoredPart) = (match.nodes[held.count...], 0)
        if let part = match.part {
            if live.restoring.isEmpty, part.node.page != nil {
                adopt(part: part.node, part.count, cache)
            } else {
                live.restoring.append(part.node)
                live.restoredPart = part.count
            }
        }
        if !live.restoring.isEmpty { restoring.append(live.id) }
        scheduler.admitted(live.id, read: cache.count, isRestoring: !live.restoring.isEmpty)
        if live.restoring.isEmpty { settle(live, cache) }
    }

    private func adopt(_ node: PrefixTree.Node, _ live: LiveRequest, _ cache: Cache) {
        cache.adopt(tree.use(node), count: KeyPages.positions)
        live.path.append(node)
    }

    /// Copies the first positions of a page, where there is room for the copy.
    private func adopt(part node: PrefixTree.Node, _ count: Int, _ cache: Cache) {
        let page = tree.use(node)
        if tree.available > 0 {
            tree.makeRoom(1)
            cache.adopt(page, count: count)
        }
        tree.release([node])
    }

    /// A request has what is known of its prefix.
    private func settle(_ live: LiveRequest, _ cache: Cache) {
        metrics.askedTokens += live.tokens.count
        metrics.foundTokens += cache.count
        if live.usage.tokens == 0 { live.usage.cachedTokens = min(cache.count, live.request.prompt.count) }
        live.sink.send(.reading(done: cache.count, of: live.tokens.count))
    }

    /// Brings pages from disk, a bounded number of bytes a turn.
    private func restoreSome() {
        var bytes = 0
        while bytes < Self.restoredBytes, let id = restoring.first {
            guard let live = requests[id], let cache = live.cache, !live.restoring.isEmpty else {
                restoring.removeFirst()
                continue
            }
            bytes += tree.layout.pageByteCount
            let node = live.restoring.removeFirst()
            if !restore(node, live, cache) { live.restoring = [] }
            guard live.restoring.isEmpty else { continue }
            restoring.removeFirst()
            scheduler.restored(id, read: cache.count)
            settle(live, cache)
        }
    }

    private func restore(_ node: PrefixTree.Node, _ live: LiveRequest, _ cache: Cache) -> Bool {
        if node.isGone || tree.available == 0 { return false }
        if node.page == nil {
            tree.makeRoom(1)
            guard tree.restore(node) != nil else { return false }
        } else {
            _ = tree.use(node)
        }
        if live.restoring.isEmpty, live.restoredPart > 0 {
            adopt(part: node, live.restoredPart, cache)
            tree.release([node])
        } else {
            cache.adopt(node.page!, count: KeyPages.positions)
            live.path.append(node)
        }
        return true
    }

    /// Keeps what a request has read, and takes its pages away.
    private func release(_ live: LiveRequest) {
        restoring.removeAll { $0 == live.id }
        guard let cache = live.cache else { return }
        keepFullPages(live, cache)
        let rest = live.path.count * KeyPages.positions..<cache.count
        if !rest.isEmpty {
            tree.insertPart(live.tokens[rest], under: live.path.last) { cache.page(live.path.count) }
        }
        let path = live.path
        live.forget()
        tree.release(path)
    }

    private func preempt(_ live: LiveRequest) {
        release(live)
        metrics.preemptions += 1
    }

    /// Other requests may go on from the pages that a request has filled.
    func keepFullPages(_ live: LiveRequest, _ cache: Cache) {
        while (live.path.count + 1) * KeyPages.positions <= cache.count {
            let i = live.path.count
            let tokens = live.tokens[i * KeyPages.positions..<(i + 1) * KeyPages.positions]
            let node = tree.insert(tokens, cache.page(i), under: live.path.last)
            if let page = node.page, page !== cache.page(i) { cache.replacePage(i, with: page) }
            live.path.append(node)
        }
    }

    /// The end of a prompt, too, for whoever begins with the same.
    func keepEnd(of live: LiveRequest, _ cache: Cache) {
        let rest = live.path.count * KeyPages.positions..<cache.count
        guard !rest.isEmpty, pool.count < pool.limit else { return }
        tree.insertPart(live.tokens[rest], under: live.path.last) { cache.copyPage(live.path.count) }
    }

    func finish(_ live: LiveRequest, _ reason: Engine.Reason) {
        remove(live)
        if reason == .cancelled { metrics.cancelled += 1 } else { metrics.finished += 1 }
        live.sink.send(.finished(reason, live.finalUsage))
        live.sink.finish(nil)
    }

    /// Ends a request that cannot go on.
    func fail(_ live: LiveRequest, _ error: EngineError) {
        remove(live)
        metrics.failed += 1
        live.sink.finish(error)
    }

    private func remove(_ live: LiveRequest) {
        release(live)
        scheduler.remove(live.id)
        requests[live.id] = nil
        inbox.leave()
    }

    /// Ends every request with an error, and keeps nothing of the pass in which it happened.
    func fail(_ error: EngineError) {
        for live in requests.values.sorted(by: { $0.id < $1.id }) {
            tree.release(live.path)
            live.forget()
            scheduler.remove(live.id)
            inbox.leave()
            metrics.failed += 1
            live.sink.finish(error)
        }
        (requests, restoring) = ([:], [])
    }

    // MARK: Weights

    /// Goes on with other weights. Whatever was read with the old ones is read again: a token's numbers are those of its
    /// history and of the weights whose version it carries, whatever happened to its request.
    private func swap(_ model: Model, _ version: Int) {
        for live in requests.values {
            tree.release(live.path)
            live.forget()
        }
        restoring = []
        scheduler.restart()
        tree.removeAll(version: version)
        (self.model, experts) = (model, model.expertStream)
        metrics.version = version
    }

    /// Takes note of what a pass gave to experts.
    func note(_ observer: Observer) { inbox.add(expertTokens: observer.expertLoad) }

    func publishMetrics() {
        metrics.waiting = scheduler.waitingCount
        metrics.active = scheduler.activeCount
        metrics.decoding = scheduler.decodingCount
        metrics.keptPages = tree.idleCount
        metrics.cacheBytes = pool.byteCount
        metrics.usedPages = pool.count - tree.idleCount
        metrics.evictedPages = tree.statistics.evictedPages
        metrics.storedPages = tree.statistics.storedPages
        metrics.restoredPages = tree.statistics.restoredPages
        inbox.metrics = metrics
    }
}
