import ArgumentParser
import GlimEngine
import GlimModel
import GlimText

/// What was said, as tokens.
///
/// The tokens are the truth: a reply stays what was drawn and is never encoded again. What the model sees of earlier
/// turns is for its template to say: without their thinking, as a rule. What it has read before is the engine's to know.
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

    let format: ChatFormat
    /// Tokens that the model and the engine's memory hold of one conversation.
    let context: Int
    let maxTokens: Int
    /// May change from turn to turn.
    var thinking: Thinking
    var sampler: Sampler
    private let engine: Engine
    private var messages: [ChatMessage] = []
    private var replies: [Int: DrawnReply] = [:]

    /// - Parameter context: the model's longest.
    init(
        _ engine: Engine, _ format: ChatFormat, context: Int, sampler: Sampler, thinking: Thinking, maxTokens: Int
    ) {
        (self.engine, self.format, self.sampler, self.thinking) = (engine, format, sampler, thinking)
        self.context = min(context, engine.positionLimit)
        self.maxTokens = maxTokens
    }

    /// Everything said and thought so far.
    var transcript: [Int32] { format.tokens(ChatPrompt(messages, clearsThinking: false), replies: replies) }

    /// What the next reply begins with is thinking.
    var startsThinking: Bool { format.startsThinking(prompt([])) }

    mutating func reset() { (messages, replies) = ([], [:]) }

    /// Draws the reply to `text`, and stops when `body` returns false. Tokens that end the reply are not shown to it.
    ///
    /// - Returns: false where `text` no longer fits the context; nothing changed then. Nor does anything where a stop
    ///   comes before the first token.
    mutating func reply(to text: String, _ body: (Engine.Event) throws -> Bool) async throws -> Bool {
        let said = messages + [.user(text)]
        let asked = format.tokens(prompt(said), replies: replies)
        guard asked.count < context else { return false }
        var tokens: [Int32]?
        // The reply is part of the conversation however it ends.
        defer {
            if let tokens {
                let reply = DrawnReply(
                    tokens[...], startsThinking: startsThinking, endThink: format.tokenizer.id(of: .endThink))
                messages = said
                replies[messages.count] = reply
                messages.append(reply.message)
            }
        }
        // Each turn has random numbers of its own: one question put twice may have two answers.
        var turn = sampler
        turn.seed &+= UInt64(replies.count)
        let request = Engine.Request(
            prompt: asked, maxTokens: min(maxTokens, context - asked.count), sampler: turn, stops: format.stops)
        for try await event in try engine.submit(request) {
            if case .token(let token) = event {
                if format.stops.contains(token.id) {
                    tokens = tokens ?? []
                    continue
                }
                tokens = (tokens ?? []) + [token.id]
            }
            if try !body(event) { break }
        }
        return true
    }

    private func prompt(_ messages: [ChatMessage]) -> ChatPrompt {
        ChatPrompt(
            messages, addsGenerationPrompt: true, enablesThinking: thinking != .off,
            clearsThinking: thinking != .preserved)
    }
}
