import GlimModel
import GlimTensor

/// Where the events of a request go.
package struct EventSink: Sendable {
    let send: @Sendable (Engine.Event) -> Void
    /// There will be no more. An error says why the request did not come to its end: the engine was stopped, or nothing
    /// was allowed to come.
    let finish: @Sendable (EngineError?) -> Void

    package init(
        send: @escaping @Sendable (Engine.Event) -> Void, finish: @escaping @Sendable (EngineError?) -> Void
    ) {
        (self.send, self.finish) = (send, finish)
    }
}

/// What a step has drawn for a request.
struct DrawnTokens {
    enum Ending {
        /// With the last of the tokens: it is a stop token, or the rule said so.
        case stop
        /// Behind them: the rule allows none of the vocabulary.
        case deadEnd
    }

    var tokens: [Engine.Token] = []
    /// nil where the request may go on.
    var ending: Ending?
}

/// A request and all that the engine has of it.
final class LiveRequest {
    let id: Int
    let request: Engine.Request
    let stops: Set<Int32>
    let sink: EventSink
    /// The prompt, and what was drawn: known, and read as far as the cache goes.
    var tokens: [Int32]
    private var rule: (any TokenRule)?
    /// nil where the sampler does not ask.
    private var counts: TokenCounts?
    /// nil while it has no pages.
    var cache: Cache?
    /// What stands for its full pages in the tree, from the first on.
    var path: [PrefixTree.Node] = []
    /// Pages of its prefix that are to be brought from disk, and how many positions of the last.
    var restoring: ArraySlice<PrefixTree.Node> = []
    var restoredPart = 0
    var usage: Engine.Usage
    /// When it came, and from its first token on when that was.
    private var began = ContinuousClock.now

    // Guessing ahead.
    var depth: DraftDepth
    var drafter: Drafter?
    /// What the last pass read and made of it, which the drafter does not know.
    var unread: (tokens: [Int32], hidden: Tensor)?

    init(_ id: Int, _ request: Engine.Request, stops: Set<Int32>, sink: EventSink, drafts: Int) {
        (self.id, self.request, self.sink, self.stops) = (id, request, sink, request.stops ?? stops)
        (tokens, rule) = (request.prompt, request.rule)
        counts = TokenCounts(for: request.sampler, prompt: request.prompt, drawn: [])
        usage = Engine.Usage(promptTokens: request.prompt.count, drafts: DraftStatistics(depth: drafts))
        depth = DraftDepth(most: drafts)
    }

    /// Tokens that may still be drawn, as far as was asked for.
    var left: Int { request.maxTokens - usage.tokens }

    /// Adds tokens that were drawn.
    func count(_ drawn: DrawnTokens) {
        if usage.tokens == 0, !drawn.tokens.isEmpty {
            let now = ContinuousClock.now
            (usage.readingTime, began) = (now - began, now)
        }
        usage.tokens += drawn.tokens.count
    }

    /// What it took, at its end.
    var finalUsage: Engine.Usage {
        var usage = usage
        if usage.tokens > 0 { usage.drawingTime = .now - began }
        return usage
    }

    /// Lets go of everything that hangs on pages.
    func forget() {
        (cache, path, restoring, drafter, unread) = (nil, [], [], nil, nil)
    }

    // MARK: Drawing

    /// Draws from rows of logits as long as drafts are right: what one after the other would be drawn, to the bit.
    ///
    /// - Parameters:
    ///   - logits: `[T, W]`
    ///   - logSums: of each row the logarithm of the sum of e^logit.
    ///   - first: the row behind the newest token.
    ///   - drafts: which the rows after it follow.
    ///   - version: of the weights.
    func draw(_ logits: Tensor, logSums: [Float], first: Int, drafts: [Int32], version: Int) -> DrawnTokens {
        var drawn = DrawnTokens()
        for i in 0...drafts.count {
            let (position, sum) = (tokens.count + i, logSums[first + i])
            let mask = rule?.mask()
            if isDeadEnd(mask, of: logits.shape.last) {
                drawn.ending = .deadEnd
                return drawn
            }
            let token = Tensor.selectRows(logits, [first + i]).withElements { values in
                let id = request.sampler.draw(values, position: position, counts: counts, mask: mask)
                return Engine.Token(
                    id: id, logprob: values[Int(id)] - sum, position: position, version: version,
                    top: LikelyToken.most(request.topLogprobs, of: values, logSumExp: sum))
            }
            counts?.add(token.id)
            drawn.tokens.append(token)
            let ends = rule?.advance(token.id) ?? false
            if ends || stops.contains(token.id) {
                drawn.ending = .stop
                return drawn
            }
            if i < drafts.count, drafts[i] != token.id { break }
        }
        return drawn
    }

    /// A schema cannot lead there but by the vocabulary: one that lacks a byte, or has more tokens than the model.
    private func isDeadEnd(_ mask: [UInt64]?, of count: Int) -> Bool {
        mask.map { Sampler.lowest($0, of: count) == nil } ?? false
    }

    /// Guesses from the logits of multi-token prediction: with the random numbers of the token that is guessed, for
    /// where two distributions agree so do the draws.
    ///
    /// - Parameter guessed: before this one.
    func guess(_ logits: UnsafeBufferPointer<Float>, after guessed: [Int32]) -> Int32 {
        var (rule, counts) = (rule, counts)
        for token in guessed {
            counts?.add(token)
            // Behind what may be the end anything is as good as anything else.
            if rule?.advance(token) ?? false || stops.contains(token) { rule = nil }
        }
        let mask = rule?.mask()
        // So is anything where nothing may come: the draw behind the guess finds out.
        return request.sampler.draw(
            logits, position: tokens.count + guessed.count, counts: counts,
            mask: isDeadEnd(mask, of: logits.count) ? nil : mask)
    }
}
