import Foundation
import GlimTensor
import GlimText
import GlimTrain
import Testing

/// Answers questions from the lines of a text, by plain reading.
struct StringSolver {
    let lines: [[Substring]]

    init(_ text: String) { lines = text.split(separator: "\n").map { $0.split(separator: " ") } }

    /// Names and values are two words each.
    private func told(_ verb: String, of name: String) -> [String] {
        lines.filter { $0.count > 4 && $0[0] == verb && $0[1...2].joined(separator: " ") == name }
            .map { $0.dropFirst(3).joined(separator: " ") }
    }

    /// What follows a prompt.
    func answer(_ prompt: String) -> String {
        let words = prompt.split(separator: " ")
        let name = words.suffix(2).joined(separator: " ")
        switch words[0] {
        case "#recall": return told("#note", of: name).joined(separator: " ")
        case "#list": return told("#add", of: name).joined(separator: " ")
        case "#trace":
            var (chain, last): ([String], String) = ([], name)
            while let next = told("#link", of: last).first {
                chain.append(next)
                last = next
            }
            return chain.joined(separator: " ")
        case "#most":
            let counts = Dictionary(told("#vote", of: name).map { ($0, 1) }, uniquingKeysWith: +)
            return counts.max { $0.value < $1.value }?.key ?? ""
        case "#again":
            let number = RetrievalWords.ordinals.firstIndex { $0 == words[1] } ?? 0
            return told("#say", of: name)[number]
        default: return ""
        }
    }

    /// What the last fact says.
    var nearest: String { lines.last { $0[0].hasPrefix("#") }.map { $0.dropFirst(3).joined(separator: " ") } ?? "" }
}

enum LongText {
    /// Files of Python, some alike: those of one folder share rare names.
    static let documents: [Document] = (0..<60).map { i in
        let (folder, file) = (i % 6, i / 6)
        var text = ""
        for j in 0..<40 {
            text += "def handle_\(folder)_\(j % 9)(argument_\(file)):\n"
            text += "    return widget\(folder) + argument_\(file) * \(i * j % 17)\n"
        }
        return Document(name: "/data/lib\(folder)/part_\(file).py", bytes: Array(text.utf8))
    }
    static let haystack = Haystack(documents)

    static func tokenizer() throws -> Tokenizer {
        var trainer = TokenizerTrainer(vocabularySize: 700)
        trainer.add(documents.map(\.bytes))
        trainer.add((0..<20).map { Retrieval(haystack: haystack, seed: 5).document($0, byteCount: 900).bytes })
        return try trainer.train()
    }

    static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}

@Suite("Long-context documents") struct LongContextTests {
    static let builders: [any DocumentBuilder] = [
        Retrieval(haystack: LongText.haystack, seed: 7), Coreference(haystack: LongText.haystack, seed: 7),
        RepositoryPacking(LongText.documents, seed: 7), InterleavedDocuments(LongText.documents, seed: 7),
    ]

    @Test("the same number gives the same document, another another, and lengths are kept", arguments: 0..<4)
    func determinism(_ which: Int) {
        let builder = Self.builders[which]
        for byteCount in [400, 2000, 12_000] {
            let documents = (0..<12).map { builder.document($0, byteCount: byteCount) }
            #expect(documents == (0..<12).map { builder.document($0, byteCount: byteCount) })
            #expect(Set(documents.map(\.bytes)).count == 12)
            for document in documents {
                #expect(document.bytes.count <= byteCount)
                #expect(document.bytes.count > byteCount - 210, "\(document.name): \(document.bytes.count)")
            }
        }
    }

    @Test("another seed gives other documents") func seeds() {
        let other: [any DocumentBuilder] = [
            Retrieval(haystack: LongText.haystack, seed: 8), Coreference(haystack: LongText.haystack, seed: 8),
            RepositoryPacking(LongText.documents, seed: 8), InterleavedDocuments(LongText.documents, seed: 8),
        ]
        for (a, b) in zip(Self.builders, other) {
            #expect((0..<8).map { a.document($0, byteCount: 900) } != (0..<8).map { b.document($0, byteCount: 900) })
        }
    }

    @Test("every question is answered by the facts before it") func answers() {
        var asked: [Substring: Int] = [:]
        for builder in Self.builders.prefix(2) {
            for i in 0..<60 {
                let text = LongText.text(builder.document(i, byteCount: 3000).bytes)
                var before = ""
                for line in text.split(separator: "\n") {
                    let words = line.split(separator: " ")
                    if let form = RetrievalForm.allCases.first(where: { $0.question == words[0] }) {
                        let count = form == .say ? 4 : 3
                        let prompt = words.prefix(count).joined(separator: " ")
                        let answer = words.dropFirst(count).joined(separator: " ")
                        #expect(StringSolver(before).answer(prompt) == answer, "\(prompt)")
                        asked[words[0], default: 0] += 1
                    }
                    before += line + "\n"
                }
            }
        }
        #expect(asked.count == 5 && asked.values.allSatisfy { $0 > 50 }, "\(asked)")
    }

    @Test(
        "facts stand between lines of text, or among themselves where no text is wanted", arguments: [400, 2000, 6000])
    func text(byteCount: Int) {
        func lines(_ builder: Retrieval) -> [(isText: Bool, count: Int)] {
            (0..<40).map { index in
                let lines = LongText.text(builder.document(index, byteCount: byteCount).bytes).split(separator: "\n")
                let verbs = RetrievalForm.allCases.flatMap { [$0.fact, $0.question] }
                let text = lines.count { line in !verbs.contains { line.hasPrefix($0 + " ") } }
                return (text > 0, lines.count)
            }
        }
        let (with, without) = (
            lines(Retrieval(haystack: LongText.haystack, seed: 7)),
            lines(Retrieval(haystack: LongText.haystack, hasText: false, seed: 7))
        )
        #expect(without.allSatisfy { !$0.isText && $0.count >= 8 })
        // One document in five has no text.
        #expect((16...39).contains(with.count { $0.isText }))
    }

