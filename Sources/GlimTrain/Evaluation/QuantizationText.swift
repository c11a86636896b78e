public import GlimText

/// Text to quantise a model by: some that calibrates, and some that measures what was lost.
public struct QuantizationText: Sendable, Equatable {
    /// Rows of tokens that calibrate.
    public let calibration: [[Int32]]
    /// Rows that measure, of documents that do not calibrate.
    public let heldOut: [[Int32]]

    private static let rowLength = 512
    private static let mostCalibrating = 32
    private static let mostMeasuring = 16

    /// - Parameters:
    ///   - paths: files, folders, JSON lines; none: text found on this machine.
    ///   - longest: positions of the model.
    /// - Throws: `DataError`, also for text that is too short to measure by.
    public init(_ paths: [String], _ tokenizer: Tokenizer, longest: Int) throws(DataError) {
        let bytes = 4 * Self.rowLength * (Self.mostCalibrating + Self.mostMeasuring)
        let corpus = try paths.isEmpty ? Corpus.found(byteBudget: 4 * bytes) : Corpus.collect(paths)
        let split = ValidationSplit(corpus.documents, fraction: 0.3, seed: 0)
        func rows(_ documents: [Document], most: Int) -> [[Int32]] {
            let length = min(Self.rowLength, longest)
            var (rows, row) = ([[Int32]](), [Int32]())
            for document in documents {
                row += tokenizer.encode(document.bytes) + [tokenizer.endOfText]
                while row.count >= length {
                    rows.append(Array(row.prefix(length)))
                    row.removeFirst(length)
                    if rows.count == most { return rows }
                }
            }
            return row.count > 1 ? rows + [row] : rows
        }
        calibration = rows(split.training, most: Self.mostCalibrating)
        heldOut = rows(split.validation, most: Self.mostMeasuring)
        guard !heldOut.isEmpty else { throw .nothingUsable(paths: paths, totals: corpus.totals) }
    }
}
