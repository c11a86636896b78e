import ArgumentParser
import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimText
import GlimTrain

struct Quantize: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a quantised copy of a model: weights in int8 and int4, inputs quantised as they come.",
        discussion: """
            w8a8 is int8 throughout; w4a8 has routed experts in int4 and the rest in int8. Embeddings, routers, kv_b_proj \
            and the indexers' keys and head weights stay as they are, and layers of multi-token prediction have 8 bits. \
            The copy has the layout of the compressed-tensors library.

            Without --calibration weights are rounded to nearest, one tensor at a time: the model may be larger than \
            memory, in BF16, F32 or block-scaled FP8, and what is stopped goes on when the same command is given again. \
            With it the model is rotated, scaled and clipped by what it does to the text, in memory; layers whose experts \
            suffer most from 4 bits keep 8. Give it text like that which the model was made for: of a model that converses \
            the JSON lines that it was fine-tuned on. Perplexity is measured on text that did not calibrate, of \
            conversations on what the assistant says, where the model fits into memory and has a tokenizer.
            """)

    @Option(help: "Model folder: config.json and *.safetensors, not quantised.") var model: String
    @Option(help: "Folder to write, new or left by the same command.") var out: String
    @Option(help: "w8a8 or w4a8.") var scheme: Scheme.Name
    @Option(
        help: """
            Text to calibrate by and to measure with: a file, a folder, or a .jsonl file of conversations as in \
            glim train sft.
            """) var calibration: String?
    @Option(help: "Of the rotation that calibration draws.") var seed: UInt64 = 0
    @Flag(help: "End standard output with one JSON object.") var json = false
    @OptionGroup var compute: ComputeOptions

    func run() throws {
        compute.apply()
        StopSignal.catchFirst()
        let start = ContinuousClock.now
        var report = Report(scheme: scheme)
        if let calibration {
            try calibrate(by: calibration, &report)
        } else {
            try convert(&report)
        }
        report.seconds = start.duration(to: .now) / .seconds(1)
        try emit(report.text(out: out))
        if json { try emit(report.jsonLine + "\n") }
    }

    private var source: URL { URL(filePath: model) }

    // MARK: Round to nearest

    private func convert(_ report: inout Report) throws {
        let conversion = try Conversion(source, to: URL(filePath: out), Scheme(scheme))
        (report.bytesBefore, report.bytesAfter) = try conversion.byteCounts
        let errors = try conversion.run(isStopped: { StopSignal.arrived }) { progress in
            log("shard \(progress.shardsDone) of \(progress.shardCount) written")
        }
        guard let errors else {
            log("stopped; give the same command again to go on")
            throw ExitCode(130)
        }
        report.modules = errors.map { Report.Module(name: $0.name, bits: $0.bits, error: $0.relative) }
        do { try compare(&report) } catch {
            // The copy is whole; what cannot be measured here is no reason to fail.
            log("note: perplexity was not measured: \(error)")
        }
    }

    /// Both models on text, where they fit into memory together.
    private func compare(_ report: inout Report) throws {
        let text = try makeText([])
        let bytes = try [source, URL(filePath: out)].map { try Model.byteCount(ofFolder: $0, format: .inference) }
        try MemoryRoom.check(
            bytes[0] + bytes[1], of: "comparing both models", advice: "glim score measures one at a time")
        let (before, after) = (try Model(path: model), try Model(path: out))
        report.comparison = ModelComparison(before, after, text.heldOut)
        if before.config.mtpLayerCount > 0 {
            report.ahead = ModelComparison(.init(before, text.heldOut, ahead: true), after)
        }
    }

    // MARK: Calibration

    private func calibrate(by path: String, _ report: inout Report) throws {
        let text = try makeText([path])
        for name in ["config.json", "model.safetensors", "model.safetensors.index.json"]
        where FileManager.default.fileExists(atPath: URL(filePath: out).appending(path: name).path) {
            throw Failure("\(out) holds a model already (\(name)); give another folder")
        }
        // The model, the one that is changed, and the quantised one.
        let bytes = try Model.byteCount(ofFolder: source, format: .f32)
        try MemoryRoom.check(
            MemoryRoom.product(3, bytes), of: "calibrating \(model)",
            advice: "leave out --calibration: rounding to nearest takes one tensor at a time")
        let result = try Calibration(
            folder: source, Scheme(scheme), text.calibration, heldOut: text.heldOut, seed: seed
        ) { log($0) }
        try result.model.save(to: URL(filePath: out))
        try Conversion.copyFiles(from: source, to: URL(filePath: out))
        if !result.rotatesStream {
            log("the residual stream was not rotated: the head is tied, or MTP norms what the last norm made")
        }
        report.bytesBefore = try Conversion(source, to: URL(filePath: out), Scheme(scheme)).byteCounts.before
        let written = try Checkpoint(folder: URL(filePath: out))
        report.bytesAfter = try written.names.reduce(0) { $0 + (try written.info($1).byteCount) }
        report.modules = result.modules.map { Report.Module($0) }
        report.kept = result.scheme.kept.keys.sorted()
        (report.comparison, report.nearest, report.ahead) = (result.after, result.before, result.ahead)
        report.keys = result.keys
    }

    private func makeText(_ paths: [String]) throws -> QuantizationText {
        let config = try ModelConfig(folder: source)
        let tokenizer = try Tokenizer(folder: source)
        guard tokenizer.vocabularySize <= config.vocabularySize else {
            throw Failure(
                "\(model) has \(tokenizer.vocabularySize) tokens in tokenizer.json, but \(config.vocabularySize) in "
                    + "config.json; take both from the same model")
        }
        return try QuantizationText(paths, tokenizer, ChatTemplate(folder: source), config)
    }
}

