/// What a `tokenizer.json` says, checked: every id from 0 up has one token, and every merge its three.
struct TokenizerParts: Sendable {
    enum Normalizer: Sendable { case none, nfc }

    /// How a token is written in the file.
    enum Spelling: UInt8, Sendable {
        /// In the vocabulary, in the byte alphabet.
        case bytes
        /// In the vocabulary, as plain text that the byte alphabet cannot express.
        case text
        /// Among the added tokens alone.
        case added
    }

    /// The bytes of each token, by id, one after the other.
    var arena: [UInt8] = []
    var ends: [Int] = []
    var spellings: [Spelling] = []
    /// In the order of their ranks.
    var merges: [Merge] = []
    /// In the order of their ids.
    var addedTokens: [AddedToken] = []
    var ignoresMerges = false
    var pattern = SplitPattern.glm
    var addsPrefixSpace = false
    var normalizer = Normalizer.none
    /// The rest of the file, kept for saving: top-level values and those of `model`.
    var settings = TokenizerParts.settings(.glm)
    var modelSettings: [JSON.Member] = []

    var count: Int { ends.count }

    func range(_ id: Int) -> Range<Int> { (id == 0 ? 0 : ends[id - 1])..<ends[id] }

    mutating func append(_ bytes: some Sequence<UInt8>, _ spelling: Spelling) {
        arena.append(contentsOf: bytes)
        ends.append(arena.count)
        spellings.append(spelling)
    }

    /// The settings of GLM's own file, but for the pattern.
    static func settings(_ pattern: SplitPattern) -> [JSON.Member] {
        func byteLevel(addsPrefixSpace: Bool, trimsOffsets: Bool, usesRegex: Bool) -> JSON {
            .object([
                .init("type", .string("ByteLevel")), .init("add_prefix_space", .bool(addsPrefixSpace)),
                .init("trim_offsets", .bool(trimsOffsets)), .init("use_regex", .bool(usesRegex)),
            ])
        }
        let split = JSON.object([
            .init("type", .string("Split")),
            .init("pattern", .object([.init("Regex", .string(pattern.rawValue))])),
            .init("behavior", .string("Isolated")), .init("invert", .bool(false)),
        ])
        let pieces = [split, byteLevel(addsPrefixSpace: false, trimsOffsets: true, usesRegex: false)]
        return [
            .init(
                "pre_tokenizer",
                .object([.init("type", .string("Sequence")), .init("pretokenizers", .array(pieces))])),
            .init("post_processor", byteLevel(addsPrefixSpace: true, trimsOffsets: false, usesRegex: true)),
            .init("decoder", byteLevel(addsPrefixSpace: true, trimsOffsets: true, usesRegex: true)),
        ]
    }
}
