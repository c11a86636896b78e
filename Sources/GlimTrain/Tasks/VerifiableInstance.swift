import GlimTensor

/// A question, a demonstration of how to answer it, and what counts as an answer.
public struct VerifiableInstance: Sendable, Equatable {
    public let question: String
    /// Steps that lead to the answer, one a line; digits and letters that are worked on stand apart.
    public let thinking: String
    /// The reference answer, which the thinking comes to.
    public let answer: String
    public let rule: AnswerRule
    /// What the question is about, without what does not matter to its answer (names, the order of summands): questions
    /// with the same content are in the same split.
    package let content: String

    init(question: String, thinking: [String], answer: String, rule: AnswerRule, content: String) {
        (self.question, self.answer, self.rule, self.content) = (question, answer, rule, content)
        self.thinking = thinking.joined(separator: "\n")
    }

    /// One content in eight is for evaluation.
    public var split: ReasoningSplit {
        ContentHash.hash(Array(content.utf8)) % 8 == 0 ? .evaluation : .training
    }

    /// How right a text is as an answer, within 0...1: the whole text must be the answer, without the thinking.
    public func grade(_ text: String) -> Double { rule.grade(text) }
}
