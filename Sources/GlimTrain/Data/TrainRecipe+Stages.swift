import GlimModel

extension TrainRecipe {
    public init() { self.init(stage: .pretrain) }

    /// The defaults of a stage.
    ///
    /// Mid-training goes on where pre-training that ended at a fifth of its peak stopped, and ends at a twentieth of
    /// that peak, where adaptation stays (GLM-5 report, appendix A: 2e-4 → 4e-5 → 1e-5).
    public init(stage: Stage) {
        self.init(bare: stage)
        switch stage {
        case .pretrain: break
        case .sft: sequenceLength = 1024
        case .midtrain:
            contextLengths = [2048, 8192]
            mixture = Self.longMixture
            (schedule, minimumLearningRateRatio, warmupRatio) = (.linear, 0.25, 0.02)
        case .adapt:
            // What indexers learn in short rows, which take little time, holds in long ones (BENCHMARKS.md).
            (contextLengths, contextShares, batchTokens) = ([2048, 8192], [3, 1], 2048)
            mixture = Self.longMixture
            (schedule, minimumLearningRateRatio, warmupRatio) = (.constant, 1, 0.8)
        }
    }

    /// Half of it facts to find: of few long rows mostly those teach to look far back (BENCHMARKS.md).
    private static let longMixture = [
        "text=0.3", "repository=0.1", "interleaved=0.05", "retrieval=0.5", "coreference=0.05",
    ]

    /// The learning rate after the warmup. The defaults are the best of those tried on `nano` (BENCHMARKS.md): of steps
    /// of 8,192 tokens, and of smaller ones by the root of their part, as their gradients are noisier. Fine-tuning's lies
    /// between those of the stages before it.
    public var peakLearningRate: Double {
        if let learningRate { return learningRate }
        let peak = (optimizer == .adamw ? 2e-3 : 1e-2) * min(1, Double(batchTokens) / 8192).squareRoot()
        return switch stage {
        case .pretrain: peak
        case .midtrain: peak / 5
        case .sft: peak / 10
        case .adapt: peak / 20
        }
    }

    // MARK: Rows

    /// Tokens in a row, context stage by context stage.
    public var rowLengths: [Int] { contextLengths.isEmpty ? [sequenceLength] : contextLengths }

    /// The most tokens in a row.
    public var longestRow: Int { rowLengths.max() ?? sequenceLength }

    /// `sequenceLength` is the one length, whatever the stage has by default.
    public mutating func useOneLength() { (contextLengths, contextShares) = ([], []) }

    /// Of each context stage its share of the steps, in parts of their sum.
    private var stepShares: [Double] { contextShares.isEmpty ? rowLengths.map { _ in 1 } : contextShares }

    /// The context stage of a step, from 1 to `total`. The last one has the last step, however few there are.
    public func contextStage(step: Int, of total: Int) -> Int {
        let (shares, sum) = (stepShares, stepShares.reduce(0, +))
        var (stage, end) = (0, 0.0)
        while stage < shares.count - 1 {
            end += shares[stage]
            if step <= Int(Double(total) * end / sum) { break }
            stage += 1
        }
        return stage
    }

    /// Rows of a length in an optimizer step: as many as `batchTokens` has room for, one at least.
    public func rowsPerBatch(_ length: Int) -> Int { max(1, batchTokens / max(1, length)) }

    /// Tokens of an optimizer step, the mean over the context stages: the same in each where no row is longer than that.
    public var stepTokens: Double {
        let tokens = zip(rowLengths, stepShares).reduce(0) { $0 + Double(rowsPerBatch($1.0) * $1.0) * $1.1 }
        return tokens / stepShares.reduce(0, +)
    }

    // MARK: Passes

    /// How the rows of a step are divided and summed.
    public func passOptions(length: Int) -> TrainingPass.Options {
        var options = TrainingPass.Options()
        let micro = microBatchTokens ?? Self.defaultMicroBatchTokens
        options.microBatchRows = min(rowsPerBatch(length), max(1, micro / max(1, length)))
        (options.mtpWeight, options.balanceWeight) = (mtpWeight, sequenceBalanceWeight)
        options.mtpSteps = mtpSteps
        options.recomputes = recompute ?? (options.microBatchRows * length > Self.mostTokensKept)
        return options
    }

    /// Forward and backward passes in an optimizer step, at most.
    public var microBatchCount: Int {
        rowLengths.map { length in
            let rows = passOptions(length: length).microBatchRows
            return (rowsPerBatch(length) + rows - 1) / rows
        }.max() ?? 1
    }

    /// Enough rows to fill the products, few enough to keep activations small.
    private static let defaultMicroBatchTokens = 4096
    /// Longer passes compute their layers again rather than keep them.
    private static let mostTokensKept = 16_384
}

extension TrainRecipe.Stage {
    /// The one stage that a key says something to, where it is not this one.
    func owner(of key: TrainRecipe.CodingKeys) -> TrainRecipe.Stage? {
        let owner: Self? =
            switch key {
            case .preset, .config, .depth, .vocabularySize, .mtpLayers: .pretrain
            case .topK, .shareEvery, .indexerLearningRate, .minimumIndexerLearningRateRatio: .adapt
            case .quantize: .sft
            default: nil
            }
        return owner == self ? nil : owner
    }
}

extension TrainRecipe {
    /// What a step of adaptation learns; nil in other stages.
    func adaptation(step: Int, of total: Int) -> Adaptation? {
        guard stage == .adapt else { return nil }
        return step <= warmup(of: total) ? .warmUp : .sparse
    }
}
