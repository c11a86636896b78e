public import Foundation

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

extension Tokenizer {
    /// Larger files than any vocabulary fills are refused before they are read.
    private static let maximumFileSize = 1 << 30

    /// Reads the `tokenizer.json` in a model's folder.
    public convenience init(folder: URL) throws(TokenizerError) {
        try self.init(file: folder.appending(path: "tokenizer.json"))
    }

    /// Reads a `tokenizer.json` of Hugging Face.
    ///
    /// Throws where the file is not one, holds a contradiction, or asks for what is not byte-level BPE with one of the
    /// known `SplitPattern`s.
    public convenience init(file: URL) throws(TokenizerError) {
        let path = file.path
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw .unreadable(path: path, why: "\(String(cString: strerror(errno))); give a tokenizer.json")
        }
        // Reading a pipe would wait for a writer, and a device may have no end.
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw .unreadable(path: path, why: "it is not a plain file; give a tokenizer.json")
        }
        guard status.st_size <= Self.maximumFileSize else {
            throw .malformed(path: path, why: "it has \(status.st_size) bytes, and no tokenizer is that large")
        }
        guard let data = try? Data(contentsOf: file) else {
            throw .unreadable(path: path, why: "it cannot be read; may you read it?")
        }
        try self.init(json: data, path: path)
    }

    /// Reads the contents of a `tokenizer.json`.
    ///
    /// - Parameter path: what errors call it.
    public convenience init(json: Data, path: String = "tokenizer.json") throws(TokenizerError) {
        guard String(validating: json, as: UTF8.self) != nil else {
            throw .malformed(path: path, why: "it is not UTF-8")
        }
        var file = TokenizerFile(path: path)
        do {
            try file.read([UInt8](json))
        } catch {
            throw .malformed(path: path, why: "\(error.message), at byte \(error.offset)")
        }
        try self.init(file)
    }

    private convenience init(_ file: TokenizerFile) throws(TokenizerError) {
        var (parts, index, indexedIDs) = try file.tokens()
        try file.applySettings(to: &parts)
        parts.merges = try file.merges(index: index, indexedIDs: indexedIDs)
        var merges = MergeTable(count: parts.merges.count)
        for (rank, merge) in parts.merges.enumerated() {
            guard merges.insert(merge, rank: rank) else {
                throw .malformed(path: file.path, why: "merge \(rank) repeats an earlier one")
            }
        }
        self.init(parts, index: index, indexedIDs: indexedIDs, merges: merges)
    }

    /// Writes a `tokenizer.json` that Hugging Face's `tokenizers` reads to the same ids. Replaces a file that is there
    /// in one step, so that no reader ever sees half of it.
    public func save(to file: URL) throws(TokenizerError) {
        guard (try? json().write(to: file, options: .atomic)) != nil else {
            throw .unreadable(
                path: file.path, why: "it cannot be written; is there such a folder, and room on the disk?")
        }
    }

    /// Writes `tokenizer.json` into a model's folder.
    public func save(folder: URL) throws(TokenizerError) {
        try save(to: folder.appending(path: "tokenizer.json"))
    }

    /// The contents of a `tokenizer.json`, in Hugging Face's own order and spelling.
    public func json() -> Data {
        let settings = JSON.object(parts.settings)
        var writer = JSONWriter()
        let keys = [
            "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
            "decoder", "model",
        ]
        writer.object(keys) { writer, key in
            writer.key(key.utf8)
            switch key {
            case "version": writer.write(.string("1.0"))
            case "added_tokens": writer.array(parts.addedTokens) { $0.write($1.json) }
            case "model": write(model: &writer)
            default: writer.write(settings[key] ?? .null)
            }
        }
        return Data(writer.bytes)
    }

    private func write(model writer: inout JSONWriter) {
        let settings = JSON.object(parts.modelSettings)
        let keys = [
            "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
            "byte_fallback", "ignore_merges", "vocab", "merges",
        ]
        writer.object(keys) { writer, key in
            writer.key(key.utf8)
            switch key {
            case "type": writer.write(.string("BPE"))
            case "fuse_unk": writer.write(settings[key] ?? .bool(false))
            case "byte_fallback": writer.write(.bool(false))
            case "ignore_merges": writer.write(.bool(parts.ignoresMerges))
            case "vocab":
                writer.object((0..<parts.count).filter { parts.spellings[$0] != .added }) { writer, id in
                    writer.key(spelling(of: id))
                    writer.raw(String(id))
                }
            case "merges":
                writer.array(parts.merges) { writer, merge in
                    writer.array([merge.left, merge.right]) { $0.string(spelling(of: Int($1))) }
                }
            default: writer.write(settings[key] ?? .null)
            }
        }
    }

    /// A token as the file writes it.
    func spelling(of id: Int) -> [UInt8] {
        let token = parts.arena[parts.range(id)]
        if parts.spellings[id] != .bytes { return Array(token) }
        var spelled: [UInt8] = []
        ByteAlphabet.encode(token, into: &spelled)
        return spelled
    }
}

