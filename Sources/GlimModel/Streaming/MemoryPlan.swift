public import Foundation
import GlimTensor

/// What of a model lies where, so that it runs within so many bytes of memory: everything but the routed experts in
/// memory, and of these as many as there is room for.
public struct MemoryPlan: Sendable, Equatable {
    /// What a plan is made for.
    public struct Wish: Sendable, Equatable {
        /// Of the process, in bytes.
        public var memory: Int
        /// Of these, what the process has besides: its program, a tokenizer.
        public var programByteCount: Int
        /// Positions in the caches of all sequences.
        public var positions: Int
        /// Sequences that draw at one time.
        public var sequences = 1
        /// Tokens guessed ahead by multi-token prediction.
        public var drafts = 0
        /// Tokens of a prompt that are read at one time, at most.
        public var chunk = Generator.chunk

        public init(memory: Int, programByteCount: Int, positions: Int) {
            (self.memory, self.programByteCount, self.positions) = (memory, programByteCount, positions)
        }
    }

    /// One thing that takes memory.
    public struct Part: Sendable, Equatable {
        public var name: String
        public var byteCount: Int
    }

    public let wish: Wish
    /// Everything but the routed experts.
    public let parts: [Part]
    /// Tokens of a prompt that are read at one time: fewer where memory is short.
    public let chunk: Int
    /// Of all routed experts.
    public let expertByteCount: Int
    /// Of one, the largest.
    public let largestExpertByteCount: Int
    /// Of those that are held at one time.
    public package(set) var heldExpertByteCount: Int
    /// The others are read from disk when they are needed.
    public package(set) var isStreamed: Bool
    /// Pages of the caches.
    public let cacheByteCount: Int

    /// Of experts that lie in memory at one time, the share of all.
    public var heldShare: Double { expertByteCount == 0 ? 1 : Double(heldExpertByteCount) / Double(expertByteCount) }
    /// What tensors may take, weights and caches included: for ``BufferPool/limit``.
    public var tensorByteCount: Int {
        parts.reduce(isStreamed ? 0 : expertByteCount) { $0 + (Self.outside.contains($1.name) ? 0 : $1.byteCount) }
    }

    /// Parts that are not of tensors.
    private static let outside: Set<String> = [MemoryNeeds.program, MemoryNeeds.readers]

    /// - Throws: `ConfigError`, `CheckpointError`, as loading would; `MemoryError` where it cannot be done.
    public init(folder: URL, computeType: ModelConfig.ComputeType? = nil, _ wish: Wish) throws {
        let load = try LoadPlan(folder: folder, format: .inference, computeType: computeType)
        try self.init(load.blueprint, name: folder.path, wish)
    }

    /// A plan of a known shape as `glim quantize --scheme w4a8` would write it.
    ///
    /// - Throws: `MemoryError`.
    public init(w4a8 config: ModelConfig, name: String, _ wish: Wish) throws(MemoryError) {
        let (config, scheme) = (config.with { $0.keepsShortKeys() }, Scheme(.w4a8))
        let blueprint = Model(config, isBlueprint: true) { MatrixForm(format: scheme.format($0) ?? .bf16) }
        try self.init(blueprint, name: name, wish)
    }

    init(_ blueprint: Model, name: String, _ wish: Wish) throws(MemoryError) {
        let needs = MemoryNeeds(blueprint, wish)
        (self.wish, largestExpertByteCount, cacheByteCount) = (wish, needs.largestExpert, needs.cachePages)
        func sum(_ parts: [Part]) -> Int { parts.reduce(0) { $0 + $1.byteCount } }
        // Whole, if that fits.
        let whole = needs.parts(chunk: wish.chunk, streams: false)
        let most = max(sum(whole), needs.loading) + needs.routed
        if needs.routedStored == 0 || most <= wish.memory {
            guard most <= wish.memory else {
                throw .tooSmall(model: name, memory: wish.memory, least: most, parts: whole)
            }
            (parts, chunk, isStreamed) = (whole, wish.chunk, false)
            (expertByteCount, heldExpertByteCount) = (needs.routed, needs.routed)
            return
        }
        chunk = needs.streamedChunk
        let streamed = needs.parts(chunk: chunk, streams: true)
        // One is read while the other computes.
        let least = max(sum(streamed) + 2 * needs.largestExpert, needs.loading)
        guard least <= wish.memory else {
            throw .tooSmall(model: name, memory: wish.memory, least: least, parts: streamed)
        }
        (parts, isStreamed, expertByteCount) = (streamed, true, needs.routedStored)
        heldExpertByteCount = min(needs.routedStored, wish.memory - sum(streamed))
    }
}

/// Why a model cannot run in a given memory, in one line.
public enum MemoryError: Error, Equatable, CustomStringConvertible {
    /// - Parameters:
    ///   - least: bytes with which it can.
    ///   - parts: what takes them, two experts besides.
    case tooSmall(model: String, memory: Int, least: Int, parts: [MemoryPlan.Part])

    public var description: String {
        switch self {
        case .tooSmall(let model, let memory, let least, let parts):
            let list = parts.map { "\($0.name) \($0.byteCount)" }.joined(separator: ", ")
            return
                "\(model) does not run in \(memory) bytes of memory; give at least \(least) (\(list), and two experts)"
        }
    }
}

extension Model {
    /// What the layers with experts have; none of those whose experts come from a source.
    var expertShapes: [ExpertShape] {
        (layers + predictions.map(\.layer)).enumerated().compactMap { i, layer in
            layer.experts?.resident.map { ExpertShape(layer: i, $0) }
        }
    }
}
