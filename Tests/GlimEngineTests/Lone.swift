import GlimEngine
import GlimModel
import GlimTensor
import GlimTestSupport

/// What a request alone gets, by ``Generator`` or by the very definition: the reference that the engine must equal.
enum Lone {
    /// The next tokens of a request that has drawn some already.
    ///
    /// - Parameter count: how many, at most.
    /// - Returns: the tokens with their logprobs, and whether the model or the rule ended them.
    static func draw(
        _ model: Model, _ request: Engine.Request, after drawn: [Int32], count: Int
    ) -> (tokens: [(id: Int32, logprob: Float)], ends: Bool) {
        let sampler = request.sampler
        // What was drawn before counts as drawn, and not as a part of the prompt.
        let counts = TokenCounts(for: sampler, prompt: request.prompt, drawn: drawn)
        guard request.rule == nil, counts == nil else { return ruled(model, request, after: drawn, count: count) }
        var generator = Generator(model, sampler: sampler, stops: request.stops)
        generator.feed(request.prompt + drawn)
        var tokens: [(id: Int32, logprob: Float)] = []
        while tokens.count < count, let token = generator.next() { tokens.append((token.id, token.logprob)) }
        // Only a stop or the end of the context keeps it from drawing more.
        let ends = tokens.count < count || tokens.last.map { generator.stops.contains($0.id) } ?? false
        return (tokens, ends || request.prompt.count + drawn.count + tokens.count > model.config.maximumPositions)
    }

    /// A pass over everything for each token, as nobody would do it.
    private static func ruled(
        _ model: Model, _ request: Engine.Request, after drawn: [Int32], count: Int
    ) -> (tokens: [(id: Int32, logprob: Float)], ends: Bool) {
        var (all, tokens): ([Int32], [(id: Int32, logprob: Float)]) = (request.prompt + drawn, [])
        var (rule, counts) = (request.rule, TokenCounts(prompt: request.prompt))
        for token in drawn {
            _ = rule?.advance(token)
            counts.add(token)
        }
        let stops = request.stops ?? Set(model.config.endOfTextIDs.map { Int32($0) })
        while tokens.count < count, all.count <= model.config.maximumPositions {
            let hidden = model.hidden(Batch(tokens: all, lengths: [all.count]))
            let row = model.logits(Tensor.selectRows(hidden, [all.count - 1]))
            let values = row.elements
            let id = values.withUnsafeBufferPointer {
                request.sampler.draw($0, position: all.count, counts: counts, mask: rule?.mask())
            }
            tokens.append((id, values[Int(id)] - Tensor.logSumExp(row)[0]))
            all.append(id)
            counts.add(id)
            if rule?.advance(id) ?? false || stops.contains(id) { return (tokens, true) }
        }
        return (tokens, all.count > model.config.maximumPositions)
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
