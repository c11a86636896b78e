import Foundation
import GlimTensor
import GlimTrain
import Testing

@Suite("packed loader") struct PackedLoaderTests {
    /// Documents whose tokens tell document and place, 1000·d + i, so that every expectation can be checked by hand.
    func store(_ counts: [Int]) -> TokenStore {
        TokenStore(counts.enumerated().map { d, count in (0..<count).map { Int32(1000 * d + $0) } })
    }

    static let shapes: [[Int]] = [
        [1], [5], [3, 3, 3], [1, 1, 1, 1, 1], [7, 1, 20, 2, 3], [0, 4, 0, 0, 5, 0], [100], [64, 64],
        [13, 8, 21, 34, 55],
    ]

    @Test("every token comes exactly once per epoch", arguments: shapes, [1, 2, 3, 8, 16, 64])
    func once(counts: [Int], length: Int) throws {
        let store = store(counts)
        var loader = try PackedLoader(store, sequenceLength: length, seed: 7)
        // After so many epochs the rows come out even.
        var seen: [Int32: Int] = [:]
        for _ in 0..<store.tokenCount {
            let row = loader.nextRow()
            #expect(row.tokens.count == length)
            for token in row.tokens { seen[token, default: 0] += 1 }
        }
        for token in store.tokens { #expect(seen[token] == length) }
        #expect(seen.count == store.tokenCount)
    }

    @Test("segments cover the row, targets never leave their document", arguments: shapes, [1, 2, 3, 8, 16, 64])
    func targets(counts: [Int], length: Int) throws {
        let store = store(counts)
        var loader = try PackedLoader(store, sequenceLength: length, seed: 3)
        for row in loader.batch(rows: 3 * store.tokenCount / length + 2) {
            #expect(row.tokens.count == length && row.next.count == length)
            #expect(row.following.count == row.segments.count)
            #expect(
                row.segments.map(\.start)
                    == row.segments.reduce(into: [0]) { $0.append($0.last! + $1.count) }.dropLast())
            #expect(row.segments.reduce(0) { $0 + $1.count } == length && row.segments.allSatisfy { $0.count > 0 })
            for (s, segment) in row.segments.enumerated() {
                let tokens = row.tokens[segment.start..<segment.start + segment.count]
                let (document, first) = (Int(tokens.first!) / 1000, Int(tokens.first!) % 1000)
                #expect(tokens.elementsEqual((0..<segment.count).map { Int32(1000 * document + first + $0) }))
                // Maximal: a document is left only at its end or at the row's.
                let isAtRowEnd = segment.start + segment.count == length
                #expect(isAtRowEnd || first + segment.count == counts[document])
                #expect(segment.start == 0 || first == 0)
                let after = first + segment.count..<min(counts[document], first + segment.count + PackedRow.lookahead)
                #expect(row.following[s] == after.map { Int32(1000 * document + $0) })
                for i in segment.start..<segment.start + segment.count {
                    let place = Int(row.tokens[i]) % 1000
                    #expect(row.next[i] == (place + 1 < counts[document] ? row.tokens[i] + 1 : -1))
                }
            }
            #expect(row.targetCount == row.next.filter { $0 >= 0 }.count)
        }
    }

    @Test("resuming anywhere gives the uninterrupted rows", arguments: shapes, [1, 3, 16])
    func resume(counts: [Int], length: Int) throws {
        let store = store(counts)
        var loader = try PackedLoader(store, sequenceLength: length, seed: 11)
        var positions: [PackedLoader.Position] = []
        var rows: [PackedRow] = []
        for _ in 0..<40 {
            positions.append(loader.position)
            rows.append(loader.nextRow())
        }
        for (i, position) in positions.enumerated() {
            let saved = try JSONDecoder().decode(
                PackedLoader.Position.self, from: try JSONEncoder().encode(position))
            var resumed = try PackedLoader(store, sequenceLength: length, seed: 11, position: saved)
            #expect(resumed.batch(rows: 40 - i) == Array(rows[i...]))
        }
    }

