import GlimTensor

/// What of a model takes how much memory, before it is decided whether its routed experts are all held.
struct MemoryNeeds {
    /// Names of parts that are not of tensors.
    static let program = "program"
    static let readers = "reading"

    /// Bytes of all routed experts as a loaded model has them,
    let routed: Int
    /// and as they are read one by one.
    let routedStored: Int
    /// Of one, the largest.
    let largestExpert: Int
    /// Of the caches' pages.
    let cachePages: Int
    /// What there is when loading takes the most: it is over when the first pass begins, and when the first expert is read.
    let loading: Int

    private let config: ModelConfig
    private let wish: MemoryPlan.Wish
    /// What is there whatever becomes of the experts.
    private let fixed: [MemoryPlan.Part]
    private let reading: MemoryPlan.Part

    init(_ blueprint: Model, _ wish: MemoryPlan.Wish) {
        let (config, shapes) = (blueprint.config, blueprint.expertShapes)
        let ofExperts = Set(
            shapes.flatMap { [$0.weights.gate, $0.weights.up, $0.weights.down] }.map { ObjectIdentifier($0) })
        func isRouted(_ weight: Weight) -> Bool { ofExperts.contains(ObjectIdentifier(weight)) }
        func byteCount(_ weights: [Weight]) -> Int { weights.reduce(0) { $0 + $1.heldByteCount } }
        let dense = byteCount(blueprint.weights.filter { !isRouted($0) })
        let cache = config.cacheByteCount(wish)
        fixed = [
            .init(name: Self.program, byteCount: wish.programByteCount), .init(name: "weights", byteCount: dense),
            .init(name: "rotary tables", byteCount: config.rotaryByteCount(wish.positions)),
            .init(name: "cache", byteCount: cache.held),
        ]
        reading = .init(
            name: Self.readers, byteCount: ExpertStream.readerCount * ExpertFiles.ReadingRoom.byteCount(shapes))
        let atOnce = blueprint.tensors.lazy.filter { !isRouted($0.parts[0].weight) }.map(\.loadByteCount)
            .sorted().suffix(ThreadPool.shared.threadCount).reduce(0, +)
        loading = wish.programByteCount + dense + atOnce
        routed = byteCount(blueprint.weights.filter(isRouted))
        routedStored = shapes.reduce(0) { $0 + $1.count * $1.byteCount }
        largestExpert = shapes.map(\.byteCount).max() ?? 0
        cachePages = cache.pages
        (self.config, self.wish) = (config, wish)
    }

    /// Everything but the routed experts, with passes of so many tokens.
    func parts(chunk: Int, streams: Bool) -> [MemoryPlan.Part] {
        let pass = MemoryPlan.Part(name: "passes of \(chunk) tokens", byteCount: config.passByteCount(chunk, wish))
        return fixed + (streams ? [reading] : []) + [pass]
    }

    /// Tokens of the largest passes that leave most of what is free to experts.
    var streamedChunk: Int {
        let free = wish.memory - fixed.reduce(0) { $0 + $1.byteCount } - reading.byteCount
        var chunk = max(1, wish.chunk)
        while chunk > Self.leastChunk, config.passByteCount(chunk, wish) > free / 4 { chunk /= 2 }
        return chunk
    }

    private static let leastChunk = 16
}
