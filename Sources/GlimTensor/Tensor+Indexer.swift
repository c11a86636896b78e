import CGlimKernels

extension Tensor {
    /// Tokens whose scores are held at one time by a piece of selection.
    private static let indexTokens = 8
    /// Keys of one thread's part where a piece is divided: whole pages.
    private static let indexKeys = 64 * KeyPages.positions

    /// The positions each row attends to: the `topK` with the highest index scores
    /// `I[t, s] = Σ_h w[t, h] · relu(q[t, h] · k[s] · scale)`, ties to the lower position (DeepSeek-V3.2 report, eq.
    /// 1).
    ///
    /// Rows that see no more than `topK` positions see them all, and no score is computed for them.
    /// - Parameters:
    ///   - q: `[T, I · X]`, rotated.
    ///   - weights: `[T, I]`, already scaled by I^-0.5.
    ///   - pages: the index keys of each slice's sequence, its own rows included, all in one format. Over keys in int8
    ///     queries are rounded to int8 too, each head's with a scale.
    ///   - scale: X^-0.5.
    public static func select(
        _ q: Tensor, weights: Tensor, pages: [KeyPages], slices: [SequenceSlice], topK: Int, scale: Float
    ) -> Selection {
        let (T, I) = (q.shape.rows, weights.shape.last)
        let X = q.shape.last / I
        precondition(q.shape.last == I * X && weights.shape.rows == T, "select: \(q.shape), \(weights.shape)")
        let selection = Selection(rows: T, topK: topK)
        var pieces: [(slice: Int, first: Int, count: Int)] = []
        for (s, slice) in slices.enumerated() {
            let all = min(max(0, topK - slice.position), slice.count)
            for t in 0..<all { selection.count[slice.row + t] = -1 }
            for first in stride(from: all, to: slice.count, by: indexTokens) {
                pieces.append((s, first, min(indexTokens, slice.count - first)))
            }
        }
        if pieces.isEmpty { return selection }
        let work = pieces
        let queries = IndexQueries(q, weights, scale, format: pages[0].format)
        @Sendable func choose(_ i: Int, _ t: Int, _ scores: Tensor) {
            let (slice, token) = (slices[work[i].slice], work[i].first + t)
            let row = slice.row + token
            selection.count[row] = Int32(
                kernels.pointee.top_k(
                    selection.row(row), scores.row(t), Int64(slice.position + token + 1), Int64(topK)))
        }
        // Each piece on a thread, or where there are too few, as for a token that is drawn, its keys on all of them.
        let dividesKeys = work.count < ThreadPool.shared.threadCount
        ThreadPool.shared.run(dividesKeys ? 0 : work.count) { i in
            let piece = work[i]
            let slice = slices[piece.slice]
            let (row, position) = (slice.row + piece.first, slice.position + piece.first)
            let scores = Tensor(uninitialized: [piece.count, position + piece.count])
            queries.score(scores.pointer, rows: row..<row + piece.count, pages[piece.slice], position: position)
            for t in 0..<piece.count { choose(i, t, scores) }
        }
        for (i, piece) in work.enumerated() where dividesKeys {
            let slice = slices[piece.slice]
            let (row, position) = (slice.row + piece.first, slice.position + piece.first)
            let scores = Tensor(uninitialized: [piece.count, position + piece.count])
            ThreadPool.shared.run((position + piece.count + indexKeys - 1) / indexKeys) { part in
                let first = part * indexKeys
                for t in 0..<piece.count where position + t >= first {
                    queries.score(
                        scores.row(t), row: row + t, pages[piece.slice],
                        keys: first..<min(first + indexKeys, position + t + 1))
                }
            }
            ThreadPool.shared.run(piece.count) { choose(i, $0, scores) }
        }
        return selection
    }

    /// The index scores themselves, for training the indexer: whole sequences only.
    ///
    /// - Parameters:
    ///   - q: `[T, I · X]`, rotated.
    ///   - weights: `[T, I]`
    ///   - keys: `[T, X]`, rotated; one sequence.
    /// - Returns: `[T, T]`; entries right of the diagonal are -infinity and take no gradient.
    public static func indexScores(
        _ q: Tensor, weights: Tensor, keys: Tensor, scale: Float, tape: Tape? = nil
    ) -> Tensor {
        let (T, I, X) = (q.shape.rows, weights.shape.last, keys.shape.last)
        precondition(
            q.shape.last == I * X && weights.shape.rows == T && keys.shape.rows == T,
            "indexScores: \(q.shape), \(weights.shape), \(keys.shape)")
        let pages = KeyPages(rows: SequenceSlice(row: 0, count: T, position: 0), of: keys)
        let queries = IndexQueries(q, weights, scale, format: .f32)
        var scores = Tensor([Float](repeating: -.infinity, count: T * T), [T, T])
        let block = indexTokens
        ThreadPool.shared.run((T + block - 1) / block) { [scores] i in
            let first = i * block
            let count = min(block, T - first)
            let held = Tensor(uninitialized: [count, first + count])
            queries.score(held.pointer, rows: first..<first + count, pages, position: first)
            for t in 0..<count { scores.row(first + t).update(from: held.row(t), count: first + t + 1) }
        }
        tape?.record(&scores) { [unowned tape] dscores in
            let (dq, dweights) = (Tensor(uninitialized: q.shape), Tensor(uninitialized: weights.shape))
            let dkeys = Tensor(zeros: keys.shape)
            let scratch = Tensor(uninitialized: [Int(glim_attention_scratch(Int64(block * I), Int64(X)))])
            pages.pages.withUnsafeBufferPointer { table in
                for first in stride(from: 0, to: T, by: block) {
                    kernels.pointee.index_scores_backward(
                        dq.row(first), dweights.row(first), dkeys.pointer, Int64(X), dscores.row(first), Int64(T),
                        q.row(first), weights.row(first), Int64(min(block, T - first)), Int64(I), table.baseAddress!,
                        Int64(X), Int64(first), Int64(X), scale, scratch.pointer)
                }
            }
            tape!.add(dq, to: q)
            tape!.add(dweights, to: weights)
            tape!.add(dkeys, to: keys)
        }
        return scores
    }
}
