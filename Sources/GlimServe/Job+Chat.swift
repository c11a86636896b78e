import GlimText

extension Job {
    /// The job of a conversation, whichever API told it.
    ///
    /// - Parameter response: the id of the response.
    /// - Throws: `ServiceError` that names what cannot be done.
    init(chat request: GenerationRequest, _ served: ServedModel, response: String) throws(ServiceError) {
        try served.check(model: request.model)
        let format = try served.chatFormat()
        let prompt = request.prompt.forTemplate
        let thinks = prompt.addsGenerationPrompt && format.startsThinking(prompt)
        let thinkingEnd = thinks ? format.tokenizer.id(of: .endThink) : nil
        let form = ReplyForm(
            chat: OutputParser(format.tokenizer, tools: prompt.tools, startsThinking: thinks), response: response,
            stopTexts: request.sampling.stop, thinkingEnd: thinkingEnd,
            endsAfterCall: !request.allowsParallelCalls && !prompt.tools.isEmpty)
        try self.init(
            prompts: [format.tokens(prompt)], request.sampling, served, stops: format.stops, form: form)

        let calls = try Self.calls(request, format)
        let constraint = try served.constraint(request.format, stops: format.stops, after: thinkingEnd)
        if constraint != nil, !prompt.tools.isEmpty, request.toolChoice != .never {
            throw ServiceError(
                .invalidRequest,
                "a reply that may call tools cannot be kept to a format: leave out one of them, or choose that none is called",
                parameter: "response_format")
        }
        var isControlled = constraint != nil || !form.stopTexts.isEmpty || form.endsAfterCall
        if case .free = calls {} else { isControlled = true }
        if thinks, request.sampling.maximumThinkingTokens != nil { isControlled = true }
        guard isControlled else { return }
        control = ReplyControl(
            form, vocabularySize: served.vocabularySize, constraint: constraint,
            thinkingLimit: request.sampling.maximumThinkingTokens, calls: calls, stops: format.stops)
    }

    private static func calls(
        _ request: GenerationRequest, _ format: ChatFormat
    ) throws(ServiceError) -> ReplyControl.Calls {
        let tokenizer = format.tokenizer
        guard request.toolChoice != .auto else { return .free }
        guard let begin = tokenizer.id(of: .beginToolCall), let end = tokenizer.id(of: .endToolCall),
            let argument = tokenizer.id(of: .beginArgumentKey)
        else {
            if request.toolChoice == .never { return .free }
            throw ServiceError(
                .invalidRequest, "the model's vocabulary has no tokens to call tools with", parameter: "tool_choice")
        }
        switch request.toolChoice {
        case .auto: return .free
        case .never: return .never(begin: begin)
        case .required: return forced(request.prompt.tools.compactMap(\.name))
        case .named(let name): return forced([name])
        }
        func forced(_ names: [String]) -> ReplyControl.Calls {
            .forced(names.map { [begin] + tokenizer.encode($0) }, followers: [argument, end])
        }
    }
}
