import CGlimKernels

/// What a lightning indexer is trained by in one layer, and where that would move its scores.
public struct IndexerLoss {
    /// `KL(p ‖ softmax(I))` of each row, nats.
    public let rows: [Double]
    /// Of the sum of `rows`, for the rotated queries `[T, I X]`.
    public let dq: Tensor
    /// The same for the head weights `[T, I]`.
    public let dweights: Tensor
    /// The same for the rotated keys `[T, X]`.
    public let dkeys: Tensor
}

/// What attention did in one layer, kept so that an indexer can learn from it.
public struct AttentionRecord {
    /// `[T, H, W]`, grouped.
    public let q: Tensor
    /// Of each slice's sequence.
    public let pages: [KeyPages]
    /// `[T, H]`, grouped: see
    /// ``Tensor/attention(_:keys:pages:slices:selection:valueWidth:scale:logSumExp:tape:observe:)``.
    public let logSumExp: Tensor
    /// Multiplies scores.
    public let scale: Float

    /// - Parameters: as the operation had them.
    public init(q: Tensor, pages: [KeyPages], logSumExp: Tensor, scale: Float) {
        (self.q, self.pages, self.logSumExp, self.scale) = (q, pages, logSumExp, scale)
    }
}

extension Tensor {
    /// Tokens whose scores are held at one time by a piece of the loss.
    private static let lossTokens = 8
    /// Sums that the gradient of keys is divided into: enough for as many threads, and a bound of memory.
    private static let lossParts = 16

    /// The loss of an indexer against the attention of one layer, and its gradient (DeepSeek-V3.2 report, eq. 3 and 4).
    ///
    /// The target is each key's share of the attention of all heads, over the positions that attention read: all of
    /// them, or the selected ones. It is a constant. Whole sequences only; memory grows with the length, not its
    /// square.
    /// - Parameters:
    ///   - q: `[T, I X]`, rotated.
    ///   - weights: `[T, I]`, already scaled by I^-0.5.
    ///   - keys: `[T, X]`, rotated.
    ///   - scale: X^-0.5.
    ///   - attention: what it did in the same layer or in one that shares the selection.
    ///   - selection: what attention read; nil is all.
    public static func indexerLoss(
        _ q: Tensor, weights: Tensor, keys: Tensor, scale: Float, attention: AttentionRecord, slices: [SequenceSlice],
        selection: Selection?
    ) -> IndexerLoss {
        let (T, I, X, H) = (q.shape.rows, weights.shape.last, keys.shape.last, attention.q.shape.dimensions[1])
        precondition(
            q.shape.last == I * X && weights.shape.rows == T && keys.shape.rows == T && attention.q.shape.first == T
                && attention.logSumExp.shape.count == T * H && slices.allSatisfy { $0.position == 0 },
            "indexerLoss: \(q.shape), \(weights.shape), \(keys.shape), \(attention.q.shape)")
        let (dq, dweights) = (Tensor(uninitialized: q.shape), Tensor(uninitialized: weights.shape))
        let blocks = runs(slices, selection, allTokens: lossTokens, selectedTokens: lossTokens)
        let parts = min(lossParts, blocks.count)
        let partial = Tensor(zeros: [max(1, parts), T, X])
        let indexPages = slices.map { KeyPages(rows: $0, of: keys) }
        let longest = slices.map(\.count).max() ?? 0
        var rows = [Double](repeating: 0, count: T)
        rows.withUnsafeMutableBufferPointer { rows in
            let losses = Shared(rows.baseAddress!)
            // Neighbours in time go to different parts, so that these take as long as each other.
            ThreadPool.shared.run(parts) { part in
                let scratch = LossScratch(tokens: lossTokens, longest: longest, I, X, attention.q.shape, selection)
                for block in stride(from: part, to: blocks.count, by: parts).map({ blocks[$0] }) {
                    let slice = slices[block.slice]
                    let dkeys = partial.pointer + (part * T + slice.row) * X
                    let indexKeys = indexPages[block.slice]
                    let attended = attention.pages[block.slice]
                    if block.isSelected {
                        for row in slice.row + block.first..<slice.row + block.first + block.count {
                            let (chosen, count) = (selection!.row(row), Int(selection!.count[row]))
                            scratch.gather(chosen, count, index: indexKeys, attended: attended)
                            scratch.dkeys.pointer.update(repeating: 0, count: count * X)
                            learn(
                                row: row, tokens: 1, first: count - 1, scratch.indexPages, stride: X,
                                scratch.attendedPages, stride: attention.q.shape.last, dkeys: scratch.dkeys.pointer,
                                scratch)
                            for e in 0..<count {
                                let at = dkeys + Int(chosen[e]) * X
                                kernels.pointee.add(at, at, scratch.dkeys.row(e), Int64(X))
                            }
                        }
                    } else {
                        learn(
                            row: slice.row + block.first, tokens: block.count, first: block.first, indexKeys.pages,
                            stride: indexKeys.stride, attended.pages, stride: attended.stride, dkeys: dkeys, scratch)
                    }
                }
            }
            /// Rows from `row` on, of which the first sees `first` + 1 keys.
            func learn(
                row: Int, tokens: Int, first: Int, _ index: [UnsafePointer<Float>], stride indexStride: Int,
                _ attended: [UnsafePointer<Float>], stride attendedStride: Int, dkeys: UnsafeMutablePointer<Float>,
                _ scratch: LossScratch
            ) {
                let lds = Int64(scratch.scores.shape.last)
                let (shares, scores) = (scratch.shares, scratch.scores)
                scratch.ungroup(attention, row: row, tokens: tokens)
                attended.withUnsafeBufferPointer { table in
                    kernels.pointee.attention_shares(
                        shares.pointer, lds, scratch.q.pointer, scratch.lse.pointer, Int64(tokens), Int64(H),
                        table.baseAddress!, Int64(attendedStride), Int64(first), Int64(attention.q.shape.last),
                        attention.scale, scratch.kernel.pointer)
                }
                index.withUnsafeBufferPointer { table in
                    kernels.pointee.index_scores(
                        scores.pointer, lds, q.row(row), weights.row(row), Int64(tokens), Int64(I), table.baseAddress!,
                        Int64(indexStride), 0, Int64(first), Int64(X), scale, scratch.kernel.pointer)
                    for t in 0..<tokens {
                        losses.pointer[row + t] = indexDivergence(scores.row(t), from: shares.row(t), first + t + 1)
                    }
                    kernels.pointee.index_scores_backward(
                        dq.row(row), dweights.row(row), dkeys, Int64(X), scores.pointer, lds, q.row(row),
                        weights.row(row), Int64(tokens), Int64(I), table.baseAddress!, Int64(indexStride),
                        Int64(first), Int64(X), scale, scratch.kernel.pointer)
                }
            }
        }
        let dkeys = Tensor(uninitialized: keys.shape)
        overElements(T * X) { i, n in
            (dkeys.pointer + i).update(from: partial.pointer + i, count: n)
            for part in 1..<max(1, parts) {
                kernels.pointee.add(dkeys.pointer + i, dkeys.pointer + i, partial.row(part * T) + i, Int64(n))
            }
        }
        return IndexerLoss(rows: rows, dq: dq, dweights: dweights, dkeys: dkeys)
    }

