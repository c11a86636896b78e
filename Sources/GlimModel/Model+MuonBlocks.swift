public import GlimTensor

extension Model {
    /// The matrices that Muon trains, each a block that is orthogonalised as a whole; every other weight is AdamW's:
    /// embeddings and heads, routers, indexers, norms and biases.
    ///
    /// A block is a matrix of the checkpoint. With `splitsHeads` those that lead into the heads, W_UQ, W_UK and W_UV, are
    /// divided into one block a head (Muon Split: GLM-5 report, section 2.1).
    public func muonBlocks(splitsHeads: Bool) -> [MuonBlock] {
        let all = layers + predictions.map(\.layer)
        return all.flatMap { $0.muonBlocks(splitsHeads: splitsHeads) } + predictions.map { MuonBlock($0.projection) }
    }
}

extension DecoderLayer {
    fileprivate func muonBlocks(splitsHeads: Bool) -> [MuonBlock] {
        var blocks = attention.muonBlocks(splitsHeads: splitsHeads)
        switch feedForward {
        case .dense(let mlp): blocks += mlp.muonBlocks
        case .experts(let experts):
            if let resident = experts.resident {
                blocks += [resident.gate, resident.up, resident.down].flatMap { MuonBlock.each(of: $0) }
            }
            blocks += experts.shared?.muonBlocks ?? []
        }
        return blocks
    }
}

extension MLP {
    fileprivate var muonBlocks: [MuonBlock] { [gate, up, down].map { MuonBlock($0) } }
}

extension LatentAttention {
    fileprivate func muonBlocks(splitsHeads: Bool) -> [MuonBlock] {
        let whole = [queryDown, keyDown, output].compactMap { $0 }.map { MuonBlock($0) }
        let headCount = keyUp.count
        guard splitsHeads else {
            // As they lie in kv_b_proj: for each head N rows that carry keys, then V rows that carry values.
            let keysAndValues = (0..<headCount).flatMap { h in
                [
                    MuonBlock.Part(keyUp, matrix: h, isTransposed: true), MuonBlock.Part(valueUp, matrix: h),
                ]
            }
            return whole + [MuonBlock(queryUp), MuonBlock(keysAndValues)]
        }
        let width = queryUp.outputs / headCount
        let queries = (0..<headCount).map { h in
            MuonBlock([MuonBlock.Part(queryUp, outputs: h * width..<(h + 1) * width)])
        }
        return whole + queries + MuonBlock.each(of: keyUp) + MuonBlock.each(of: valueUp)
    }
}
