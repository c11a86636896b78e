import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

/// The index losses of DSA training against PyTorch in f64 (Tools/model_golden.py, make_indexer).
@Suite("golden indexer") struct GoldenIndexerTests {
    private let file: Checkpoint
    private let indexer: Indexer
    private let x: Tensor
    private let latent: Tensor
    private let length: Int
    private let topK: Int
    private let rotary: RotaryTable

    init() throws {
        let file = try Checkpoint(file: Golden.folder.appending(path: "indexer.safetensors"))
        func tensor(_ name: String) throws -> Tensor { Tensor(try file.floats(name), Shape(try file.info(name).shape)) }
        (self.file, x, latent) = (file, try tensor("x"), try tensor("q_latent"))
        let rope = try file.floats("rope")
        let (D, Q) = (x.shape.last, latent.shape.last)
        let (heads, width) = (try file.info("weights_proj").shape[0], try file.info("wk").shape[0])
        length = x.shape.rows
        let topK = try file.info("selection").shape[1]
        self.topK = topK
        let config = ModelConfig().with {
            ($0.hiddenSize, $0.queryLatent, $0.layerCount, $0.denseLayerCount) = (D, Q, 1, 1)
            ($0.vocabularySize, $0.denseWidth, $0.headCount, $0.latent) = (8, 8, 2, 8)
            ($0.keyPlain, $0.keyRotated, $0.valueWidth, $0.mtpLayerCount) = (8, Int(rope[0]), 8, 0)
            $0.indexer = .init(headCount: heads, headWidth: width, topK: topK, kinds: [.full])
        }
        indexer = try #require(Model(config, seed: 1).layers[0].attention.indexer)
        for (weight, name) in zip(indexer.weights, Self.names) {
            try file.floats(name).withUnsafeBufferPointer { weight.set($0) }
            weight.changed()
        }
        rotary = RotaryTable(dimensions: Int(rope[0]), theta: Double(rope[1]), positions: length)
    }

    /// In the order of `Indexer.weights`.
    private static let names = ["wq_b", "wk", "k_norm.weight", "k_norm.bias", "weights_proj"]

    private func pass(_ tape: Tape?) -> Pass {
        Pass(batch: Batch(tokens: [Int32](repeating: 0, count: length), lengths: [length]), rotary: rotary, tape: tape)
    }

    private func scores(_ tape: Tape?) -> Tensor {
        let pass = pass(tape)
        let (q, weights) = indexer.queries(x, latent, pass, tape: tape)
        let keys = indexer.keys(x, pass, tape: tape)
        return Tensor.indexScores(
            q, weights: weights, keys: keys, scale: Float(1 / Double(keys.shape.last).squareRoot()), tape: tape)
    }

    @Test("scores are PyTorch's, and minus infinity right of the diagonal") func values() throws {
        let (found, expected) = (scores(nil).elements, try file.floats("scores"))
        for t in 0..<length {
            let row = t * length..<t * length + t + 1
            expectClose(Array(found[row]), Array(expected[row]), within: 1e-5, "row \(t)")
            #expect(found[t * length + t + 1..<(t + 1) * length].allSatisfy { $0 == -.infinity })
        }
    }

    @Test("the selection is PyTorch's") func selection() throws {
        let pass = pass(nil)
        let (q, weights) = indexer.queries(x, latent, pass, tape: nil)
        let keys = indexer.keys(x, pass, tape: nil)
        let slice = SequenceSlice(row: 0, count: length, position: 0)
        let found = Tensor.select(
            q, weights: weights, pages: [KeyPages(rows: slice, of: keys)], slices: [slice], topK: topK,
            scale: Float(1 / Double(keys.shape.last).squareRoot()))
        let rows = (0..<length).flatMap { t -> [Int32] in
            let row = found[t] ?? Array(0...Int32(t))
            return row + [Int32](repeating: -1, count: topK - row.count)
        }
        #expect(try rows == file.int32s("selection"))
    }

    @Test(
        "the KL loss and its gradients are PyTorch's, over all positions and over the selection",
        arguments: ["dense", "sparse"])
    func kl(which: String) throws {
        let tape = Tape()
        let scores = scores(tape)
        let (values, target) = (scores.elements, try file.floats("\(which).target"))
        let selection = try file.int32s("selection")
        var gradient = [Float](repeating: 0, count: values.count)
        var kl = [Float](repeating: 0, count: length)
        for t in 0..<length {
            let seen =
                which == "dense"
                ? Array(0...t) : selection[t * topK..<(t + 1) * topK].filter { $0 >= 0 }.map { Int($0) }
            var row = seen.map { values[t * length + $0] }
            kl[t] = Float(Tensor.indexDivergence(&row, from: seen.map { target[t * length + $0] }, seen.count))
            for (s, number) in zip(seen, row) { gradient[t * length + s] = number }
        }
        expectClose(kl, try file.floats("\(which).kl"), within: 2e-5)
        #expect(relativeDistance(gradient, try file.floats("\(which).grad.scores")) < 1e-5)
        tape.backward(from: [(scores, Tensor(gradient, [length, length]))])
        for (weight, name) in zip(indexer.weights, Self.names) {
            let found = try #require(tape.gradients[weight], "\(name) has no gradient")
            let off = relativeDistance(weight.rows(of: found).elements, try file.floats("\(which).grad.\(name)"))
            #expect(off < 1e-4, "\(name) is off by \(off)")
        }
    }
}
