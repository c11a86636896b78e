/// What a machine can do at most in a second.
public struct MachineRoofs: Sendable, Equatable {
    /// From memory.
    public var bytes: Double
    /// Operations, a multiply-add being two.
    public var f32: Double
    public var bf16: Double
    public var int8: Double

    public init(bytes: Double, f32: Double, bf16: Double, int8: Double) {
        (self.bytes, self.f32, self.bf16, self.int8) = (bytes, f32, bf16, int8)
    }
}

extension ModelCost {
    /// Seconds of a token at the machine's roofs: each part takes as long as its bytes or its operations, whichever is
    /// longer, and one part follows the other.
    public func seconds(_ roofs: MachineRoofs) -> Double {
        // Numbers in bf16 can be widened and multiplied in f32 where that is faster.
        let bf16 = max(roofs.bf16, roofs.f32)
        return parts.reduce(0) { sum, part in
            let f32Share = 1 - part.integerShare - part.bf16Share
            let each = part.integerShare / roofs.int8 + part.bf16Share / bf16 + f32Share / roofs.f32
            return sum + max(part.bytes / roofs.bytes, part.operations * each)
        }
    }
}

/// A network as it was trained and as it is deployed, by arithmetic: BF16 with dense attention beside `w4a8` with its
/// sparse attention and int8 index keys. Both caches hold latents in BF16 (GLM-5 report, section 5: long sequences at
/// half the cost).
public struct DeploymentCost: Sendable, Equatable {
    public let bf16Dense: ModelCost
    public let w4a8Sparse: ModelCost

    /// What of the one's time at the machine's roofs the other takes.
    public func ratio(_ roofs: MachineRoofs) -> Double { w4a8Sparse.seconds(roofs) / bf16Dense.seconds(roofs) }
}

extension ModelConfig {
    /// - Parameters:
    ///   - context: positions already in the cache of each sequence.
    ///   - tokens: more of each sequence: 1 in decode.
    ///   - chunk: of these, what one pass computes at most.
    ///   - batch: sequences that share a pass.
    /// - Returns: nil for a model with dense attention.
    public func deploymentCost(context: Int, tokens: Int = 1, chunk: Int, batch: Int = 1) -> DeploymentCost? {
        guard let indexer else { return nil }
        let plain = with { ($0.dtype, $0.scaleBlock, $0.integerWeights) = (.bfloat16, nil, nil) }
        let dense = plain.with { ($0.family, $0.indexer, $0.computeType) = (.lite, nil, .bfloat16) }
        let sparse = plain.inW4A8
        var sums = (dense: ModelCost(), sparse: ModelCost())
        for first in stride(from: 0, to: tokens, by: chunk) {
            let (held, more) = (context + first, min(chunk, tokens - first))
            func cost(_ config: ModelConfig) -> ModelCost {
                config.inferenceCost(context: held, tokens: more, batch: batch, bytesPerCached: 2)
            }
            var parts = cost(sparse).parts
            for i in parts.indices where parts[i].name == "indexing of positions" {
                // A byte a number and a scale a key.
                let key = Double(fullIndexerCount * (indexer.headWidth + 4))
                parts[i].bytes = key * Double(held + more) / Double(more)
                parts[i].integerShare = 1
            }
            let share = Double(more) / Double(tokens)
            sums.dense.add(cost(dense), times: share)
            sums.sparse.add(ModelCost(parts: parts), times: share)
        }
        return DeploymentCost(bf16Dense: sums.dense, w4a8Sparse: sums.sparse)
    }
}

extension ModelCost {
    /// Adds another, part by part; shares of number formats are the same in each.
    fileprivate mutating func add(_ other: ModelCost, times factor: Double) {
        for part in other.parts {
            var part = part
            part.operations *= factor
            part.bytes *= factor
            if let i = parts.firstIndex(where: { $0.name == part.name }) {
                parts[i].operations += part.operations
                parts[i].bytes += part.bytes
            } else {
                parts.append(part)
            }
        }
    }
}

extension ModelConfig {
    /// The same network as `w4a8` stores it, as far as costs go.
    public var inW4A8: ModelConfig { with { ($0.computeType, $0.integerWeights) = (.float32, .w4a8) } }
}

extension ModelConfig.IntegerWeights {
    /// What `w4a8` makes of a network whose widths are multiples of 128.
    fileprivate static var w4a8: Self {
        Self(
            groups: [
                .init(targets: ["re:.*\\.experts\\..*"], bits: 4, size: 128),
                .init(targets: ["re:.*"], bits: 8, size: 128),
            ], ignored: [])
    }
}
