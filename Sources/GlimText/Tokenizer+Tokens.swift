import Foundation

/// A tokenizer as files of other programs list it: every token by id, and the merges by rank.
///
/// llama.cpp's files do so. What they do not say is what Hugging Face's own files for the same models have as a rule: no
/// normalizer, nothing added around a text, and added tokens matched as they stand.
public struct TokenList: Sendable, Equatable {
    /// What a token is, under llama.cpp's numbers.
    public enum Kind: Int, Sendable {
        case normal = 1
        case unknown = 2
        /// An added token that is special.
        case control = 3
        /// An added token that is part of what the model says.
        case userDefined = 4
        /// A number that no text becomes.
        case unused = 5
        case byte = 6
    }

    /// By id: in the byte alphabet, added tokens as plain text.
    public var tokens: [String]
    /// As many.
    public var kinds: [Kind]
    /// By rank: two tokens with a space between.
    public var merges: [String]
    /// How text is cut before merging.
    public var pattern: SplitPattern

    public init(tokens: [String], kinds: [Kind], merges: [String], pattern: SplitPattern) {
        (self.tokens, self.kinds, self.merges, self.pattern) = (tokens, kinds, merges, pattern)
    }
}

extension Tokenizer {
    /// Makes a tokenizer of a list. Unused tokens at its end, which fill up a model's vocabulary, are left out.
    ///
    /// - Parameter path: what errors call the file.
    /// - Throws: `TokenizerError` where the list holds a contradiction, or what is not byte-level BPE.
    public convenience init(_ list: TokenList, path: String) throws(TokenizerError) {
        guard list.kinds.count == list.tokens.count else {
            throw .malformed(
                path: path, why: "it has \(list.tokens.count) tokens and \(list.kinds.count) kinds of them")
        }
        let count = (list.kinds.lastIndex { $0 != .unused } ?? -1) + 1
        if let id = list.kinds.prefix(count).firstIndex(of: .byte) {
            throw .unsupported(path: path, what: "tokens of single bytes beside text, of which \(id) is the first")
        }
        let added = (0..<count).filter { list.kinds[$0] == .control || list.kinds[$0] == .userDefined }
        let isAdded = Set(added)
        var writer = JSONWriter(.compact)
        writer.object(["added_tokens", "pre_tokenizer", "model"]) { writer, key in
            writer.key(key.utf8)
            switch key {
            case "added_tokens":
                writer.array(added) { writer, id in
                    writer.write(
                        .object([
                            .init("id", .number("\(id)")), .init("content", .string(list.tokens[id])),
                            .init("special", .bool(list.kinds[id] == .control)), .init("normalized", .bool(false)),
                        ]))
                }
            case "pre_tokenizer": writer.write(JSON.object(TokenizerParts.settings(list.pattern))[key] ?? .null)
            default:
                writer.object(["type", "vocab", "merges"]) { writer, key in
                    writer.key(key.utf8)
                    switch key {
                    case "type": writer.write(.string("BPE"))
                    case "vocab":
                        writer.object((0..<count).filter { !isAdded.contains($0) }) { writer, id in
                            writer.key(list.tokens[id].utf8)
                            writer.raw("\(id)")
                        }
                    default: writer.array(list.merges) { $0.string($1.utf8) }
                    }
                }
            }
        }
        try self.init(json: Data(writer.bytes), path: path)
    }

    /// The tokenizer as a list, filled up with unused tokens to the size of a model's vocabulary.
    ///
    /// - Throws: `TokenizerError.unsupported` where the list has no words for what this tokenizer does.
    public func list(vocabularySize: Int) throws(TokenizerError) -> TokenList {
        func refuse(_ what: String) -> TokenizerError {
            .unsupported(path: "the tokenizer", what: "\(what), of which a list of tokens says nothing")
        }
        if parts.normalizer != .none { throw refuse("a normalizer") }
        if parts.addsPrefixSpace { throw refuse("a space before each text") }
        if let token = addedTokens.first(where: { $0.isSingleWord || $0.stripsLeft || $0.stripsRight }) {
            throw refuse("what may stand around the added token \(JSON.string(token.content).compact)")
        }
        var list = TokenList(tokens: [], kinds: [], merges: [], pattern: pattern)
        let added = Dictionary(addedTokens.map { (Int($0.id), $0) }, uniquingKeysWith: { first, _ in first })
        for id in 0..<max(parts.count, vocabularySize) {
            if let token = added[id] {
                list.tokens.append(token.content)
                list.kinds.append(token.isSpecial ? .control : .userDefined)
            } else if id < parts.count {
                list.tokens.append(spelled(Int32(id)))
                list.kinds.append(.normal)
            } else {
                list.tokens.append("[PAD\(id)]")
                list.kinds.append(.unused)
            }
        }
        list.merges = parts.merges.map { "\(spelled($0.left)) \(spelled($0.right))" }
        return list
    }

    private func spelled(_ id: Int32) -> String { String(decoding: spelling(of: Int(id)), as: UTF8.self) }
}
