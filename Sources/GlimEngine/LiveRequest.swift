import GlimModel
import GlimTensor

/// Where the events of a request go.
package struct EventSink: Sendable {
    let send: @Sendable (Engine.Event) -> Void
    /// There will be no more: the engine was stopped before the request ended, if there is an error.
    let finish: @Sendable (EngineError?) -> Void

    package init(
        send: @escaping @Sendable (Engine.Event) -> Void, finish: @escaping @Sendable (EngineError?) -> Void
    ) {
        (self.send, self.finish) = (send, finish)
    }
}

/// A request and all that the engine has of it.
final class LiveRequest {
    let id: Int
    let request: Engine.Request
    let stops: Set<Int32>
    let sink: EventSink
    /// The prompt, and what was drawn: known, and read as far as the cache goes.
    var tokens: [Int32]
    var rule: (any TokenRule)?
    /// nil while it has no pages.
    var cache: Cache?
    /// What stands for its full pages in the tree, from the first on.
    var path: [PrefixTree.Node] = []
    /// Pages of its prefix that are to be brought from disk, and how many positions of the last.
    var restoring: ArraySlice<PrefixTree.Node> = []
    var restoredPart = 0
    var usage: Engine.Usage

    // Guessing ahead.
    var depth: DraftDepth
    var drafter: Drafter?
    /// What the last pass read and made of it, which the drafter does not know.
    var unread: (tokens: [Int32], hidden: Tensor)?

    init(_ id: Int, _ request: Engine.Request, stops: Set<Int32>, sink: EventSink, drafts: Int) {
        (self.id, self.request, self.sink, self.stops) = (id, request, sink, request.stops ?? stops)
        (tokens, rule) = (request.prompt, request.rule)
        usage = Engine.Usage(promptTokens: request.prompt.count, drafts: DraftStatistics(depth: drafts))
        depth = DraftDepth(most: drafts)
    }

    /// Tokens that may still be drawn, as far as was asked for.
    var left: Int { request.maxTokens - usage.tokens }

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
    /// - Returns: the tokens, and whether the request ends with the last.
    func draw(
        _ logits: Tensor, logSums: [Float], first: Int, drafts: [Int32], version: Int
    ) -> (tokens: [Engine.Token], stops: Bool) {
        var drawn: [Engine.Token] = []
        for i in 0...drafts.count {
            let row = Tensor.selectRows(logits, [first + i])
            let position = tokens.count + i
            let token = row.withElements { values -> Engine.Token in
                let id = choose(values, rule, position: position)
                return Engine.Token(
                    id: id, logprob: values[Int(id)] - logSums[first + i], position: position, version: version,
                    top: alternatives(values, logSum: logSums[first + i]))
            }
            drawn.append(token)
            let ends = rule?.advance(token.id) ?? false
            if ends || stops.contains(token.id) { return (drawn, true) }
            if i < drafts.count, drafts[i] != token.id { break }
        }
        return (drawn, false)
    }

    /// Guesses from the logits of multi-token prediction: with the random numbers of the token that is guessed, for
    /// where two distributions agree so do the draws.
    ///
    /// - Parameter guessed: before this one.
    func guess(_ logits: UnsafeBufferPointer<Float>, after guessed: [Int32]) -> Int32 {
        var rule = rule
        for token in guessed { _ = rule?.advance(token) }
        return choose(logits, rule, position: tokens.count + guessed.count)
    }

    private func choose(_ logits: UnsafeBufferPointer<Float>, _ rule: (any TokenRule)?, position: Int) -> Int32 {
        guard let rule else { return request.sampler.draw(logits, position: position) }
        var restricted = Array(logits)
        restricted.withUnsafeMutableBufferPointer { rule.restrict($0) }
        return restricted.withUnsafeBufferPointer { request.sampler.draw($0, position: position) }
    }

    private func alternatives(_ logits: UnsafeBufferPointer<Float>, logSum: Float) -> [Engine.Alternative] {
        let count = min(request.topLogprobs, logits.count)
        guard count > 0 else { return [] }
        var top: [(id: Int, logit: Float)] = []
        for (id, logit) in logits.enumerated() where top.count < count || logit > top[count - 1].logit {
            let place = top.firstIndex { logit > $0.logit } ?? top.count
            top.insert((id, logit), at: place)
            if top.count > count { top.removeLast() }
        }
        return top.map { Engine.Alternative(id: Int32($0.id), logprob: $0.logit - logSum) }
    }
}
