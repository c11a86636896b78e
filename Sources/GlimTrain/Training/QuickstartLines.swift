import GlimTensor
import GlimText

/// What the quickstart fine-tunes on: easy questions of the reasoning family, answered with thinking and without, and
/// between them some of what the stages before learned, lest it be forgotten: text, and facts to find again in it.
struct QuickstartLines {
    private let demonstrations: ReasoningDemonstrations
    private let facts: Retrieval
    private let text: [Document]
    private let seed: UInt64
    /// Bytes of a piece of text: its tokens fit in a row.
    private let pieceBytes: Int

    init(_ text: [Document], rowLength: Int, seed: UInt64) {
        demonstrations = ReasoningDemonstrations(ReasoningMixture(.easy), seed: seed)
        // Of the form that quickstart measures; of all forms there would be few of each.
        facts = Retrieval(
            haystack: Haystack(text), tasks: [.needle], seed: CounterRandom(seed: seed, purpose: "replay.facts").bits(0)
        )
        // Two bytes a token are few for text and facts: what is longer all the same, rows leave out.
        (self.text, self.seed, pieceBytes) = (text.filter { !$0.bytes.isEmpty }, seed, 2 * rowLength)
    }

    /// Lines of JSON, as many as there are conversations and a piece of text or facts after each ``spacing`` of them.
    func lines(_ conversations: Int) -> [String] {
        var lines: [String] = []
        for index in 0..<conversations {
            lines.append(demonstrations.conversation(index).json.compact)
            let (piece, rest) = (index + 1).quotientAndRemainder(dividingBy: Self.spacing)
            if rest == 0 { lines.append(replay(piece - 1)) }
        }
        return lines
    }

    /// A piece has several times the tokens of a conversation: of the tokens it is an eighth.
    private static let spacing = 20

    private func replay(_ index: Int) -> String {
        let bytes = index % 2 == 0 || text.isEmpty ? facts.document(index, byteCount: pieceBytes).bytes : piece(index)
        return JSON.object([.init("text", .string(String(decoding: bytes, as: UTF8.self)))]).compact
    }

    private func piece(_ index: Int) -> [UInt8] {
        var draws = DrawSequence(seed: seed, purpose: "replay.text.\(index)")
        return Array(draws.pick(TextBytes.pieces(draws.pick(text).bytes, limit: pieceBytes)))
    }
}
