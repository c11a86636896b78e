/// A token that stands beside the vocabulary and is matched in text as a whole, before anything else.
public struct AddedToken: Sendable, Equatable {
    public let id: Int32
    public let content: String
    /// Left out when decoding for people; the others, such as `<think>`, are part of what the model says.
    public let isSpecial: Bool
    /// Matched only where no letter, digit or underscore touches it.
    public var isSingleWord = false
    /// Takes the white space before it along.
    public var stripsLeft = false
    /// Takes the white space after it along.
    public var stripsRight = false
    /// Matched after the text has been normalized, rather than before.
    public var isNormalized = false

    public init(id: Int32, content: String, isSpecial: Bool) {
        (self.id, self.content, self.isSpecial) = (id, content, isSpecial)
    }
}

/// Finds added tokens in text: the leftmost match, and the longest of those.
struct AddedTokenMatcher: Sendable {
    struct Match {
        let range: Range<Int>
        let id: Int32
    }

    private let tokens: [AddedToken]
    /// A trie: the children of a node by byte, and the token that ends at each node or -1.
    private var children: [UInt64: Int32] = [:]
    private var ending: [Int32] = [-1]
    private var starts = [Bool](repeating: false, count: 256)

    init(_ tokens: [AddedToken]) {
        self.tokens = tokens
        for (index, token) in tokens.enumerated() {
            var node: Int32 = 0
            for byte in token.content.utf8 {
                if node == 0 { starts[Int(byte)] = true }
                let key = UInt64(node) << 8 | UInt64(byte)
                if let child = children[key] {
                    node = child
                } else {
                    ending.append(-1)
                    node = Int32(ending.count - 1)
                    children[key] = node
                }
            }
            ending[Int(node)] = Int32(index)
        }
    }

    var isEmpty: Bool { tokens.isEmpty }

    /// Matches in order. A match that strips white space may begin where the last one ends, never before.
    func matches(in text: UnsafeBufferPointer<UInt8>) -> [Match] {
        var matches: [Match] = []
        var (i, consumed) = (0, 0)
        while i < text.count {
            guard starts[Int(text[i])], let (index, end) = longest(in: text, from: i) else {
                i += 1
                continue
            }
            defer { i = end }
            let token = tokens[index]
            if token.isSingleWord, isWord(text, before: i) || isWord(text, at: end) { continue }
            let lower = token.stripsLeft ? max(whiteSpaceStart(text, before: i), consumed) : i
            let upper = token.stripsRight ? whiteSpaceEnd(text, from: end) : end
            matches.append(Match(range: min(lower, upper)..<upper, id: token.id))
            consumed = upper
        }
        return matches
    }

    private func longest(in text: UnsafeBufferPointer<UInt8>, from start: Int) -> (index: Int, end: Int)? {
        var (node, i): (Int32, Int) = (0, start)
        var found: (Int, Int)?
        while i < text.count, let child = children[UInt64(node) << 8 | UInt64(text[i])] {
            node = child
            i += 1
            if ending[Int(node)] >= 0 { found = (Int(ending[Int(node)]), i) }
        }
        return found
    }

    private func whiteSpaceStart(_ text: UnsafeBufferPointer<UInt8>, before end: Int) -> Int {
        var start = end
        while let i = characterStart(text, before: start), self.scalar(text, at: i)?.properties.isWhitespace == true {
            start = i
        }
        return start
    }

    private func whiteSpaceEnd(_ text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var end = start
        while end < text.count, let scalar = scalar(text, at: end), scalar.properties.isWhitespace {
            end += UTF8.width(scalar)
        }
        return end
    }

    private func isWord(_ text: UnsafeBufferPointer<UInt8>, before end: Int) -> Bool {
        guard let start = characterStart(text, before: end) else { return false }
        return isWord(text, at: start)
    }

    /// As `\w`: alphabetic, mark, decimal digit, connector or joiner.
    private func isWord(_ text: UnsafeBufferPointer<UInt8>, at i: Int) -> Bool {
        guard i < text.count, let scalar = scalar(text, at: i) else { return false }
        if scalar.properties.isAlphabetic || scalar.properties.isJoinControl { return true }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: return true
        default: return false
        }
    }

    private func scalar(_ text: UnsafeBufferPointer<UInt8>, at i: Int) -> Unicode.Scalar? {
        utf8Length(text, at: i).flatMap { Unicode.Scalar(UInt32(codePoint(text, at: i, length: $0))) }
    }

    private func characterStart(_ text: UnsafeBufferPointer<UInt8>, before end: Int) -> Int? {
        for length in 1...4 where end >= length && utf8Length(text, at: end - length) == length { return end - length }
        return end > 0 ? end - 1 : nil
    }
}
