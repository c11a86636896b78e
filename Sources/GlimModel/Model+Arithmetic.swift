import GlimTensor

extension Model {
    /// A number that stands for the bits that this build makes on this machine: with what one process keeps of its
    /// numbers another may go on only where both have the same.
    ///
    /// It is computed, not declared, so nobody can forget to raise it when a kernel comes to other bits: a hash of all
    /// that small networks leave in a cache and make above it. They hold every operation between a token and its cached
    /// rows, in every number format, with sums longer than a block of inputs and attention over more than a page, dense and
    /// sparse. Instruction sets and threads make no difference to it, as the exactness contract has it.
    package static let arithmetic = measuredArithmetic()

    /// Computes ``arithmetic``, in a fraction of a second.
    package static func measuredArithmetic() -> UInt64 {
        var hash: UInt64 = 0
        func add(_ model: Model) {
            let tokens = (0..<2 * KeyPages.positions).map { Int32(($0 * $0 + 3 * $0) % 61) }
            let cache = model.makeCache()
            let hidden_TD = model.hidden(Batch([(tokens: tokens, cache: cache)]))
            hidden_TD.withElements { hash = ContentHash.hash(UnsafeRawBufferPointer($0), seed: hash) }
            for page in 0..<Cache.pageCount(cache.count) {
                cache.layout.withRows(of: cache.page(page), count: KeyPages.positions) { rows in
                    hash = ContentHash.hash(UnsafeRawBufferPointer(rows), seed: hash)
                }
            }
        }
        for isSparse in [false, true] {
            let config = arithmeticConfig(isSparse: isSparse)
            let plain = Model(config, seed: 1)
            add(plain)
            for scheme in [Scheme(.w8a8), Scheme(.w4a8)] { add(plain.quantized(scheme)) }
            let halves = config.with {
                $0.computeType = .bfloat16
                $0.latentFormat = .bf16
                $0.indexer?.keyFormat = .bf16
            }
            add(Model(halves, seed: 1))
        }
        return hash
    }

    /// One dense layer and one with experts, both with an indexer.
    ///
    /// - Parameter isSparse: attention reads chosen positions, and what can be done in two ways is done in the other.
    private static func arithmeticConfig(isSparse: Bool) -> ModelConfig {
        ModelConfig.depth(2).with {
            $0.family = .dsa
            ($0.vocabularySize, $0.hiddenSize, $0.denseWidth, $0.expertWidth) = (64, 288, 64, 32)
            // Rows of even widths, index keys of a multiple of 32: pages have no number that nobody writes.
            ($0.headCount, $0.latent) = (6, 64)
            $0.queryLatent = 64
            $0.indexer = ModelConfig.Indexer(
                headCount: 4, headWidth: 32, topK: isSparse ? 40 : 1024, ropeInterleave: !isSparse,
                kinds: [.full, .full])
            $0.ropeInterleave = !isSparse
            ($0.routedExpertCount, $0.expertsPerToken) = (4, 2)
            ($0.groupCount, $0.groupsKept) = isSparse ? (2, 1) : (1, 1)
        }
    }
}
