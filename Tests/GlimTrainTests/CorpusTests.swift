import Foundation
import GlimTrain
import Testing

@Suite("corpus") struct CorpusTests {
    func texts(_ corpus: Corpus) -> [String] { corpus.documents.map { String(decoding: $0.bytes, as: UTF8.self) } }

    @Test("folders are walked in the order of names, hidden ones left out") func order() throws {
        let folder = try TemporaryFolder()
        try folder.write("b.txt", "bee")
        try folder.write("a/z.txt", "zed")
        try folder.write("a/Z.txt", "Zed")
        try folder.write(".git/config", "hidden")
        try folder.write("a/.hidden", "hidden too")
        try folder.write("c.py", "sea")
        let corpus = try Corpus.collect([folder.path])
        #expect(texts(corpus) == ["Zed", "zed", "bee", "sea"])
        #expect(corpus.documents[0].name == folder.path + "/a/Z.txt")
        #expect(corpus.totals.files == 4 && corpus.totals.documents == 4 && corpus.totals.bytes == 12)
        #expect(try Corpus.collect([folder.path + "/"]).documents.map(\.bytes) == corpus.documents.map(\.bytes))
    }

    @Test("a hidden folder that is named is used") func namedHidden() throws {
        let folder = try TemporaryFolder()
        try folder.write(".notes/a.txt", "note")
        #expect(texts(try Corpus.collect([folder.path + "/.notes"])) == ["note"])
    }

    @Test("empty and binary files, and exact duplicates, are counted and skipped") func skips() throws {
        let folder = try TemporaryFolder()
        try folder.write("a.txt", "text")
        try folder.write("b.txt", "text")
        try folder.write("empty.txt", "")
        try folder.write("nul.bin", [0x41, 0, 0x42])
        try folder.write("noise.bin", (0..<20_000).map { UInt8(truncatingIfNeeded: $0 &* 197 | 1) })
        try folder.write("late.bin", Array(repeating: 0x41, count: 10_000) + [0])
        let corpus = try Corpus.collect([folder.path])
        #expect(texts(corpus) == ["text"])
        #expect(corpus.totals.skippedEmpty == 1)
        #expect(corpus.totals.skippedBinary == 3)
        #expect(corpus.totals.skippedDuplicate == 1)
        #expect("\(corpus.totals)".contains("skipped 1 empty, 3 binary, 1 duplicate"))
    }

    @Test("text in an old encoding is text") func latin1() throws {
        let folder = try TemporaryFolder()
        let text = Array("Gruesse aus dem schoenen Muenchen, ".utf8) + [0xFC, 0xE4]
        try folder.write("latin1.txt", text)
        #expect(try Corpus.collect([folder.path]).documents.map(\.bytes) == [text])
    }

    @Test("links: to folders not followed, to files once, to nowhere counted") func links() throws {
        let folder = try TemporaryFolder()
        try folder.write("data/a.txt", "only once")
        try folder.link("data/loop", to: "..")
        try folder.link("data/self", to: "self")
        try folder.link("data/b.txt", to: "a.txt")
        try folder.link("data/nowhere", to: "missing.txt")
        try folder.link("named", to: "data")
        let corpus = try Corpus.collect([folder.path + "/data"])
        #expect(texts(corpus) == ["only once"])
        #expect(corpus.totals.skippedUnreadable == 2)
        #expect(corpus.totals.skippedDuplicate == 1)
        #expect(texts(try Corpus.collect([folder.path + "/named"])) == ["only once"], "a named link is followed")
    }