    /// `KL(p ‖ softmax(scores))` of one row, where p is `shares` over their sum; scores become its gradient.
    package static func indexDivergence(
        _ scores: UnsafeMutablePointer<Float>, from shares: UnsafePointer<Float>, _ count: Int
    ) -> Double {
        kernels.pointee.index_divergence(scores, shares, Int64(count))
    }
}

/// What one piece of the loss writes into, block after block.
private struct LossScratch {
    let shares, scores: Tensor  // [tokens, positions that a row sees]
    let q, lse: Tensor  // of a block's tokens, [tokens, H, W] and [tokens, H]
    let kernel: Tensor
    // Of a row with a selection: its keys side by side, and the gradient of the indexer's.
    let indexKeys, attendedKeys, dkeys: Tensor
    let indexPages, attendedPages: [UnsafePointer<Float>]

    init(tokens: Int, longest: Int, _ I: Int, _ X: Int, _ attention: Shape, _ selection: Selection?) {
        let (H, W) = (attention.dimensions[1], attention.last)
        // A row without a choice among others that have one sees no more than they.
        let width = selection.map { min($0.topK, longest) } ?? longest
        (shares, scores) = (Tensor(uninitialized: [tokens, width]), Tensor(uninitialized: [tokens, width]))
        (q, lse) = (Tensor(uninitialized: [tokens, H, W]), Tensor(uninitialized: [tokens, H]))
        kernel = Tensor(uninitialized: [
            max(
                Int(glim_attention_scratch(Int64(tokens * I), Int64(X))),
                Int(glim_attention_scratch(Int64(tokens * H), Int64(W))))
        ])
        let most = selection.map { min($0.topK, longest) } ?? 0
        (indexKeys, dkeys) = (Tensor(uninitialized: [most, X]), Tensor(uninitialized: [most, X]))
        attendedKeys = Tensor(uninitialized: [most, W])
        func pages(_ keys: Tensor) -> [UnsafePointer<Float>] {
            stride(from: 0, to: most, by: KeyPages.positions).map { UnsafePointer(keys.row($0)) }
        }
        (indexPages, attendedPages) = (pages(indexKeys), pages(attendedKeys))
    }

    func gather(_ chosen: UnsafePointer<Int32>, _ count: Int, index: KeyPages, attended: KeyPages) {
        func copy(_ keys: KeyPages, to rows: Tensor) {
            for e in 0..<count {
                let position = Int(chosen[e])
                rows.row(e).update(
                    from: keys.pages[position / KeyPages.positions] + position % KeyPages.positions * keys.stride,
                    count: rows.shape.last)
            }
        }
        copy(index, to: indexKeys)
        copy(attended, to: attendedKeys)
    }

    /// Queries and sums of a block's tokens, all heads of a token together.
    func ungroup(_ attention: AttentionRecord, row: Int, tokens: Int) {
        let (T, H, W) = (attention.q.shape.first, attention.q.shape.dimensions[1], attention.q.shape.last)
        let groups = HeadGroups(heads: H)
        for g in 0..<groups.count {
            let (heads, h) = (groups.heads(in: g), g * HeadGroups.size)
            let from = attention.q.pointer + groups.offset(g, tokens: T, width: W) + row * heads * W
            let sums = attention.logSumExp.pointer + groups.offset(g, tokens: T, width: 1) + row * heads
            for t in 0..<tokens {
                (q.pointer + (t * H + h) * W).update(from: from + t * heads * W, count: heads * W)
                (lse.pointer + t * H + h).update(from: sums + t * heads, count: heads)
            }
        }
    }
}
