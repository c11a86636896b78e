import Foundation
import GlimTensor

/// How the next token is drawn.
public struct Sampler: Sendable, Equatable {
    /// 0 takes the most probable token.
    public var temperature: Double
    /// Only the smallest set of tokens whose probabilities reach this sum is drawn from.
    public var topP: Double
    public var seed: UInt64

    public init(temperature: Double = 1, topP: Double = 1, seed: UInt64 = 0) {
        (self.temperature, self.topP, self.seed) = (temperature, topP, seed)
    }

    /// The token for the given position of the sequence: a function of the logits, the seed and the position alone.
    public func draw(_ logits: UnsafeBufferPointer<Float>, position: Int) -> Int32 {
        var best = 0
        for i in logits.indices where logits[i] > logits[best] { best = i }
        guard temperature > 0 else { return Int32(best) }
        let peak = Double(logits[best])
        var probabilities = logits.map { exp((Double($0) - peak) / temperature) }
        let uniform = CounterRandom(seed: seed, purpose: "sample").uniform(UInt64(position))
        var total = probabilities.reduce(0, +)
        if topP < 1 {
            // Ties go to the lower token, so that the set is the same everywhere.
            let order = probabilities.indices.sorted {
                probabilities[$0] != probabilities[$1] ? probabilities[$0] > probabilities[$1] : $0 < $1
            }
            var kept = 0.0
            var cut = order.count
            for (rank, i) in order.enumerated() {
                kept += probabilities[i]
                if kept >= topP * total {
                    cut = rank + 1
                    break
                }
            }
            for i in order[cut...] { probabilities[i] = 0 }
            total = probabilities.reduce(0, +)
        }
        var left = uniform * total
        var last = best
        for (i, p) in probabilities.enumerated() where p > 0 {
            last = i
            left -= p
            if left < 0 { break }
        }
        return Int32(last)
    }
}

/// One generated token.
public struct GeneratedToken: Sendable, Equatable {
    public let id: Int32
    /// Natural log, under the model's own distribution: before temperature and top-p.
    public let logprob: Float
    /// Its position in the sequence.
    public let position: Int
}

/// The generation loop of one sequence: feeds the prompt, then draws one token at a time.
///
/// ```swift
/// var generator = Generator(model, sampler: Sampler(temperature: 0.8))
/// generator.feed(prompt)
/// while let token = generator.next() { … }
/// ```
public struct Generator {
    public let model: Model
    public let sampler: Sampler
    /// Tokens after which nothing more is drawn.
    public let stops: Set<Int32>
    /// Tokens fed at a time while a prompt is read.
    public static let chunk = 512
    public let cache: Cache
    /// The last token's successor distribution, `[1, W]`.
    private var logits: Tensor?
    private var last: Int32?

    /// - Parameters:
    ///   - stops: nil takes the model's own end-of-text tokens.
    ///   - cache: of an earlier turn, to go on from; nil begins a sequence.
    public init(_ model: Model, sampler: Sampler, stops: Set<Int32>? = nil, cache: Cache? = nil) {
        (self.model, self.sampler) = (model, sampler)
        self.stops = stops ?? Set(model.config.endOfTextIDs.map { Int32($0) })
        self.cache = cache ?? model.makeCache()
    }

    /// Positions still free before the model's longest context.
    public var room: Int { model.config.maximumPositions - cache.count }

    /// Reads tokens without drawing: a prompt, or the next turn.
    ///
    /// The token drawn last is not in the sequence yet: a turn that should contain it begins with it. (A stop token
    /// such as `<|user|>` is how the next turn begins anyway.)
    public mutating func feed(_ tokens: [Int32]) {
        for first in stride(from: 0, to: tokens.count, by: Self.chunk) {
            let end = min(tokens.count, first + Self.chunk)
            let hidden = model.hidden(Batch([(Array(tokens[first..<end]), cache)]))
            if end == tokens.count {
                logits = model.logits(Tensor.selectRows(hidden, [hidden.shape.rows - 1]))
            }
        }
        last = nil
    }

    /// Draws the next token, or nil after a stop token or at the end of the context.
    public mutating func next() -> GeneratedToken? {
        if let last {
            if stops.contains(last) || room < 1 { return nil }
            logits = model.logits(model.hidden(Batch([([last], cache)])))
        }
        guard let logits else { return nil }
        let position = cache.count
        let id = logits.withElements { sampler.draw($0, position: position) }
        let logprob = logits.withElements { $0[Int(id)] } - Tensor.logSumExp(logits)[0]
        last = id
        return GeneratedToken(id: id, logprob: logprob, position: position)
    }
}
