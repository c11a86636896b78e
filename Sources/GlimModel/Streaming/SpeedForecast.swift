package import Foundation
import GlimCheckpoint
import GlimTensor

/// How fast a model may be expected to run within a plan of memory: arithmetic over what the machine was measured to do.
public struct SpeedForecast: Sendable, Equatable {
    /// A machine, as far as a forecast goes.
    public struct Machine: Sendable, Equatable {
        public var roofs: MachineRoofs
        /// Bytes of experts that come from disk into memory in a second, put in order.
        public var readBytesPerSecond: Double

        public init(roofs: MachineRoofs, readBytesPerSecond: Double) {
            (self.roofs, self.readBytesPerSecond) = (roofs, readBytesPerSecond)
        }
    }

    /// What a token takes.
    public struct Pace: Sendable, Equatable {
        public var computeSeconds: Double
        /// Of experts from disk.
        public var readByteCount: Double
        public var readSeconds: Double

        /// Reading goes on beside computing, but for what nobody could guess before the router had spoken.
        public var seconds: Double {
            max(computeSeconds, readSeconds) + SpeedForecast.unforeseen * min(computeSeconds, readSeconds)
        }
        public var tokensPerSecond: Double { 1 / seconds }
    }

    public let decode: Pace
    public let prefill: Pace
    /// The share of experts that are in memory when they are needed.
    public let hitRate: Double
    /// Whether it is what earlier runs chose, or experts are taken to be chosen evenly.
    public let isLearned: Bool

    /// Of the roof of memory that drawing a token comes to.
    public static let decodeShare = 0.6
    /// Of the roofs that reading a prompt comes to.
    public static let prefillShare = 0.45
    /// Of the experts of a layer, those that the layer before does not foresee.
    public static let unforeseen = 0.6
    /// Of what is read for one token, how many times as much as it needs: some guesses are wrong.
    public static let readingInVain = 1.2

    /// - Parameters:
    ///   - config: as it is stored.
    ///   - context: positions in the cache.
    ///   - hitRate: of earlier runs; nil takes experts to be chosen evenly.
    public init(_ plan: MemoryPlan, _ config: ModelConfig, context: Int, on machine: Machine, hitRate: Double?) {
        let share = plan.isStreamed ? plan.heldShare : 1
        self.hitRate = max(share, plan.isStreamed ? hitRate ?? share : 1)
        isLearned = plan.isStreamed && hitRate != nil
        func pace(_ tokens: Int, _ share: Double, hitRate: Double, inVain: Double = 1) -> Pace {
            let cost = config.inferenceCost(context: context, tokens: tokens)
            let experts = config.expertsRead(tokens) / Double(tokens)
            let layers = config.expertLayerCount + config.mtpLayerCount
            let each = Double(plan.expertByteCount) / Double(max(1, config.routedExpertCount * layers))
            let bytes = plan.isStreamed ? experts * each * (1 - hitRate) * inVain : 0
            return Pace(
                computeSeconds: cost.seconds(machine.roofs) / share, readByteCount: bytes,
                readSeconds: bytes / machine.readBytesPerSecond)
        }
        decode = pace(1, Self.decodeShare, hitRate: self.hitRate, inVain: Self.readingInVain)
        // A pass over many tokens needs nearly all experts, the used and the unused.
        prefill = pace(plan.chunk, Self.prefillShare, hitRate: share)
    }
}

extension MemoryPlan {
    /// Bytes of experts that the threads which read them bring into memory in a second, measured for a second or two with
    /// those of a model. What the system keeps of files in memory counts as it will then.
    ///
    /// - Parameter direct: past the system's memory of files.
    /// - Returns: nil for a model without experts.
    /// - Throws: `ConfigError`, `CheckpointError`.
    package static func readRate(folder: URL, direct: Bool) throws -> Double? {
        let load = try LoadPlan(folder: folder, format: .inference)
        let shapes = load.expertShapes
        guard let width = shapes.first?.count else { return nil }
        let files = try ExpertFiles(load, shapes, direct: direct)
        let random = CounterRandom(seed: 1, purpose: "read rate")
        let rooms = Rooms(shapes)
        return try DiskProbe.bytesPerSecond(threads: ExpertStream.readerCount, pieces: 1 << 20) {
            piece, _ throws(CheckpointError) in
            let id = random.integer(UInt64(piece), below: shapes.count * width)
            let shape = shapes[id / width]
            let (room, memory) = rooms.take()
            defer { rooms.give((room, memory)) }
            try files.read(id % width, of: shape, into: memory.pointer, room, checksShape: false)
            return shape.byteCount
        }
    }

    /// What earlier runs of a model say: the share of choices that found, or would have found, their expert among those
    /// that the plan holds; nil where nothing is known.
    ///
    /// - Throws: `ConfigError`, `CheckpointError`.
    package func learnedHitRate(folder: URL) throws -> Double? {
        guard isStreamed, let counts = ExpertCounts(file: ExpertCounts.file(ofModel: folder)) else { return nil }
        return counts.hitRate(
            try LoadPlan(folder: folder, format: .inference).expertShapes, byteCount: heldExpertByteCount)
    }

    /// What threads read with, lent to one at a time.
    // @unchecked: the list is touched with the lock held.
    private final class Rooms: @unchecked Sendable {
        private let lock = NSLock()
        private let shapes: [ExpertShape]
        private var free: [(ExpertFiles.ReadingRoom, SystemPages)] = []

        init(_ shapes: [ExpertShape]) { self.shapes = shapes }

        func take() -> (ExpertFiles.ReadingRoom, SystemPages) {
            lock.lock()
            defer { lock.unlock() }
            if let room = free.popLast() { return room }
            return (
                ExpertFiles.ReadingRoom(shapes), SystemPages(byteCount: shapes.map(\.byteCount).max() ?? 1)
            )
        }

        func give(_ room: (ExpertFiles.ReadingRoom, SystemPages)) {
            lock.lock()
            defer { lock.unlock() }
            free.append(room)
        }
    }
}