    @Test("a file that stands under two paths counts once") func twice() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("a.txt", "text")
        #expect(try Corpus.collect([path, folder.path, path]).documents.count == 1)
    }

    @Test("a pipe in a folder is left alone, a named one is read") func pipes() throws {
        let folder = try TemporaryFolder()
        try folder.write("a.txt", "text")
        try #require(mkfifo(folder.path + "/pipe", 0o600) == 0)
        #expect(try Corpus.collect([folder.path]).totals.skippedSpecial == 1)
        let path = folder.path + "/pipe"
        let writer = Thread { FileHandle(forWritingAtPath: path)?.write(Data("piped".utf8)) }
        writer.start()
        #expect(texts(try Corpus.collect([path])) == ["piped"])
    }

    @Test("a large text becomes documents that end with lines and join to the whole") func pieces() throws {
        let folder = try TemporaryFolder()
        let text = (0..<1000).map { "line \($0) é\n" }.joined()
        let path = try folder.write("big.txt", text)
        let corpus = try Corpus.collect([path], limits: .init(documentBytes: 1000))
        #expect(corpus.documents.allSatisfy { $0.bytes.count <= 1000 && $0.bytes.last == 10 })
        #expect(corpus.documents.flatMap(\.bytes) == Array(text.utf8))
        #expect(corpus.documents[0].name == path && corpus.documents[1].name == path + "#2")
    }

    @Test("a piece never ends inside a character", arguments: 1...9) func characters(limit: Int) {
        let text = Array("aé漢😀b漢漢漢".utf8)
        let pieces = TextBytes.pieces(text, limit: limit)
        #expect(pieces.flatMap { $0 } == text)
        #expect(pieces.allSatisfy { !$0.isEmpty && $0.count <= limit })
        for piece in pieces {
            let first = TextBytes.firstPiece(text[piece.startIndex...], limit: limit)
            #expect(first == piece && first.startIndex == piece.startIndex)
        }
        if limit >= 4 { #expect(pieces.allSatisfy { String(validating: $0, as: UTF8.self) != nil }) }
    }

    @Test("invalid bytes are those of no well-formed sequence") func invalid() {
        #expect(TextBytes.invalidCount(Array("aé漢😀".utf8)[...]) == 0)
        #expect(TextBytes.invalidCount([0x61, 0xFF, 0x62, 0x80]) == 2)
        #expect(TextBytes.invalidCount([0xE6, 0xBC]) == 0, "cut by the end")
        #expect(TextBytes.invalidCount([0xE6, 0xBC, 0x61]) == 2)
        #expect(TextBytes.invalidCount([0xC0, 0x80]) == 2, "overlong")
        #expect(TextBytes.isBinary([]) == false)
    }

    @Test("collecting stops at the byte limit") func limit() throws {
        let folder = try TemporaryFolder()
        for i in 0..<10 { try folder.write("\(i).txt", "text \(i)") }
        let corpus = try Corpus.collect([folder.path], limits: .init(totalBytes: 20))
        #expect(corpus.totals.bytes == 18)
    }

    @Test("progress ends with the totals") func progress() throws {
        let folder = try TemporaryFolder()
        for i in 0..<200 { try folder.write("\(i).txt", "text \(i)") }
        var seen: [Corpus.Totals] = []
        let corpus = try Corpus.collect([folder.path]) { seen.append($0) }
        #expect(seen.count >= 3 && seen.last == corpus.totals)
        let json = try JSONEncoder().encode(corpus.totals)
        #expect(try JSONDecoder().decode(Corpus.Totals.self, from: json) == corpus.totals)
    }

    // MARK: JSONL

    @Test("each line of JSONL is a document") func jsonl() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(
            "a.jsonl",
            "\u{FEFF}{\"text\": \"one\\n\", \"id\": 1}\r\n\n  \n{\"content\": \"two é\"}\n{\"text\": \"\"}\n{\"text\": \"end\"}"
        )
        let corpus = try Corpus.collect([path])
        #expect(texts(corpus) == ["one\n", "two é", "end"])
        #expect(corpus.documents.map(\.name) == [path + ":1", path + ":4", path + ":6"])
        #expect(corpus.totals.skippedEmpty == 1)
    }

    @Test(
        "a malformed line names file and line",
        arguments: [
            ("{\"text\": \"cut", "not valid JSON"), ("[1, 2]", "not an object"), ("{\"txt\": \"a\"}", "neither"),
            ("{\"text\": 3}", "\"text\" is not a string"), ("{\"text\": null}", "\"text\" is not a string"),
            ("{\"content\": [\"a\"]}", "\"content\" is not a string"), ("\u{1}", "not valid JSON"), ("7", "object"),
            (String(repeating: "[", count: 200_000), "not valid JSON"), ("{\"text\": \"\\ud800\"}", "not valid JSON"),
        ])
    func malformed(line: String, why: String) throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("bad.jsonl", "{\"text\": \"fine\"}\n" + line + "\n")
        let error = try #require(throws: DataError.self) { try Corpus.collect([folder.path]) }
        guard case .malformedLine(path, line: 2, _) = error else { throw error }
        #expect("\(error)".contains(why), "\(error)")
        #expect("\(error)".hasPrefix(path + ":2 "))
    }

    // MARK: Errors

    @Test("a missing path is an error, whatever else there is") func missing() throws {
        let folder = try TemporaryFolder()
        try folder.write("a.txt", "text")
        let path = folder.path + "/nope"
        #expect(throws: DataError.noSuchPath(path)) { try Corpus.collect([folder.path, path]) }
        try folder.link("dangling", to: "missing")
        #expect(throws: DataError.unreadable(folder.path + "/dangling", why: "a link to nowhere")) {
            try Corpus.collect([folder.path + "/dangling"])
        }
        #expect(throws: DataError.self) { try Corpus.collect(["/dev/zero"]) }
    }

    @Test("nothing usable is one clear error") func nothing() throws {
        let folder = try TemporaryFolder()
        try folder.write("empty.txt", "")
        try folder.write("a.bin", [0, 1, 2])
        let error = try #require(throws: DataError.self) { try Corpus.collect([folder.path]) }
        #expect("\(error)".contains("empty or binary-only data"))
        #expect("\(error)".contains("skipped 1 empty, 1 binary"))
        #expect(throws: DataError.self) { try Corpus.collect([]) }
    }

    // MARK: Found text

    @Test("the machine's text: a sample of each source, within the budget, the same every time") func foundSources()
        throws
    {
        let folder = try TemporaryFolder()
        let line = "the quick brown fox jumps over the lazy dog and writes another line of text\n"
        func text(_ name: String) -> String { (0..<20).map { "\(name) \($0) \(line)" }.joined() }
        for i in 0..<50 {
            try folder.write("python/m\(i).py", text("p\(i)"))
            try folder.write("c/h\(i).h", text("c\(i)"))
        }
        try folder.write("python/site-packages/own.py", text("private"))
        try folder.write("python/data.json", text("json"))
        try folder.write("python/table.py", String(repeating: "0x1234, 0x5678, 99, ", count: 50))
        try folder.write("c/README", text("read me"))
        try folder.write("python/similar.py", text("p1") + "def one_more_line_of_a_later_version():")
        let found = FoundText(sources: [
            .init(name: "python", folders: [folder.path + "/python", "/nowhere"], extensions: ["py"], share: 3),
            .init(name: "c", folders: [folder.path + "/c"], extensions: ["h", "txt"], share: 1),
        ])
        let corpus = try Corpus.found(found, byteBudget: 40_000)
        #expect(corpus.totals.bytes <= 40_000 && corpus.totals.bytes > 36_000)
        let python = corpus.documents.filter { $0.name.hasSuffix(".py") }.count
        let c = corpus.documents.filter { $0.name.hasSuffix(".h") }.count
        #expect(python > 2 * c && c > 3)
        #expect(!corpus.documents.contains { $0.name.contains("site-packages") || $0.name.contains("table") })
        #expect(try Corpus.found(found, byteBudget: 40_000).documents == corpus.documents)
        let all = try Corpus.found(found, byteBudget: 1 << 20)
        #expect(all.documents.count == 101 && all.documents.contains { $0.name.hasSuffix("/README") })
        #expect(all.totals.skippedUnsuited == 1 && all.totals.skippedSimilar == 1)
        #expect(throws: DataError.self) { try Corpus.found(FoundText(sources: []), byteBudget: 1000) }
    }

    @Test("this machine has at least 5 MB of text") func foundHere() throws {
        let corpus = try Corpus.found(byteBudget: 6 << 20)
        #expect(corpus.totals.bytes >= 5 << 20, "\(corpus.totals)")
    }
}
