import Dispatch
import GlimEngine
import GlimModel
import GlimTensor
import GlimTestSupport

/// What a request alone gets: the reference that the engine must equal.
enum Lone {
    /// The next tokens of a request that has drawn some already, with nothing beside it: one pass over what is known,
    /// and one more for each token.
    ///
    /// - Parameter count: how many, at most.
    /// - Returns: the tokens, and whether the model or the rule ended them.
    static func draw(
        _ model: Model, _ request: Engine.Request, after drawn: [Int32], count: Int, version: Int = 0
    ) -> (tokens: [Engine.Token], ends: Bool) {
        // What was drawn before counts as drawn, and not as a part of the prompt.
        var (rule, counts) = (request.rule, TokenCounts(prompt: request.prompt))
        for token in drawn {
            _ = rule?.advance(token)
            counts.add(token)
        }
        let stops = request.stops ?? Set(model.config.endOfTextIDs.map { Int32($0) })
        let cache = model.makeCache()
        var (next, tokens) = (request.prompt + drawn, [Engine.Token]())
        while tokens.count < count, cache.count + next.count <= model.config.maximumPositions {
            let hidden = model.hidden(Batch([(next, cache)]))
            let row = model.logits(Tensor.selectRows(hidden, [next.count - 1]))
            let sum = Tensor.logSumExp(row)[0]
            let token = row.withElements { values in
                let id = request.sampler.draw(values, position: cache.count, counts: counts, mask: rule?.mask())
                return Engine.Token(
                    id: id, logprob: values[Int(id)] - sum, position: cache.count, version: version,
                    top: LikelyToken.most(request.topLogprobs, of: values, logSumExp: sum))
            }
            tokens.append(token)
            next = [token.id]
            counts.add(token.id)
            if rule?.advance(token.id) ?? false || stops.contains(token.id) { return (tokens, true) }
        }
        return (tokens, cache.count + next.count > model.config.maximumPositions)
    }
}

/// Allows tokens of one remainder, of another after each, and ends after a number of tokens.
struct TurningRule: TokenRule {
    let vocabulary: Int
    let modulus: Int
    var phase = 0
    var left: Int

    func mask() -> [UInt64]? {
        var words = [UInt64](repeating: 0, count: (vocabulary + 63) / 64)
        for id in stride(from: phase % modulus, to: vocabulary, by: modulus) { words[id / 64] |= 1 << UInt64(id % 64) }
        return words
    }

    mutating func advance(_ token: Int32) -> Bool {
        phase += 1
        left -= 1
        return left <= 0
    }
}

/// Allows everything for some tokens, and then nothing that the model has.
struct DeadEndRule: TokenRule {
    let vocabulary: Int
    /// Tokens that may come.
    var left: Int

    func mask() -> [UInt64]? {
        if left > 0 { return nil }
        var words = [UInt64](repeating: 0, count: vocabulary / 64 + 1)
        // One beyond the vocabulary: a tokenizer may have more words than its model.
        words[vocabulary / 64] = 1 << UInt64(vocabulary % 64)
        return words
    }

    mutating func advance(_ token: Int32) -> Bool {
        left -= 1
        return false
    }
}

/// Allows everything, but has the engine wait before each token until it is permitted: how far a request has come when
/// a test does something is then no matter of time.
struct PermittedRule: TokenRule {
    private let permits = DispatchSemaphore(value: 0)

    /// Lets so many more tokens come.
    func permit(_ count: Int = 1) { for _ in 0..<count { permits.signal() } }

    func mask() -> [UInt64]? { nil }

    mutating func advance(_ token: Int32) -> Bool {
        permits.wait()
        return false
    }
}

/// What came of a request.
final class Answer: Sendable {
    private let held = Locked<(events: [Engine.Event], error: EngineError?, isOver: Bool)>(([], nil, false))

    var sink: EventSink {
        EventSink(
            send: { event in self.held.withLock { $0.events.append(event) } },
            finish: { error in self.held.withLock { ($0.error, $0.isOver) = (error, true) } })
    }

    var events: [Engine.Event] { held.withLock { $0.events } }
    var error: EngineError? { held.withLock { $0.error } }
    var isOver: Bool { held.withLock { $0.isOver } }
    var tokens: [Engine.Token] { events.compactMap { if case .token(let token) = $0 { token } else { nil } } }
    var ending: (reason: Engine.Reason, usage: Engine.Usage)? {
        if case .finished(let reason, let usage)? = events.last { (reason, usage) } else { nil }
    }
}
