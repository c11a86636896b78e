/// Finds the tokens that may come next in a document, by walking the vocabulary and the grammar together.
struct MaskFiller {
    private let grammar: SchemaGrammar
    private let trie: TokenTrie
    /// What is known of the states of patterns.
    private let patternScan: (Int32) -> LexerScan
    private(set) var mask: TokenMask
    /// Configurations on the way, those of a node's children behind the node's own.
    private var reached: [Configuration] = []

    /// - Parameter patternScan: what a string may go on with at a state of a pattern's machine.
    init(_ grammar: SchemaGrammar, _ trie: TokenTrie, patternScan: @escaping (Int32) -> LexerScan) {
        (self.grammar, self.trie, self.patternScan) = (grammar, trie, patternScan)
        mask = TokenMask(count: trie.vocabularySize)
    }

    /// Allows what may come at this configuration.
    ///
    /// Within a string it makes no difference for most tokens what stands around it: those are looked up, and only what
    /// follows the end of the string is walked.
    ///
    /// - Parameter share: of the ways in which a token can be read here, as many are followed at each of its bytes: a
    ///   union of ten arrays of themselves would have 10 to the power of the brackets of a token. At least 1.
    mutating func fill(_ configuration: Configuration, share: Int) {
        switch configuration.place {
        case .string(let progress):
            let scan = trie.scan(progress.lexer, isKey: false)
            var allowed = scan.mask
            for scalars in scan.tokens.indices where scalars > progress.most {
                for id in scan.tokens[scalars] { allowed[id] = false }
            }
            let behind = Configuration(frame: configuration.frame, place: .afterValue(spaces: 0))
            for end in scan.ends {
                if end.scalars < progress.least {
                    for id in trie.tokens(at: end.node) { allowed[id] = false }
                } else if end.scalars <= progress.most {
                    descend(end.node, behind, share)
                }
            }
            mask.formUnion(allowed)
        case .anyKey(let state, let name):
            let scan = trie.scan(state, isKey: true)
            var allowed = scan.mask
            for taken in grammar.namesTaken(configuration.frame) where taken.starts(with: name) {
                guard let node = trie.node(for: taken.dropFirst(name.count)) else { continue }
                for id in trie.tokens(at: node) { allowed[id] = false }
            }
            mask.formUnion(allowed)
            for end in scan.ends where trie.hasChildren(end.node) {
                guard let behind = grammar.endKey(configuration.frame, name + trie.path(to: end.node)) else { continue }
                descend(end.node, behind, share)
            }
        case .text(let state) where grammar.machines.isPattern(state):
            let scan = patternScan(state)
            mask.formUnion(scan.mask)
            let behind = Configuration(frame: configuration.frame, place: .afterValue(spaces: 0))
            for end in scan.ends { descend(end.node, behind, share) }
        default: descend(0, configuration, share)
        }
    }

    /// Allows what lies below a node, which the configuration has been read up to.
    private mutating func descend(_ node: Int, _ configuration: Configuration, _ share: Int) {
        var child = node + 1
        let end = Int(trie.ends[node])
        while child < end {
            let first = reached.count
            grammar.step(configuration, trie.bytes[child], into: &reached)
            if reached.count > first {
                allow(child)
                if trie.hasChildren(child) {
                    let count = min(reached.count - first, share)
                    for k in first..<first + count { enter(child, reached[k], share / count) }
                }
                reached.removeSubrange(first...)
            }
            child = Int(trie.ends[child])
        }
    }

    private mutating func allow(_ node: Int) {
        for id in trie.tokens(at: node) { mask[id] = true }
    }

    /// As `descend`, quickly within texts.
    private mutating func enter(_ node: Int, _ configuration: Configuration, _ share: Int) {
        let behind = Configuration(frame: configuration.frame, place: .afterValue(spaces: 0))
        switch configuration.place {
        case .string(let progress):
            let lexer = StringTextLexer(.anySpelling)
            trie.walk(lexer, from: Int32(progress.lexer), under: node, most: progress.most) { node, scalars, isEnd in
                if isEnd, scalars < progress.least { return }
                allow(node)
                if isEnd { descend(node, behind, share) }
            }
        case .anyKey(let state, let name):
            let depth = Int(trie.depths[node])
            trie.walk(StringTextLexer(.oneSpelling), from: Int32(state), under: node) { node, _, isEnd in
                if !isEnd { return allow(node) }
                let whole = name + trie.path(to: node).dropFirst(depth)
                guard let behind = grammar.endKey(configuration.frame, whole) else { return }
                allow(node)
                descend(node, behind, share)
            }
        case .text(let state) where grammar.machines.isPattern(state):
            trie.walk(PatternTextLexer(machines: grammar.machines), from: state, under: node) { node, _, isEnd in
                allow(node)
                if isEnd { descend(node, behind, share) }
            }
        default: descend(node, configuration, share)
        }
    }
}
