import Foundation

/// One text to train on, as bytes: tokenizers work on bytes, so nothing is lost to an encoding.
public struct Document: Sendable, Equatable {
    /// Where it came from: `path`, `path:12` (a line of JSONL), `path#2` (the second piece of a large file).
    public var name: String
    public var bytes: [UInt8]

    public init(name: String, bytes: [UInt8]) {
        (self.name, self.bytes) = (name, bytes)
    }
}

/// The texts of a run: collected once, in an order that depends on names only.
public struct Corpus: Sendable {
    public var documents: [Document]
    public var totals: Totals
    /// What was left out, and why.
    public var report: CorpusReport

    /// What was seen while collecting.
    public struct Totals: Codable, Sendable, Equatable, CustomStringConvertible {
        /// Files looked at, used or not.
        public var files = 0
        public var documents = 0
        /// Bytes of all documents.
        public var bytes = 0
        public var skippedEmpty = 0
        public var skippedBinary = 0
        /// Files that could not be opened, links to nowhere, folders that could not be listed.
        public var skippedUnreadable = 0
        /// Documents equal to an earlier one, byte for byte.
        public var skippedDuplicate = 0
        /// Sockets, devices and pipes inside a folder.
        public var skippedSpecial = 0
        /// Tables and generated text; only `found` looks for them.
        public var skippedUnsuited = 0
        /// Documents of which most lines came before; only `found` looks for them.
        public var skippedSimilar = 0
        /// Lines of fine-tuning longer than a row.
        public var skippedTooLong = 0
        /// Lines of fine-tuning in which nothing is to be learned.
        public var skippedUntaught = 0

        public init() {}

        enum CodingKeys: String, CodingKey {
            case files, documents, bytes
            case skippedEmpty = "skipped_empty"
            case skippedBinary = "skipped_binary"
            case skippedUnreadable = "skipped_unreadable"
            case skippedDuplicate = "skipped_duplicate"
            case skippedSpecial = "skipped_special"
            case skippedUnsuited = "skipped_unsuited"
            case skippedSimilar = "skipped_similar"
            case skippedTooLong = "skipped_too_long"
            case skippedUntaught = "skipped_untaught"
        }

        public var description: String {
            let skipped = [
                (skippedEmpty, "empty"), (skippedBinary, "binary"), (skippedUnreadable, "unreadable"),
                (skippedDuplicate, "duplicate"), (skippedSpecial, "special"), (skippedUnsuited, "unsuited"),
                (skippedSimilar, "similar"), (skippedTooLong, "too long"), (skippedUntaught, "untaught"),
            ].filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }
            return "\(files) files, \(documents) documents, \(bytes) bytes"
                + (skipped.isEmpty ? "" : "; skipped \(skipped.joined(separator: ", "))")
        }
    }

    /// How much is taken, and in what pieces.
    public struct Limits: Sendable, Equatable {
        /// The largest document in bytes; a larger text becomes several, cut at line ends.
        public var documentBytes = 4 << 20
        /// Collecting stops before the document that would exceed this many bytes.
        public var totalBytes = Int.max

        public init(documentBytes: Int = 4 << 20, totalBytes: Int = .max) {
            (self.documentBytes, self.totalBytes) = (max(1, documentBytes), totalBytes)
        }
    }

    /// What files hold.
    public enum Form: Sendable {
        case text
        /// JSON lines, each a document as it stands, whatever the file is called. In folders only `.jsonl` files are
        /// read.
        case conversations
    }

    /// Collects the text under paths.
    ///
    /// Folders are walked in the order of their names' bytes. Inside them, hidden names and links to folders are left
    /// out, links to files stand for the file, and what cannot be read or is not text is counted and skipped. A
    /// `.jsonl` file gives one document a line, from `"text"` or else `"content"`. Equal documents are taken once.
    ///
    /// - Parameters:
    ///   - paths: files, folders, or a pipe such as `<(command)` in a shell.
    ///   - form: what the files hold.
    ///   - progress: called now and then with the totals so far, and once at the end.
    /// - Throws: `DataError` for a named path that is missing or unreadable, a malformed line of JSONL, or no text.
    public static func collect(
        _ paths: [String], form: Form = .text, limits: Limits = Limits(), progress: (Totals) -> Void = { _ in }
    ) throws(DataError) -> Corpus {
        var collector = Collector(limits: limits, form: form)
        for path in paths {
            try collector.add(path: path, progress: progress)
            if collector.isFull { break }
        }
        progress(collector.totals)
        guard !collector.documents.isEmpty else {
            throw .nothingUsable(paths: paths, totals: collector.totals)
        }
        return collector.corpus
    }
}

