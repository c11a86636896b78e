import Foundation
import GlimTensor

extension Model {
    /// A new model: matrices normal with the config's standard deviation, the ones that write to the residual stream
    /// smaller by √(2 L); norms 1, biases 0.
    ///
    /// Each number is a function of (seed, tensor name, index): the same for any threads, and on any machine whose
    /// `log`, `sin` and `cos` round alike.
    public init(_ config: ModelConfig, seed: UInt64) {
        self.init(config)
        initialise(tensors, seed: seed)
        changed()
    }

    /// Gives matrices the numbers that a new model has.
    func initialise(_ tensors: [CheckpointTensor], seed: UInt64) {
        let residual = Float(1 / Double(2 * config.layerCount).squareRoot())
        ThreadPool.shared.run(tensors.count) { i in
            let tensor = tensors[i]
            guard tensor.shape.count == 2 else { return }
            let writesResidual = tensor.name.hasSuffix(".o_proj.weight") || tensor.name.hasSuffix(".down_proj.weight")
            let deviation = config.initializerRange * (writesResidual ? residual : 1)
            let random = CounterRandom(seed: seed, purpose: "init.\(tensor.name)")
            let count = tensor.shape[0] * tensor.shape[1]
            var numbers = [Float](repeating: 0, count: count + 1)
            for j in stride(from: 0, to: count, by: 2) {
                // Box–Muller.
                let radius = (-2 * log(1 - random.uniform(UInt64(j)))).squareRoot()
                let angle = 2 * Double.pi * random.uniform(UInt64(j + 1))
                numbers[j] = Float(radius * cos(angle)) * deviation
                numbers[j + 1] = Float(radius * sin(angle)) * deviation
            }
            numbers.withUnsafeBufferPointer { tensor.fill(from: UnsafeBufferPointer(rebasing: $0[..<count])) }
        }
    }
}
