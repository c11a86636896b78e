import GlimTensor

/// Long documents of several similar texts, dealt out piece by piece: to go on with one text, its last piece must be
/// found behind pieces of others that look alike (GLM-5 report, section 2.3).
///
/// Texts are similar when they share rare words: each is known by the 32 words of least hash among those that twenty
/// texts at most have, or a twentieth of all (a bottom-k sketch).
public struct InterleavedDocuments: DocumentBuilder {
    private let documents: [Document]
    private let order: [Int]
    private let sketches: [[UInt64]]
    /// The texts that have a word in their sketch.
    private let places: [UInt64: [Int]]

    public init(_ documents: [Document], seed: UInt64) {
        self.documents = documents.filter { !$0.bytes.isEmpty }
        order = CounterRandom(seed: seed, purpose: "interleaved").permutation(self.documents.count)
        let words = self.documents.map { Self.words($0.bytes) }
        var frequency: [UInt64: Int] = [:]
        for word in words.joined() { frequency[word, default: 0] += 1 }
        let limit = max(20, self.documents.count / 20)
        // A word of one text only says nothing about others.
        let sketches = words.map { words in
            Array(words.filter { (2...limit).contains(frequency[$0] ?? 0) }.sorted().prefix(32))
        }
        var places: [UInt64: [Int]] = [:]
        for (i, sketch) in sketches.enumerated() {
            for word in sketch { places[word, default: []].append(i) }
        }
        (self.sketches, self.places) = (sketches, places)
    }

    /// The text that the permutation names and the three most similar to it, or more if they are short.
    public func document(_ index: Int, byteCount: Int) -> Document {
        let name = "interleaved/\(index)"
        guard !documents.isEmpty else { return Document(name: name, bytes: []) }
        let anchor = order[index % order.count]
        let pieceBytes = min(max(byteCount / 12, 256), 8192)
        var members: [Int] = []
        var size = 0
        for candidate in [anchor] + similar(to: anchor) where members.count < 4 || size < byteCount {
            members.append(candidate)
            size += documents[candidate].bytes.count
        }
        var bytes: [UInt8] = []
        var rest = members.map { (name: Self.shortName(documents[$0].name), bytes: documents[$0].bytes[...]) }
        while !rest.isEmpty {
            for i in rest.indices {
                let header = "# \(rest[i].name)\n"
                let room = byteCount - bytes.count - header.utf8.count
                let limit = min(pieceBytes, room)
                guard limit > 0 else { return Document(name: name, bytes: bytes) }
                let piece = TextBytes.firstPiece(rest[i].bytes, limit: limit)
                bytes += header.utf8
                bytes += piece
                rest[i].bytes = rest[i].bytes.dropFirst(piece.count)
                if piece.last != UInt8(ascii: "\n"), bytes.count < byteCount { bytes.append(UInt8(ascii: "\n")) }
            }
            rest.removeAll { $0.bytes.isEmpty }
        }
        return Document(name: name, bytes: bytes)
    }

    /// The other texts, those with the most words of the sketch first, ties in the order of the permutation; texts
    /// without a word in common come last.
    package func similar(to document: Int) -> [Int] {
        var shared = [Int](repeating: 0, count: documents.count)
        for word in sketches[document] {
            for place in places[word] ?? [] { shared[place] += 1 }
        }
        let start = order.firstIndex(of: document) ?? 0
        let others = (order[start...] + order[..<start]).filter { $0 != document }
        return others.enumerated().sorted { (-shared[$0.element], $0.offset) < (-shared[$1.element], $1.offset) }
            .map(\.element)
    }

    /// The last two parts of a path: enough to tell similar texts apart.
    private static func shortName(_ name: String) -> String {
        name.split(separator: "/").suffix(2).joined(separator: "/")
    }

    /// The hashes of words of five letters, digits and underscores or more.
    private static func words(_ bytes: [UInt8]) -> Set<UInt64> {
        var words: Set<UInt64> = []
        bytes.withUnsafeBytes { bytes in
            var start = 0
            for end in 0...bytes.count {
                if end < bytes.count, isWordByte(bytes[end]) { continue }
                if end - start >= 5 {
                    words.insert(ContentHash.hash(UnsafeRawBufferPointer(rebasing: bytes[start..<end]), seed: 0))
                }
                start = end + 1
            }
        }
        return words
    }

    private static func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), 0x80...: true
        default: (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
        }
    }
}
