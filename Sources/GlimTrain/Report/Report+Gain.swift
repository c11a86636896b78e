extension Report {
    /// What a model can do after a stage of training: measured on the same long documents, none of them trained on.
    public struct Gain: Codable, Sendable, Equatable {
        /// Tokens in sight in the short measurement.
        public var shortLength: Int
        /// The same in the long one.
        public var longLength: Int
        public var shortBitsPerByte: Double?
        public var longBitsPerByte: Double?
        /// Of facts hidden in a text of the short length the share that is found, 0 to 1 (``RulerEvaluation``).
        public var shortFactsFound: Double?
        public var longFactsFound: Double?
        /// Of easy questions of the reasoning family the share that is answered right, asked of models that could.
        public var questionsAnswered: ScoreInterval?
        /// Tokens a second behind a text of the long length.
        public var decodeTokensPerSecond: Double?
        /// Of the last step, where indexers learned: nats.
        public var indexerLoss: Double?

        public init(shortLength: Int, longLength: Int) {
            (self.shortLength, self.longLength) = (shortLength, longLength)
        }

        enum CodingKeys: String, CodingKey {
            case shortLength = "short_length"
            case longLength = "long_length"
            case shortBitsPerByte = "short_bits_per_byte"
            case longBitsPerByte = "long_bits_per_byte"
            case shortFactsFound = "short_facts_found"
            case longFactsFound = "long_facts_found"
            case questionsAnswered = "questions_answered"
            case decodeTokensPerSecond = "decode_tokens_per_second"
            case indexerLoss = "indexer_loss"
        }

        /// What was not measured is null.
        public func encode(to encoder: any Encoder) throws {
            var values = encoder.container(keyedBy: CodingKeys.self)
            try values.encode(shortLength, forKey: .shortLength)
            try values.encode(longLength, forKey: .longLength)
            try values.encode(finite: shortBitsPerByte, forKey: .shortBitsPerByte)
            try values.encode(finite: longBitsPerByte, forKey: .longBitsPerByte)
            try values.encode(finite: shortFactsFound, forKey: .shortFactsFound)
            try values.encode(finite: longFactsFound, forKey: .longFactsFound)
            try values.encode(questionsAnswered, forKey: .questionsAnswered)
            try values.encode(finite: decodeTokensPerSecond, forKey: .decodeTokensPerSecond)
            try values.encode(finite: indexerLoss, forKey: .indexerLoss)
        }
    }
}