// MARK: - Report

extension Quantize {
    fileprivate struct Report: Encodable {
        let scheme: Scheme.Name
        var bytesBefore = 0
        var bytesAfter = 0
        var modules: [Module] = []
        /// Those that the scheme has in 4 bits, and calibration in 8.
        var kept: [String] = []
        /// The model and the quantised one.
        var comparison: ModelComparison?
        /// The model and one that is rounded to nearest, where the quantised one is calibrated.
        var nearest: ModelComparison?
        /// The model and one of which only keys have fewer bits.
        var keys: ModelComparison?
        /// As `comparison`, of what the first step of multi-token prediction predicts.
        var ahead: ModelComparison?
        var seconds = 0.0

        init(scheme: Scheme.Name) { self.scheme = scheme }

        struct Module: Encodable {
            let name: String
            let bits: Int
            /// Of weights, or in calibration of outputs: rounded to nearest.
            let errorBefore: Double
            /// The same as it was written.
            let errorAfter: Double
            var cost: Calibration.Module?

            init(name: String, bits: Int, error: Double) {
                (self.name, self.bits, errorBefore, errorAfter) = (name, bits, error, error)
            }

            init(_ module: Calibration.Module) {
                (name, bits) = (module.name, module.bits)
                (errorBefore, errorAfter) = (module.before.error, module.after.error)
                cost = module
            }

            private enum CodingKeys: String, CodingKey {
                case name, bits
                case errorBefore = "error_before"
                case errorAfter = "error_after"
                case divergenceBefore = "kl_before"
                case divergenceAfter = "kl_after"
                case agreementBefore = "top1_before"
                case agreementAfter = "top1_after"
                case perplexityBefore = "perplexity_before"
                case perplexityAfter = "perplexity_after"
            }

            func encode(to encoder: any Encoder) throws {
                var values = encoder.container(keyedBy: CodingKeys.self)
                try values.encode(name, forKey: .name)
                try values.encode(bits, forKey: .bits)
                try values.encode(errorBefore, forKey: .errorBefore)
                try values.encode(errorAfter, forKey: .errorAfter)
                guard let cost else { return }
                try values.encode(cost.before.divergence, forKey: .divergenceBefore)
                try values.encode(cost.after.divergence, forKey: .divergenceAfter)
                try values.encode(cost.before.agreement, forKey: .agreementBefore)
                try values.encode(cost.after.agreement, forKey: .agreementAfter)
                try values.encode(cost.before.perplexity, forKey: .perplexityBefore)
                try values.encode(cost.after.perplexity, forKey: .perplexityAfter)
            }

            var line: String {
                var words = [Quantize.column(name, 44), "int\(bits)", "error", percent(errorAfter)]
                if let cost {
                    words += ["(rounded", percent(errorBefore) + ")", "KL", cost.after.divergence.formatted(digits: 6)]
                    words += ["(" + cost.before.divergence.formatted(digits: 6) + ")"]
                    words += ["top-1", percent(cost.after.agreement)]
                }
                return words.joined(separator: " ")
            }

            private func percent(_ share: Double) -> String { "\((100 * share).formatted(digits: 2))%" }
        }

        func text(out: String) -> String {
            var lines = modules.map(\.line)
            if scheme == .w4a8 {
                let small = modules.count { $0.bits == 4 }
                lines.append(
                    "experts of \(small) layers in 4 bits; for what those would cost \(kept.count) kept 8"
                        + (kept.isEmpty ? "" : ": \(kept.joined(separator: ", "))"))
            }
            lines.append("bytes \(bytesBefore) before, \(bytesAfter) after")
            if let comparison { lines += Self.lines(comparison) }
            for (name, other) in [("rounded to nearest", nearest), ("keys alone, in bf16 and int8", keys)] {
                guard let other else { continue }
                lines.append(
                    "\(name): perplexity \(other.perplexityAfter.formatted(digits: 4)), KL "
                        + other.divergence.formatted(digits: 6))
            }
            if let ahead { lines += Self.lines(ahead).map { "multi-token prediction: \($0)" } }
            return (lines + ["written: \(out)"]).joined(separator: "\n") + "\n"
        }

        private static func lines(_ comparison: ModelComparison) -> [String] {
            let change = 100 * (comparison.perplexityAfter / comparison.perplexityBefore - 1)
            let error = (100 * comparison.standardError).formatted(digits: 3)
            return [
                "perplexity \(comparison.perplexityBefore.formatted(digits: 4)) before, "
                    + "\(comparison.perplexityAfter.formatted(digits: 4)) after (\(change.formatted(digits: 3))%, "
                    + "standard error \(error)%)",
                "KL \(comparison.divergence.formatted(digits: 6)) nats, the same most probable token at "
                    + "\((100 * comparison.agreement).formatted(digits: 2))% of \(comparison.tokenCount) tokens",
            ]
        }

        private enum CodingKeys: String, CodingKey {
            case scheme, modules, kept, seconds
            case bytesBefore = "bytes_before"
            case bytesAfter = "bytes_after"
            case perplexityBefore = "perplexity_before"
            case perplexityAfter = "perplexity_after"
            case perplexityRounded = "perplexity_rounded"
            case keysDivergence = "keys_kl_divergence"
            case standardError = "perplexity_standard_error"
            case aheadBefore = "mtp_perplexity_before"
            case aheadAfter = "mtp_perplexity_after"
            case aheadDivergence = "mtp_kl_divergence"
            case aheadAgreement = "mtp_top1_agreement"
            case divergence = "kl_divergence"
            case agreement = "top1_agreement"
            case tokenCount = "tokens"
        }

        func encode(to encoder: any Encoder) throws {
            var values = encoder.container(keyedBy: CodingKeys.self)
            try values.encode(scheme, forKey: .scheme)
            try values.encode(modules, forKey: .modules)
            try values.encode(kept, forKey: .kept)
            try values.encode(seconds, forKey: .seconds)
            try values.encode(bytesBefore, forKey: .bytesBefore)
            try values.encode(bytesAfter, forKey: .bytesAfter)
            try values.encode(comparison?.perplexityBefore, forKey: .perplexityBefore)
            try values.encode(comparison?.perplexityAfter, forKey: .perplexityAfter)
            try values.encode(nearest?.perplexityAfter, forKey: .perplexityRounded)
            try values.encode(keys?.divergence, forKey: .keysDivergence)
            try values.encode(comparison?.standardError, forKey: .standardError)
            try values.encode(comparison?.divergence, forKey: .divergence)
            try values.encode(comparison?.agreement, forKey: .agreement)
            try values.encode(comparison?.tokenCount, forKey: .tokenCount)
            guard let ahead else { return }
            try values.encode(ahead.perplexityBefore, forKey: .aheadBefore)
            try values.encode(ahead.perplexityAfter, forKey: .aheadAfter)
            try values.encode(ahead.divergence, forKey: .aheadDivergence)
            try values.encode(ahead.agreement, forKey: .aheadAgreement)
        }
    }

    fileprivate static func column(_ text: String, _ width: Int) -> String {
        text.padding(toLength: max(width, text.count), withPad: " ", startingAt: 0)
    }
}
