import Foundation
import Synchronization

/// Turns text into token ids and back: byte-level BPE, read from Hugging Face's `tokenizer.json`.
///
/// Ids are those of Hugging Face's `tokenizers`, to the last one. Any bytes can be encoded, UTF-8 or not, and decode to
/// exactly themselves (but for a normalizer's changes, and a prefix space where the file asks for one).
///
/// Nothing is ever added around a text: a post-processor in the file is kept for saving but not applied
/// (`add_special_tokens=False`), and neither are its settings of truncation and padding. GLM's templates write their own
/// control tokens.
///
/// May be used from several threads at once.
public final class Tokenizer: Sendable {
    let parts: TokenizerParts
    /// The index of the tokens spelled in bytes, and the id of each.
    let index: ByteTable
    let indexedIDs: [Int32]

    private let merges: MergeTable
    private let byteIDs: [Int32]
    private let isAdded: [Bool]
    /// The added tokens matched before normalization, and those matched after.
    private let matcher: AddedTokenMatcher
    private let normalizedMatcher: AddedTokenMatcher
    private let addedIDs: [String: Int32]
    /// Buffers and word caches, one for each thread that encodes at the same time.
    private let scratches = Mutex<[Scratch]>([])

    /// - Parameters:
    ///   - index: of the tokens spelled in bytes, all 256 single bytes among them.
    ///   - merges: those of `parts`.
    init(_ parts: TokenizerParts, index: ByteTable, indexedIDs: [Int32], merges: MergeTable) {
        (self.parts, self.index, self.indexedIDs, self.merges) = (parts, index, indexedIDs, merges)
        byteIDs = (UInt8(0)...255).map { byte in index.find([byte]).map { indexedIDs[$0] } ?? 0 }
        var isAdded = [Bool](repeating: false, count: parts.count)
        for token in parts.addedTokens { isAdded[Int(token.id)] = true }
        self.isAdded = isAdded
        matcher = AddedTokenMatcher(parts.addedTokens.filter { !$0.isNormalized })
        normalizedMatcher = AddedTokenMatcher(
            parts.addedTokens.filter(\.isNormalized).map { token in
                var normalized = AddedToken(
                    id: token.id, content: parts.normalizer == .nfc ? nfc(token.content) : token.content,
                    isSpecial: token.isSpecial)
                normalized.isSingleWord = token.isSingleWord
                (normalized.stripsLeft, normalized.stripsRight) = (token.stripsLeft, token.stripsRight)
                return normalized
            })
        addedIDs = Dictionary(parts.addedTokens.map { ($0.content, $0.id) }, uniquingKeysWith: { first, _ in first })
    }

    /// How many ids there are, added tokens included: 0 up to this are valid.
    public var vocabularySize: Int { parts.count }

    /// The added tokens, in the order of their ids.
    public var addedTokens: [AddedToken] { parts.addedTokens }

    /// How text is cut before merging.
    public var pattern: SplitPattern { parts.pattern }

    /// The id of an added token, by its text.
    public func id(ofAdded content: String) -> Int32? { addedIDs[content] }

    /// The id of one of GLM's control tokens, where this vocabulary has it.
    public func id(of token: ControlToken) -> Int32? { addedIDs[token.rawValue] }

    /// The added token with this id.
    public func addedToken(_ id: Int32) -> AddedToken? {
        guard isAdded.indices.contains(Int(id)), isAdded[Int(id)] else { return nil }
        return parts.addedTokens.first { $0.id == id }
    }
}

// MARK: - Encoding

extension Tokenizer {
    /// The token ids of `text`.
    ///
    /// - Parameter special: whether added tokens written in the text become themselves, as in Hugging Face's library.
    ///   By default they are plain text, so that nobody can smuggle a control token into a prompt.
    public func encode(_ text: String, special: Bool = false) -> [Int32] {
        var text = text
        return text.withUTF8 { encode($0, special: special) }
    }

    /// The token ids of any bytes. A byte that is not part of well-formed UTF-8 counts as a symbol.
    public func encode(_ bytes: [UInt8], special: Bool = false) -> [Int32] {
        bytes.withUnsafeBufferPointer { encode($0, special: special) }
    }

    /// The token ids of the bytes in a buffer, which is read during the call only.
    public func encode(_ bytes: UnsafeBufferPointer<UInt8>, special: Bool = false) -> [Int32] {
        var scratch = scratches.withLock { $0.popLast() } ?? Scratch()
        var ids: [Int32] = []
        ids.reserveCapacity(bytes.count / 3)
        if special, !matcher.isEmpty {
            split(bytes, by: matcher, into: &ids) { segment, ids in
                encodeNormalizing(segment, special: true, into: &ids, &scratch)
            }
        } else {
            encodeNormalizing(bytes, special: special, into: &ids, &scratch)
        }
        scratches.withLock { $0.append(scratch) }
        return ids
    }

