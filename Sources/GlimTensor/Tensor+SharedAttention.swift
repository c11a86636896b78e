import CGlimKernels

extension Tensor {
    /// Attention of one token over selected positions by all threads: for a token that is drawn alone.
    ///
    /// Its keys lie apart, and bringing them near is most of the work. So threads share the keys to score them, and then the
    /// columns of the values to sum these up, rather than the heads, each of which needs every key. What each number is
    /// made of does not change.
    static func attendTogether(
        _ out: Tensor, _ q: Tensor, row: Int, _ groups: HeadGroups, _ pages: KeyPages, _ selection: Selection,
        _ scale: Float
    ) {
        let (T, H, W, C) = (q.shape.first, groups.heads, q.shape.last, out.shape.last)
        let (count, page) = (Int(selection.count[row]), KeyPages.positions)
        let blocks = (count + page - 1) / page
        let tiles = Tensor(uninitialized: [blocks * page * H])
        let alphas = Tensor(uninitialized: [blocks + 1, Int(GLIM_FEW_ROWS)])
        let isBF16: Int32 = pages.format == .bf16 ? 1 : 0
        let parts = min(ThreadPool.shared.threadCount, blocks)
        func scratch() -> Tensor { Tensor(uninitialized: [Int(glim_attention_scratch(Int64(H), Int64(W)))]) }
        groups.withRows(of: 0..<groups.count, tokens: T, token: row, q: q, out: out, lse: nil) { q, out, _, _ in
            let (q, out) = (Shared(q), Shared(out))
            pages.pages.withUnsafeBufferPointer { table in
                let table = Shared(table.baseAddress!)
                ThreadPool.shared.run(parts) { part in
                    let (first, last) = (blocks * part / parts * page, blocks * (part + 1) / parts * page)
                    kernels.pointee.selected_scores(
                        tiles.pointer, q.pointer, Int64(H), table.pointer, Int64(pages.stride), isBF16,
                        selection.row(row), Int64(first), Int64(min(last, count)), Int64(W), scratch().pointer)
                }
                kernels.pointee.selected_softmax(tiles.pointer, alphas.pointer, Int64(H), Int64(count), scale)
                // Whole vectors of columns.
                let vectors = (C + 15) / 16
                ThreadPool.shared.run(min(parts, vectors)) { part in
                    let parts = min(parts, vectors)
                    let (first, last) = (vectors * part / parts * 16, min(vectors * (part + 1) / parts * 16, C))
                    kernels.pointee.selected_values(
                        out.pointer, tiles.pointer, alphas.pointer, Int64(H), table.pointer, Int64(pages.stride), isBF16,
                        selection.row(row), Int64(count), Int64(first), Int64(last), Int64(C), scratch().pointer)
                }
            }
        }
    }
}