extension AddedToken {
    fileprivate var json: JSON {
        .object([
            .init("id", .number(String(id))), .init("content", .string(content)),
            .init("single_word", .bool(isSingleWord)), .init("lstrip", .bool(stripsLeft)),
            .init("rstrip", .bool(stripsRight)), .init("normalized", .bool(isNormalized)),
            .init("special", .bool(isSpecial)),
        ])
    }
}

/// The contents of a `tokenizer.json` as they stand there, on the way to becoming a tokenizer.
private struct TokenizerFile {
    let path: String
    private var settings: [JSON.Member] = []
    private var model: [JSON.Member] = []
    private var addedTokens: [AddedToken] = []

    /// The vocabulary in the order of the file: bytes, spelling and id of each entry.
    private var entries = TokenizerParts()
    private var ids: [Int] = []
    private var hasVocabulary = false
    /// The text again, standing at the merges: they may precede the vocabulary that they name.
    private var mergeReader: JSONReader?

    init(path: String) { self.path = path }

    private func malformed(_ why: String) -> TokenizerError { .malformed(path: path, why: why) }
    private func unsupported(_ what: String) -> TokenizerError { .unsupported(path: path, what: what) }

    // MARK: Reading

    mutating func read(_ json: [UInt8]) throws(JSONError) {
        var reader = JSONReader(json)
        try reader.object { reader, key throws(JSONError) in
            switch key {
            case "model": try readModel(&reader)
            case "added_tokens":
                try reader.array { reader throws(JSONError) in addedTokens.append(try readAddedToken(&reader)) }
            default: settings.append(.init(key, try reader.value()))
            }
        }
        try reader.end()
    }

    private mutating func readModel(_ reader: inout JSONReader) throws(JSONError) {
        try reader.object { reader, key throws(JSONError) in
            switch key {
            case "vocab" where reader.peek() == UInt8(ascii: "{"): try readVocabulary(&reader)
            case "merges" where reader.peek() == UInt8(ascii: "["):
                mergeReader = reader.at(reader.position)
                try reader.skip()
            case "vocab", "merges": try reader.skip()  // another kind of model, which `type` will tell
            default: model.append(.init(key, try reader.value()))
            }
        }
    }

    private mutating func readVocabulary(_ reader: inout JSONReader) throws(JSONError) {
        if hasVocabulary { throw reader.error("a second vocabulary") }
        hasVocabulary = true
        try reader.objectOfBytes { reader, token throws(JSONError) in
            if token.isEmpty { throw reader.error("an empty token") }
            let isBytes = ByteAlphabet.decode(&token)
            entries.append(token, isBytes ? .bytes : .text)
            ids.append(try reader.integer())
        }
    }

    private func readAddedToken(_ reader: inout JSONReader) throws(JSONError) -> AddedToken {
        let json = try reader.value()
        guard let content = json["content"]?.string, case .number(let spelling)? = json["id"], let id = Int32(spelling)
        else { throw reader.error("an added token without content or id") }
        if content.isEmpty { throw reader.error("an empty added token") }
        var token = AddedToken(id: id, content: content, isSpecial: json["special"]?.bool ?? false)
        token.isSingleWord = json["single_word"]?.bool ?? false
        token.stripsLeft = json["lstrip"]?.bool ?? false
        token.stripsRight = json["rstrip"]?.bool ?? false
        token.isNormalized = json["normalized"]?.bool ?? !token.isSpecial
        return token
    }

    // MARK: Tokens

