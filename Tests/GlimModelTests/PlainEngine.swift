import Foundation
import GlimModel
import GlimTensor

/// Sparse MLA written a second time: plain Swift in double precision, without our kernels, with a cache and chunks as an
/// engine has them. Slow, and wrong in one way where asked to be.
struct PlainEngine: ConformanceEngine {
    var fault: Fault?

    func subject(_ network: ConformanceNetwork) -> any ConformanceSubject { PlainSubject(network, fault) }
}

/// Columns lie in one piece, so that a product adds scaled columns.
struct PlainMatrix {
    let columns: [Double]
    let outputs: Int
    /// Inputs that have one step of int8; nil where they are not rounded.
    var group: Int?
    var roundsDown = false

    init(_ rows: [Float], inputs: Int) {
        outputs = rows.count / inputs
        var columns = [Double](repeating: 0, count: rows.count)
        for o in 0..<outputs { for i in 0..<inputs { columns[i * outputs + o] = Double(rows[o * inputs + i]) } }
        self.columns = columns
    }

    /// - Parameter largest: of the numbers that share a step, where others than the group's do.
    func callAsFunction(_ given: [Double], largest: Double? = nil) -> [Double] {
        let x = group.map { rounded(given, group: $0, largest: largest, down: roundsDown) } ?? given
        return [Double](unsafeUninitializedCapacity: outputs) { y, count in
            for o in 0..<outputs { y.initializeElement(at: o, to: 0) }
            columns.withUnsafeBufferPointer { columns in
                for i in x.indices {
                    let (a, base) = (x[i], i * outputs)
                    for o in 0..<outputs { y[o] += a * columns[base + o] }
                }
            }
            count = outputs
        }
    }
}

/// Numbers in 255 steps, each group's by its largest.
func rounded(_ x: [Double], group: Int, largest: Double? = nil, down: Bool = false) -> [Double] {
    var y = x
    var largests = [Double](repeating: largest ?? 0, count: (x.count + group - 1) / group)
    if largest == nil { for i in x.indices { largests[i / group] = max(largests[i / group], abs(x[i])) } }
    for i in x.indices where largests[i / group] > 0 {
        let step = largests[i / group] / 127
        y[i] = (down ? (x[i] / step).rounded(.down) : rint(x[i] / step)) * step
    }
    return y
}

final class PlainSubject: ConformanceSubject {
    /// What one layer remembers.
    struct Memory {
        var keys: [Double] = []
        var indexKeys: [Double] = []
    }

    private let network: ConformanceNetwork
    let config: ModelConfig
    let fault: Fault?
    private var matrices: [String: PlainMatrix] = [:]
    private var vectors: [String: [Double]] = [:]
    private let frequencies: [Float]
    /// Layer by layer, what was selected last.
    private var last: [Int: [Int]] = [:]

    init(_ network: ConformanceNetwork, _ fault: Fault?) {
        (self.network, config, self.fault) = (network, network.config, fault)
        let rotated = network.config.keyRotated
        frequencies = (0..<rotated / 2).map {
            1 / Float(pow(network.config.ropeTheta, 2 * Double($0) / Double(rotated)))
        }
    }

    var facts: ConformanceFacts {
        ConformanceFacts(
            vocabularySize: config.vocabularySize, topK: config.indexer?.topK,
            otherStep: network.integers("lm_head.weight") == nil ? 0 : ConformanceFacts.step)
    }

    // MARK: Reading

    func read(_ tokens: [Int32], _ feeding: ConformanceFeeding, rows: Range<Int>) -> ConformanceReading {
        trunk(tokens, feeding, rows: rows).reading
    }