    @Test("the same seed gives the same rows, another seed and another epoch another order") func determinism() throws {
        let store = store(Array(repeating: 8, count: 50))
        func rows(_ seed: UInt64) throws -> [PackedRow] {
            var loader = try PackedLoader(store, sequenceLength: 8, seed: seed)
            return loader.batch(rows: 100)
        }
        let first = try rows(1)
        #expect(try rows(1) == first)
        #expect(try rows(2) != first)
        #expect(Array(first[..<50]) != Array(first[50...]))
    }

    @Test("neighbours in a document are not neighbours in a step") func mixing() throws {
        var loader = try PackedLoader(store([160, 160, 160, 160]), sequenceLength: 8, seed: 1)
        let rows = loader.batch(rows: 80)
        let neighbours = zip(rows, rows.dropFirst()).count { $1.tokens[0] == $0.tokens[7] + 1 }
        #expect(neighbours < 8)
    }

    @Test("a row may hold the end of one epoch and the start of the next") func rollover() throws {
        var loader = try PackedLoader(store([5]), sequenceLength: 3, seed: 0)
        let rows = loader.batch(rows: 5)
        // The stream is 01234 01234 01234; the rows that begin in an epoch come in any order.
        #expect(Set(rows[0..<2].map(\.tokens)) == [[0, 1, 2], [3, 4, 0]])
        #expect(Set(rows[2..<4].map(\.tokens)) == [[1, 2, 3], [4, 0, 1]])
        #expect(rows[4].tokens == [2, 3, 4])
        let across = try #require(rows.first { $0.tokens == [3, 4, 0] })
        #expect(across.segments == [.init(start: 0, count: 2), .init(start: 2, count: 1)])
        #expect(across.next == [4, -1, 1] && across.following == [[], [1, 2, 3, 4]])
        #expect(loader.position == .init(epoch: 2, row: 1))
        #expect(loader.batch(rows: -1).isEmpty)
    }

    @Test("a document can be a row of its own") func single() {
        let row = PackedRow(document: [5, 6, 7])
        #expect(row.tokens == [5, 6, 7] && row.next == [6, 7, -1] && row.following == [[]])
        #expect(row.segments == [.init(start: 0, count: 3)] && row.targetCount == 2)
        #expect(PackedRow(document: []).segments.isEmpty)
    }

    @Test("a step ahead reads and learns beyond the row, as far as the document goes") func ahead() throws {
        let store = store([9])
        var row = PackedRow(document: [])
        var loader = try PackedLoader(store, sequenceLength: 4, seed: 0)
        while row.tokens != [0, 1, 2, 3] { row = loader.nextRow() }
        func step(_ step: Int) -> [[Int32]] { [row.ahead(0, step: step).inputs, row.ahead(0, step: step).targets] }
        #expect(step(1) == [[1, 2, 3, 4], [2, 3, 4, 5]])
        #expect(step(3) == [[3, 4, 5, 6], [4, 5, 6, 7]])
        #expect(step(5) == [[5, 6, 7, 8], [6, 7, 8, -1]])
        #expect(step(7) == [[7, 8], [8, -1]])
        #expect(step(9) == [[], []] && row.aheadCount(0, step: 0) == 4)
        // A token that is not learned as the next one is not learned from further away either, but is read.
        row.next[2] = -1
        #expect(step(1) == [[1, 2, 3, 4], [2, -1, 4, 5]] && step(2) == [[2, 3, 4, 5], [-1, 4, 5, 6]])
    }

