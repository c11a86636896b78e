import GlimTensor

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
///
/// With `drafts` the model's multi-token prediction guesses the next tokens, and one pass of the trunk verifies them.
/// That changes time only: tokens and log-probabilities are those of one token after the other, to the bit, for a row of
/// a pass is computed the same way whatever rows are beside it, and a draw depends on nothing but its logits, the seed
/// and its position.
public struct Generator {
    public let model: Model
    public var sampler: Sampler
    /// Tokens after which nothing more is drawn.
    public let stops: Set<Int32>
    /// Tokens fed at a time while a prompt is read.
    public static let chunk = 512
    public let cache: Cache
    /// How well drafts were guessed so far.
    public private(set) var draftStatistics: DraftStatistics
    /// Distributions of the last pass, `[T, W]`, and the row that the last token was or will be drawn from.
    private var logits: Tensor?
    private var row = 0
    private var last: Int32?
    /// What was fed and drawn, for penalties of repetition.
    private var fed: [Int32] = []
    private var drawn: [Int32] = []
    /// The same counted; nil until it is asked for.
    private var counts: TokenCounts?
    /// Tokens that the last pass gave beyond the last: the rows of those before them lie in the cache behind its count.
    private var verified: ArraySlice<GeneratedToken> = []
    private var drafter: Drafter?
    /// What the last pass read, and made of it: of the first tokens, up to the cache's count, the drafter takes note.
    private var unread: (tokens: [Int32], hidden: Tensor)?

    /// - Parameters:
    ///   - stops: nil takes the model's own end-of-text tokens.
    ///   - cache: of an earlier turn, to go on from; nil begins a sequence. Penalties know what is fed and drawn here.
    ///   - drafts: tokens guessed at a time, 0 for none. They need a model with multi-token prediction, and a sequence
    ///     from its beginning: further turns are fed to the same generator.
    public init(_ model: Model, sampler: Sampler, stops: Set<Int32>? = nil, cache: Cache? = nil, drafts: Int = 0) {
        precondition(
            drafts == 0 || cache?.count ?? 0 == 0, "Generator: drafts of a sequence of \(cache?.count ?? 0) tokens")
        (self.model, self.sampler) = (model, sampler)
        self.stops = stops ?? Set(model.config.endOfTextIDs.map { Int32($0) })
        self.cache = cache ?? model.makeCache()
        drafter = drafts == 0 ? nil : Drafter(model, depth: drafts)
        draftStatistics = DraftStatistics(depth: drafts)
    }

    /// Positions still free before the model's longest context.
    public var room: Int { model.config.maximumPositions - cache.count }

    /// Reads tokens without drawing: a prompt, or the next turn.
    ///
    /// The token drawn last is not in the sequence yet: a turn that should contain it begins with it. (A stop token
    /// such as `<|user|>` is how the next turn begins anyway.)
    public mutating func feed(_ tokens: [Int32]) {
        if last != nil { drawn.removeLast() }
        (last, counts) = (nil, nil)
        if tokens.isEmpty { return }
        fed += drawn + tokens
        drawn = []
        let known = takeUnread()
        if let hidden = known.hidden { drafter?.read(known.tokens, hidden) }
        verified = []
        for first in stride(from: 0, to: tokens.count, by: Self.chunk) {
            let piece = Array(tokens[first..<min(tokens.count, first + Self.chunk)])
            let hidden = model.hidden(Batch([(piece, cache)]))
            drafter?.read(piece, hidden)
            if first + piece.count == tokens.count {
                (logits, row) = (model.logits(Tensor.selectRows(hidden, [piece.count - 1])), 0)
            }
        }
    }

    /// Draws the next token, or nil after a stop token or at the end of the context.
    public mutating func next() -> GeneratedToken? {
        guard let last else {
            guard logits != nil else { return nil }
            var counts = currentCounts()
            return hand(draw(row, position: cache.count, &counts))
        }
        if stops.contains(last) || room < 1 { return nil }
        if let token = verified.popFirst() {
            cache.advance(1)
            row += 1
            return hand(token)
        }
        return hand(step(after: last))
    }

    /// Hands out a token: it is the last.
    private mutating func hand(_ token: GeneratedToken) -> GeneratedToken {
        last = token.id
        drawn.append(token.id)
        counts?.add(token.id)
        return token
    }

    private mutating func currentCounts() -> TokenCounts? {
        if counts == nil { counts = TokenCounts(for: sampler, prompt: fed, drawn: drawn) }
        return counts
    }

    /// Reads the last token and the drafts that follow it in one pass, and draws after each as long as they are right.
    private mutating func step(after last: Int32) -> GeneratedToken {
        let first = cache.count
        let drafts = guesses(after: last).prefix(room - 1)
        let hidden = model.hidden(Batch([([last] + drafts, cache)]))
        (logits, row) = (model.logits(hidden), 0)
        var tokens: [GeneratedToken] = []
        var (accepted, counts) = (0, currentCounts())
        for (i, draft) in (drafts.map(Optional.some) + [nil]).enumerated() {
            let token = draw(i, position: first + 1 + i, &counts)
            tokens.append(token)
            guard token.id == draft else { break }
            accepted += 1
            if stops.contains(token.id) { break }
        }
        if drafter != nil {
            draftStatistics.record(
                tried: min(drafts.count, tokens.count), accepted: accepted, tokens: tokens.count)
            unread = ([last] + drafts, hidden)
        }
        // Positions count when their successor is handed out.
        cache.withdraw(drafts.count)
        verified = tokens.dropFirst()
        return tokens[0]
    }

    private mutating func guesses(after last: Int32) -> [Int32] {
        guard drafter != nil else { return [] }
        let (sampler, position, known) = (sampler, cache.count, takeUnread())
        var counts = currentCounts()
        return drafter!.draft(after: last, reading: known.tokens, known.hidden) { logits, step in
            // The token's own random numbers: where the two distributions agree, so do the draws.
            let token = logits.withElements { sampler.draw($0, position: position + step, counts: counts) }
            counts?.add(token)
            return token
        }
    }

    /// What the trunk has read and the drafter does not know.
    private mutating func takeUnread() -> (tokens: ArraySlice<Int32>, hidden: Tensor?) {
        defer { unread = nil }
        guard let drafter, let unread else { return ([], nil) }
        let count = cache.count - drafter.count
        precondition((1...unread.tokens.count).contains(count), "Generator: its cache was changed by someone else")
        return (unread.tokens.prefix(count), Tensor.selectRows(unread.hidden, Array(0..<count)))
    }

    /// - Parameter counts: of the tokens before; the one that is drawn is added.
    private func draw(_ row: Int, position: Int, _ counts: inout TokenCounts?) -> GeneratedToken {
        let one = Tensor.selectRows(logits!, [row])
        let id = one.withElements { sampler.draw($0, position: position, counts: counts) }
        counts?.add(id)
        let logprob = one.withElements { $0[Int(id)] } - Tensor.logSumExp(one)[0]
        return GeneratedToken(id: id, logprob: logprob, position: position)
    }
}