/// Takes in files one by one; everything `Corpus` promises about duplicates, binaries and pieces is kept here.
struct Collector {
    private(set) var documents: [Document] = []
    private(set) var totals = Corpus.Totals()
    private(set) var isFull = false
    private var dropped = CorpusReport.DroppedList()
    private let limits: Corpus.Limits
    private let form: Corpus.Form
    /// The lines of all documents so far, where those like earlier ones are dropped; nil where only equals are.
    private var seenLines: Set<UInt64>?
    /// The path under which each file was read.
    private var seenFiles: [FileBytes.Identity: String] = [:]
    /// Documents by hash; a bucket is compared byte by byte, so nothing is dropped by mere chance.
    private var seenDocuments: [UInt64: [Int]] = [:]

    /// The part of a file that is judged before the rest is read.
    private static let headBytes = 8192

    /// - Parameter dropsSimilar: whether to skip a document of which most lines came before, e.g. the same module of
    ///   another version. Training would see much of what validation asks.
    init(limits: Corpus.Limits, form: Corpus.Form = .text, dropsSimilar: Bool = false) {
        (self.limits, self.form) = (limits, form)
        seenLines = dropsSimilar ? [] : nil
    }

    /// All that was collected.
    var corpus: Corpus {
        Corpus(documents: documents, totals: totals, report: CorpusReport(totals: totals, dropped: dropped))
    }

    /// Adds a path that was named by a person: here what is wrong is an error, not a skip.
    mutating func add(path: String, progress: (Corpus.Totals) -> Void) throws(DataError) {
        guard let entry = FileBytes.entry(path, following: true) else {
            throw FileBytes.isSymbolicLink(path) ? .unreadable(path, why: "a link to nowhere") : .noSuchPath(path)
        }
        switch entry.kind {
        case .folder:
            guard FileBytes.isListable(path) else { throw .unreadable(path, why: FileBytes.lastError) }
            try addFolder(path, progress: progress)
        case .file, .pipe:
            if let problem = try add(file: path, entry: entry) { throw .unreadable(path, why: problem.description) }
        case .other: throw .unreadable(path, why: "it is neither a file nor a folder")
        }
    }

    private mutating func addFolder(_ root: String, progress: (Corpus.Totals) -> Void) throws(DataError) {
        // A stack, deepest first: depth costs no recursion, and links to folders are not followed, so it ends.
        var pending = [root]
        while let path = pending.popLast(), !isFull {
            let isRoot = path == root
            guard let entry = FileBytes.entry(path, following: isRoot || FileBytes.isSymbolicLink(path)) else {
                skipUnreadable(path)
                continue
            }
            switch entry.kind {
            case .folder:
                if !isRoot && FileBytes.isSymbolicLink(path) { continue }
                guard let names = FileBytes.names(in: path) else {
                    skipUnreadable(path)
                    continue
                }
                let prefix = path.hasSuffix("/") ? path : path + "/"
                pending += names.reversed().filter { !$0.hasPrefix(".") }.map { prefix + $0 }
            case .file:
                if form == .conversations, !Self.isJSONL(path) {
                    totals.files += 1
                    skip(path, .unsuited)
                } else if try add(file: path, entry: entry) != nil {
                    skipUnreadable(path)
                }
                if totals.files % 64 == 0 { progress(totals) }
            case .pipe, .other: skip(path, .special)
            }
        }
    }

