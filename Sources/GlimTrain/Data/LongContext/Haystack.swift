import GlimTensor

/// The text that facts are hidden in: lines of documents in their order, copied.
///
/// Of more than 32 MB of documents a sample serves: more text to hide facts in teaches nothing more, and takes memory.
public struct Haystack: Sendable {
    private let bytes: [UInt8]
    /// Where each line starts, and last where the text ends.
    private let starts: [Int]

    public var lineCount: Int { starts.count - 1 }

    /// - Parameter documents: left out are blank lines, lines of more than 200 bytes, and lines that look like facts.
    ///   Without any line, a few sentences that say nothing are repeated, as RULER does.
    public init(_ documents: [Document]) { self.init(documents, byteLimit: 32 << 20) }

    package init(_ documents: [Document], byteLimit: Int) {
        var (bytes, starts): ([UInt8], [Int]) = ([], [0])
        let byteCount = documents.reduce(0) { $0 + $1.bytes.count }
        let order =
            byteCount > byteLimit
            ? CounterRandom(seed: 0, purpose: "haystack").permutation(documents.count) : Array(documents.indices)
        for document in order.lazy.map({ documents[$0] }) where bytes.count < byteLimit {
            for line in document.bytes.split(separator: UInt8(ascii: "\n"))
            where Self.isUsable(line) && bytes.count < byteLimit {
                bytes += line
                bytes.append(UInt8(ascii: "\n"))
                starts.append(bytes.count)
            }
        }
        if bytes.isEmpty {
            for sentence in Self.noise {
                bytes += (sentence + "\n").utf8
                starts.append(bytes.count)
            }
        }
        (self.bytes, self.starts) = (bytes, starts)
    }

    /// A line with its end; after the last one comes the first again.
    public func line(_ index: Int) -> ArraySlice<UInt8> {
        let i = index % lineCount
        return bytes[starts[i]..<starts[i + 1]]
    }

    private static func isUsable(_ line: ArraySlice<UInt8>) -> Bool {
        guard line.count <= 200, let first = line.first(where: { $0 != 0x20 && $0 != 0x09 && $0 != 0x0D }) else {
            return false
        }
        return first != UInt8(ascii: "#") || !RetrievalForm.verbs.contains { line.starts(with: $0.utf8) }
    }

    private static let noise = [
        "The road is long.", "The wind is cold.", "The sun is yellow.", "Here we go.", "There and back again.",
    ]
}
