import GlimTensor

/// Long documents of one repository: the files of a folder in the order of their paths, each behind a line with its
/// path (GLM-5 report, section 2.3).
///
/// What a file uses stands in its neighbours: text that is far away and helps.
public struct RepositoryPacking: DocumentBuilder {
    /// By name.
    private let documents: [Document]
    private let order: [Int]

    /// - Parameter documents: their names are paths; those without bytes are left out.
    public init(_ documents: [Document], seed: UInt64) {
        self.documents = documents.filter { !$0.bytes.isEmpty }.sorted { $0.name < $1.name }
        order = CounterRandom(seed: seed, purpose: "repository").permutation(self.documents.count)
    }

    /// The file that the permutation names, and those that follow in its folder; from the folder's end on, those from
    /// its beginning. The folder is the nearest one around the file with text enough.
    public func document(_ index: Int, byteCount: Int) -> Document {
        guard !documents.isEmpty else { return Document(name: "repository/\(index)", bytes: []) }
        let first = order[index % order.count]
        let (folder, range) = folder(around: first, byteCount: byteCount)
        var bytes: [UInt8] = []
        for file in Array(first..<range.upperBound) + Array(range.lowerBound..<first) {
            let header = "# \(documents[file].name.dropFirst(folder.count))\n"
            let room = byteCount - bytes.count - header.utf8.count
            guard room > 0 else { break }
            let piece = TextBytes.firstPiece(documents[file].bytes[...], limit: room)
            bytes += header.utf8
            bytes += piece
            if piece.count < documents[file].bytes.count { break }
            if piece.last != UInt8(ascii: "\n"), bytes.count < byteCount { bytes.append(UInt8(ascii: "\n")) }
        }
        return Document(name: "repository/\(folder)#\(index)", bytes: bytes)
    }

    /// The path of a folder, with its slash, and the files in it.
    private func folder(around file: Int, byteCount: Int) -> (path: String, files: Range<Int>) {
        var path = documents[file].name[...]
        while let slash = path.dropLast().lastIndex(of: "/") {
            path = path[...slash]
            let files = self.files(in: path, around: file)
            if files.reduce(0, { $0 + documents[$1].bytes.count }) >= byteCount { return (String(path), files) }
        }
        return ("", 0..<documents.count)
    }

    /// Names with one beginning stand side by side.
    private func files(in folder: Substring, around file: Int) -> Range<Int> {
        var (first, end) = (file, file + 1)
        while first > 0, documents[first - 1].name.hasPrefix(folder) { first -= 1 }
        while end < documents.count, documents[end].name.hasPrefix(folder) { end += 1 }
        return first..<end
    }
}