    /// Adds one file.
    ///
    /// - Parameter suits: a last judgement on the text.
    /// - Returns: why it could not be read, if so; everything else that keeps it out is counted here.
    /// - Throws: `DataError` for a malformed line, or for more text than memory can hold.
    mutating func add(
        file path: String, entry: FileBytes.Entry, suits: ([UInt8]) -> Bool = { _ in true }
    ) throws(DataError) -> FileBytes.Problem? {
        totals.files += 1
        // What a person names is what the command reads, whatever it is called: a pipe has no ending.
        let isJSONL = form == .conversations || Self.isJSONL(path)
        let room = max(0, Self.roomBytes - totals.bytes)
        let bytes: [UInt8]
        do throws(FileBytes.Problem) {
            if entry.kind == .file {
                if let first = seenFiles[entry.identity] {
                    skip(path, .duplicate, kept: first)
                    return nil
                }
                seenFiles[entry.identity] = path
                // A large binary is told by its head; reading all of it first would be a waste.
                if entry.size > Self.headBytes && !isJSONL {
                    let head = try FileBytes.read(path, limit: Self.headBytes)
                    if TextBytes.isBinary(head[...]) {
                        skip(path, .binary)
                        return nil
                    }
                }
            }
            bytes = entry.size > room ? [] : try FileBytes.read(path, limit: room + 1)
        } catch {
            return error
        }
        guard max(entry.size, bytes.count) <= room else { throw .tooLarge(path, limit: Self.roomBytes) }
        if bytes.isEmpty {
            skip(path, .empty)
        } else if isJSONL {
            try add(jsonl: bytes, path: path)
        } else if TextBytes.isBinary(bytes[...]) {
            skip(path, .binary)
        } else if !suits(bytes) {
            skip(path, .unsuited)
        } else {
            add(text: bytes, name: path)
        }
        return nil
    }

    private static func isJSONL(_ path: String) -> Bool { path.lowercased().hasSuffix(".jsonl") }

    /// Text is held in memory, beside the tokens it becomes: half of what there is.
    private static let roomBytes = MemoryRoom.byteCount / 2

    mutating func skipUnreadable(_ path: String) { skip(path, .unreadable) }

    /// Counts what is left out and takes its name down.
    private mutating func skip(_ name: String, _ reason: CorpusReport.Reason, kept: String? = nil) {
        totals.count(reason)
        dropped.append(.init(name: name, reason: reason, kept: kept))
    }

    private mutating func add(jsonl bytes: [UInt8], path: String) throws(DataError) {
        let decoder = JSONDecoder()
        var lineNumber = 0
        var start = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
        while start < bytes.count, !isFull {
            lineNumber += 1
            let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
            let line = bytes[start..<end]
            start = end + 1
            if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) { continue }
            let name = "\(path):\(lineNumber)"
            if form == .conversations {
                add(document: Document(name: name, bytes: Array(line)))
                continue
            }
            let text: String
            do { text = try decoder.decode(JSONLDocument.self, from: Data(line)).text } catch {
                throw .malformedLine(file: path, line: lineNumber, why: JSONLDocument.why(error))
            }
            add(text: Array(text.utf8), name: name)
        }
    }

    private mutating func add(text: [UInt8], name: String) {
        if text.isEmpty {
            skip(name, .empty)
            return
        }
        let pieces = TextBytes.pieces(text, limit: limits.documentBytes)
        for (i, piece) in pieces.enumerated() where !isFull {
            add(document: Document(name: i == 0 ? name : "\(name)#\(i + 1)", bytes: Array(piece)))
        }
    }

    private mutating func add(document: Document) {
        let hash = ContentHash.hash(document.bytes)
        if let equal = seenDocuments[hash]?.first(where: { documents[$0].bytes == document.bytes }) {
            skip(document.name, .duplicate, kept: documents[equal].name)
            return
        }
        guard document.bytes.count <= limits.totalBytes - totals.bytes else {
            isFull = true
            return
        }
        if let seenLines {
            let lines = TextBytes.lineHashes(document.bytes)
            let seen = lines.reduce(0) { $0 + (seenLines.contains($1) ? 1 : 0) }
            if 2 * seen > lines.count {
                skip(document.name, .similar)
                return
            }
            self.seenLines?.formUnion(lines)
        }
        seenDocuments[hash, default: []].append(documents.count)
        documents.append(document)
        totals.documents += 1
        totals.bytes += document.bytes.count
    }
}

/// A line of a JSONL file: an object with `"text"`, or else `"content"`.
private struct JSONLDocument: Decodable {
    let text: String

    enum CodingKeys: String, CodingKey { case text, content }

    init(from decoder: any Decoder) throws {
        let object = try decoder.container(keyedBy: CodingKeys.self)
        let key: CodingKeys = object.contains(.text) ? .text : .content
        text = try object.decode(String.self, forKey: key)
    }

    static func why(_ error: any Error) -> String {
        switch error as? DecodingError {
        case .keyNotFound: "it has neither \"text\" nor \"content\""
        case .typeMismatch(_, let context) where context.codingPath.isEmpty: "it is not an object"
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            context.codingPath.isEmpty
                ? "it is not an object" : "\"\(context.codingPath[0].stringValue)\" is not a string"
        default: "it is not valid JSON"
        }
    }
}
