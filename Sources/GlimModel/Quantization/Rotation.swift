import GlimTensor

/// A random rotation: signs, then Hadamard's matrix, in blocks of the largest power of two that divides the width
/// (QuaRot: Ashkboos et al., 2024). It spreads what is large in few places over many, and changes no length.
struct Rotation {
    let width: Int
    private let block: Int
    private let signs: [Double]

    init(width: Int, seed: UInt64, purpose: String) {
        self.width = width
        block = width & -width
        let random = CounterRandom(seed: seed, purpose: "rotation.\(purpose)")
        signs = (0..<width).map { random.uniform(UInt64($0)) < 0.5 ? -1 : 1 }
    }

    /// Rotates `width` numbers that lie `stride` apart.
    func apply(_ x: UnsafeMutablePointer<Float>, stride: Int = 1) {
        var y = (0..<width).map { Double(x[$0 * stride]) * signs[$0] }
        var half = 1
        while half < block {
            for first in Swift.stride(from: 0, to: width, by: 2 * half) {
                for i in first..<first + half { (y[i], y[i + half]) = (y[i] + y[i + half], y[i] - y[i + half]) }
            }
            half *= 2
        }
        let scale = 1 / Double(block).squareRoot()
        for i in 0..<width { x[i * stride] = Float(y[i] * scale) }
    }
}

extension Weight {
    /// Changes the numbers of each matrix, row-major `[outputs, inputs]`, or of one, or of a vector.
    func change(_ one: Int? = nil, _ body: (UnsafeMutablePointer<Float>) -> Void) {
        let chosen = one.map { $0..<$0 + 1 } ?? 0..<count
        ThreadPool.shared.run(chosen.count) { i in
            var numbers = rows(matrix: chosen.lowerBound + i).elements
            numbers.withUnsafeMutableBufferPointer { numbers in
                guard let base = numbers.baseAddress else { return }
                body(base)
                set(UnsafeBufferPointer(numbers), matrix: chosen.lowerBound + i)
            }
        }
        changed()
    }

    /// Makes up for inputs that were rotated: each `rotation.width` of them by themselves.
    func rotateInputs(_ rotation: Rotation) {
        change { numbers in
            for i in Swift.stride(from: 0, to: outputs * inputs, by: rotation.width) { rotation.apply(numbers + i) }
        }
    }

    /// Rotates outputs.
    func rotateOutputs(_ rotation: Rotation) {
        change { numbers in
            for i in 0..<inputs { rotation.apply(numbers + i, stride: inputs) }
        }
    }

    /// Multiplies what meets each input.
    func scaleInputs(by factors: [Float], matrix: Int? = nil) {
        change(matrix) { numbers in
            for o in 0..<outputs {
                for i in 0..<inputs { numbers[o * inputs + i] *= factors[i] }
            }
        }
    }

    /// Divides each output; of a vector each number.
    func divideOutputs(by factors: [Float], matrix: Int? = nil) {
        change(matrix) { numbers in
            for o in 0..<outputs {
                for i in 0..<inputs { numbers[o * inputs + i] /= factors[o] }
            }
        }
    }

    /// Moves a norm's weights into those that read what it makes.
    func fold(into readers: [Weight]) {
        let numbers = rows().elements
        for reader in readers { reader.scaleInputs(by: numbers) }
        [Float](repeating: 1, count: outputs).withUnsafeBufferPointer { set($0) }
        changed()
    }
}

extension Model {
    /// Rotates, without changing what the model computes but for rounding, whatever the products that will be quantised
    /// meet:
    ///
    /// - the queries' latent: its norm's weights move into what reads it, and a norm without weights commutes with
    ///   rotations;
    /// - each head's values, between `kv_b_proj` and `o_proj`;
    /// - the residual stream, with all norms that read it folded; but not where the head is the embedding, which would
    ///   have to be folded and not, nor where a layer of multi-token prediction norms again what the last norm made:
    ///   with weights in between, that does not commute.
    ///
    /// Routers and indexers read the rotated stream too; their choices are the same but where two scores tie to the last
    /// bits. Rotated keys and the latent of keys and values stay as they are: RoPE acts on the one, and what reads the
    /// other is not quantised.
    /// - Returns: whether the residual stream was among them.
    package func rotate(seed: UInt64) -> Bool {
        let all = layers + predictions.map(\.layer)
        for (i, layer) in all.enumerated() {
            let attention = layer.attention
            if let down = attention.queryDown, let norm = attention.queryNorm {
                let readers = [attention.queryUp] + (attention.indexer.map { [$0.query] } ?? [])
                let rotation = Rotation(width: norm.outputs, seed: seed, purpose: "queries.\(i)")
                norm.fold(into: readers)
                down.rotateOutputs(rotation)
                for reader in readers { reader.rotateInputs(rotation) }
            }
            let values = Rotation(width: attention.valueUp.outputs, seed: seed, purpose: "values.\(i)")
            attention.valueUp.rotateOutputs(values)
            attention.output.rotateInputs(values)
        }
        guard predictions.isEmpty, !config.tiesEmbeddings else { return false }
        let stream = Rotation(width: config.hiddenSize, seed: seed, purpose: "stream")
        embedding.rotateInputs(stream)
        for layer in layers {
            for (norm, readers) in layer.streamReaders {
                norm.fold(into: readers)
                for reader in readers { reader.rotateInputs(stream) }
            }
            for writer in layer.streamWriters { writer.rotateOutputs(stream) }
        }
        norm.fold(into: [head])
        head.rotateInputs(stream)
        return true
    }
}

extension DecoderLayer {
    /// Each norm of the residual stream, and all that reads what it makes.
    var streamReaders: [(norm: Weight, readers: [Weight])] {
        let own = [attention.queryDown ?? attention.queryUp, attention.keyDown]
        let indexer = attention.indexer.map { [$0.key, $0.headWeights] } ?? []
        let next: [Weight] =
            switch feedForward {
            case .dense(let mlp): [mlp.gate, mlp.up]
            case .experts(let experts):
                [experts.router] + (experts.resident.map { [$0.gate, $0.up] } ?? [])
                    + (experts.shared.map { [$0.gate, $0.up] } ?? [])
            }
        return [(attentionNorm, own + indexer), (feedForwardNorm, next)]
    }

    /// What is added to the residual stream.
    var streamWriters: [Weight] {
        let next: [Weight] =
            switch feedForward {
            case .dense(let mlp): [mlp.down]
            case .experts(let experts):
                (experts.resident.map { [$0.down] } ?? []) + (experts.shared.map { [$0.down] } ?? [])
            }
        return [attention.output] + next
    }
}
