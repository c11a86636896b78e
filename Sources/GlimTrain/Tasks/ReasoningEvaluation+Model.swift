import GlimModel
import GlimText

extension ReasoningEvaluation {
    /// How far an evaluation of a model is.
    public struct Progress: Sendable, Equatable {
        public var task: String
        /// Questions answered.
        public var done: Int
        public var total: Int
        /// Drawn so far.
        public var tokens: Int
    }

    /// Asks a model, which answers greedily. An answer without an end is wrong.
    ///
    /// - Parameters:
    ///   - thinks: whether it is asked to think first.
    ///   - progress: called after each question.
    /// - Throws: `ReasoningError` for a number of samples that cannot be, or a model whose context is too short.
    public func run(
        _ responder: Responder, thinks: Bool = true, progress: (Progress) -> Void = { _ in }
    ) throws(ReasoningError) -> ReasoningScore {
        try check()
        var (done, tokens) = (0, 0)
        return try run { question throws(ReasoningError) in
            let prompt = ChatPrompt([.user(question)], enablesThinking: thinks)
            let reply = try responder.replies(to: prompt, [Sampler(temperature: 0)])[0]
            let task = ReasoningFamily.tasks[done / samples].name
            done += 1
            tokens += reply.tokenCount
            progress(
                Progress(task: task, done: done, total: samples * ReasoningFamily.tasks.count, tokens: tokens))
            return reply.answer ?? ""
        }
    }
}
