import CGlimKernels

extension Weight {
    /// One step of Muon with Nesterov's momentum (Jordan et al., 2024), its update as large as AdamW's (Liu et al., "Muon
    /// is scalable for LLM training", 2025).
    ///
    /// `M ← μ M + G`, `X = NewtonSchulz(G + μ M)`, `W ← W - η (0.2 √max(rows, columns) X + decay W)`, rows and columns
    /// those of the block. A block that lacks a gradient stays as it is.
    ///
    /// - Parameters:
    ///   - blocks: which cover each of their weights once.
    ///   - gradientScale: gradients are used times this.
    ///   - momentum: μ
    ///   - momenta: M of a weight, in its layout.
    public static func muon(
        _ blocks: [MuonBlock], _ gradients: Gradients, gradientScale: Float, learningRate: Float, momentum: Float,
        decay: Float, momenta: (Weight) -> Tensor
    ) {
        let blocks = blocks.filter { $0.parts.allSatisfy { gradients[$0.weight] != nil } }
        var weights: [Weight] = []
        var directions: [ObjectIdentifier: Tensor] = [:]
        for weight in blocks.lazy.flatMap(\.parts).map(\.weight) where directions[ObjectIdentifier(weight)] == nil {
            directions[ObjectIdentifier(weight)] = weight.direction(
                gradients[weight]!, scale: gradientScale, momentum: momentum, momenta(weight))
            weights.append(weight)
        }
        let found = directions
        func orthogonalise(_ block: MuonBlock, isShared: Bool) {
            let x = Tensor.newtonSchulz(block.tall { found[ObjectIdentifier($0)]! }, isShared: isShared)
            let size = 0.2 * Float(max(block.rows, block.columns)).squareRoot()
            Tensor.overElements(x.shape.count) { i, n in
                kernels.pointee.scale(x.pointer + i, x.pointer + i, size, Int64(n))
            }
            block.set(x) { found[ObjectIdentifier($0)]! }
        }
        // A block too large to wait for at the end is shared; of the others each thread takes whole ones, large ones first.
        let total = blocks.reduce(0) { $0 + $1.work }
        let isLarge = { (block: MuonBlock) in block.work > total / (2 * ThreadPool.shared.threadCount) }
        for block in blocks where isLarge(block) { orthogonalise(block, isShared: true) }
        let small = blocks.filter { !isLarge($0) }.sorted { $0.work > $1.work }
        ThreadPool.shared.run(small.count) { orthogonalise(small[$0], isShared: false) }
        for weight in weights {
            let (w, x) = (weight.floats, found[ObjectIdentifier(weight)]!.pointer)
            Tensor.overElements(weight.elementCount) { i, n in
                kernels.pointee.scale(w + i, w + i, 1 - learningRate * decay, Int64(n))
                kernels.pointee.add_scaled(w + i, x + i, -learningRate, Int64(n))
            }
            weight.changed()
        }
    }

    /// Moves the momentum and looks ahead: `M ← μ M + G`, then `G + μ M`, in this weight's layout.
    private func direction(_ gradient: Tensor, scale: Float, momentum: Float, _ moved: Tensor) -> Tensor {
        precondition(
            gradient.shape.count == elementCount && moved.shape.count == elementCount,
            "muon: \(gradient.shape), \(moved.shape) for \(layout)")
        let direction = Tensor(uninitialized: [elementCount])
        Tensor.overElements(elementCount) { i, n in
            let (m, g, d) = (moved.pointer + i, gradient.pointer + i, direction.pointer + i)
            kernels.pointee.scale(m, m, momentum, Int64(n))
            kernels.pointee.add_scaled(m, g, scale, Int64(n))
            kernels.pointee.scale(d, m, momentum, Int64(n))
            kernels.pointee.add_scaled(d, g, scale, Int64(n))
        }
        return direction
    }
}
