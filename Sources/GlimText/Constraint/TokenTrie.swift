import Foundation
import Synchronization

/// The tokens of a vocabulary by their bytes, made once for a tokenizer: what lets a ``TokenConstraint`` look at all tokens
/// by looking once at what they begin with. May be used from several threads at once.
///
/// Added tokens are not in it: no control token is part of a document.
public final class TokenTrie: Sendable {
    public let tokenizer: Tokenizer
    /// Bytes of the longest token.
    let longest: Int

    // The nodes in the order in which a walk meets them, the root first: a node's children come right behind it, each
    // followed by its own.

    /// The byte that leads to each node; of the root, 0.
    let bytes: [UInt8]
    /// The number of bytes that lead to each node.
    let depths: [Int32]
    /// Where the nodes below each end.
    let ends: [Int32]
    /// The tokens of each node are those from its start to that of the next; one more at the end.
    private let starts: [Int32]
    private let tokens: [Int32]
    private let members: TokenMask
    private let scans = Mutex<[ScanKey: LexerScan]>([:])

    private struct ScanKey: Hashable {
        let isKey: Bool
        let state: UInt8
    }

    public init(_ tokenizer: Tokenizer) {
        self.tokenizer = tokenizer
        let parts = tokenizer.parts
        let added = Set(tokenizer.addedTokens.map(\.id))
        var bytes: [UInt8] = [0]
        var (depths, ends, starts, tokens): ([Int32], [Int32], [Int32], [Int32]) = ([0], [0], [0], [])
        var members = TokenMask(count: parts.count)
        parts.arena.withUnsafeBufferPointer { arena in
            let ids = (0..<Int32(parts.count)).filter { !added.contains($0) && !parts.range(Int($0)).isEmpty }
            let ordered = ids.sorted { Self.precedes(parts.range(Int($0)), parts.range(Int($1)), $0 < $1, arena) }
            /// The nodes from the root to that of the last token.
            var path: [Int] = [0]
            for id in ordered {
                let token = arena[parts.range(Int(id))]
                var depth = 0
                for (node, byte) in zip(path.dropFirst(), token) {
                    if bytes[node] != byte { break }
                    depth += 1
                }
                for node in path[(depth + 1)...] { ends[node] = Int32(bytes.count) }
                path.removeSubrange((depth + 1)...)
                for byte in token.dropFirst(depth) {
                    path.append(bytes.count)
                    bytes.append(byte)
                    depths.append(Int32(path.count - 1))
                    ends.append(0)
                    starts.append(Int32(tokens.count))
                }
                tokens.append(id)
                members[id] = true
            }
            for node in path { ends[node] = Int32(bytes.count) }
        }
        starts.append(Int32(tokens.count))
        longest = Int(depths.max() ?? 0)
        (self.bytes, self.depths, self.ends, self.starts, self.tokens) = (bytes, depths, ends, starts, tokens)
        self.members = members
    }

    /// In the order of their bytes, then of their ids.
    private static func precedes(
        _ a: Range<Int>, _ b: Range<Int>, _ isLower: Bool, _ arena: UnsafeBufferPointer<UInt8>
    ) -> Bool {
        guard let base = arena.baseAddress else { return isLower }
        let order = memcmp(base + a.lowerBound, base + b.lowerBound, min(a.count, b.count))
        if order != 0 { return order < 0 }
        return a.count == b.count ? isLower : a.count < b.count
    }

    /// How many ids there are, added tokens included.
    public var vocabularySize: Int { tokenizer.vocabularySize }

    /// Whether this is a token with bytes of its own, no added one.
    func contains(_ id: Int32) -> Bool { members[id] }

    /// The tokens that end at a node.
    func tokens(at node: Int) -> ArraySlice<Int32> { tokens[Int(starts[node])..<Int(starts[node + 1])] }

    func hasChildren(_ node: Int) -> Bool { node + 1 < Int(ends[node]) }

    /// The node that these bytes lead to from the root.
    func node(for bytes: some Sequence<UInt8>) -> Int? {
        var node = 0
        for byte in bytes {
            var child = node + 1
            while child < Int(ends[node]), self.bytes[child] != byte { child = Int(ends[child]) }
            if child >= Int(ends[node]) { return nil }
            node = child
        }
        return node
    }

    /// The bytes that lead to a node.
    func path(to node: Int) -> ArraySlice<UInt8> {
        // No node is without a token at or below it.
        guard node > 0, let bytes = try? tokenizer.bytes(of: tokens[Int(starts[node])]) else { return [] }
        return bytes.prefix(Int(depths[node]))
    }