    @Test("impossible values are errors") func errors() throws {
        let store = store([5, 2])
        #expect(throws: DataError.self) { try PackedLoader(store, sequenceLength: 0, seed: 0) }
        #expect(throws: DataError.self) { try PackedLoader(self.store([]), sequenceLength: 4, seed: 0) }
        #expect(throws: DataError.self) { try PackedLoader(self.store([0, 0]), sequenceLength: 4, seed: 0) }
        for position: PackedLoader.Position in [
            .init(epoch: -1), .init(row: 3), .init(row: -1), .init(epoch: .max),
        ] {
            let error = try #require(throws: DataError.self) {
                try PackedLoader(store, sequenceLength: 4, seed: 0, position: position)
            }
            #expect("\(error)".contains("does not fit this data"))
        }
    }

    // MARK: Validation

    @Test("validation rows hold each document from its start, in order, and are filled up") func validation() {
        let store = store([5, 2, 6])
        let rows = PackedLoader.validationRows(store, sequenceLength: 4, maximumRows: 100, padding: 9)
        #expect(
            rows.map(\.tokens) == [[0, 1, 2, 3], [4, 1000, 1001, 2000], [2001, 2002, 2003, 2004], [2005, 9, 9, 9]])
        #expect(rows[0].next == [1, 2, 3, 4] && rows[3].next == [-1, -1, -1, -1])
        #expect(rows[3].segments == [.init(start: 0, count: 1), .init(start: 1, count: 3)])
        #expect(rows.reduce(0) { $0 + $1.targetCount } == 13 - 3)
    }

    @Test("with few rows long documents are cut, so that all count") func capped() {
        let store = store([900, 100, 900])
        let rows = PackedLoader.validationRows(store, sequenceLength: 50, maximumRows: 10, padding: 0)
        #expect(rows.count == 10 && rows.allSatisfy { $0.tokens.count == 50 })
        let tokens = rows.flatMap(\.tokens)
        #expect(tokens == Array(0..<200) + Array(1000..<1100) + Array(2000..<2200))
        #expect(rows[3].next.last == 200, "the document goes on behind the cut")
    }

    @Test("validation never exceeds its rows", arguments: shapes, [(1, 1), (1, 1000), (3, 2), (64, 1), (64, 1000)])
    func bounded(counts: [Int], bounds: (length: Int, maximum: Int)) {
        let (length, maximum) = bounds
        let store = store(counts)
        let rows = PackedLoader.validationRows(store, sequenceLength: length, maximumRows: maximum, padding: 0)
        #expect(rows.count <= maximum && !rows.isEmpty && rows.allSatisfy { $0.tokens.count == length })
        #expect(PackedLoader.validationRows(store, sequenceLength: 0, maximumRows: 1, padding: 0).isEmpty)
        #expect(PackedLoader.validationRows(store, sequenceLength: 8, maximumRows: .max, padding: 0).count < 100)
    }
}

@Suite("token store") struct TokenStoreTests {
    let documents = (0..<300).map { i in
        Document(name: "\(i)", bytes: Array(String(repeating: "document \(i) ", count: i % 7).utf8))
    }

    @Test("any number of threads gives the same tokens", arguments: [0, 1, 2, 3, 16, 1000])
    func threads(count: Int) {
        let store = TokenStore(documents, endOfText: 256, threads: count) { $0.map(Int32.init) }
        #expect(store.documentCount == 300)
        for (i, document) in documents.enumerated() {
            #expect(store.tokens[store.range(i)].elementsEqual(document.bytes.map(Int32.init) + [256]))
        }
        #expect(store == TokenStore(documents, endOfText: 256) { $0.map(Int32.init) })
    }

    @Test("the fingerprint tells tokens and boundaries") func fingerprint() {
        #expect(TokenStore([[1, 2], [3]]).fingerprint == TokenStore([[1, 2], [3]]).fingerprint)
        #expect(TokenStore([[1, 2], [3]]).fingerprint != TokenStore([[1], [2, 3]]).fingerprint)
        #expect(TokenStore([[1, 2], [3]]).fingerprint != TokenStore([[1, 2], [4]]).fingerprint)
        #expect(TokenStore([]).documentCount == 0)
        #expect(TokenStore([], endOfText: 0) { _ in [] }.tokenCount == 0)
    }
}

@Suite("validation split") struct ValidationSplitTests {
    func documents(_ count: Int, bytes: Int) -> [Document] {
        (0..<count).map { i in
            Document(name: "\(i)", bytes: Array(String(repeating: "line \(i)\n", count: max(1, bytes / 8)).utf8))
        }
    }

    func count(_ documents: [Document]) -> Int { documents.reduce(0) { $0 + $1.bytes.count } }

