import Foundation
import GlimModel

// Multi-token prediction of the plain engine: layers with experts, step after step.

extension PlainSubject {
    func draft(_ tokens: [Int32], steps: Int) -> [ConformanceReading]? {
        guard config.mtpLayerCount > 0 else { return nil }
        let (trunk, hidden) = trunk(tokens, .whole, rows: 0..<tokens.count)
        let head = matrix("lm_head.weight", config.hiddenSize)
        var (before, first): ([[Double]], [[Int]]) = (hidden, [])
        return (1...steps).map { step in
            let rows = 0..<tokens.count - step
            let prefix = "model.layers.\(config.layerCount + predictionLayer(step))"
            let projection = matrix("\(prefix).eh_proj.weight", 2 * config.hiddenSize)
            let read = fault == .draftStepsReadTrunk ? hidden : before
            let h = rows.map { t in
                let token = tokens[t + (fault == .draftStepsSeeNextTokenOnly ? 1 : step)]
                return projection(
                    rmsNorm(embedding(token), vector("\(prefix).enorm.weight"), config.normEpsilon)
                        + rmsNorm(read[t], vector("\(prefix).hnorm.weight"), config.normEpsilon))
            }
            let x = h.map { rmsNorm($0, vector("\(prefix).input_layernorm.weight"), config.normEpsilon) }
            let latents = x.map { latent(prefix, $0) }
            var memory = Memory()
            for t in rows {
                memory.keys += turned(
                    compressed(prefix, x[t]), from: config.latent, at: t, !config.ropeInterleave)
                memory.indexKeys += indexKey(prefix, x[t], x[t], at: t)
            }
            var selected: [[Int]]
            if fault == .draftReusesTarget {
                selected = trunk.selections![config.layerCount - 1][rows].map { $0.map { Int($0) } }
            } else if step > 1, sharesSelection {
                selected = Array(first[rows])
            } else {
                selected = rows.map { select(prefix, x[$0], latents[$0], memory.indexKeys, at: $0, total: $0 + 1) }
            }
            if step == 1 { first = selected }
            before = rows.map { t in
                let mid = add(h[t], attention(prefix, latents[t], memory.keys, selected[t], at: t, first: 0))
                return rmsNorm(
                    add(mid, experts(prefix, mid)), vector("\(prefix).shared_head.norm.weight"), config.normEpsilon)
            }
            return ConformanceReading(
                outputs: before.map { head($0).map { Float($0) } }, selections: [selected.map { $0.map { Int32($0) } }])
        }
    }

    /// The MTP layer of a step, from 0.
    private func predictionLayer(_ step: Int) -> Int {
        switch fault {
        case .draftStepsUseFirstLayer: 0
        case .draftStepsUseLayersInTurn: (step - 1) % config.mtpLayerCount
        default: min(step, config.mtpLayerCount) - 1
        }
    }

    /// Whether steps after the first read what that selected.
    private var sharesSelection: Bool {
        switch fault {
        case .draftStepsShare: true
        case .draftStepsSelectAnew: false
        default: config.sharesSelectionAcrossDrafts
        }
    }

    private func experts(_ prefix: String, _ h: [Double]) -> [Double] {
        let x = rmsNorm(h, vector("\(prefix).post_attention_layernorm.weight"), config.normEpsilon)
        let scores = matrix("\(prefix).mlp.gate.weight", x.count)(x).map { 1 / (1 + exp(-$0)) }
        let bias = vector("\(prefix).mlp.gate.e_score_correction_bias")
        let order = scores.indices.sorted { scores[$0] + bias[$0] > scores[$1] + bias[$1] }
        let chosen = order.prefix(config.expertsPerToken)
        let total = chosen.map { scores[$0] }.reduce(0, +)
        var y = mlp("\(prefix).mlp.shared_experts", x, config.sharedWidth)
        for e in chosen {
            let made = mlp("\(prefix).mlp.experts.\(e)", x, config.expertWidth)
            for i in y.indices { y[i] += Double(config.routedScale) * scores[e] / total * made[i] }
        }
        return y
    }
}
