import ArgumentParser
import GlimModel
import GlimText
import GlimTrain

/// What was said, as tokens and as what the generator keeps of them.
///
/// The tokens are the truth: a reply stays what was drawn and is never encoded again. What the model sees of earlier
/// turns is for its template to say: without their thinking, as a rule.
struct Conversation {
    /// The three ways of GLM-5 (report, section 3).
    enum Thinking: String, CaseIterable, ExpressibleByArgument {
        /// Each reply is thought about; what was thought in earlier ones is forgotten.
        case interleaved
        /// Each reply is thought about, and nothing is forgotten.
        case preserved
        /// Replies come at once.
        case off
    }

    let model: Model
    let format: ChatFormat
    let drafts: Int
    let maxTokens: Int
    /// May change from turn to turn.
    var thinking: Thinking
    private var generator: Generator
    private var messages: [ChatMessage] = []
    private var replies: [Int: DrawnReply] = [:]
    /// What the generator has read and drawn, stops left out.
    private var tokens: [Int32] = []

    init(
        _ model: Model, _ format: ChatFormat, sampler: Sampler, thinking: Thinking, drafts: Int, maxTokens: Int
    ) {
        (self.model, self.format, self.thinking) = (model, format, thinking)
        (self.drafts, self.maxTokens) = (drafts, maxTokens)
        generator = Generator(model, sampler: sampler, stops: format.stops, drafts: drafts)
    }

    var sampler: Sampler {
        get { generator.sampler }
        set { generator.sampler = newValue }
    }

    /// Everything said and thought so far.
    var transcript: [Int32] { format.tokens(ChatPrompt(messages, clearsThinking: false), replies: replies) }

    /// What the next reply begins with is thinking.
    var startsThinking: Bool { format.startsThinking(prompt([])) }

    mutating func reset() {
        (messages, replies) = ([], [:])
        keep(0)
    }

    /// Draws the reply to `text`, a token at a time, and stops when `body` returns false.
    ///
    /// - Returns: false where `text` no longer fits the model's context; nothing changed then.
    mutating func reply(to text: String, _ body: (Int32) throws -> Bool) rethrows -> Bool {
        let said = messages + [.user(text)]
        let asked = format.tokens(prompt(said), replies: replies)
        guard asked.count < model.config.maximumPositions else { return false }
        let common = zip(asked, tokens).prefix { $0 == $1 }.count
        if common < tokens.count { keep(min(common, asked.count - 1)) }
        // The last token of a reply that was cut off has been drawn but not read yet.
        let count = generator.cache.count
        for first in stride(from: count, to: asked.count, by: Generator.chunk) {
            let piece = asked[first..<min(asked.count, first + Generator.chunk)]
            generator.feed(Array(piece))
            tokens = Array(asked[..<piece.endIndex])
            if StopSignal.arrived { return true }
        }
        messages = said
        // The reply is part of the conversation however it ends.
        defer {
            let reply = DrawnReply(
                tokens[asked.count...], startsThinking: startsThinking, endThink: format.tokenizer.id(of: .endThink))
            replies[messages.count] = reply
            messages.append(reply.message)
        }
        for _ in 0..<maxTokens {
            guard let token = generator.next(), !format.stops.contains(token.id) else { break }
            tokens.append(token.id)
            if try !body(token.id) { break }
        }
        return true
    }

    private func prompt(_ messages: [ChatMessage]) -> ChatPrompt {
        ChatPrompt(
            messages, addsGenerationPrompt: true, enablesThinking: thinking != .off,
            clearsThinking: thinking != .preserved)
    }

    /// Forgets all that the generator has read beyond the first tokens.
    private mutating func keep(_ count: Int) {
        // What guesses tokens knows a sequence from its beginning only.
        let count = drafts > 0 ? 0 : min(count, generator.cache.count)
        let cache = count > 0 ? generator.cache : nil
        cache?.truncate(to: count)
        generator = Generator(model, sampler: sampler, stops: format.stops, cache: cache, drafts: drafts)
        tokens = Array(tokens[..<count])
    }
}
