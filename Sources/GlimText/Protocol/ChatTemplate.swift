/// How a conversation becomes the text that a model reads: the chat templates of GLM, to the byte.
///
/// ```swift
/// let pieces = ChatTemplate.glm5.pieces(ChatPrompt([.user("hi")], addsGenerationPrompt: true))
/// pieces.text              // [gMASK]<sop><|user|>hi<|assistant|><think>
/// tokenizer.encode(pieces)
/// ```
///
/// Source: the templates published with the models; GLM-5 report, section 3, on the three ways to think.
public enum ChatTemplate: String, Sendable, CaseIterable {
    /// GLM-4.7, 4.7-Flash and 5. Without reasoning a reply begins with a lone `</think>`.
    case glm5 = "glm-5"
    /// Lists tools without their envelope, and those that are deferred not at all.
    case glm51 = "glm-5.1"
    /// Says how long to think; without reasoning a reply begins with `<think></think>`; images and other media.
    case glm52 = "glm-5.2"
    /// Always thinks, keeps the reasoning of earlier turns, and puts tool results in the order of their calls.
    case glm53 = "glm-5.3"

    /// The prompt in pieces, in order.
    public func pieces(_ prompt: ChatPrompt) -> [PromptPiece] {
        var renderer = TemplateRenderer(self, prompt)
        renderer.render()
        return renderer.pieces
    }

    /// The pieces to train on: those of a conversation that ends with the assistant, and the token with which it should
    /// have ended. Nothing more where somebody else has the last word: nothing is asked for, whatever the prompt says.
    public func trainingPieces(_ prompt: ChatPrompt) -> [PromptPiece] {
        var prompt = prompt
        prompt.addsGenerationPrompt = false
        guard let last = prompt.messages.last, last.role == .assistant else { return pieces(prompt) }
        let end = PromptPiece(.control(Self.stop(after: last)), .marker, message: nil, isProduced: true)
        return pieces(prompt) + [end]
    }

    /// The token with which an assistant ends a message: it hands over to its tools, or to the user.
    public static func stop(after message: ChatMessage) -> ControlToken {
        message.toolCalls.isEmpty ? .user : .observation
    }

    /// Whether a reply to this prompt begins with reasoning: its `<think>` is the prompt's last token.
    public func opensThinking(_ prompt: ChatPrompt) -> Bool { prompt.enablesThinking || self == .glm53 }

    // MARK: What differs

    var unwrapsTools: Bool { self != .glm5 }
    var statesEffort: Bool { self == .glm52 || self == .glm53 }
    var showsMedia: Bool { self == .glm52 || self == .glm53 }
    var stripsReasoning: Bool { self == .glm5 || self == .glm51 }
    /// Whether a reply without reasoning begins with `<think></think>` rather than `</think>`.
    var opensEmptyThinking: Bool { self == .glm52 || self == .glm53 }
    var ordersResults: Bool { self == .glm53 }

    func clearsThinking(_ prompt: ChatPrompt) -> Bool { prompt.clearsThinking ?? (self != .glm53) }

    /// The level that the prompt names.
    func effort(_ prompt: ChatPrompt) -> ReasoningEffort {
        self == .glm52 && prompt.effort == .low ? .max : prompt.effort
    }
}