    /// Puts vocabulary and added tokens in the order of their ids, which must be 0, 1, 2 and so on.
    func tokens() throws(TokenizerError) -> (TokenizerParts, index: ByteTable, indexedIDs: [Int32]) {
        if let type = JSON.object(model)["type"], type != .string("BPE") {
            throw unsupported("a model of type \(type.compact); only BPE is known")
        }
        guard hasVocabulary, !ids.isEmpty else { throw malformed("it has no vocabulary") }

        // Who has each id: an entry of the vocabulary, or an added token.
        let capacity = ids.count + addedTokens.count
        var entryOf = [Int](repeating: -1, count: capacity)
        var addedOf = entryOf
        for (entry, id) in ids.enumerated() {
            guard entryOf.indices.contains(id) else {
                throw malformed("the vocabulary of \(ids.count) tokens skips ids: there is a token \(id)")
            }
            guard entryOf[id] < 0 else { throw malformed("two tokens have the id \(id)") }
            entryOf[id] = entry
        }
        for (added, token) in addedTokens.enumerated() {
            let id = Int(token.id)
            guard addedOf.indices.contains(id) else {
                throw malformed("\(quoted(token)) has the id \(id), and the ids before it are not all taken")
            }
            guard addedOf[id] < 0 else { throw malformed("two added tokens have the id \(id)") }
            addedOf[id] = added
        }

        var parts = TokenizerParts()
        var index = ByteTable(minimumCapacity: ids.count)
        var indexedIDs: [Int32] = []
        var (texts, contents) = (ByteTable(), ByteTable())
        for id in 0..<capacity {
            let (entry, added) = (entryOf[id], addedOf[id])
            if entry >= 0 {
                let bytes = Array(entries.arena[entries.range(entry)])
                let spelling = entries.spellings[entry]
                let isNew = spelling == .bytes ? index.insert(bytes).isNew : texts.insert(bytes).isNew
                guard isNew else { throw malformed("the vocabulary has one token twice, the second time as \(id)") }
                if spelling == .bytes { indexedIDs.append(Int32(id)) }
                if added >= 0, try !spells(bytes, spelling, addedTokens[added]) {
                    throw malformed("the id \(id) of \(quoted(addedTokens[added])) belongs to another token")
                }
                // Where an added token's text and its bytes by the alphabet differ, decoding gives the text.
                let isText = added >= 0 && bytes != Array(addedTokens[added].content.utf8)
                parts.append(isText ? Array(addedTokens[added].content.utf8) : bytes, isText ? .text : spelling)
            } else if added >= 0 {
                parts.append(addedTokens[added].content.utf8, .added)
            } else {
                // The ids end here; any that follow would leave a hole.
                guard let last = (id..<capacity).last(where: { entryOf[$0] >= 0 || addedOf[$0] >= 0 }) else { break }
                throw malformed("no token has the id \(id), but \(last) is taken")
            }
            guard added >= 0 else { continue }
            guard contents.insert(Array(addedTokens[added].content.utf8)).isNew else {
                throw malformed("\(quoted(addedTokens[added])) is added twice")
            }
            parts.addedTokens.append(addedTokens[added])
        }
        for token in parts.addedTokens where parts.spellings[Int(token.id)] == .added {
            guard vocabularyID(of: token, index, indexedIDs) == nil else {
                throw malformed("\(quoted(token)) is also in the vocabulary, with another id than \(token.id)")
            }
        }
        for byte in UInt8(0)...255 where index.find([byte]) == nil {
            throw malformed("the vocabulary has no token for the byte \(byte), so it is not byte-level")
        }
        return (parts, index, indexedIDs)
    }

    private func quoted(_ token: AddedToken) -> String { "the added token \(JSON.string(token.content).compact)" }

    private func spells(
        _ bytes: [UInt8], _ spelling: TokenizerParts.Spelling, _ token: AddedToken
    ) throws(TokenizerError) -> Bool {
        var content = Array(token.content.utf8)
        return ByteAlphabet.decode(&content) == (spelling == .bytes) && content == bytes
    }

    private func vocabularyID(of token: AddedToken, _ index: ByteTable, _ indexedIDs: [Int32]) -> Int32? {
        var content = Array(token.content.utf8)
        return ByteAlphabet.decode(&content) ? index.find(content).map { indexedIDs[$0] } : nil
    }

    // MARK: Merges

