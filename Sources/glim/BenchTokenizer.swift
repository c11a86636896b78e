import Foundation
import GlimText
import GlimTrain

/// `glim bench tokenizer`: learning a vocabulary of 4,096 from 20 MB of text, and encoding that text on one core.
enum BenchTokenizer {
    private static let byteCount = 20_000_000

    /// - Parameter data: as for `glim quickstart`: nothing takes text found on this machine.
    static func run(data: [String], threads: Int?) throws -> BenchTable {
        let corpus =
            data.isEmpty
            ? try Corpus.found(byteBudget: byteCount)
            : try Corpus.collect(data, limits: .init(totalBytes: byteCount))
        let documents = corpus.documents.map(\.bytes)
        let size = Double(corpus.totals.bytes)
        let text = BenchReport.short(size) + "B"
        var table = BenchTable(.tokenizer)
        try table.begin()

        let clock = ContinuousClock()
        var tokenizer: Tokenizer?
        let training = try clock.measure {
            var trainer = TokenizerTrainer(vocabularySize: 4096, threads: threads)
            trainer.add(documents)
            tokenizer = try trainer.train()
        }
        try table.add(
            .init(
                name: "learning 4096 from \(text)", measured: training / .seconds(1), unit: "s", bar: "under 60 s",
                ok: training < .seconds(60)))
        guard let tokenizer else { return table }
        let encoding = (0..<3).map { _ in
            clock.measure { for document in documents { _ = tokenizer.encode(document) } }
        }.sorted()[1]
        let rate = size / (encoding / .seconds(1))
        try table.add(
            .init(name: "encoding \(text), one core", measured: rate, unit: "B/s", bar: "5 MB/s", ok: rate >= 5e6))
        return table
    }
}
