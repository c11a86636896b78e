import CGlimKernels

extension Tensor {
    /// Tokens of one piece of dense attention: with four heads, 256 rows.
    private static let denseTokens = 64
    /// Tokens of one piece of sparse attention.
    private static let sparseTokens = 8

    /// Causal attention in the absorbed form, dense or over selected positions.
    ///
    /// Keys are visited in ascending position in blocks of 64; dense attention is the case where everything is
    /// selected, to the bit (GLM-5 report, section 2.1; DeepSeek-V3.2 report).
    ///
    /// - Parameters:
    ///   - q: `[T, H, W]`, grouped.
    ///   - keys: the rows `[T, W]` the pages point into, where gradients are wanted; each slice then starts at 0.
    ///   - pages: the keys of each slice's sequence, its own rows included.
    ///   - slices: the sequences of the batch.
    ///   - selection: which positions each row sees; nil is all.
    ///   - C: the width of the leading part of a key that is its value.
    ///   - scale: multiplies scores.
    ///   - logSumExp: `[T, H]`, grouped: is filled with the log of each row's sum of e^score, which makes a score a
    ///     probability.
    ///   - observe: is told the largest scaled score of any row and key.
    /// - Returns: `[T, H, C]`, grouped.
    public static func attention(
        _ q: Tensor, keys: Tensor, pages: [KeyPages], slices: [SequenceSlice], selection: Selection?,
        valueWidth C: Int, scale: Float, logSumExp: Tensor? = nil, tape: Tape? = nil,
        observe: ((Float) -> Void)? = nil
    ) -> Tensor {
        let dims = q.shape.dimensions
        let (T, H, W) = (dims[0], dims[1], dims[2])
        precondition(C <= W && keys.shape.last == W && pages.count == slices.count, "attention: \(q.shape), C \(C)")
        let (groups, threadCount) = (HeadGroups(heads: H), ThreadPool.shared.threadCount)
        var out = Tensor(uninitialized: [T, H, C])
        precondition(logSumExp.map { $0.shape.count == T * H } ?? true, "attention: sums for \(q.shape)")
        let lse = logSumExp ?? (tape == nil ? nil : Tensor(uninitialized: [T, H]))
        let blocks = runs(slices, selection, allTokens: denseTokens, selectedTokens: sparseTokens)
        // Keys that are selected lie apart: bringing them near is most of the work, so that as many heads as the
        // threads leave together read them once. Late blocks see the most keys: they go first.
        let together = (groups.count * min(blocks.count, threadCount) + threadCount - 1) / threadCount
        let pieces = blocks.reversed().flatMap { block in
            stride(from: 0, to: groups.count, by: block.isSelected ? together : 1).map { first in
                (block, first..<(block.isSelected ? min(first + together, groups.count) : first + 1))
            }
        }
        let largest = observe.map { _ in Tensor([Float](repeating: -.infinity, count: pieces.count), [pieces.count]) }
        ThreadPool.shared.run(pieces.count) { i in
            let (block, bundle) = pieces[i]
            let g = bundle.lowerBound
            let (slice, heads) = (slices[block.slice], groups.heads(in: g))
            let keys = pages[block.slice]
            let isBF16: Int32 = keys.format == .bf16 ? 1 : 0
            let scratch = Tensor(uninitialized: [
                Int(glim_attention_scratch(Int64(denseTokens * HeadGroups.size), Int64(W)))
            ])
            func at(_ tensor: Tensor, _ width: Int, _ t: Int) -> UnsafeMutablePointer<Float> {
                tensor.pointer + groups.offset(g, tokens: T, width: width) + (slice.row + t) * heads * width
            }
            keys.pages.withUnsafeBufferPointer { table in
                if block.isSelected {
                    for t in block.first..<block.first + block.count {
                        let row = slice.row + t
                        groups.withRows(of: bundle, tokens: T, token: row, q: q, out: out, lse: lse) {
                            q, out, lse, heads in
                            kernels.pointee.attention_selected(
                                out, lse, largest.map { $0.pointer + i }, q, Int64(heads), table.baseAddress!,
                                Int64(keys.stride), isBF16, selection!.row(row), Int64(selection!.count[row]),
                                Int64(W), Int64(C), scale, scratch.pointer)
                        }
                    }
                } else {
                    kernels.pointee.attention(
                        at(out, C, block.first), lse.map { at($0, 1, block.first) }, largest.map { $0.pointer + i },
                        at(q, W, block.first), Int64(block.count), Int64(heads), table.baseAddress!,
                        Int64(keys.stride), isBF16, Int64(slice.position + block.first), Int64(W), Int64(C), scale,
                        scratch.pointer)
                }
            }
        }
        if let largest { observe?(largest.withElements { $0.reduce(-.infinity, max) }) }
        tape?.record(&out) { [unowned tape, out] dout in
            let dq = Tensor(uninitialized: q.shape)
            // The keys are shared by the groups: each sums its own part, and the parts are added in order.
            let partial = Tensor(zeros: [groups.count, T, W])
            ThreadPool.shared.run(slices.count * groups.count) { i in
                let (s, g) = (slices.count - 1 - i / groups.count, i % groups.count)
                let (slice, heads) = (slices[s], groups.heads(in: g))
                precondition(slice.position == 0, "attention: gradients need whole sequences")
                let scratch = Tensor(uninitialized: [
                    Int(glim_attention_scratch(Int64(denseTokens * HeadGroups.size), Int64(W)))
                ])
                let dkeys = partial.pointer + (g * T + slice.row) * W
                func at(_ tensor: Tensor, _ width: Int, _ t: Int) -> UnsafeMutablePointer<Float> {
                    tensor.pointer + groups.offset(g, tokens: T, width: width) + (slice.row + t) * heads * width
                }
                pages[s].pages.withUnsafeBufferPointer { table in
                    for block in blocks where block.slice == s {
                        if block.isSelected {
                            for t in block.first..<block.first + block.count {
                                let row = slice.row + t
                                kernels.pointee.attention_selected_backward(
                                    at(dq, W, t), dkeys, Int64(W), at(dout, C, t), at(q, W, t), at(out, C, t),
                                    at(lse!, 1, t), Int64(heads), table.baseAddress!, Int64(pages[s].stride),
                                    selection!.row(row), Int64(selection!.count[row]), Int64(W), Int64(C), scale,
                                    scratch.pointer)
                            }
                        } else {
                            let t = block.first
                            kernels.pointee.attention_backward(
                                at(dq, W, t), dkeys, Int64(W), at(dout, C, t), at(q, W, t), at(out, C, t),
                                at(lse!, 1, t), Int64(block.count), Int64(heads), table.baseAddress!,
                                Int64(pages[s].stride), Int64(t), Int64(W), Int64(C), scale, scratch.pointer)
                        }
                    }
                }
            }
            tape!.add(dq, to: q)
            tape!.write(to: keys) { dkeys, accumulate in
                overElements(T * W) { i, n in
                    var add = accumulate
                    for g in 0..<groups.count {
                        let part = partial.pointer + g * T * W + i
                        if add {
                            kernels.pointee.add(dkeys + i, dkeys + i, part, Int64(n))
                        } else {
                            (dkeys + i).update(from: part, count: n)
                        }
                        add = true
                    }
                }
            }
        }
        return out
    }

    /// Tokens of one slice that all read selected positions, or all see everything.
    struct Run {
        let slice: Int
        let first: Int  // token of the slice
        let count: Int
        let isSelected: Bool
    }

    /// The runs of a batch in order, of so many tokens at most.
    static func runs(
        _ slices: [SequenceSlice], _ selection: Selection?, allTokens: Int, selectedTokens: Int
    ) -> [Run] {
        var runs: [Run] = []
        for (s, slice) in slices.enumerated() {
            var t = 0
            while t < slice.count {
                let isSelected = selection.map { $0.count[slice.row + t] >= 0 } ?? false
                let most = min(slice.count, t + (isSelected ? selectedTokens : allTokens))
                var end = t + 1
                while end < most, (selection.map { $0.count[slice.row + end] >= 0 } ?? false) == isSelected { end += 1 }
                runs.append(Run(slice: s, first: t, count: end - t, isSelected: isSelected))
                t = end
            }
        }
        return runs
    }
}