    func merges(index: ByteTable, indexedIDs: [Int32]) throws(TokenizerError) -> [Merge] {
        guard var reader = mergeReader else { throw malformed("it has no merges") }
        do {
            var merges: [Merge] = []
            var (left, right): ([UInt8], [UInt8]) = ([], [])
            try reader.array { reader throws(JSONError) in
                try readPair(&reader, &left, &right)
                func id(_ token: [UInt8]) throws(JSONError) -> Int32 {
                    guard let found = index.find(token) else {
                        var spelled: [UInt8] = []
                        ByteAlphabet.encode(token, into: &spelled)
                        let name = JSON.string(String(decoding: spelled, as: UTF8.self)).compact
                        throw reader.error("merge \(merges.count) needs \(name), which is not in the vocabulary")
                    }
                    return indexedIDs[found]
                }
                let (leftID, rightID) = (try id(left), try id(right))
                left.append(contentsOf: right)
                merges.append(Merge(left: leftID, right: rightID, result: try id(left)))
            }
            return merges
        } catch {
            throw malformed("\(error.message), at byte \(error.offset)")
        }
    }

    /// A merge as `["left", "right"]` or, in older files, `"left right"`.
    private func readPair(
        _ reader: inout JSONReader, _ left: inout [UInt8], _ right: inout [UInt8]
    ) throws(JSONError) {
        if reader.peek() == UInt8(ascii: "[") {
            var count = 0
            try reader.array { reader throws(JSONError) in
                if count == 0 { try reader.string(into: &left) } else { try reader.string(into: &right) }
                count += 1
            }
            if count != 2 { throw reader.error("a merge of \(count) tokens; it takes two") }
        } else {
            var pair: [UInt8] = []
            try reader.string(into: &pair)
            let halves = pair.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
            if halves.count != 2 { throw reader.error("a merge of \(halves.count) tokens; it takes two") }
            (left, right) = (Array(halves[0]), Array(halves[1]))
        }
        if left.isEmpty || right.isEmpty { throw reader.error("a merge with an empty token") }
        guard ByteAlphabet.decode(&left), ByteAlphabet.decode(&right) else {
            throw reader.error("a merge of a token that is not spelled in the byte alphabet")
        }
    }

    // MARK: Settings

    func applySettings(to parts: inout TokenizerParts) throws(TokenizerError) {
        let (top, model) = (JSON.object(settings), JSON.object(model))
        parts.settings = settings
        parts.modelSettings = self.model
        parts.ignoresMerges = model["ignore_merges"]?.bool ?? false
        if let dropout = model["dropout"], case .number(let spelling) = dropout, Double(spelling) != 0 {
            throw unsupported("dropout of \(spelling) while merging")
        }
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if let affix = model[key], affix != .string("") { throw unsupported("\(key) \(affix.compact)") }
        }
        if model["byte_fallback"]?.bool == true { throw unsupported("byte_fallback") }
        parts.normalizer = try normalizer(top["normalizer"])
        (parts.pattern, parts.addsPrefixSpace) = try preTokenizer(top["pre_tokenizer"])
    }

    private func normalizer(_ json: JSON?) throws(TokenizerError) -> TokenizerParts.Normalizer {
        guard let json else { return .none }
        switch json["type"]?.string {
        case "NFC": return .nfc
        case "Sequence":
            let list = json["normalizers"]?.array ?? []
            if list.isEmpty { return .none }
            if list.count == 1 { return try normalizer(list[0]) }
        default: break
        }
        throw unsupported("the normalizer \(json.compact)")
    }

    private func preTokenizer(_ json: JSON?) throws(TokenizerError) -> (SplitPattern, addsPrefixSpace: Bool) {
        guard let json else { throw unsupported("no pre_tokenizer; one with ByteLevel is needed") }
        switch json["type"]?.string {
        case "ByteLevel" where json["use_regex"]?.bool ?? true:
            return (.gpt2, json["add_prefix_space"]?.bool ?? true)
        case "Sequence":
            let list = json["pretokenizers"]?.array ?? []
            if list.count == 1 { return try preTokenizer(list[0]) }
            if list.count == 2, list[0]["type"]?.string == "Split", list[1]["type"]?.string == "ByteLevel",
                list[1]["use_regex"]?.bool == false, list[1]["add_prefix_space"]?.bool == false
            {
                return (try split(list[0]), false)
            }
        default: break
        }
        throw unsupported("the pre_tokenizer \(json.compact)")
    }

    private func split(_ json: JSON) throws(TokenizerError) -> SplitPattern {
        guard json["behavior"]?.string == "Isolated", json["invert"]?.bool ?? false == false else {
            throw unsupported("a Split that is not Isolated: \(json.compact)")
        }
        guard let regex = json["pattern"]?["Regex"]?.string else {
            throw unsupported("a Split without a Regex: \(json.compact)")
        }
        guard let pattern = SplitPattern(rawValue: regex) else { throw unsupported("the Split pattern \(regex)") }
        return pattern
    }
}
