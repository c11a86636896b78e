import Synchronization

/// Keeps what a model draws to a schema: says which tokens may come next, and follows those that are drawn.
///
/// Whatever is drawn within its masks is a prefix of a JSON document that fits the schema, and can be completed; the stop
/// tokens are allowed exactly where the document is complete. Every document that fits can be drawn, in any of the ways
/// in which the vocabulary can spell it (``JSONSchema`` says which spellings of a value there are).
///
/// A value: a copy is a fork, so that drafts can be tried and taken back. Copies share the masks that were computed: make
/// one for a schema, and a copy for each request.
///
/// ```swift
/// let trie = TokenTrie(tokenizer)  // once
/// var constraint = TokenConstraint(schema, trie, stops: stops, after: tokenizer.id(of: .endThink))
/// let token = sampler.draw(logits, position: position, mask: constraint.mask().words)
/// constraint.advance(by: token)
/// ```
public struct TokenConstraint: Sendable {
    private enum Phase {
        /// What is drawn is no part of the document yet.
        case before
        case within
        case over
    }

    private let tables: Tables
    private var reader: SchemaReader
    private var phase: Phase

    /// - Parameters:
    ///   - stops: tokens that end the reply. Those that the vocabulary does not have are left aside.
    ///   - token: the token behind which the document begins, such as `</think>`; until then anything may be drawn but a
    ///     stop token. nil begins at once.
    public init(_ schema: JSONSchema, _ trie: TokenTrie, stops: Set<Int32>, after token: Int32? = nil) {
        tables = Tables(schema.grammar, trie, stops: stops.filter { $0 >= 0 && $0 < trie.vocabularySize }, token)
        reader = SchemaReader(schema)
        phase = token == nil ? .within : .before
    }

    /// Whether what was drawn is a whole document: it need not go on.
    public var isComplete: Bool { phase != .before && reader.isComplete }

    /// Whether the document has begun, or may begin with the next token.
    public var hasBegun: Bool { phase != .before }

    /// The tokens that may come next. Behind a stop token there are none, and where no stop token is known there may be
    /// none behind a complete document. Elsewhere there is one, but of a vocabulary that has not every byte as a token:
    /// what must come may then be what it cannot spell.
    public func mask() -> TokenMask {
        switch phase {
        case .before: return tables.beforeMask
        case .over: return TokenMask(count: tables.trie.vocabularySize)
        case .within: break
        }
        var mask = tables.mask(reader.configurations)
        if reader.isComplete { for stop in tables.stops { mask[stop] = true } }
        return mask
    }

    /// Takes note of a token that was drawn; true where nothing can follow, as the mask did not allow it, or as the document
    /// is whole and cannot go on: that needs no stop token.
    package mutating func isOver(after token: Int32) -> Bool {
        guard advance(by: token) else { return true }
        return isComplete && mask().allowedCount == 0
    }

    /// Takes note of a token that was drawn; false, and nothing is changed, where the mask does not allow it.
    @discardableResult
    public mutating func advance(by token: Int32) -> Bool {
        switch phase {
        case .before:
            if !tables.beforeMask[token] { return false }
            if token == tables.opening { phase = .within }
            return true
        case .within:
            if tables.stops.contains(token) {
                if !reader.isComplete { return false }
                phase = .over
                return true
            }
            guard tables.trie.contains(token), let bytes = try? tables.trie.tokenizer.bytes(of: token) else {
                return false
            }
            return reader.advance(bytes)
        case .over: return false
        }
    }

    /// What all copies share.
    private final class Tables: Sendable {
        let grammar: SchemaGrammar
        let trie: TokenTrie
        let stops: Set<Int32>
        let opening: Int32?
        let beforeMask: TokenMask
        private let masks = Mutex<[[Configuration]: TokenMask]>([:])
        private let patternScans = Mutex<[Int32: LexerScan]>([:])

        /// Masks kept: of a large vocabulary, 5 MB.
        private static let largestMaskCount = 256
        private static let largestScanCount = 256

        init(_ grammar: SchemaGrammar, _ trie: TokenTrie, stops: Set<Int32>, _ opening: Int32?) {
            (self.grammar, self.trie, self.stops, self.opening) = (grammar, trie, stops, opening)
            var mask = TokenMask(count: trie.vocabularySize, allowsAll: true)
            for stop in stops { mask[stop] = false }
            beforeMask = mask
        }

        func mask(_ configurations: [Configuration]) -> TokenMask {
            // Counts beyond what a token can use up make no difference.
            let key = configurations.map { $0.clamped(to: trie.longest) }
            if let known = masks.withLock({ $0[key] }) { return known }
            var filler = MaskFiller(grammar, trie) { self.patternScan($0) }
            for configuration in key {
                filler.fill(configuration, share: max(1, SchemaReader.largestCountInToken / key.count))
            }
            masks.withLock { masks in
                if masks.count >= Self.largestMaskCount { masks.removeAll() }
                masks[key] = filler.mask
            }
            return filler.mask
        }

        private func patternScan(_ state: Int32) -> LexerScan {
            if let known = patternScans.withLock({ $0[state] }) { return known }
            let lexer = PatternTextLexer(machines: grammar.machines)
            let scan = LexerScan(lexer, from: state, in: trie, countsScalars: false)
            patternScans.withLock { scans in
                if scans.count >= Self.largestScanCount { scans.removeAll() }
                scans[state] = scan
            }
            return scan
        }
    }
}

extension Configuration {
    /// The same place, as far as texts of so many bytes can tell.
    fileprivate func clamped(to byteCount: Int) -> Configuration {
        guard case .string(var progress) = place else { return self }
        // One more than can be begun is as good as any number of them.
        (progress.least, progress.most) = (min(progress.least, byteCount), min(progress.most, byteCount))
        return Configuration(frame: frame, place: .string(progress))
    }
}
