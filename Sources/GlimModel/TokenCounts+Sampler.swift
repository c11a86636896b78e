extension TokenCounts {
    /// What a sampler wants to know of the tokens so far; nil where nothing that it does hangs on them.
    package init?(for sampler: Sampler, prompt: some Sequence<Int32>, drawn: some Sequence<Int32>) {
        let isPenalised =
            sampler.repetitionPenalty != 1 || sampler.presencePenalty != 0 || sampler.frequencyPenalty != 0
        guard isPenalised else { return nil }
        self.init(prompt: prompt)
        for token in drawn { add(token) }
    }
}
