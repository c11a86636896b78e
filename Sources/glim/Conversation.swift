import GlimModel
import GlimTrain

/// What was said, as tokens and as what the generator keeps of them.
///
/// The tokens are the truth: a reply stays what was drawn and is never encoded again.
struct Conversation {
    let model: Model
    let format: ChatTurn
    let drafts: Int
    let maxTokens: Int
    private var generator: Generator
    /// Everything said, the stops that ended replies left out.
    private(set) var tokens: [Int32] = []

    init(_ model: Model, _ format: ChatTurn, sampler: Sampler, drafts: Int, maxTokens: Int) {
        (self.model, self.format, self.drafts, self.maxTokens) = (model, format, drafts, maxTokens)
        generator = Generator(model, sampler: sampler, stops: format.stops, drafts: drafts)
    }

    var sampler: Sampler {
        get { generator.sampler }
        set { generator.sampler = newValue }
    }

    mutating func reset() {
        tokens = []
        generator = Generator(model, sampler: sampler, stops: format.stops, drafts: drafts)
    }

    /// Draws the reply to `text`, a token at a time, and stops when `body` returns false.
    ///
    /// - Returns: false where `text` no longer fits the model's context; nothing changed then.
    mutating func reply(to text: String, _ body: (Int32) throws -> Bool) rethrows -> Bool {
        let asked = tokens + format.asking(text, isFirst: tokens.isEmpty)
        guard asked.count < model.config.maximumPositions else { return false }
        // The last token of a reply that was cut off has been drawn but not read yet.
        let (before, count) = (generator, generator.cache.count)
        for first in stride(from: count, to: asked.count, by: Generator.chunk) {
            generator.feed(Array(asked[first..<min(asked.count, first + Generator.chunk)]))
            if StopSignal.arrived {
                generator = before
                generator.cache.truncate(to: count)
                return true
            }
        }
        tokens = asked
        for _ in 0..<maxTokens {
            guard let token = generator.next(), !format.stops.contains(token.id) else { break }
            tokens.append(token.id)
            if try !body(token.id) { break }
        }
        return true
    }
}
