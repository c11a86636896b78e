import CGlimKernels
import Foundation

/// The two running averages of AdamW for one weight, in the weight's layout.
public struct AdamWState: Sendable {
    /// Of the gradient.
    public let mean: Tensor
    /// Of its square.
    public let square: Tensor

    /// Zeros, before the first step.
    public init(for weight: Weight) {
        (mean, square) = (Tensor(zeros: [weight.elementCount]), Tensor(zeros: [weight.elementCount]))
    }
}

extension Weight {
    /// One step of AdamW with decoupled decay (Loshchilov and Hutter, algorithm 2).
    ///
    /// - Parameters:
    ///   - gradient: in this weight's layout; used as `gradient · gradientScale`.
    ///   - beta1: what is kept of the mean in a step; `beta2` of the square.
    ///   - epsilon: added to the root of the corrected square.
    ///   - decay: share of the weight that goes, times the learning rate.
    ///   - step: from 1, for bias correction.
    public func adamW(
        _ state: AdamWState, gradient: Tensor, gradientScale: Float, learningRate: Float, beta1: Float, beta2: Float,
        epsilon: Float, decay: Float, step: Int
    ) {
        precondition(gradient.shape.count == elementCount, "adamW: \(gradient.shape) for \(layout)")
        let correction1 = Float(1 - pow(Double(beta1), Double(step)))
        let correction2 = Float(1 - pow(Double(beta2), Double(step)))
        let w = floats
        Tensor.overElements(elementCount) { i, n in
            kernels.pointee.adamw(
                w + i, state.mean.pointer + i, state.square.pointer + i, gradient.pointer + i, Int64(n),
                learningRate, beta1, beta2, epsilon, decay, correction1, correction2, gradientScale)
        }
        changed()
    }
}