    func trunk(
        _ tokens: [Int32], _ feeding: ConformanceFeeding, rows: Range<Int>
    ) -> (reading: ConformanceReading, hidden: [[Double]]) {
        let chunks = if case .chunks(let chunks) = feeding { chunks } else { [tokens.count] }
        var memory = [Memory](repeating: Memory(), count: config.layerCount)
        var reading = ConformanceReading(
            outputs: [], selections: config.indexer.map { _ in .init(repeating: [], count: config.layerCount) })
        var hidden: [[Double]] = []
        if fault != .staleAcrossReads { last = [:] }
        let head = matrix("lm_head.weight", config.hiddenSize)
        var first = 0
        for count in chunks where count > 0 {
            // Rows of one layer nobody asked for leave their keys only.
            let needed = config.layerCount == 1 ? rows.clamped(to: first..<first + count) : first..<first + count
            let out = chunk(Array(tokens[first..<first + count]), at: first, needed: needed, &memory)
            let normed = out.h.map { rmsNorm($0, vector("model.norm.weight"), config.normEpsilon) }
            let largest = fault == .oneStepForTheChunk ? normed.joined().map(abs).max() : nil
            for (i, t) in needed.enumerated() where rows.contains(t) {
                hidden.append(normed[i])
                reading.outputs.append(head(normed[i], largest: largest).map { Float($0) })
                guard reading.selections != nil else { continue }
                for layer in 0..<config.layerCount {
                    reading.selections![layer].append(out.read[layer][i].map { Int32($0) })
                }
            }
            first += count
        }
        return (reading, hidden)
    }

    /// One pass over a chunk.
    ///
    /// - Returns: the residual stream of the needed rows, and what attention read for them by layer.
    private func chunk(
        _ tokens: [Int32], at first: Int, needed: Range<Int>, _ memory: inout [Memory]
    ) -> (h: [[Double]], read: [[[Int]]]) {
        let (n, total) = (tokens.count, first + tokens.count)
        var h = tokens.map { embedding($0) }
        var read: [[[Int]]] = []
        var selected: [[Int]] = []
        var firstSelected: [[Int]]?
        var lastFull = 0
        if fault == .keysRoundedInTheCacheOnly {
            for layer in memory.indices { memory[layer].keys = keptKeys(memory[layer].keys) }
        }
        // In one layer a token's keys, before they turn, are the same everywhere.
        var known: [Int32: (latent: [Double], index: [Double])] = [:]
        for layer in 0..<config.layerCount {
            let prefix = "model.layers.\(layer)"
            let norm = vector("\(prefix).input_layernorm.weight")
            let kind = config.indexerKind(layer: layer)
            if kind == .full { lastFull = layer }
            let runsIndexer = kind == .full || kind == .shared && fault == .sharedRunsIndexer
            let source = "model.layers.\(lastFull)"
            for i in 0..<n {
                let position = first + i
                var plain = layer == 0 ? known[tokens[i]] : nil
                if plain == nil {
                    let x = rmsNorm(h[i], norm, config.normEpsilon)
                    plain = (compressed(prefix, x), runsIndexer ? indexKeyBeforeTurning(source, x, h[i]) : [])
                    if layer == 0 { known[tokens[i]] = plain }
                }
                guard let plain else { continue }
                let fresh = turned(plain.latent, from: config.latent, at: position, !config.ropeInterleave)
                memory[layer].keys += fault == .keysRoundedInTheCacheOnly ? fresh : keptKeys(fresh)
                if runsIndexer {
                    var key = turnedIndexKey(source, plain.index, at: indexPosition(position, first))
                    if fault == .keysMissingWhileAllIsSelected, total <= config.indexer!.topK {
                        key = key.map { _ in 0 }
                    }
                    memory[layer].indexKeys += key
                }
            }
            let x = needed.map { rmsNorm(h[$0 - first], norm, config.normEpsilon) }
            let latents = x.map { latent(prefix, $0) }
            if runsIndexer {
                let topK = config.indexer!.topK
                let before = last[layer]
                let isStale =
                    fault == .staleInChunk && n > 1 && first > 0
                    || fault == .staleInDecoding && n == 1 && first % 2 == 1
                    || fault == .staleAcrossReads
                selected = needed.enumerated().map { i, t in
                    if total <= topK || fault == .neverSelects { return Array(0...visible(t, first, total)) }
                    if isStale, let before, before.count == topK, before.allSatisfy({ $0 <= t }) { return before }
                    return select(
                        source, x[i], latents[i], memory[layer].indexKeys, at: t, first: first, total: total)
                }
                if let newest = selected.last { last[layer] = newest }
                if firstSelected == nil { firstSelected = selected }
            }
            if kind == nil { selected = needed.map { Array(0...visible($0, first, total)) } }
            var here = selected
            if kind == .shared, fault == .sharedUsesFirst, let firstSelected { here = firstSelected }
            if kind == .shared, fault == .sharedSeesAll { here = needed.map { Array(0...$0) } }
            read.append(here)
            let keys = memory[kind == .shared && fault == .sharedReadsOtherKeys ? lastFull : layer].keys
            h = needed.enumerated().map { i, t in
                let seen = fault == .selectionIsIgnored ? Array(0...t) : here[i]
                let y = attention(prefix, latents[i], keys, seen, at: t, first: first)
                let mid = add(h[t - first], y)
                return add(mid, feedForward(prefix, mid))
            }
        }
        return (h, read)
    }

