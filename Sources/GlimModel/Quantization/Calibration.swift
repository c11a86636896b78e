public import Foundation
import GlimTensor

/// Quantises a model by what it does to text: rotation, activation-aware scaling and clipping, each folded into weights
/// or scales, so that the result is a quantised model like any other.
///
/// The model is rotated where that changes nothing (`Model.rotate`); what its products meet is measured; inputs are
/// scaled (`Scaling`), and measured again; of each group of weights the largest are cut off where that makes the
/// output's error less (`WeightedError`). Each module is then quantised alone, to see what it costs; where a layer's
/// int4 experts cost much more than others' they get int8.
public struct Calibration {
    /// A module quantised alone.
    public struct Module: Sendable, Equatable {
        /// Rounded to nearest, or calibrated.
        public struct Cost: Sendable, Equatable {
            /// Of its output: root of the mean square, over the output's own.
            public let error: Double
            /// Of the model's next token, as in `ModelComparison`; of a layer of multi-token prediction of the token that
            /// it predicts.
            public let divergence: Double
            public let agreement: Double
            public let perplexity: Double
        }

        /// The checkpoint's; of routed experts all of a layer.
        public let name: String
        public internal(set) var bits: Int
        public let before: Cost
        public internal(set) var after: Cost
    }

    /// The quantised model, in memory: to be saved.
    public let model: Model
    /// With the modules that keep more bits.
    public let scheme: Scheme
    public let modules: [Module]
    /// The whole model rounded to nearest, and calibrated, beside the one it is made of.
    public let before: ModelComparison
    public let after: ModelComparison
    /// The model it is made of with nothing but keys in fewer bits: latents in bf16, index keys in int8.
    public let keys: ModelComparison
    /// The calibrated model's first step of multi-token prediction, where there is one.
    public let ahead: ModelComparison?
    /// Whether the residual stream could be rotated, too.
    public let rotatesStream: Bool

    /// A layer's experts keep 8 bits where they cost so many times what those of a layer do on average.
    private static let sensitivity = 3.0
    /// Tokens that measure each module; all of them measure the whole model.
    private static let tokensForEach = 2048

    /// - Parameters:
    ///   - folder: a model in floating point, read twice into memory as f32.
    ///   - probes: to calibrate by.
    ///   - heldOut: others, to measure by.
    ///   - seed: of the rotation.
    ///   - progress: told what is done.
    ///   - check: called every few seconds; what it throws ends the calibration.
    /// - Throws: `ConfigError`, `CheckpointError`, `QuantizationError.alreadyQuantized`, and what `check` does.
    public init(
        folder: URL, _ scheme: Scheme, _ probes: [ProbeBatch], heldOut: [ProbeBatch], seed: UInt64 = 0,
        progress: (String) -> Void = { _ in }, check: () throws -> Void = {}
    ) throws {
        let original = try Model(folder: folder, format: .f32)
        if original.config.integerWeights != nil { throw QuantizationError.alreadyQuantized(path: folder.path) }
        let changed = try Model(folder: folder, format: .f32)
        let predictions = try [false, true].map {
            try ModelComparison.Predictions(original, heldOut, ahead: $0, check: check)
        }
        let some = predictions.map { $0.prefix(tokens: Self.tokensForEach) }
        func cost(_ name: String, _ error: Double, _ quantized: Model) throws -> Module.Cost {
            Module.Cost(error, try ModelComparison(some[original.isAhead(name) ? 1 : 0], quantized, check: check))
        }

        progress("measuring what products meet")
        let plain = ModuleErrors(nearest: original, scheme, try original.measured(scheme, probes, check))
        rotatesStream = changed.rotate(seed: seed)
        var measured = try changed.measured(scheme, probes, check)
        progress("scaling inputs")
        let formats = changed.formats(scheme)
        for layer in changed.layers + changed.predictions.map(\.layer) {
            for pair in layer.scalingPairs(formats, measured) { Scaling.apply(to: pair) }
        }
        measured = try changed.measured(scheme, probes, check)
        progress("clipping")
        var final = scheme
        var search = ClipSearch(changed, final, measured)

        var modules: [Module] = []
        for (i, name) in plain.order.enumerated() {
            progress("module \(i + 1) of \(plain.order.count): \(name)")
            try modules.append(
                Module(
                    name: name, bits: plain.bits[name] ?? 8,
                    before: cost(name, plain.relative(name), original.quantized(scheme, only: [name])),
                    after: cost(
                        name, search.relative(name),
                        changed.quantized(scheme, clips: search.clips, only: [name]))))
        }
        let small = modules.indices.filter { modules[$0].bits == 4 }
        let mean = small.reduce(0) { $0 + modules[$1].after.divergence } / Double(max(1, small.count))
        for i in small where modules[i].after.divergence > Self.sensitivity * mean {
            final.kept[modules[i].name] = .int8
        }
        if final != scheme {
            search = ClipSearch(changed, final, measured)
            for i in small where final.kept[modules[i].name] != nil {
                let name = modules[i].name
                modules[i].bits = 8
                modules[i].after = try cost(
                    name, search.relative(name), changed.quantized(final, clips: search.clips, only: [name]))
            }
        }
        progress("comparing")
        before = try ModelComparison(predictions[0], original.quantized(scheme), check: check)
        model = changed.quantized(
            final, clips: search.clips, holdsRestInBF16: original.config.dtype == .bfloat16)
        after = try ModelComparison(predictions[0], model, check: check)
        keys = try ModelComparison(
            predictions[0], original.quantized(scheme, only: [], shortKeys: true), check: check)
        ahead = original.predictions.isEmpty ? nil : try ModelComparison(predictions[1], model, check: check)
        (self.scheme, self.modules) = (final, modules)
    }
}

