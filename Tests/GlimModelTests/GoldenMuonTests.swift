import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimTestSupport
import GlimTrain
import Testing

/// The model of Tools/muon_golden.py.
private func goldenConfig() -> ModelConfig {
    ModelConfig().with {
        ($0.vocabularySize, $0.hiddenSize, $0.denseWidth, $0.expertWidth) = (17, 12, 15, 8)
        ($0.layerCount, $0.denseLayerCount, $0.mtpLayerCount) = (2, 1, 1)
        ($0.headCount, $0.keyPlain, $0.keyRotated, $0.valueWidth) = (5, 6, 4, 5)
        ($0.queryLatent, $0.latent) = (14, 10)
        ($0.routedExpertCount, $0.expertsPerToken, $0.sharedExpertCount) = (2, 1, 1)
        $0.indexer = .init(headCount: 2, headWidth: 4, topK: 8, kinds: [.full, .full])
        $0.dtype = .float32
    }
}

@Suite("Muon over a model") struct GoldenMuonTests {
    @Test(
        "three steps are NumPy's, for every tensor, split into heads and not",
        arguments: [Optimizer.Kind.muon, .muonSplit])
    func golden(kind: Optimizer.Kind) throws {
        let file = try Checkpoint(file: Golden.folder.appending(path: "muon.safetensors"))
        let model = Model(goldenConfig(), seed: 0)
        // All but the routers' biases, which no gradient moves.
        let tensors = model.tensors.filter { !$0.name.hasSuffix("e_score_correction_bias") }
        for tensor in tensors {
            try file.floats("initial.\(tensor.name)").withUnsafeBufferPointer { tensor.fill(from: $0) }
        }
        for weight in model.weights { weight.changed() }
        var optimizer = Optimizer(model, kind)
        for (step, rate) in [0.5, 0.3, 0.2].enumerated() {
            var gradients = Gradients()
            for weight in model.weights {
                gradients.set(Tensor(zeros: [weight.elementCount]), for: weight)
            }
            for tensor in tensors {
                try file.floats("gradient.\(step + 1).\(tensor.name)").withUnsafeBufferPointer {
                    tensor.fill(from: $0) { gradients[$0] }
                }
            }
            _ = optimizer.update(gradients, learningRate: rate)
        }
        for tensor in tensors {
            let expected = try file.floats("\(kind.rawValue).\(tensor.name)")
            expectClose(tensor.numbers()!.elements, expected, within: 1e-4, tensor.name)
        }
    }

    @Test("every weight of a model is AdamW's or covered once by blocks", arguments: 0..<12) func division(seed: Int) {
        let model = Model(Tiny.config(seed), seed: 1)
        let matrices = model.weights.filter { !$0.isVector }
        var adamW = Set(model.indexerWeights.map { ObjectIdentifier($0) })
        adamW.formUnion([model.embedding, model.head].map { ObjectIdentifier($0) })
        let experts = model.layers.compactMap(\.experts) + model.predictions.compactMap(\.layer.experts)
        adamW.formUnion(experts.map { ObjectIdentifier($0.router) })
        for splitsHeads in [false, true] {
            let blocks = model.muonBlocks(splitsHeads: splitsHeads)
            var covered: [ObjectIdentifier: [Int]] = [:]
            for part in blocks.flatMap(\.parts) {
                let key = ObjectIdentifier(part.weight)
                for o in part.outputs {
                    covered[key, default: [Int](repeating: 0, count: part.weight.count * part.weight.outputs)][
                        part.matrix * part.weight.outputs + o] += 1
                }
            }
            for weight in matrices {
                let times = covered[ObjectIdentifier(weight)]
                if adamW.contains(ObjectIdentifier(weight)) {
                    #expect(times == nil)
                } else {
                    #expect(times?.allSatisfy { $0 == 1 } ?? false, "\(weight.layout)")
                }
            }
            #expect(covered.count == matrices.count { !adamW.contains(ObjectIdentifier($0)) })
        }
    }

    @Test("plain blocks are the checkpoint's matrices; split ones a head's part of W_UQ, W_UK and W_UV") func shapes() {
        let config = goldenConfig()
        let model = Model(config, seed: 1)
        func sorted(_ shapes: [[Int]]) -> [[Int]] { shapes.sorted { $0.lexicographicallyPrecedes($1) } }
        func shapes(splitsHeads: Bool) -> [[Int]] {
            sorted(model.muonBlocks(splitsHeads: splitsHeads).map { [$0.rows, $0.columns] })
        }
        let perLayer: [[Int]] = [[14, 12], [14, 12], [12, 25]]
        let mlps: [[Int]] =
            [[15, 12], [15, 12], [12, 15]] + (0..<2 * 3).flatMap { _ in [[8, 12], [8, 12], [12, 8]] }
        let rest = (0..<3).flatMap { _ in perLayer } + mlps + [[12, 24]]
        let whole = (0..<3).flatMap { _ in [[50, 14], [55, 10]] }
        // W_UK lies transposed in its weight, which is the same to an orthogonal matrix.
        let heads = (0..<3 * 5).flatMap { _ in [[10, 14], [10, 6], [5, 10]] }
        #expect(shapes(splitsHeads: false) == sorted(rest + whole))
        #expect(shapes(splitsHeads: true) == sorted(rest + heads))
    }
}