    /// The last position a row sees where nothing is selected.
    private func visible(_ t: Int, _ first: Int, _ total: Int) -> Int {
        switch fault {
        case .bidirectionalWhereAllIsSelected where config.indexer.map({ total <= $0.topK }) ?? false: total - 1
        case .maskAfterUpdate where first > 0: min(total - 1, total + t - first)
        default: t
        }
    }

    // MARK: Selecting

    private func indexPosition(_ position: Int, _ first: Int) -> Int {
        switch fault {
        case .chunkLocalPositions: position - first
        case .positionsIn16Bits: Int(UInt16(truncatingIfNeeded: position))
        // Eleven bits, as f16 has them: near 2^17 they are 64 or more apart.
        case .positionsInHalf where position >= 2048: position / 64 * 64
        default: position
        }
    }

    func select(
        _ prefix: String, _ x: [Double], _ latent: [Double], _ keys: [Double], at t: Int, first: Int = 0, total: Int
    ) -> [Int] {
        let indexer = config.indexer!
        let (I, X) = (indexer.headCount, indexer.headWidth)
        let flat = matrix("\(prefix).self_attn.indexer.wq_b.weight", latent.count)(latent)
        let queries = (0..<I).map {
            let query = turnedIndex(Array(flat[$0 * X..<($0 + 1) * X]), at: indexPosition(t, first))
            return indexer.keyFormat == .int8 ? rounded(query, group: X) : query
        }
        var weights = matrix("\(prefix).self_attn.indexer.weights_proj.weight", x.count)(x)
        if fault == .noHeadWeights { weights = weights.map { _ in 1 } }
        if fault == .softmaxHeadWeights {
            let total = weights.reduce(0) { $0 + exp($1) }
            weights = weights.map { exp($0) / total }
        }
        let seesAll = fault == .selectsTheFuture || fault == .selectsTheFutureThenMasks
        var end = seesAll ? total : visible(t, first, total) + 1
        if fault == .keysPast17BitsUnseen { end = min(end, 1 << 17) }
        var scores = [Double](repeating: 0, count: end)
        keys.withUnsafeBufferPointer { keys in
            for (q, w) in zip(queries, weights) {
                for s in 0..<end {
                    var dot = 0.0
                    for d in 0..<X { dot += q[d] * keys[s * X + d] }
                    scores[s] += w * (fault == .noReLU ? dot : max(0, dot))
                }
            }
        }
        let count = indexer.topK + (fault == .oneTooFew ? -1 : fault == .oneTooMany ? 1 : 0)
        if fault == .windowPast17Bits, total > 1 << 17 { return Array(end - count..<end) }
        let isHigherFirst = fault == .tiesToTheHigher
        // The best so far, worst last: a sort by insertion, unlike the suite's.
        var best: [Int] = []
        for s in isHigherFirst ? Array((0..<end).reversed()) : Array(0..<end) {
            if best.count == count, scores[s] <= scores[best[count - 1]] { continue }
            let place = best.firstIndex { scores[$0] < scores[s] } ?? best.count
            best.insert(s, at: place)
            if best.count > count { best.removeLast() }
        }
        if fault == .selectsTheFutureThenMasks { best.removeAll { $0 > t } }
        if best.isEmpty { best = [t] }
        return fault == .unsorted ? best : best.sorted()
    }

