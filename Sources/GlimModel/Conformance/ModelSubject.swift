import GlimTensor

/// Our own engine under test.
public struct ModelEngine: ConformanceEngine {
    public init() {}

    public func subject(_ network: ConformanceNetwork) throws -> any ConformanceSubject {
        let model = Model(network.config) { matrix in
            MatrixForm(format: network.integers(matrix.tensor)?.format ?? .f32)
        }
        for tensor in model.tensors {
            if tensor.integerFormat == nil {
                network.tensor(tensor.name).withUnsafeBufferPointer { tensor.fill(from: $0) }
            } else if let integers = network.integers(tensor.name) {
                tensor.parts[0].weight.set(integers, matrix: tensor.parts[0].matrix)
            }
        }
        model.changed()
        return ModelSubject(model)
    }
}

/// One of our models under test: outputs and selections of the code that trains and generates.
public struct ModelSubject: ConformanceSubject {
    public let model: Model
    public let facts: ConformanceFacts

    public init(_ model: Model) {
        self.model = model
        // Whether inputs of products, or keys, are rounded to a few bits.
        let isRounded = model.config.keepsRoundedKeys || model.weights.contains { $0.quantization != nil }
        facts = ConformanceFacts(
            vocabularySize: model.config.vocabularySize, topK: model.config.indexer?.topK,
            rounding: model.config.computeType == .bfloat16 ? 0.2 : 2e-3,
            otherStep: isRounded ? ConformanceFacts.step : 0,
            // One layer's keys hang on its tokens alone, so that rows nobody asks for cost next to nothing.
            longest: model.config.layerCount == 1 ? 1 << 18 : 1 << 13)
    }

    public func read(
        _ tokens: [Int32], _ feeding: ConformanceFeeding, rows: Range<Int>
    ) throws -> ConformanceReading {
        let layers = model.config.layerCount
        var reading = ConformanceReading(
            outputs: [],
            selections: model.config.indexer.map { _ in [[[Int32]]](repeating: [], count: layers) })
        func take(_ hidden: Tensor, _ observer: Observer, first: Int) {
            let wanted = rows.clamped(to: first..<first + hidden.shape.rows)
            guard !wanted.isEmpty else { return }
            let places = wanted.map { $0 - first }
            let width = model.config.vocabularySize
            model.logits(Tensor.selectRows(hidden, places)).withElements { logits in
                for i in places.indices { reading.outputs.append(Array(logits[i * width..<(i + 1) * width])) }
            }
            guard reading.selections != nil else { return }
            var current: Selection?
            for layer in 0..<layers {
                if model.config.indexerKind(layer: layer) == .full { current = observer.selections[layer] }
                for t in places { reading.selections![layer].append(current?[t] ?? Array(0...Int32(first + t))) }
            }
        }
        switch feeding {
        case .whole:
            let observer = Observer()
            let hidden = model.hidden(Batch(tokens: tokens, lengths: [tokens.count]), observer: observer)
            take(hidden, observer, first: 0)
        case .chunks(let chunks):
            precondition(chunks.reduce(0, +) == tokens.count, "ModelSubject: chunks \(chunks) of \(tokens.count)")
            let cache = model.makeCache()
            for count in chunks where count > 0 {
                let first = cache.count
                let piece = Array(tokens[first..<first + count])
                if layers == 1, first + count <= rows.lowerBound {
                    model.writeKeys(piece, cache)
                    continue
                }
                let observer = Observer()
                let hidden = model.hidden(Batch([(piece, cache)]), observer: observer)
                take(hidden, observer, first: first)
            }
        }
        return reading
    }

    public func draft(_ tokens: [Int32], steps: Int) throws -> [ConformanceReading]? {
        let config = model.config
        guard !model.predictions.isEmpty, config.indexer != nil, tokens.count > steps else { return nil }
        let width = config.vocabularySize
        var ahead = model.hidden(Batch(tokens: tokens, lengths: [tokens.count]))
        var first: Selection?
        return (1...steps).map { step in
            let rows = Array(0..<tokens.count - step)
            let next = Array(tokens.dropFirst(step))
            let (batch, observer) = (Batch(tokens: next, lengths: [next.count]), Observer())
            let shared = first?.selectRows(rows)
            ahead = model.predictAhead(
                Tensor.selectRows(ahead, rows), next: next, batch, step: step, sharing: shared, observer: observer)
            let layer = config.layerCount + min(step, model.predictions.count) - 1
            // A step that ran an indexer read what that chose, whatever it was given.
            let ran = observer.selections[layer]
            if step == 1, config.sharesSelectionAcrossDrafts { first = ran }
            let selection = ran ?? shared
            let logits = Tensor.linear(ahead, model.aheadHead(step: step)).elements
            return ConformanceReading(
                outputs: rows.map { Array(logits[$0 * width..<($0 + 1) * width]) },
                selections: [rows.map { selection?[$0] ?? Array(0...Int32($0)) }])
        }
    }
}

extension Model {
    /// Leaves in the cache of a one-layer model what a pass leaves there, without the queries' work: a cache of 100,000
    /// positions in a moment.
    fileprivate func writeKeys(_ tokens: [Int32], _ cache: Cache) {
        precondition(layers.count == 1, "writeKeys: keys of \(layers.count) layers hang on attention")
        let (layer, attention) = (layers[0], layers[0].attention)
        let batch = Batch([(tokens, cache)])
        let pass = Pass(batch: batch, rotary: rotaryTable(batch))
        cache.reserve(tokens.count)
        let x_TD = Tensor.rmsNorm(
            Tensor.embedding(tokens, embedding), layer.attentionNorm, epsilon: config.normEpsilon)
        let keys_T = Tensor.latentKeys(
            Tensor.linear(x_TD, attention.keyDown), norm: attention.keyNorm, epsilon: config.latentNormEpsilon,
            positions: batch.positions, pass.rotary, halfSplit: !config.ropeInterleave, format: attention.keyFormat)
        _ = batch.pages(of: keys_T, .latent(layer: 0), format: .f32)
        if let indexer = attention.indexer {
            let keys = indexer.keys(x_TD, pass, tape: nil)
            _ = batch.pages(of: keys, .indexKey(layer: 0), format: indexer.keyFormat)
        }
        cache.advance(tokens.count)
    }
}

extension ConformanceNetwork {
    /// A model's own weights.
    init(_ model: Model) {
        let tensors = Dictionary(model.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        self.init(
            "model", model.config, integers: { tensors[$0]?.integers() },
            numbers: { tensors[$0]?.numbers()?.elements })
    }
}
