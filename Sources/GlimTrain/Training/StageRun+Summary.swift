extension StageRun {
    /// What a run came to: the last line of `--json`.
    public struct Summary: Codable, Sendable, Equatable {
        /// Done in all, by earlier processes too.
        public var steps: Int
        /// Trained on in those.
        public var tokens: Int
        /// Nil where no step was done.
        public var finalLoss: Double?
        /// Of the last step, where it was evaluated.
        public var validationBitsPerByte: Double?
        /// Of training, this process only.
        public var tokensPerSecond: Double
        /// Of training, this process only.
        public var seconds: Double
        /// Where the steps were cut short by a signal.
        public var wasInterrupted = false

        enum CodingKeys: String, CodingKey {
            case steps, tokens, seconds
            case finalLoss = "final_loss"
            case validationBitsPerByte = "val_bits_per_byte"
            case tokensPerSecond = "tokens_per_second"
            case wasInterrupted = "interrupted"
        }

        /// What was not measured is null.
        public func encode(to encoder: any Encoder) throws {
            var values = encoder.container(keyedBy: CodingKeys.self)
            try values.encode(steps, forKey: .steps)
            try values.encode(tokens, forKey: .tokens)
            try values.encode(finite: finalLoss, forKey: .finalLoss)
            try values.encode(finite: validationBitsPerByte, forKey: .validationBitsPerByte)
            try values.encode(finite: tokensPerSecond, forKey: .tokensPerSecond)
            try values.encode(finite: seconds, forKey: .seconds)
            try values.encode(wasInterrupted, forKey: .wasInterrupted)
        }
    }
}
