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