    @Test("no fact of evaluation is in training") func disjoint() {
        func pairs(_ text: String) -> Set<String> {
            Set(
                text.split(separator: "\n").map { $0.split(separator: " ") }.filter {
                    words in RetrievalForm.allCases.contains { $0.fact == words[0] }
                }.map { $0[1...4].joined(separator: " ") })
        }
        var (training, evaluation) = (Set<String>(), Set<String>())
        for builder in Self.builders.prefix(2) {
            for i in 0..<200 { training.formUnion(pairs(LongText.text(builder.document(i, byteCount: 3000).bytes))) }
        }
        for task in RetrievalTask.allCases {
            for index in 0..<4 {
                let instance = RetrievalInstance(
                    task, index: index, byteCount: 8000, haystack: LongText.haystack, seed: 1)
                evaluation.formUnion(pairs(LongText.text(instance.prefix)))
            }
        }
        #expect(training.count > 1500 && evaluation.count > 300 && training.isDisjoint(with: evaluation))
    }

    @Test("files of a folder follow each other behind their paths") func repository() {
        let text = LongText.text(RepositoryPacking(LongText.documents, seed: 1).document(3, byteCount: 9000).bytes)
        let headers = text.split(separator: "\n").filter { $0.hasPrefix("# ") }
        #expect(headers.count >= 2 && headers[0].hasSuffix(".py"), "\(headers)")
        let widgets = Set(text.matches(of: /widget\d/).map { text[$0.range] })
        #expect(widgets.count == 1, "one folder has text enough: \(widgets)")
    }

    @Test("texts dealt out in pieces are alike, and each goes on where it ended") func interleaved() {
        let builder = InterleavedDocuments(LongText.documents, seed: 1)
        for i in 0..<LongText.documents.count {
            #expect(builder.similar(to: i).prefix(3).allSatisfy { $0 % 6 == i % 6 })
        }
        let text = LongText.text(builder.document(0, byteCount: 12_000).bytes)
        let widgets = Set(text.matches(of: /widget\d/).map { text[$0.range] })
        #expect(widgets.count == 1, "\(widgets)")
        var joined: [Substring: String] = [:]
        var name: Substring = ""
        for line in text.split(separator: "\n") {
            if line.hasPrefix("# ") { name = line.dropFirst(2) } else { joined[name, default: ""] += line + "\n" }
        }
        #expect(joined.count >= 4)
        for (name, part) in joined {
            let whole = LongText.documents.first { $0.name.hasSuffix(name) }
            #expect(whole.map { LongText.text($0.bytes).hasPrefix(part.dropLast(2)) } == true, "\(name)")
        }
    }

    @Test("text without a line to hide in is replaced by sentences that say nothing") func noise() {
        let haystack = Haystack([Document(name: "a", bytes: Array("\n\n#note cat rain\n".utf8))])
        #expect(haystack.lineCount == 5 && LongText.text(Array(haystack.line(5))) == "The road is long.\n")
    }

    @Test("of much text a sample of documents serves, the same one each time") func sample() {
        let documents = (0..<100).map { Document(name: "\($0)", bytes: Array("line \($0 + 100)\n".utf8)) }
        func lines(_ byteLimit: Int) -> [String] {
            let haystack = Haystack(documents, byteLimit: byteLimit)
            return (0..<haystack.lineCount).map { LongText.text(Array(haystack.line($0))) }
        }
        #expect(lines(900) == documents.map { LongText.text($0.bytes) })
        let some = lines(92)
        #expect(some.count == 11 && Set(some).count == 11)
        #expect(some == lines(92) && some != Array(lines(900)[..<11]))
    }
}

@Suite("Report of what was left out") struct CorpusReportTests {
    @Test("each text has its reason, a duplicate the one that was kept") func reasons() throws {
        let folder = try TemporaryFolder()
        try folder.write("a.txt", "the same text\n")
        try folder.write("b.txt", "the same text\n")
        try folder.write("c.txt", "")
        try folder.write("d.bin", [0, 1, 2])
        try folder.write("e.jsonl", "{\"text\": \"other\"}\n{\"text\": \"the same text\\n\"}\n")
        let corpus = try Corpus.collect([folder.path])
        let path = folder.path
        #expect(
            corpus.report.dropped == [
                .init(name: path + "/b.txt", reason: .duplicate, kept: path + "/a.txt"),
                .init(name: path + "/c.txt", reason: .empty), .init(name: path + "/d.bin", reason: .binary),
                .init(name: path + "/e.jsonl:2", reason: .duplicate, kept: path + "/a.txt"),
            ])
        #expect(corpus.report.totals == corpus.totals && corpus.report.droppedUnlisted == 0)
        try corpus.report.write(toFolder: folder.url)
        let data = try Data(contentsOf: folder.url.appending(path: "data.json"))
        #expect(try JSONDecoder().decode(CorpusReport.self, from: data) == corpus.report)
    }

    @Test("a long list is cut, its count is not") func cut() {
        var list = CorpusReport.DroppedList()
        for i in 0..<10_007 { list.append(.init(name: "\(i)", reason: .empty)) }
        let report = CorpusReport(totals: Corpus.Totals(), dropped: list)
        #expect(report.dropped.count == 10_000 && report.droppedUnlisted == 7)
    }
}
