public import ArgumentParser
import GlimModel
import GlimTensor
public import GlimTrain

/// Options of every command that computes.
struct ComputeOptions: ParsableArguments {
    @Option(help: "Threads that compute (default: one per core). Changes time, never a result.")
    var threads: Int?

    /// To be called before anything computes.
    func apply() {
        guard let threads else { return }
        ThreadPool.shared.threadCount = threads
        if threads > ThreadPool.processorCount {
            log("note: \(threads) threads on \(ThreadPool.processorCount) processors wait for each other")
        }
    }

    func validate() throws {
        if let threads, !(1...1024).contains(threads) {
            throw ValidationError("--threads is \(threads), not within 1...1024.")
        }
    }
}

/// Options of every command that draws tokens.
struct SamplingOptions: ParsableArguments {
    @Option(help: "Divides the logits; 0 takes the most probable token each time.") var temperature = 1.0
    @Option(help: "Draw only from the most probable tokens whose probabilities reach this sum.")
    var topP = 1.0
    @Option(help: "Draw only from so many of the most probable tokens; 0 is all.") var topK = 0
    @Option(help: "Draw only tokens with at least this part of the greatest probability.") var minP = 0.0
    @Option(help: "Divides logits above zero of tokens that have come, prompt included; others it multiplies.")
    var repetitionPenalty = 1.0
    @Option(
        parsing: .unconditional, help: "Taken from the logits of tokens that have been drawn.")
    var presencePenalty = 0.0
    @Option(parsing: .unconditional, help: "Taken for each time that a token has been drawn.")
    var frequencyPenalty = 0.0
    @Option(help: "The same seed draws the same tokens.") var seed: UInt64 = 0

    var sampler: Sampler {
        var sampler = Sampler(temperature: temperature, topP: topP, seed: seed)
        (sampler.topK, sampler.minP, sampler.repetitionPenalty) = (topK, minP, repetitionPenalty)
        (sampler.presencePenalty, sampler.frequencyPenalty) = (presencePenalty, frequencyPenalty)
        return sampler
    }

    func validate() throws {
        guard temperature >= 0, temperature.isFinite else {
            throw ValidationError("--temperature is \(temperature); it must be 0 or more.")
        }
        guard topP > 0, topP <= 1 else { throw ValidationError("--top-p is \(topP), not above 0 and at most 1.") }
        guard topK >= 0 else { throw ValidationError("--top-k is \(topK); it must be 0 or more.") }
        guard minP >= 0, minP <= 1 else { throw ValidationError("--min-p is \(minP), not within 0...1.") }
        guard repetitionPenalty > 0, repetitionPenalty.isFinite else {
            throw ValidationError("--repetition-penalty is \(repetitionPenalty); it must be above 0.")
        }
        for (name, penalty) in [("presence", presencePenalty), ("frequency", frequencyPenalty)]
        where !penalty.isFinite { throw ValidationError("--\(name)-penalty is \(penalty); it must be a number.") }
    }
}

/// How many tokens multi-token prediction guesses at a time.
struct DraftOptions: ParsableArguments {
    @Option(help: "Guess this many tokens ahead with the MTP layer: changes time, never a result.")
    var drafts = 0

    func validate() throws {
        guard (0...64).contains(drafts) else { throw ValidationError("--drafts is \(drafts), not within 0...64.") }
    }

    /// - Throws: `Failure` where drafts are asked for and there is nothing to make them with.
    func check(_ layerCount: Int, of model: String) throws {
        guard drafts == 0 || layerCount > 0 else {
            throw Failure(
                "--drafts is \(drafts), but \(model) has no MTP layer to draft with; leave it out, or train a model with "
                    + "--mtp-layers 1")
        }
    }
}

extension ModelConfig.ComputeType: ExpressibleByArgument {}
extension ReasoningLevel: ExpressibleByArgument {}
