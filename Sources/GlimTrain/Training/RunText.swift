package import Foundation
import GlimCheckpoint

/// The text of a run: what trains and what validates.
package struct RunText: Sendable, Equatable {
    package var training: [Document]
    package var validation: [Document]
    /// What was left out, and why.
    package internal(set) var report: CorpusReport
    /// What decides all of it, but for the contents of files.
    private let choice: Choice

    private struct Choice: Codable, Equatable {
        var data: [String]
        var validationFraction: Double?
        var seed: UInt64
        /// Nil for text, as in files that know nothing else.
        var isConversations: Bool?

        init(_ recipe: TrainRecipe) {
            (data, validationFraction, seed) = (recipe.data, recipe.validationFraction, recipe.seed)
            isConversations = recipe.stage == .sft ? true : nil
        }
    }

    /// - Throws: `DataError`.
    package init(_ recipe: TrainRecipe, say: @Sendable (String) -> Void) throws {
        var line = -1
        let progress: (Corpus.Totals) -> Void = { totals in
            if totals.files / 2000 != line {
                line = totals.files / 2000
                say("reading text: \(totals.bytes >> 20) MB in \(totals.files) files")
            }
        }
        let corpus =
            recipe.data.isEmpty
            ? try Corpus.found(progress: progress)
            : try Corpus.collect(
                recipe.data, form: recipe.stage == .sft ? .conversations : .text, progress: progress)
        say("text: \(corpus.totals)")
        if recipe.data.isEmpty { say("from \(Self.folders(corpus.documents))") }
        let split = ValidationSplit(
            corpus.documents, fraction: recipe.validationFraction, cuts: recipe.stage != .sft, seed: recipe.seed)
        (training, validation) = (split.training, split.validation)
        (report, choice) = (corpus.report, Choice(recipe))
    }

    /// The folders that most of the documents lie in, for people who want to know what was read.
    private static func folders(_ documents: [Document]) -> String {
        var bytes: [String: Int] = [:]
        for document in documents {
            let folder = document.name.split(separator: "/").dropLast().prefix(3).joined(separator: "/")
            bytes["/\(folder)", default: 0] += document.bytes.count
        }
        return bytes.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(8).map(\.key).joined(separator: ", ")
    }
}

// MARK: - In a file

extension RunText {
    /// The first line of the file; the bytes of the documents follow.
    private struct Header: Codable {
        var report: CorpusReport
        var choice: Choice
        var names: [String]
        var byteCounts: [Int]
        /// How many of the documents train; the others validate.
        var trainingCount: Int
    }

    /// Keeps the text in a file, so that every stage has the same however long they take, and reads it fast.
    package func save(to file: URL) throws {
        let documents = training + validation
        let header = Header(
            report: report, choice: choice, names: documents.map(\.name), byteCounts: documents.map(\.bytes.count),
            trainingCount: training.count)
        var data = try JSONEncoder().encode(header) + [UInt8(ascii: "\n")]
        for document in documents { data += document.bytes }
        try AtomicFile.write(data, to: file)
    }

    /// Reads what ``save(to:)`` wrote.
    ///
    /// - Returns: nil where there is no such file, or one with the text of other choices than the recipe's.
    /// - Throws: `RunError` for a damaged one.
    package init?(file: URL, of recipe: TrainRecipe) throws(RunError) {
        guard FileManager.default.fileExists(atPath: file.path) else { return nil }
        let damaged = RunError("\(file.path) is damaged; remove it, and the text is read again")
        guard let data = try? FileBytes.read(file.path),
            let end = data.firstIndex(of: UInt8(ascii: "\n")),
            let header = try? JSONDecoder().decode(Header.self, from: Data(data[..<end])),
            header.names.count == header.byteCounts.count, (0...header.names.count).contains(header.trainingCount),
            header.byteCounts.allSatisfy({ (0...data.count).contains($0) }),
            header.byteCounts.reduce(0, +) == data.count - end - 1
        else { throw damaged }
        guard header.choice == Choice(recipe) else { return nil }
        (report, choice) = (header.report, header.choice)
        var start = end + 1
        let documents = zip(header.names, header.byteCounts).map { name, count in
            defer { start += count }
            return Document(name: name, bytes: Array(data[start..<start + count]))
        }
        (training, validation) =
            (Array(documents[..<header.trainingCount]), Array(documents[header.trainingCount...]))
    }
}
