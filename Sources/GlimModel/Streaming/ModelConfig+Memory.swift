import GlimTensor

// Letters: D hidden, H heads, N plain and R rotated key part, V value part, C key-value latent, Q query latent, W vocabulary,
// K experts per token, F expert width, I indexer heads, X indexer width.

extension ModelConfig {
    /// Bytes of the caches: what pages of all positions need, and what is taken for them, several pages at a time.
    func cacheByteCount(_ wish: MemoryPlan.Wish) -> (pages: Int, held: Int) {
        let page = CacheLayout(self).pageByteCount
        let count = (wish.positions + KeyPages.positions - 1) / KeyPages.positions + wish.sequences
        var (pages, held) = (count * page, PagePool.heldByteCount(pageByteCount: page, count: count))
        guard wish.drafts > 0, mtpLayerCount > 0 else { return (pages, held) }
        // Each step has a cache of its own.
        let ahead = CacheLayout(self, layers: layerCount..<layerCount + 1).pageByteCount
        pages += wish.drafts * count * ahead
        held +=
            wish.drafts * wish.sequences
            * PagePool.heldByteCount(pageByteCount: ahead, count: (count + wish.sequences - 1) / wish.sequences)
        return (pages, held)
    }

    /// Bytes of the rotary tables: while they grow, there are two.
    func rotaryByteCount(_ positions: Int) -> Int {
        var count = 1024
        while count < positions { count *= 2 }
        return 2 * count * keyRotated * 4
    }

    /// Bytes that a pass takes at one time, at most.
    ///
    /// What attention makes is gone when experts begin; within each everything is taken to live till its end, which is
    /// more than the truth.
    /// - Parameter chunk: of a prompt; others draw beside it.
    func passByteCount(_ chunk: Int, _ wish: MemoryPlan.Wish) -> Int {
        let drawing = wish.sequences * (1 + wish.drafts)
        let rows = chunk + drawing
        let (D, Q, W) = (hiddenSize, queryLatent ?? 0, latent + keyRotated)
        let index = indexer.map { 3 * $0.headCount * $0.headWidth + 2 * $0.headCount + 2 * $0.headWidth + $0.topK } ?? 0
        let attention = 2 * Q + 3 * W + headCount * (keyWidth + W + latent + 2 * valueWidth) + D + index
        let dense = 3 * denseWidth + D
        // Each of its rows is gathered, and leaves one of its own.
        let routed = expertsPerToken * (3 * expertWidth + 2 * D + expertWidth / 2) + 3 * routedExpertCount
        let shared = 3 * sharedWidth + D
        // What goes into products of integers is written down a second time.
        let numbers = 6 * D + D / 2 + max(attention, dense, routed + shared)
        let logits = drawing * 4 * vocabularySize
        // Of the threads that score and attend: a few rows of all positions.
        let scratch = ThreadPool.shared.threadCount * (8 * (wish.positions + chunk) + 1024 * W)
        let bytes = 4 * (rows * numbers + logits + scratch)
        // Blocks are rounded up to an eighth, and small ones are many.
        return bytes + bytes / 4 + (1 << 20)
    }
}