    private func split(
        _ text: UnsafeBufferPointer<UInt8>, by matcher: AddedTokenMatcher, into ids: inout [Int32],
        _ body: (UnsafeBufferPointer<UInt8>, inout [Int32]) -> Void
    ) {
        var start = 0
        for match in matcher.matches(in: text) {
            if start < match.range.lowerBound {
                body(UnsafeBufferPointer(rebasing: text[start..<match.range.lowerBound]), &ids)
            }
            ids.append(match.id)
            start = match.range.upperBound
        }
        if start < text.count { body(UnsafeBufferPointer(rebasing: text[start...]), &ids) }
    }

    private func encodeNormalizing(
        _ text: UnsafeBufferPointer<UInt8>, special: Bool, into ids: inout [Int32], _ scratch: inout Scratch
    ) {
        if parts.normalizer == .nfc, let normalized = nfc(text) {
            normalized.withUnsafeBufferPointer { encodeNormalized($0, special: special, into: &ids, &scratch) }
        } else {
            encodeNormalized(text, special: special, into: &ids, &scratch)
        }
    }

    private func encodeNormalized(
        _ text: UnsafeBufferPointer<UInt8>, special: Bool, into ids: inout [Int32], _ scratch: inout Scratch
    ) {
        if special, !normalizedMatcher.isEmpty {
            split(text, by: normalizedMatcher, into: &ids) { encodePlain($0, into: &$1, &scratch) }
        } else {
            encodePlain(text, into: &ids, &scratch)
        }
    }

    private func encodePlain(
        _ text: UnsafeBufferPointer<UInt8>, into ids: inout [Int32], _ scratch: inout Scratch
    ) {
        if parts.addsPrefixSpace, let first = text.first, first != UInt8(ascii: " ") {
            let spaced = [UInt8(ascii: " ")] + text
            return spaced.withUnsafeBufferPointer { encodePieces($0, into: &ids, &scratch) }
        }
        encodePieces(text, into: &ids, &scratch)
    }

    private func encodePieces(
        _ text: UnsafeBufferPointer<UInt8>, into ids: inout [Int32], _ scratch: inout Scratch
    ) {
        let scanner = PieceScanner(text, parts.pattern)
        var start = 0
        while start < text.count {
            let end = scanner.end(from: start)
            encodePiece(UnsafeBufferPointer(rebasing: text[start..<end]), into: &ids, &scratch)
            start = end
        }
    }

    @inline(__always)
    private func encodePiece(
        _ piece: UnsafeBufferPointer<UInt8>, into ids: inout [Int32], _ scratch: inout Scratch
    ) {
        if piece.count == 1 {
            ids.append(byteIDs[Int(piece[0])])
        } else if piece.count <= WordCache.maximumKeyCount {
            let hash = scratch.cache.hash(piece)
            if !scratch.cache.append(piece, hash: hash, to: &ids) {
                let start = ids.count
                encodeUncached(piece, into: &ids, &scratch)
                scratch.cache.insert(piece, hash: hash, ids: ids[start...])
            }
        } else {
            encodeUncached(piece, into: &ids, &scratch)
        }
    }

    private func encodeUncached(
        _ piece: UnsafeBufferPointer<UInt8>, into ids: inout [Int32], _ scratch: inout Scratch
    ) {
        // An added token's own text stays plain even where the vocabulary holds it whole, as it may `/nothink`.
        if parts.ignoresMerges, let found = index.find(piece, hash: index.hash(piece)), !isAdded[Int(indexedIDs[found])]
        {
            ids.append(indexedIDs[found])
            return
        }
        // The merger counts in 32 bits. No piece of text comes near; a file of one letter might.
        var rest = piece[...]
        while !rest.isEmpty {
            let part = rest.prefix(1 << 30)
            scratch.merger.symbols.removeAll(keepingCapacity: true)
            for byte in part { scratch.merger.symbols.append(byteIDs[Int(byte)]) }
            scratch.merger.merge(with: merges)
            ids.append(contentsOf: scratch.merger.symbols)
            rest = rest.dropFirst(part.count)
        }
        scratch.merger.trim()
    }
}

/// What one thread needs while it encodes.
struct Scratch: Sendable {
    var merger = Merger()
    var cache = WordCache()
}

/// The ids of pieces seen before. Bounded: when full, it starts again from nothing.
struct WordCache: Sendable {
    /// Longer pieces seldom come twice.
    static let maximumKeyCount = 48
    private static let maximumCount = 1 << 16