    func indexKey(_ prefix: String, _ x: [Double], _ h: [Double], at position: Int) -> [Double] {
        turnedIndexKey(prefix, indexKeyBeforeTurning(prefix, x, h), at: position)
    }

    private func indexKeyBeforeTurning(_ prefix: String, _ x: [Double], _ h: [Double]) -> [Double] {
        let key = matrix("\(prefix).self_attn.indexer.wk.weight", x.count)(fault == .keysBeforeNorm ? h : x)
        return fault == .normAfterRotation ? key : keyNorm(prefix, key)
    }

    private func turnedIndexKey(_ prefix: String, _ key: [Double], at position: Int) -> [Double] {
        let turned = turnedIndex(key, at: position)
        let made = fault == .normAfterRotation ? keyNorm(prefix, turned) : turned
        return config.indexer!.keyFormat == .int8
            ? rounded(made, group: made.count) : made
    }

    /// Keys of attention as they are kept, one or many.
    private func keptKeys(_ keys: [Double]) -> [Double] {
        guard config.latentFormat == .bf16 else { return keys }
        // Eight bits and the sign: what is added and taken away again leaves as many.
        return keys.map { key in
            let shift = 1.5 * Double(sign: .plus, exponent: (key == 0 ? 0 : Int(key.exponent)) + 52 - 7, significand: 1)
            return (key + shift) - shift
        }
    }

    private func keyNorm(_ prefix: String, _ key: [Double]) -> [Double] {
        let own = "\(prefix).self_attn.indexer.k_norm"
        let (weight, bias) = (vector("\(own).weight"), vector("\(own).bias"))
        if fault == .keyNormWithoutMean { return rmsNorm(key, weight, 1e-6) }
        let mean = key.reduce(0, +) / Double(key.count)
        var variance = 0.0
        for value in key { variance += (value - mean) * (value - mean) / Double(key.count) }
        return key.indices.map { (key[$0] - mean) / (variance + 1e-6).squareRoot() * weight[$0] + bias[$0] }
    }

    private func turnedIndex(_ x: [Double], at position: Int) -> [Double] {
        if fault == .noRotation { return x }
        let isHalfSplit = config.indexer!.ropeInterleave == (fault == .halfSplitRotation)
        return turned(
            x, from: fault == .lastDimensionsRotated ? x.count - config.keyRotated : 0, at: position, isHalfSplit)
    }

    // MARK: Layers

    func latent(_ prefix: String, _ x: [Double]) -> [Double] {
        rmsNorm(
            matrix("\(prefix).self_attn.q_a_proj.weight", x.count)(x),
            vector("\(prefix).self_attn.q_a_layernorm.weight"), config.latentNormEpsilon)
    }

    func compressed(_ prefix: String, _ x: [Double]) -> [Double] {
        let both = matrix("\(prefix).self_attn.kv_a_proj_with_mqa.weight", x.count)(x)
        let norm = vector("\(prefix).self_attn.kv_a_layernorm.weight")
        return rmsNorm(Array(both[..<config.latent]), norm, config.latentNormEpsilon) + both[config.latent...]
    }