    @Test("the split does not depend on the order") func order() {
        let documents = documents(500, bytes: 2000)
        let split = ValidationSplit(documents, seed: 5)
        let shuffled = CounterRandom(seed: 1, purpose: "test").permutation(500).map { documents[$0] }
        let other = ValidationSplit(shuffled, seed: 5)
        func names(_ documents: [Document]) -> [String] { documents.map(\.name).sorted() }
        #expect(names(split.validation) == names(other.validation))
        #expect(names(split.training) == names(other.training))
        #expect(names(ValidationSplit(documents, seed: 6).validation) != names(split.validation))
    }

    @Test("about a twentieth, of large data half a megabyte", arguments: [(400, 2000), (400, 100_000), (20, 3000)])
    func size(number: Int, bytes: Int) {
        let documents = documents(number, bytes: bytes)
        let split = ValidationSplit(documents, seed: 1)
        let (total, validating) = (count(documents), count(split.validation))
        #expect(count(split.training) + validating == total)
        #expect(validating <= min(total / 20, 512 << 10) && validating > min(total / 20, 512 << 10) / 8)
    }

    @Test("a document that validates goes on doing so when others come") func stable() {
        let many = documents(1000, bytes: 500)
        let few = Array(many[..<700])
        let before = Set(
            ValidationSplit(few, fraction: 0.1, seed: 1).validation.map(\.name).filter { !$0.contains("@") })
        let after = Set(
            ValidationSplit(many, fraction: 0.1, seed: 1).validation.map(\.name).filter { !$0.contains("@") })
        #expect(before.subtracting(after).count <= before.count / 5)
    }

    @Test("few documents: the end of one validates, cut at a line") func single() {
        let documents = documents(1, bytes: 10_000)
        let split = ValidationSplit(documents, seed: 1)
        #expect(split.training.count == 1 && split.validation.count == 1)
        #expect(split.training[0].bytes + split.validation[0].bytes == documents[0].bytes)
        #expect(split.training[0].bytes.last == 10 && split.validation[0].name.hasPrefix("0@"))
        let line = Document(name: "one line", bytes: Array(repeating: 0x61, count: 100))
        #expect(ValidationSplit([line], seed: 1).validation[0].bytes.count == 5)
        let kanji = Document(name: "kanji", bytes: Array(String(repeating: "漢", count: 100).utf8))
        #expect(ValidationSplit([kanji], seed: 1).validation[0].bytes.count % 3 == 0)
    }

    @Test("where a part is none, whole documents validate: the first of several at least", arguments: [2, 30, 400])
    func whole(number: Int) {
        let documents = documents(number, bytes: 3000)
        let split = ValidationSplit(documents, cuts: false, seed: 1)
        #expect(!split.validation.isEmpty && split.training.count + split.validation.count == number)
        #expect((split.training + split.validation).allSatisfy(documents.contains))
        #expect(count(split.validation) <= max(3100, count(documents) / 20))
        #expect(ValidationSplit(Array(documents[..<1]), cuts: false, seed: 1).training.count == 1)
    }

    @Test("nothing to split, and no wish to", arguments: [0.0, -1, .nan])
    func nothing(fraction: Double) {
        let documents = documents(10, bytes: 100)
        #expect(ValidationSplit(documents, fraction: fraction, seed: 1).training == documents)
        #expect(ValidationSplit([], seed: 1).validation.isEmpty)
        #expect(ValidationSplit([Document(name: "a", bytes: [1])], seed: 1).training.count == 1)
        #expect(ValidationSplit([Document(name: "a", bytes: [])], seed: 1).validation.isEmpty)
        #expect(!ValidationSplit([Document(name: "a", bytes: [65, 66])], seed: 1).training.isEmpty)
    }

    @Test("hashes are what they were: saved splits rely on it") func hashes() {
        #expect(ContentHash.hash([]) == 10494716433434810035)
        #expect(ContentHash.hash(Array("the quick brown fox".utf8), seed: 1) == 10314417420261180409)
        #expect(ContentHash.hash([]) != ContentHash.hash([0]))
        #expect(ContentHash.hash([0]) != ContentHash.hash([0, 0]))
        let values = (0..<64).map { ContentHash.hash(Array(repeating: 7, count: $0)) }
        #expect(Set(values).count == 64)
    }
}
