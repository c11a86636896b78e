import Foundation
import GlimTensor

/// The definition of GLM-5's attention, computed plainly: double precision, whole sequences, no cache, no kernels
/// (GLM-5 report, section 2.1; DeepSeek-V3.2 report, eq. 1).
///
/// Rotary angles alone are products in f32, as every engine has them. What a network rounds to fewer bits is rounded here
/// too: what meets integers, keys as they are kept, and index queries where those are integers. Experts in MTP layers only.
struct PlainNetwork {
    /// Which dimensions of an index query or key turn together.
    enum Rotation: String, CaseIterable {
        case interleavedFirst = "neighbours, first dimensions"
        case halfSplitFirst = "half a width apart, first dimensions"
        case interleavedLast = "neighbours, last dimensions"
        case halfSplitLast = "half a width apart, last dimensions"
        case none = "no rotation"

        var isHalfSplit: Bool { self == .halfSplitFirst || self == .halfSplitLast }
        var isLast: Bool { self == .interleavedLast || self == .halfSplitLast }
    }

    struct Reading {
        /// Log-probabilities of each wanted row.
        var logprobs: [[Double]]
        /// By full layer: index scores of the positions that each wanted row sees.
        var scores: [Int: [[Double]]]
        /// After the final norm, of each wanted row.
        var hidden: [[Double]]
    }

    let network: ConformanceNetwork
    let rotation: Rotation
    private let frequencies: [Float]
    private var config: ModelConfig { network.config }

    /// - Parameter rotation: the indexer's; nil is what the config says.
    /// - Returns: nil for networks whose trunk has experts, or whose queries have no latent.
    init?(_ network: ConformanceNetwork, rotation: Rotation? = nil) {
        let config = network.config
        guard config.denseLayerCount == config.layerCount, config.queryLatent != nil else { return nil }
        self.network = network
        self.rotation = rotation ?? (config.indexer?.ropeInterleave == false ? .halfSplitFirst : .interleavedFirst)
        frequencies = (0..<config.keyRotated / 2).map {
            Float(1 / pow(Float(config.ropeTheta), Float(2 * $0) / Float(config.keyRotated)))
        }
    }

    /// - Parameters:
    ///   - rows: wanted; all of them where there are several layers.
    ///   - selections: by layer and wanted row, what attention reads in full layers; nil takes the highest scores.
    func read(_ tokens: [Int32], rows: Range<Int>, selections: [[[Int32]]]? = nil) -> Reading {
        precondition(config.layerCount == 1 || rows == 0..<tokens.count, "PlainNetwork: rows \(rows)")
        var allScores: [Int: [[Double]]] = [:]
        var h = distinct(tokens)
        var chosen: [[Int32]]?
        for layer in 0..<config.layerCount {
            let prefix = "model.layers.\(layer)"
            let x = h.normed(vector("\(prefix).input_layernorm.weight"), config.normEpsilon)
            let latents = latents(x, prefix, rows)
            if let indexer = config.indexer, config.indexerKind(layer: layer) == .full {
                let scores = indexScores(x, latents, prefix, rows)
                allScores[layer] = scores
                chosen = selections?[layer] ?? scores.map { Self.top(indexer.topK, of: $0) }
            }
            let attended = attention(x, latents, prefix, rows, chosen)
            let feedForward = feedForward(layer)
            let next = zip(rows, attended).map { t, y in
                let mid = add(h[t], y)
                return add(mid, feedForward(mid))
            }
            h = Rows(values: next, place: config.layerCount == 1 ? [] : Array(0..<tokens.count))
        }
        return finished(h.values, norm: "model.norm.weight", scores: allScores)
    }

