public import GlimText

/// Conversations that demonstrate the reasoning family in every way in which a chat thinks: what fine-tuning teaches
/// before there is a model to ask.
///
/// ```swift
/// let demonstrations = ReasoningDemonstrations(ReasoningMixture(.easy), seed: 1)
/// let line = demonstrations.conversation(0).json.compact
/// ```
///
/// Source of the ways: GLM-5 report, section 3.
public struct ReasoningDemonstrations: Sendable {
    /// How a conversation thinks.
    public enum Mode: String, CaseIterable, Sendable {
        /// Each question is thought about, and what was thought about earlier ones is forgotten.
        case interleaved
        /// Each question is thought about, and nothing is forgotten.
        case preserved
        /// Some questions are thought about, others answered at once; nothing is forgotten.
        case turnLevel = "turn-level"
        /// Each question is answered at once.
        case off
    }

    private let mixture: ReasoningMixture
    private let seed: UInt64

    // To think a question through is what has to be learned, and what is asked of the model later: most conversations do
    // that. The other ways change no more than what a turn begins with and what stands before it. Of answers at once
    // there is a share of their own, and one in each forgotten turn: more would spend the training on guesses that a
    // small model cannot make without the work.
    private static let percents: [(mode: Mode, percent: Int)] = [
        (.interleaved, 60), (.preserved, 15), (.turnLevel, 10), (.off, 15),
    ]
    /// Of conversations that could be of one turn: whether a turn comes first or third is soon learned.
    private static let singleShare = 0.75
    private static let mostTurns = 3

    public init(_ mixture: ReasoningMixture, seed: UInt64) { (self.mixture, self.seed) = (mixture, seed) }

    /// Conversation number `index`, a function of the mixture, the seed and the index alone. Its questions are of the
    /// training split, and its answers right.
    public func conversation(_ index: Int) -> ChatPrompt {
        let (mode, thinks) = turns(index)
        var messages: [ChatMessage] = []
        for (turn, isThoughtAbout) in thinks.enumerated() {
            let instance = mixture.instance(Self.mostTurns * index + turn, split: .training, seed: seed)
            messages.append(.user(instance.question))
            // Where thinking is off it was not the assistant's choice: nil, which templates tell from empty.
            messages.append(.assistant(instance.answer, reasoning: isThoughtAbout ? instance.thinking : nil))
        }
        return ChatPrompt(
            messages, enablesThinking: thinks[thinks.count - 1], clearsThinking: mode == .interleaved || mode == .off)
    }

    /// How conversation number `index` thinks.
    public func mode(_ index: Int) -> Mode { turns(index).mode }

    /// The mode, and for each turn whether it thinks.
    private func turns(_ index: Int) -> (mode: Mode, thinks: [Bool]) {
        var draws = DrawSequence(seed: seed, purpose: "demonstration.\(index)")
        let modes = Self.percents.flatMap { Array(repeating: $0.mode, count: $0.percent) }
        let mode = draws.pick(modes)
        let isSingle = draws.chance(Self.singleShare) && (mode == .interleaved || mode == .off)
        let count = isSingle ? 1 : draws.integer(from: 2, through: Self.mostTurns)
        switch mode {
        case .interleaved, .preserved: return (mode, Array(repeating: true, count: count))
        case .off: return (mode, Array(repeating: false, count: count))
        case .turnLevel:
            // One is unlike the others.
            let (odd, others) = (draws.integer(below: count), draws.chance(0.5))
            return (mode, (0..<count).map { ($0 == odd) != others })
        }
    }
}
