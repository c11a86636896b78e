public import GlimModel
import GlimTensor
public import GlimText

/// Text to quantise a model by: some that calibrates, and some that measures what was lost.
public struct QuantizationText: Sendable, Equatable {
    /// What calibrates.
    public let calibration: [ProbeBatch]
    /// What measures, of documents that do not calibrate. Of conversations what the assistant says counts.
    public let heldOut: [ProbeBatch]

    private static let tokensCalibrating = 16_384
    private static let tokensMeasuring = 32_768
    /// Fewer say nothing about what products meet.
    private static let leastCalibrating = 128
    /// Of text found here: long documents are not used to their ends.
    private static let bytesPerToken = 64
    private static let shareMeasuring = 0.4

    /// - Parameters:
    ///   - paths: files and folders with text, or files of JSON lines as fine-tuning reads them; none: text found on
    ///     this machine.
    ///   - template: that conversations are written with.
    /// - Throws: `DataError`, also for text that is too short to measure by; `RunError` for conversations and a tokenizer
    ///   that lacks the tokens they are written with.
    public init(
        _ paths: [String], _ tokenizer: Tokenizer, _ template: ChatTemplate, _ config: ModelConfig
    ) throws {
        let isLines = !paths.isEmpty && paths.allSatisfy { $0.lowercased().hasSuffix(".jsonl") }
        let bytes = Self.bytesPerToken * (Self.tokensCalibrating + Self.tokensMeasuring)
        let corpus =
            try paths.isEmpty
            ? Corpus.found(byteBudget: bytes) : Corpus.collect(paths, form: isLines ? .conversations : .text)
        let split = ValidationSplit(corpus.documents, fraction: Self.shareMeasuring, cuts: !isLines, seed: 0)
        let rows = ProbeRows(
            // Sparse attention chooses in the second half of such a row.
            length: min(config.maximumPositions, max(512, 2 * (config.indexer?.topK ?? 0))), tokenizer,
            isLines ? try ConversationEncoder(tokenizer, template) : nil)
        calibration = try rows.made(of: split.training, tokens: Self.tokensCalibrating)
        heldOut = try rows.made(of: split.validation, tokens: Self.tokensMeasuring)
        let counts = [calibration, heldOut].map { probes in
            probes.reduce(0) { $0 + $1.next.count { $0 >= 0 } }
        }
        guard counts[1] > 0, paths.isEmpty || counts[0] >= Self.leastCalibrating else {
            throw DataError.tooLittle(
                paths: paths,
                why: "\(counts[0]) tokens \(isLines ? "of assistants " : "")to calibrate by, of "
                    + "\(Self.leastCalibrating) at least, and \(counts[1]) others to measure by")
        }
    }
}

/// Makes rows of documents: text fills them and goes on in the next, conversations stay whole.
private struct ProbeRows {
    private let length: Int
    private let tokenizer: Tokenizer
    /// Nil for text.
    private let encoder: ConversationEncoder?

    /// Rows that a single document fills at most.
    private static let rowsOfOne = 2

    init(length: Int, _ tokenizer: Tokenizer, _ encoder: ConversationEncoder?) {
        (self.length, self.tokenizer, self.encoder) = (length, tokenizer, encoder)
    }

    /// Rows of documents from all over the text, until they have that many tokens.
    func made(of documents: [Document], tokens wanted: Int) throws(DataError) -> [ProbeBatch] {
        var (rows, row, count) = ([PackedRow](), PackedRow(capacity: length), 0)
        func finish() {
            if !row.tokens.isEmpty { rows.append(row) }
            row = PackedRow(capacity: length)
        }
        for place in CounterRandom(seed: 0, purpose: "quantization.text").permutation(documents.count)
        where count < wanted {
            let store = try store(documents[place])
            if encoder != nil, row.tokens.count + store.tokenCount > length { finish() }
            let end = min(store.tokenCount, (encoder == nil ? Self.rowsOfOne : 1) * length)
            var start = 0
            while start < end {
                let next = min(end, start + length - row.tokens.count)
                row.append(start..<next, of: store, documentEnd: store.tokenCount)
                if row.tokens.count == length { finish() }
                start = next
            }
            count += end
        }
        finish()
        return rows.map { ProbeBatch(tokens: $0.tokens, lengths: $0.segments.map(\.count), next: $0.next) }
    }

    private func store(_ document: Document) throws(DataError) -> TokenStore {
        guard let encoder else {
            return TokenStore([tokenizer.encode(document.bytes) + [tokenizer.endOfText]])
        }
        do throws(ProtocolError) {
            let line = encoder.encode(try TaughtLine(parsing: document.bytes))
            return TokenStore([line.tokens], taught: [line.taught])
        } catch {
            throw .malformedConversation(document.name, why: error.description)
        }
    }
}