    /// The end of the trunk or of a step: the head is the trunk's.
    private func finished(_ h: [[Double]], norm: String, scores: [Int: [[Double]]]) -> Reading {
        let norm = vector(norm)
        let head = matrix(config.tiesEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight", config.hiddenSize)
        let hidden = h.map { Self.rmsNorm($0, norm, config.normEpsilon) }
        return Reading(logprobs: hidden.map { Self.logSoftmax(head($0)) }, scores: scores, hidden: hidden)
    }

    /// A step of multi-token prediction over a sequence, from 1: row t, of T - step, has seen token t + step too.
    ///
    /// - Parameters:
    ///   - hidden: the step before's, of the first step the trunk's.
    ///   - selection: by row, what attention reads.
    /// - Returns: log-probabilities, scores of the step's layer, and what the next step reads.
    func draft(_ tokens: [Int32], step: Int, hidden: [[Double]], selection: [[Int32]]) -> Reading {
        let layer = config.layerCount + min(step, config.mtpLayerCount) - 1
        let (prefix, rows) = ("model.layers.\(layer)", 0..<tokens.count - step)
        let embedding = matrix("model.embed_tokens.weight", config.hiddenSize)
        let projection = matrix("\(prefix).eh_proj.weight", 2 * config.hiddenSize)
        let (enorm, hnorm) = (vector("\(prefix).enorm.weight"), vector("\(prefix).hnorm.weight"))
        let joined = rows.map { t in
            projection(
                Self.rmsNorm(embedding.row(Int(tokens[t + step])), enorm, config.normEpsilon)
                    + Self.rmsNorm(hidden[t], hnorm, config.normEpsilon))
        }
        let x = Rows(values: joined, place: Array(rows))
            .normed(vector("\(prefix).input_layernorm.weight"), config.normEpsilon)
        let latents = latents(x, prefix, rows)
        let feedForward = feedForward(layer)
        let out = zip(joined, attention(x, latents, prefix, rows, selection)).map { h, y in
            let mid = add(h, y)
            return add(mid, feedForward(mid))
        }
        return finished(
            out, norm: "\(prefix).shared_head.norm.weight", scores: [layer: indexScores(x, latents, prefix, rows)])
    }

    /// Index scores in the first layer of each of these tokens, if it lay at position `s`, for a query at `t`.
    func scores(of tokens: [Int32], at s: Int, asking query: Int32, at t: Int) -> [Double] {
        let prefix = "model.layers.0"
        let x = distinct(tokens + [query]).normed(vector("\(prefix).input_layernorm.weight"), config.normEpsilon)
        let last = tokens.count
        let (key, score) = (indexKey(prefix), indexScore(prefix))
        let keys = tokens.indices.flatMap { kept(turned(key(x[$0]), at: s)) }
        let scored = score(x[last], latents(x, prefix, last..<last + 1)[0], t)
        return keys.withUnsafeBufferPointer { keys in tokens.indices.map { scored(keys, $0) } }
    }

    // MARK: Parts of a layer

    private func latents(_ x: Rows, _ prefix: String, _ rows: Range<Int>) -> [[Double]] {
        let down = matrix("\(prefix).self_attn.q_a_proj.weight", config.hiddenSize)
        let norm = vector("\(prefix).self_attn.q_a_layernorm.weight")
        return rows.map { Self.rmsNorm(down(x[$0]), norm, config.latentNormEpsilon) }
    }

    private func indexScores(_ x: Rows, _ latents: [[Double]], _ prefix: String, _ rows: Range<Int>) -> [[Double]] {
        guard let last = rows.last else { return [] }
        let (key, score) = (indexKey(prefix), indexScore(prefix))
        let plain = Rows(values: x.values.map(key), place: x.place)
        let keys = (0...last).flatMap { kept(turned(plain[$0], at: $0)) }
        return zip(rows, latents).map { t, latent in
            let scored = score(x[t], latent, t)
            return keys.withUnsafeBufferPointer { keys in (0...t).map { scored(keys, $0) } }
        }
    }

    /// Makes keys, before they are turned.
    private func indexKey(_ prefix: String) -> ([Double]) -> [Double] {
        let own = "\(prefix).self_attn.indexer"
        let key = matrix("\(own).wk.weight", config.hiddenSize)
        let (norm, bias) = (vector("\(own).k_norm.weight"), vector("\(own).k_norm.bias"))
        return { Self.layerNorm(key($0), norm, bias) }
    }

    /// Makes, of a row, its latent and its position, the scores of turned keys:
    /// `I[t, s] = Σ_h w[t, h] · relu(q[t, h] · k[s] · X^-0.5)`, w scaled by I^-0.5.
    private func indexScore(_ prefix: String) -> ([Double], [Double], Int) -> (UnsafeBufferPointer<Double>, Int) ->
        Double
    {
        guard let indexer = config.indexer else { preconditionFailure("PlainNetwork: no indexer") }
        let (I, X, own) = (indexer.headCount, indexer.headWidth, "\(prefix).self_attn.indexer")
        let query = matrix("\(own).wq_b.weight", config.queryLatent!)
        let weights = matrix("\(own).weights_proj.weight", config.hiddenSize)
        return { x, latent, t in
            let flat = query(latent)
            let q = (0..<I).flatMap { h in
                let one = turned(Array(flat[h * X..<(h + 1) * X]), at: t)
                return indexer.keyFormat == .int8 ? Self.inSteps(one, group: X) : one
            }
            let w = weights(x).map { $0 / Double(I).squareRoot() }
            return { keys, s in
                var sum = 0.0
                for h in 0..<I {
                    var dot = 0.0
                    for d in 0..<X { dot += q[h * X + d] * keys[s * X + d] }
                    sum += w[h] * max(0, dot / Double(X).squareRoot())
                }
                return sum
            }
        }
    }

    /// An index key as it is kept.
    private func kept(_ key: [Double]) -> [Double] {
        switch config.indexer?.keyFormat {
        case .int8: Self.inSteps(key, group: key.count)
        case .bf16: key.map(Self.inBF16)
        case .f32, nil: key
        }
    }

    private func attention(
        _ x: Rows, _ latents: [[Double]], _ prefix: String, _ rows: Range<Int>, _ chosen: [[Int32]]?
    ) -> [[Double]] {
        guard let last = rows.last else { return [] }
        let (H, N, R, C, V) = (
            config.headCount, config.keyPlain, config.keyRotated, config.latent, config.valueWidth
        )
        let (own, W) = ("\(prefix).self_attn", C + R)
        let down = matrix("\(own).kv_a_proj_with_mqa.weight", config.hiddenSize)
        let norm = vector("\(own).kv_a_layernorm.weight")
        let compressed = Rows(
            values: x.values.map { x in
                let kv = down(x)
                return Self.rmsNorm(Array(kv[..<C]), norm, config.latentNormEpsilon) + kv[C...]
            }, place: x.place)
        let keys = (0...last).flatMap { s in
            let key = rotated(compressed[s], from: C, at: s, !config.ropeInterleave)
            return config.latentFormat == .bf16 ? key.map(Self.inBF16) : key
        }
        let up = matrix("\(own).kv_b_proj.weight", C)
        let (query, output) = (
            matrix("\(own).q_b_proj.weight", config.queryLatent!), matrix("\(own).o_proj.weight", H * V)
        )
        return rows.enumerated().map { i, t in
            let flat = query(latents[i])
            let seen = chosen?[i].map { Int($0) } ?? Array(0...t)
            var values: [Double] = []
            for h in 0..<H {
                let q = rotated(
                    Array(flat[h * (N + R)..<(h + 1) * (N + R)]), from: N, at: t, !config.ropeInterleave)
                // Into the latent space: q · W_UK.
                var carried = [Double](repeating: 0, count: C) + q[N...]
                for n in 0..<N {
                    let row = up.row(h * (N + V) + n)
                    for c in 0..<C { carried[c] += q[n] * row[c] }
                }
                var scores = seen.map { s in
                    var dot = 0.0
                    for d in 0..<W { dot += carried[d] * keys[s * W + d] }
                    return dot / Double(N + R).squareRoot()
                }
                let peak = scores.max() ?? 0
                for j in scores.indices { scores[j] = exp(scores[j] - peak) }
                let total = scores.reduce(0, +)
                var mean = [Double](repeating: 0, count: C)
                for (j, s) in seen.enumerated() {
                    for c in 0..<C { mean[c] += scores[j] / total * keys[s * W + c] }
                }
                for v in 0..<V { values.append(up.dot(h * (N + V) + N + v, mean)) }
            }
            return output(values)
        }
    }

    private func feedForward(_ layer: Int) -> ([Double]) -> [Double] {
        let prefix = "model.layers.\(layer)"
        let (norm, epsilon) = (vector("\(prefix).post_attention_layernorm.weight"), config.normEpsilon)
        let inner =
            config.isDense(layer: layer) ? mlp("\(prefix).mlp", config.denseWidth) : experts("\(prefix).mlp")
        return { inner(Self.rmsNorm($0, norm, epsilon)) }
    }

    private func mlp(_ name: String, _ width: Int) -> ([Double]) -> [Double] {
        let gate = matrix("\(name).gate_proj.weight", config.hiddenSize)
        let up = matrix("\(name).up_proj.weight", config.hiddenSize)
        let down = matrix("\(name).down_proj.weight", width)
        return { x in down(zip(gate(x), up(x)).map { $0 / (1 + exp(-$0)) * $1 }) }
    }

    /// Experts in one group, with weights that sum to `routedScale`; the bias steers the choice only.
    private func experts(_ name: String) -> ([Double]) -> [Double] {
        precondition(config.groupCount == 1 && config.normalisesExpertWeights, "PlainNetwork: experts in groups")
        let router = matrix("\(name).gate.weight", config.hiddenSize)
        let bias = vector("\(name).gate.e_score_correction_bias")
        let each = (0..<config.routedExpertCount).map { mlp("\(name).experts.\($0)", config.expertWidth) }
        let shared = config.sharedExpertCount > 0 ? mlp("\(name).shared_experts", config.sharedWidth) : nil
        let (count, scale) = (config.expertsPerToken, Double(config.routedScale))
        return { x in
            let scores = router(x).map { 1 / (1 + exp(-$0)) }
            let chosen = Self.top(count, of: zip(scores, bias).map(+)).map { Int($0) }
            let total = chosen.reduce(0) { $0 + scores[$1] }
            return chosen.reduce(shared?(x) ?? [Double](repeating: 0, count: x.count)) { sum, e in
                zip(sum, each[e](x)).map { $0 + scale * scores[e] / total * $1 }
            }
        }
    }

    // MARK: Rotation

    /// An index query or key, turned as the indexer's convention has it.
    private func turned(_ x: [Double], at position: Int) -> [Double] {
        guard rotation != .none else { return x }
        return rotated(x, from: rotation.isLast ? x.count - config.keyRotated : 0, at: position, rotation.isHalfSplit)
    }

    private func rotated(_ x: [Double], from first: Int, at position: Int, _ isHalfSplit: Bool) -> [Double] {
        var y = x
        let half = frequencies.count
        for j in 0..<half {
            let angle = Double(Float(position) * frequencies[j])
            let (a, b) = isHalfSplit ? (first + j, first + half + j) : (first + 2 * j, first + 2 * j + 1)
            y[a] = x[a] * cos(angle) - x[b] * sin(angle)
            y[b] = x[b] * cos(angle) + x[a] * sin(angle)
        }
        return y
    }

    // MARK: Numbers

    /// Rows of positions that may share values: in the first layer what a token brings is the same everywhere.
    private struct Rows {
        var values: [[Double]]
        /// Which of the values each position has; empty where they are not positions but the wanted rows.
        var place: [Int]
        subscript(_ position: Int) -> [Double] { values[place[position]] }

        func normed(_ weight: [Double], _ epsilon: Float) -> Rows {
            Rows(values: values.map { PlainNetwork.rmsNorm($0, weight, epsilon) }, place: place)
        }
    }

    private func distinct(_ tokens: [Int32]) -> Rows {
        let embedding = matrix("model.embed_tokens.weight", config.hiddenSize)
        var places: [Int32: Int] = [:]
        var rows = Rows(values: [], place: [])
        for token in tokens {
            if places[token] == nil {
                places[token] = rows.values.count
                rows.values.append(embedding.row(Int(token)))
            }
            rows.place.append(places[token]!)
        }
        return rows
    }

    private struct Matrix {
        let numbers: [Float]
        let columns: Int
        /// Inputs that are rounded to int8 by one scale; nil where they are not rounded.
        let group: Int?

        func row(_ i: Int) -> [Double] { numbers[i * columns..<(i + 1) * columns].map { Double($0) } }

        func dot(_ row: Int, _ x: [Double]) -> Double {
            var sum = 0.0
            for i in 0..<columns { sum += Double(numbers[row * columns + i]) * x[i] }
            return sum
        }

        func callAsFunction(_ x: [Double]) -> [Double] {
            precondition(x.count == columns, "PlainNetwork: \(x.count) numbers for \(columns) columns")
            let x = group.map { PlainNetwork.inSteps(x, group: $0) } ?? x
            return (0..<numbers.count / columns).map { dot($0, x) }
        }
    }

    private func matrix(_ name: String, _ columns: Int) -> Matrix {
        let integers = network.integers(name)
        return Matrix(
            numbers: integers?.numbers ?? network.tensor(name), columns: columns, group: integers?.format.group)
    }

    private func vector(_ name: String) -> [Double] { network.tensor(name).map { Double($0) } }

    private func add(_ x: [Double], _ y: [Double]) -> [Double] { zip(x, y).map { $0 + $1 } }

    /// Numbers as int8 has them, each group by its largest.
    static func inSteps(_ x: [Double], group: Int) -> [Double] {
        stride(from: 0, to: x.count, by: group).flatMap { first in
            let some = x[first..<min(x.count, first + group)]
            let step = some.reduce(0) { max($0, abs($1)) } / 127
            return some.map { step == 0 ? 0 : ($0 / step).rounded(.toNearestOrEven) * step }
        }
    }

    /// The nearest number of bf16.
    static func inBF16(_ x: Double) -> Double {
        let bits = Float(x).bitPattern
        return Double(Float(bitPattern: (bits + 0x7FFF + bits >> 16 & 1) & 0xFFFF_0000))
    }

    static func rmsNorm(_ x: [Double], _ weight: [Double], _ epsilon: Float) -> [Double] {
        let inverse = 1 / (x.reduce(0) { $0 + $1 * $1 } / Double(x.count) + Double(epsilon)).squareRoot()
        return zip(x, weight).map { $0 * inverse * $1 }
    }

    static func layerNorm(_ x: [Double], _ weight: [Double], _ bias: [Double]) -> [Double] {
        let mean = x.reduce(0, +) / Double(x.count)
        let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.count)
        let inverse = 1 / (variance + 1e-6).squareRoot()
        return x.indices.map { (x[$0] - mean) * inverse * weight[$0] + bias[$0] }
    }

    static func logSoftmax(_ x: [Double]) -> [Double] {
        let peak = x.max() ?? 0
        let total = log(x.reduce(0) { $0 + exp($1 - peak) }) + peak
        return x.map { $0 - total }
    }

    /// The positions of the highest scores, ties to the lower position, ascending.
    static func top(_ count: Int, of scores: [Double]) -> [Int32] {
        let order = scores.indices.sorted { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }
        return order.prefix(count).sorted().map { Int32($0) }
    }
}
