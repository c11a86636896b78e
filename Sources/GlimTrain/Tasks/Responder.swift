public import GlimModel
public import GlimText

/// Asks a model through its chat template, and takes what it writes apart: as a chat does, so what is measured or kept
/// here is what a person would see.
///
/// ```swift
/// let responder = Responder(model, format, maxTokens: 1024)
/// let prompt = ChatPrompt([.user("What is 40 + 2?")])
/// let reply = try responder.replies(to: prompt, [Sampler(temperature: 0)])[0]
/// ```
public struct Responder: Sendable {
    private let model: Model
    private let format: ChatFormat
    /// Tokens of a reply, at most.
    public let maxTokens: Int

    public init(_ model: Model, _ format: ChatFormat, maxTokens: Int) {
        (self.model, self.format, self.maxTokens) = (model, format, maxTokens)
    }

    /// What a model wrote.
    public struct Reply: Sendable, Equatable {
        /// nil where the model did not think.
        public var reasoning: String?
        /// What it said, without its thinking.
        public var content: String
        /// Tokens drawn, with the one that ended it.
        public var tokenCount: Int
        /// Whether the model ended it, and not the limit.
        public var isWhole: Bool

        public init(reasoning: String?, content: String, tokenCount: Int, isWhole: Bool = true) {
            (self.reasoning, self.content) = (reasoning, content)
            (self.tokenCount, self.isWhole) = (tokenCount, isWhole)
        }

        /// What is to be graded: nothing where the reply has no end.
        public var answer: String? { isWhole ? content : nil }
    }

    /// A reply for each sampler: a function of the prompt and that sampler alone. The prompt is read once for all.
    ///
    /// - Throws: `ReasoningError` for a prompt that leaves the model no room.
    public func replies(to prompt: ChatPrompt, _ samplers: [Sampler]) throws(ReasoningError) -> [Reply] {
        var prompt = prompt
        prompt.addsGenerationPrompt = true
        let tokens = format.tokens(prompt)
        let longest = model.config.maximumPositions
        guard tokens.count < longest else {
            throw ReasoningError(
                "a question has \(tokens.count) tokens, but the model's context is \(longest); take a longer one")
        }
        var asked = Generator(model, sampler: Sampler(), stops: format.stops)
        asked.feed(tokens)
        return samplers.map { sampler in
            // A copy knows what comes after the prompt; the cache, which all share, ends with the prompt again.
            asked.cache.truncate(to: tokens.count)
            var generator = asked
            generator.sampler = sampler
            return reply(&generator, to: prompt)
        }
    }

    private func reply(_ generator: inout Generator, to prompt: ChatPrompt) -> Reply {
        var parser = OutputParser(
            format.tokenizer, tools: prompt.tools, startsThinking: format.startsThinking(prompt))
        var (output, count, isWhole) = (ParsedOutput(), 0, false)
        while count < maxTokens, !isWhole, let token = generator.next() {
            count += 1
            isWhole = format.stops.contains(token.id)
            for event in parser.push(token.id) { output.add(event) }
        }
        for event in parser.finish() { output.add(event) }
        return Reply(reasoning: output.reasoning, content: output.written, tokenCount: count, isWhole: isWhole)
    }
}