extension Calibration.Module.Cost {
    fileprivate init(_ error: Double, _ comparison: ModelComparison) {
        self.error = error
        (divergence, agreement) = (comparison.divergence, comparison.agreement)
        perplexity = comparison.perplexityAfter
    }
}

/// Errors of modules' outputs, summed over their matrices.
private struct ModuleErrors {
    private(set) var order: [String] = []
    private(set) var bits: [String: Int] = [:]
    private var sums: [String: (error: Double, size: Double)] = [:]

    mutating func add(_ tensor: CheckpointTensor, bits: Int, error: Double, size: Double) {
        if sums[tensor.module] == nil { order.append(tensor.module) }
        self.bits[tensor.module] = bits
        sums[tensor.module, default: (0, 0)].error += error
        sums[tensor.module, default: (0, 0)].size += size
    }

    /// `‖ŷ - y‖ / ‖y‖`, for inputs that are uncorrelated.
    func relative(_ module: String) -> Double {
        sums[module].map { $0.size > 0 ? ($0.error / $0.size).squareRoot() : 0 } ?? 0
    }
}

extension ModuleErrors {
    /// Of round to nearest.
    fileprivate init(nearest model: Model, _ scheme: Scheme, _ measured: [ObjectIdentifier: ActivationStatistics]) {
        self.init()
        let found = model.mapQuantized(scheme, measured) { error, numbers in
            (bits: error.format.bits, error: error.nearest(numbers), size: error.size(numbers))
        }
        for (tensor, each) in found { add(tensor, bits: each.bits, error: each.error, size: each.size) }
    }
}

/// The clipping of every quantised matrix, and the errors that are left.
private struct ClipSearch {
    private(set) var clips: [String: [Float]] = [:]
    private var errors = ModuleErrors()

    func relative(_ module: String) -> Double { errors.relative(module) }

    init(_ model: Model, _ scheme: Scheme, _ measured: [ObjectIdentifier: ActivationStatistics]) {
        let found = model.mapQuantized(scheme, measured) { error, numbers in
            (bits: error.format.bits, best: error.bestClip(numbers), size: error.size(numbers))
        }
        for (tensor, each) in found {
            clips[tensor.name] = each.best.ratios
            errors.add(tensor, bits: each.bits, error: each.best.error, size: each.size)
        }
    }
}

extension Model {
    /// What `body` finds out about each matrix that a scheme quantises, in the checkpoint's order.
    fileprivate func mapQuantized<R: Sendable>(
        _ scheme: Scheme, _ measured: [ObjectIdentifier: ActivationStatistics],
        _ body: (WeightedError, UnsafeBufferPointer<Float>) -> R
    ) -> [(CheckpointTensor, R)] {
        let formats = formats(scheme)
        let chosen = tensors.compactMap { tensor -> (tensor: CheckpointTensor, error: WeightedError)? in
            let part = tensor.parts[0]
            guard tensor.parts.count == 1, let format = formats[ObjectIdentifier(part.weight)],
                let statistics = measured[ObjectIdentifier(part.weight)]
            else { return nil }
            let squares = statistics.means(part.matrix).squares
            return (tensor, WeightedError(format: format, inputs: tensor.shape[1], squares: squares))
        }
        var results = [R?](repeating: nil, count: chosen.count)
        results.withUnsafeMutableBufferPointer { results in
            // Disjoint entries.
            nonisolated(unsafe) let results = results
            ThreadPool.shared.run(chosen.count) { i in
                chosen[i].tensor.numbers()?.withElements { results[i] = body(chosen[i].error, $0) }
            }
        }
        return zip(chosen, results).compactMap { chosen, result in result.map { (chosen.tensor, $0) } }
    }

    /// Whether a module is of a layer of multi-token prediction.
    fileprivate func isAhead(_ module: String) -> Bool {
        (0..<config.mtpLayerCount).contains { module.hasPrefix("model.layers.\(config.layerCount + $0).") }
    }

    /// What the products that will be quantised meet in some text.
    fileprivate func measured(
        _ scheme: Scheme, _ probes: [ProbeBatch], _ check: () throws -> Void
    ) throws -> [ObjectIdentifier: ActivationStatistics] {
        let formats = formats(scheme)
        let quantized = weights.filter { formats[ObjectIdentifier($0)] != nil }
        for weight in quantized { weight.statistics = ActivationStatistics(weight) }
        defer { for weight in quantized { weight.statistics = nil } }
        for probe in probes {
            try check()
            let hidden_TD = hidden(probe.batch)
            _ = logits(hidden_TD)
            guard !predictions.isEmpty, let ahead = probe.ahead else { continue }
            let ahead_TD = predictAhead(
                Tensor.selectRows(hidden_TD, ahead.rows), next: ahead.read.tokens, ahead.read.batch)
            _ = Tensor.linear(ahead_TD, aheadHead())
        }
        // Gates of experts meet what stands beside them meets, and were told alone.
        for resident in (layers + predictions.map(\.layer)).compactMap({ $0.experts?.resident }) {
            resident.up.statistics = resident.gate.statistics
        }
        return Dictionary(
            uniqueKeysWithValues: quantized.compactMap { weight in
                weight.statistics.map { (ObjectIdentifier(weight), $0) }
            })
    }
}
