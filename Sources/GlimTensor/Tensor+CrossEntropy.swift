import CGlimKernels

extension Tensor {
    /// Logits held at one time by `crossEntropy`: a few megabytes whatever the vocabulary, never `[T, vocabulary]`.
    private static let logitsHeld = 1 << 21

    /// Log-probabilities of target tokens, and with a tape the gradient of their weighted negative sum.
    ///
    /// The log-sum-exp is merged over blocks of the vocabulary in a fixed order, the same as in `logSumExp`, so
    /// that training and generation agree to the bit.
    /// - Parameters:
    ///   - hidden: `[T, D]`, after the final norm.
    ///   - head: one matrix `[vocabulary, D]`.
    ///   - targets: one a row; negative is no target, its result is 0.
    ///   - lossScale: the gradient recorded is that of `-lossScale · Σ logprob`.
    /// - Returns: T log-probabilities (natural log).
    public static func crossEntropy(
        _ hidden: Tensor, head: Weight, targets: [Int32], lossScale: Float = 1, tape: Tape? = nil
    ) -> [Float] {
        let (T, D, V) = (hidden.shape.rows, hidden.shape.last, head.outputs)
        precondition(targets.count == T && head.inputs == D, "crossEntropy: \(hidden.shape), \(targets.count) targets")
        precondition(targets.allSatisfy { $0 < V }, "crossEntropy: a target is not below \(V)")
        let held = max(1, min(T, max(16, logitsHeld / V / 16 * 16)))
        let logits = Tensor(uninitialized: [held, V])
        let lse = Tensor(uninitialized: [held])
        let dhidden = tape == nil ? nil : Tensor(uninitialized: hidden.shape)
        var result = [Float](repeating: 0, count: T)
        for first in stride(from: 0, to: T, by: held) {
            let rows = min(held, T - first)
            Product.forward([logits.pointer], hidden.row(first), rows: rows, [head])
            overRows(rows, width: V) { row, n in
                kernels.pointee.log_sum_exp(lse.pointer + row, logits.row(row), Int64(V), Int64(n), Int64(V))
            }
            for t in 0..<rows where targets[first + t] >= 0 {
                result[first + t] = logits.row(t)[Int(targets[first + t])] - lse.pointer[t]
            }
            guard let tape, let dhidden else { continue }
            targets.withUnsafeBufferPointer { targets in
                let ids = Shared(targets.baseAddress! + first)
                overRows(rows, width: V) { row, n in
                    kernels.pointee.cross_entropy_backward(
                        logits.row(row), Int64(V), lse.pointer + row, ids.pointer + row, lossScale, Int64(n), Int64(V))
                }
            }
            Product.inputGradient(
                dhidden.row(first), stride: D, logits.pointer, stride: V, head, matrix: 0, rows: rows,
                accumulate: false)
            tape.write(to: head) { gradient, accumulate in
                Product.weightGradient(
                    gradient, logits.pointer, stride: V, hidden.row(first), stride: D, head, rows: rows,
                    accumulate: accumulate)
            }
        }
        if let tape, let dhidden { tape.add(dhidden, to: hidden) }
        return result
    }

    /// What `log softmax` subtracts from rows of logits, the same numbers as in `crossEntropy`.
    ///
    /// - Parameter logits: `[T, vocabulary]`
    /// - Returns: one log-sum-exp a row: `logit - logSumExp` is the log-probability.
    public static func logSumExp(_ logits: Tensor) -> [Float] {
        let (T, V) = (logits.shape.rows, logits.shape.last)
        let lse = Tensor(uninitialized: [T])
        overRows(T, width: V) { row, n in
            kernels.pointee.log_sum_exp(lse.pointer + row, logits.row(row), Int64(V), Int64(n), Int64(V))
        }
        return lse.elements
    }
}