    // MARK: Walks

    /// Visits every node below one that a text can go on to, without those behind its end.
    ///
    /// - Parameters:
    ///   - state: where in the text one stands at the node.
    ///   - most: scalars that the text may still begin.
    ///   - visit: gets the node, the scalars begun on the way to it, and whether the text ends there.
    @inline(__always)
    func walk<Lexer: TextLexer>(
        _ lexer: Lexer, from state: Int32, under node: Int, most: Int = .max,
        _ visit: (_ node: Int, _ scalars: Int, _ isEnd: Bool) -> Void
    ) {
        var states = [Int32](repeating: state, count: longest + 1)
        var scalars = [Int](repeating: 0, count: longest + 1)
        var i = node + 1
        let end = Int(ends[node])
        while i < end {
            let depth = Int(depths[i])
            let before = states[depth - 1]
            let next = lexer.next(before, bytes[i])
            var count = scalars[depth - 1]
            if next == Lexer.ended {
                visit(i, count, true)
                i = Int(ends[i])
                continue
            }
            if next >= 0, lexer.isBetweenScalars(before) { count += 1 }
            if next < 0 || count > most {
                i = Int(ends[i])
                continue
            }
            (states[depth], scalars[depth]) = (next, count)
            visit(i, count, false)
            i += 1
        }
    }

    /// What a string may go on with at a state of ``StringLexer/anySpelling``, or a key at one of
    /// ``StringLexer/oneSpelling``.
    func scan(_ state: UInt8, isKey: Bool) -> LexerScan {
        let key = ScanKey(isKey: isKey, state: state)
        if let known = scans.withLock({ $0[key] }) { return known }
        let lexer = StringTextLexer(isKey ? .oneSpelling : .anySpelling)
        let scan = LexerScan(lexer, from: Int32(state), in: self, countsScalars: !isKey)
        scans.withLock { $0[key] = scan }
        return scan
    }
}

/// What reads a text byte by byte, its states numbers from 0 up.
protocol TextLexer {
    /// The state behind the byte, ``ended``, or another negative number where the text does not go on so.
    func next(_ state: Int32, _ byte: UInt8) -> Int32
    func isBetweenScalars(_ state: Int32) -> Bool
}

extension TextLexer {
    /// Behind the byte the text is over.
    static var ended: Int32 { -2 }
}

struct StringTextLexer: TextLexer {
    private let lexer: StringLexer

    init(_ lexer: StringLexer) { self.lexer = lexer }

    @inline(__always)
    func next(_ state: Int32, _ byte: UInt8) -> Int32 {
        let next = lexer.next(UInt8(truncatingIfNeeded: state), byte)
        return next < StringLexer.closed ? Int32(next) : next == StringLexer.closed ? Self.ended : -1
    }

    @inline(__always)
    func isBetweenScalars(_ state: Int32) -> Bool { state == Int32(StringLexer.body) }
}

/// A string that a pattern's machine reads. How many scalars it has the machine knows.
struct PatternTextLexer: TextLexer {
    let machines: MachineTable

    @inline(__always)
    func next(_ state: Int32, _ byte: UInt8) -> Int32 {
        let next = machines.next(state, byte)
        return next >= 0 && machines.isTerminal(next) ? Self.ended : next
    }

    @inline(__always)
    func isBetweenScalars(_ state: Int32) -> Bool { false }
}

/// All tokens that a text may go on with at some state of its lexer, whatever stands around the text.
struct LexerScan: Sendable {
    struct End: Sendable {
        let node: Int
        /// Scalars begun before it.
        let scalars: Int
    }

    /// Tokens within the text, and tokens that end with it.
    private(set) var mask: TokenMask
    /// Where the text ends.
    private(set) var ends: [End] = []
    /// The tokens of the mask by the scalars that they begin, if these were to be counted.
    private(set) var tokens: [[Int32]]

    init(_ lexer: some TextLexer, from state: Int32, in trie: TokenTrie, countsScalars: Bool) {
        var mask = TokenMask(count: trie.vocabularySize)
        var (ends, tokens) = ([End](), [[Int32]](repeating: [], count: countsScalars ? trie.longest + 1 : 0))
        trie.walk(lexer, from: state, under: 0) { node, scalars, isEnd in
            for id in trie.tokens(at: node) {
                mask[id] = true
                if countsScalars { tokens[scalars].append(id) }
            }
            if isEnd { ends.append(End(node: node, scalars: scalars)) }
        }
        (self.mask, self.ends, self.tokens) = (mask, ends, tokens)
    }
}
