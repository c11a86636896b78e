import GlimTensor

/// What the experts of a layer are like, and how one of them lies in memory: gate, up and down, one behind another.
struct ExpertShape: Sendable {
    /// As in the checkpoint.
    let layer: Int
    /// Blueprints.
    let weights: ExpertWeights
    /// Of one expert, in whole pages.
    let byteCount: Int
    /// Where each matrix begins.
    private let offsets: [Int]

    init(layer: Int, _ weights: ExpertWeights) {
        (self.layer, self.weights) = (layer, weights)
        var (offsets, end): ([Int], Int) = ([], 0)
        for weight in [weights.gate, weights.up, weights.down] {
            offsets.append(end)
            end += (weight.matrixByteCount + 63) & ~63
        }
        (self.offsets, byteCount) = (offsets, SystemPages.rounded(end))
    }

    /// Experts of the layer.
    var count: Int { weights.gate.count }

    /// The matrices of an expert: their tensors in the checkpoint, and where they begin in its memory.
    func matrices(of expert: Int) -> [(tensor: String, weight: Weight, offset: Int)] {
        let prefix = "model.layers.\(layer).mlp.experts.\(expert)"
        return [
            ("\(prefix).gate_proj.weight", weights.gate, offsets[0]),
            ("\(prefix).up_proj.weight", weights.up, offsets[1]),
            ("\(prefix).down_proj.weight", weights.down, offsets[2]),
        ]
    }

    /// Weights in which some experts have a place.
    ///
    /// - Parameter memory: of each of these experts.
    func placed(_ memory: [(expert: Int, pointer: UnsafeMutableRawPointer)]) -> ExpertWeights {
        func weight(_ shape: Weight, _ offset: Int) -> Weight {
            var places = [UnsafeMutableRawPointer?](repeating: nil, count: count)
            for (expert, pointer) in memory { places[expert] = pointer + offset }
            return Weight(places: places, like: shape)
        }
        return ExpertWeights(
            gate: weight(weights.gate, offsets[0]), up: weight(weights.up, offsets[1]),
            down: weight(weights.down, offsets[2]))
    }
}