    /// In the expanded form: each head's keys and values are made of the latents read.
    func attention(
        _ prefix: String, _ latent: [Double], _ keys: [Double], _ seen: [Int], at t: Int, first: Int
    ) -> [Double] {
        let (N, R, C, V) = (config.keyPlain, config.keyRotated, config.latent, config.valueWidth)
        let flat = matrix("\(prefix).self_attn.q_b_proj.weight", latent.count)(latent)
        let up = matrix("\(prefix).self_attn.kv_b_proj.weight", C)
        // A key that begins a page within a chunk was never written.
        let isLost = { (s: Int) in self.fault == .pageEdge && s % 64 == 0 && s > first && s <= t }
        let expanded = seen.map { s in
            (s, up(Array(keys[s * (C + R)..<s * (C + R) + C])), Array(keys[s * (C + R) + C..<(s + 1) * (C + R)]))
        }
        var joined: [Double] = []
        for head in 0..<config.headCount {
            let q = turned(Array(flat[head * (N + R)..<(head + 1) * (N + R)]), from: N, at: t, !config.ropeInterleave)
            let base = head * (N + V)
            var (total, sums) = (0.0, [Double](repeating: 0, count: V))
            var scores = expanded.map { s, made, rotated in
                var dot = 0.0
                for i in 0..<N { dot += q[i] * made[base + i] }
                for i in 0..<R { dot += q[N + i] * rotated[i] }
                return isLost(s) ? 0 : dot / Double(N + R).squareRoot()
            }
            let peak = scores.max() ?? 0
            for j in scores.indices {
                scores[j] = exp(scores[j] - peak)
                total += scores[j]
                guard !isLost(expanded[j].0) else { continue }
                for v in 0..<V { sums[v] += scores[j] * expanded[j].1[base + N + v] }
            }
            joined += sums.map { $0 / total }
        }
        return matrix("\(prefix).self_attn.o_proj.weight", joined.count)(joined)
    }

    private func feedForward(_ prefix: String, _ h: [Double]) -> [Double] {
        let x = rmsNorm(h, vector("\(prefix).post_attention_layernorm.weight"), config.normEpsilon)
        return mlp("\(prefix).mlp", x, config.denseWidth)
    }

    func mlp(_ name: String, _ x: [Double], _ width: Int) -> [Double] {
        let gate = matrix("\(name).gate_proj.weight", x.count)(x)
        let up = matrix("\(name).up_proj.weight", x.count)(x)
        return matrix("\(name).down_proj.weight", width)(
            gate.indices.map { gate[$0] / (1 + exp(-gate[$0])) * up[$0] })
    }

    // MARK: Numbers

    func turned(_ x: [Double], from first: Int, at position: Int, _ isHalfSplit: Bool) -> [Double] {
        var y = x
        for (j, frequency) in frequencies.enumerated() {
            let angle = Double(Float(position) * frequency)
            let a = first + (isHalfSplit ? j : 2 * j)
            let b = isHalfSplit ? a + frequencies.count : a + 1
            (y[a], y[b]) = (x[a] * cos(angle) - x[b] * sin(angle), x[a] * sin(angle) + x[b] * cos(angle))
        }
        return y
    }

    func rmsNorm(_ x: [Double], _ weight: [Double], _ epsilon: Float) -> [Double] {
        var squares = 0.0
        for value in x { squares += value * value }
        let size = (squares / Double(x.count) + Double(epsilon)).squareRoot()
        return x.indices.map { x[$0] / size * weight[$0] }
    }

    func add(_ x: [Double], _ y: [Double]) -> [Double] { x.indices.map { x[$0] + y[$0] } }

    func embedding(_ token: Int32) -> [Double] {
        let (all, D) = (vector("model.embed_tokens.weight"), config.hiddenSize)
        return Array(all[Int(token) * D..<(Int(token) + 1) * D])
    }

    func matrix(_ name: String, _ inputs: Int) -> PlainMatrix {
        if let held = matrices[name] { return held }
        var rows = network.tensor(name)
        let integers = network.integers(name)
        if fault == .int4PairsSwapped, integers?.format.bits == 4 {
            for i in stride(from: 0, to: rows.count, by: 2) { rows.swapAt(i, i + 1) }
        }
        var made = PlainMatrix(rows, inputs: inputs)
        made.group = fault == .inputsNotRounded ? nil : integers?.format.group
        if fault == .oneStepForAllGroups, made.group != nil { made.group = inputs }
        made.roundsDown = fault == .inputsRoundedDown
        matrices[name] = made
        return made
    }

    func vector(_ name: String) -> [Double] {
        if let held = vectors[name] { return held }
        let made = network.tensor(name).map { Double($0) }
        vectors[name] = made
        return made
    }
}