    private var words = ByteTable()
    private var ids: [Int32] = []
    /// Where the ids of each word end.
    private var ends: [Int] = []

    @inline(__always)
    func hash(_ word: UnsafeBufferPointer<UInt8>) -> UInt64 { words.hash(word) }

    /// Appends the ids of a known word; false for an unknown one.
    @inline(__always)
    func append(_ word: UnsafeBufferPointer<UInt8>, hash: UInt64, to out: inout [Int32]) -> Bool {
        guard let index = words.find(word, hash: hash) else { return false }
        for k in (index == 0 ? 0 : ends[index - 1])..<ends[index] { out.append(ids[k]) }
        return true
    }

    mutating func insert(_ word: UnsafeBufferPointer<UInt8>, hash: UInt64, ids new: ArraySlice<Int32>) {
        if words.count == Self.maximumCount {
            words.removeAll()
            ids.removeAll(keepingCapacity: true)
            ends.removeAll(keepingCapacity: true)
        }
        words.insert(word, hash: hash)
        ids.append(contentsOf: new)
        ends.append(ids.count)
    }
}

// MARK: - Decoding

extension Tokenizer {
    /// The bytes that `ids` stand for: what was encoded, exactly.
    ///
    /// - Parameter skipsSpecial: leaves out the added tokens that are `isSpecial`.
    public func decode(
        _ ids: some Sequence<Int32>, skipsSpecial: Bool = false
    ) throws(TokenizerError) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(ids.underestimatedCount * 4)
        for id in ids {
            guard id >= 0, id < parts.count else { throw .unknownID(Int(id), vocabularySize: parts.count) }
            if skipsSpecial, isAdded[Int(id)], addedToken(id)?.isSpecial == true { continue }
            for k in parts.range(Int(id)) { bytes.append(parts.arena[k]) }
        }
        return bytes
    }

    /// The text that `ids` stand for, with U+FFFD for what is not UTF-8.
    public func decodeText(
        _ ids: some Sequence<Int32>, skipsSpecial: Bool = false
    ) throws(TokenizerError) -> String {
        String(decoding: try decode(ids, skipsSpecial: skipsSpecial), as: UTF8.self)
    }

    /// The bytes of one token: possibly part of a character. An added token's are its text.
    public func bytes(of id: Int32) throws(TokenizerError) -> ArraySlice<UInt8> {
        guard id >= 0, id < parts.count else { throw .unknownID(Int(id), vocabularySize: parts.count) }
        return parts.arena[parts.range(Int(id))]
    }
}

// MARK: - Normalization

/// Unicode's normalization form C.
///
/// Decomposed first, because Foundation's composition alone leaves U+AC00 U+11A8 apart and the marks of two U+0F73
/// unsorted. Hugging Face's library knows fewer marks: those that Unicode 10 and later brought it leaves in the order of
/// the text, where they do not stand in form C.
private func nfc(_ text: String) -> String {
    text.decomposedStringWithCanonicalMapping.precomposedStringWithCanonicalMapping
}

/// Whether a character changes nothing and combines with nothing, yet the standard library may think otherwise: it
/// takes the neighbours of Hangul's letters for such letters, and U+10041 for an `A`.
private func standsAlone(_ value: Int) -> Bool {
    switch value {
    case 0x1113, 0x1160, 0x1176, 0x11A7, 0x11C3: true
    case 0x10000..<0x105C0, 0x105F0..<0x11090, 0x11940..<0x16110, 0x16130..<0x16D60, 0x16D70..<0x1D100,
        0x1D200..<0x2F800, 0x2FA20...:
        Unicode.Scalar(UInt32(value))?.properties.canonicalCombiningClass == .notReordered
    default: false
    }
}

/// The bytes with their well-formed stretches in form C; nil where that changes nothing for sure.
private func nfc(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
    // Every character below U+0300 is in form C and combines with none before it.
    if bytes.allSatisfy({ $0 < 0xCC }) { return nil }
    var out: [UInt8] = []
    out.reserveCapacity(bytes.count)
    var (start, i) = (0, 0)
    func flush() {
        out.append(contentsOf: nfc(String(decoding: bytes[start..<i], as: UTF8.self)).utf8)
    }
    while i < bytes.count {
        let length = utf8Length(bytes, at: i)
        if let length, bytes[i] < 0xE1 || !standsAlone(codePoint(bytes, at: i, length: length)) {
            i += length
            continue
        }
        flush()
        start = i + (length ?? 1)
        out.append(contentsOf: bytes[i..<start])
        i = start
    }
    flush()
    return out
}
