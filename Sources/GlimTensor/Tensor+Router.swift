import CGlimKernels

/// Which experts each token goes to, and with what weights.
public struct Routing: Sendable {
    /// `[T · K]`, ascending within a token.
    public let experts: [Int32]
    /// `[T, K]`
    public let weights: Tensor
    /// Tokens that each expert got.
    public let load: [Int]
    /// K
    public let expertsPerToken: Int
}

/// How a router chooses.
public struct RouterRule: Sendable, Equatable {
    /// K
    public var expertsPerToken: Int
    /// Groups of neighbouring experts, of which a token's choice is made.
    public var groupCount: Int
    /// Groups that a token may choose from: those whose two best experts score highest together.
    public var groupsKept: Int
    /// What the weights are multiplied by (`routed_scaling_factor`).
    public var scale: Float
    /// Whether the weights of the chosen are divided by their sum first (`norm_topk_prob`).
    public var normalises: Bool

    /// The rule of these values.
    public init(expertsPerToken: Int, groupCount: Int, groupsKept: Int, scale: Float, normalises: Bool) {
        (self.expertsPerToken, self.groupCount, self.groupsKept) = (expertsPerToken, groupCount, groupsKept)
        (self.scale, self.normalises) = (scale, normalises)
    }
}

extension Tensor {
    /// Sigmoid router with bias-corrected choice: the bias steers which experts are chosen, the weights come from the
    /// unbiased probabilities (`noaux_tc`; DeepSeek-V3 report, eq. 16).
    ///
    /// - Parameters:
    ///   - logits: `[T, E]`
    ///   - bias: `[E]`, moved by load balancing, not by gradients.
    ///   - slices: the sequences of the batch, for the balance loss.
    ///   - balance: weight of the sequence-wise balance loss per token of the step: the gradient of
    ///     `balance · Σ_sequences tokens · Σ_i f_i P_i` is added to the router's (GLM-4.5 report, section 2.4).
    public static func route(
        _ logits: Tensor, bias: Weight, _ rule: RouterRule, slices: [SequenceSlice], balance: Float = 0,
        tape: Tape? = nil
    ) -> Routing {
        let (T, E, K) = (logits.shape.rows, logits.shape.last, rule.expertsPerToken)
        precondition(bias.outputs == E && K <= E, "route: \(logits.shape), \(bias.layout), \(K) per token")
        var weights = Tensor(uninitialized: [T, K])
        let probabilities = Tensor(uninitialized: [T, E])
        let experts = [Int32](unsafeUninitializedCapacity: T * K) { experts, count in
            let ids = Shared(experts.baseAddress!)
            overRows(T, width: 16 * E) { first, rows in
                kernels.pointee.route(
                    ids.pointer + first * K, weights.row(first), probabilities.row(first), logits.row(first),
                    bias.floats, Int64(rows), Int64(E), Int64(K), Int64(rule.groupCount), Int64(rule.groupsKept),
                    rule.scale, rule.normalises ? 1 : 0)
            }
            count = T * K
        }
        var load = [Int](repeating: 0, count: E)
        for e in experts { load[Int(e)] += 1 }
        tape?.record(&weights) { [unowned tape] dweights in
            let extra =
                balance == 0
                ? nil : balanceGradient(probabilities, experts, K, slices: slices, balance: balance)
            let dlogits = Tensor(uninitialized: logits.shape)
            experts.withUnsafeBufferPointer { experts in
                let ids = Shared(experts.baseAddress!)
                overRows(T, width: 16 * E) { first, rows in
                    kernels.pointee.route_backward(
                        dlogits.row(first), dweights.row(first), extra?.row(first), probabilities.row(first),
                        ids.pointer + first * K, Int64(rows), Int64(E), Int64(K), rule.scale, rule.normalises ? 1 : 0)
                }
            }
            tape!.add(dlogits, to: logits)
        }
        return Routing(experts: experts, weights: weights, load: load, expertsPerToken: K)
    }

    /// Gradient of `balance · Σ_sequences T · Σ_i f_i P_i` with respect to the probabilities, where
    /// `f_i = E / (K T) · tokens of i`, `P_i = mean_t p_i / Σ_j p_j`.
    private static func balanceGradient(
        _ p: Tensor, _ experts: [Int32], _ K: Int, slices: [SequenceSlice], balance: Float
    ) -> Tensor {
        let E = p.shape.last
        let dp = Tensor(zeros: p.shape)
        for slice in slices {
            var f = [Float](repeating: 0, count: E)
            for i in slice.row * K..<(slice.row + slice.count) * K { f[Int(experts[i])] += 1 }
            let scale = Float(E) / Float(K * slice.count)
            for t in slice.row..<slice.row + slice.count {
                let (row, out) = (p.row(t), dp.row(t))
                var (sum, weighted): (Float, Float) = (0, 0)
                for e in 0..<E {
                    sum += row[e]
                    weighted += f[e] * scale * row[e]
                }
                for e in 0..<E { out[e] = balance * (f[e] * scale - weighted / sum) / sum }
            }
        }
        return dp
    }
}
