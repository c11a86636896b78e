package import GlimModel
package import GlimTensor

/// What has been read before: the pages of beginnings, as a tree over pages of 64 tokens.
///
/// A sequence that begins like an earlier one takes the pages of what they share. A full page is shared as it lies; of
/// a page that fits in part, or that was never filled, a copy is taken, so sequences share to the token. Rows depend on
/// weights, too: a tree holds those of one version, and is emptied when it changes.
///
/// Pages that no sequence holds stay as long as nobody needs their room: the longest unused go first, a leaf before
/// what it hangs on. With a ``PrefixStore`` they go to disk and come back from there.
package final class PrefixTree {
    /// The tokens of a page, after those of its ancestors.
    package final class Node {
        let tokens: [Int32]
        /// Names its file.
        let number: UInt64
        /// How many pages come before it.
        let depth: Int
        fileprivate(set) weak var parent: Node?
        /// By their first token.
        fileprivate(set) var children: [Int32: [Node]] = [:]
        /// nil while it is on disk only.
        package internal(set) var page: CachePage?
        /// Sequences that hold the page. They hold those of all ancestors, too.
        package fileprivate(set) var users = 0
        var isStored = false
        /// Neither in memory nor on disk: whoever still means to use it comes too late.
        var isGone = false
        /// When it was last let go, as the tree counts.
        var tick: UInt64 = 0

        init(_ tokens: some Collection<Int32>, number: UInt64, parent: Node?) {
            (self.tokens, self.number, self.parent) = (Array(tokens), number, parent)
            depth = parent.map { $0.depth + 1 } ?? 0
        }

        var isFull: Bool { tokens.count == KeyPages.positions }

        var allChildren: [Node] { children.values.flatMap { $0 } }
    }

    package struct Statistics: Sendable, Equatable {
        /// Pages that left memory.
        package var evictedPages = 0
        /// Pages written to disk, and read from there.
        package var storedPages = 0
        package var restoredPages = 0
    }

    let pool: PagePool
    let layout: CacheLayout
    let store: PrefixStore?
    let root = Node([], number: 0, parent: nil)
    package internal(set) var statistics = Statistics()
    /// Nodes in memory that nobody uses.
    private var idle = IdleQueue()
    /// Nodes that are to be written when there is time, ancestors first.
    var unstored: ArraySlice<Node> = []
    var ticks: UInt64 = 0
    var numbers: UInt64 = 0

    /// - Parameter store: what outlasts the process; it must be of the same layout.
    package init(_ layout: CacheLayout, _ pool: PagePool, store: PrefixStore? = nil) {
        (self.layout, self.pool, self.store) = (layout, pool, store)
        addStoredNodes()
    }

    deinit { Self.unlink(root) }

    /// Pages that can be had: free ones, and those that only the tree holds.
    package var available: Int { pool.limit - pool.count + idle.count }
    /// Pages that only the tree holds.
    package var idleCount: Int { idle.count }

    // MARK: Finding

    /// What is known of a sequence's beginning.
    package struct Match {
        /// Full pages, in order. From some point on they may be on disk.
        package var nodes: [Node] = []
        /// A page of which the first tokens fit, and how many.
        package var part: (node: Node, count: Int)?
        /// The first token that is not the one that followed the same beginning before; nil where nothing followed it.
        package var divergence: Int?

        /// Tokens found.
        package var count: Int { nodes.count * KeyPages.positions + (part?.count ?? 0) }
    }

    /// The longest beginning that is known.
    ///
    /// - Parameter limit: tokens that may be found, at most.
    package func match(_ tokens: [Int32], limit: Int) -> Match {
        var (match, node, start) = (Match(), root, 0)
        while start < limit {
            var (best, common) = (Node?.none, 0)
            for child in node.children[tokens[start]] ?? [] {
                let count = Self.common(child.tokens, tokens[start..<limit])
                if count > common { (best, common) = (child, count) }
            }
            guard let best else {
                match.divergence = node.children.isEmpty ? nil : start
                break
            }
            if common < KeyPages.positions {
                let end = start + common
                match.part = (best, common)
                let differs = common < best.tokens.count && end < tokens.count && best.tokens[common] != tokens[end]
                match.divergence = differs ? end : nil
                break
            }
            match.nodes.append(best)
            (node, start) = (best, start + common)
        }
        return match
    }

    private static func common(_ a: [Int32], _ b: ArraySlice<Int32>) -> Int {
        var count = 0
        while count < a.count, count < b.count, a[count] == b[b.startIndex + count] { count += 1 }
        return count
    }

    // MARK: Using

    /// Takes a node's page for a sequence; it must be in memory.
    package func use(_ node: Node) -> CachePage {
        guard let page = node.page else { preconditionFailure("PrefixTree: a page that is not in memory") }
        if node.users == 0 { idle.remove(node) }
        node.users += 1
        return page
    }

    /// A sequence lets go of its nodes, all of a way from the root.
    package func release(_ nodes: [Node]) {
        ticks += 1
        // Leaves first, so that they go first.
        for node in nodes.reversed() {
            node.users -= 1
            node.tick = ticks
            if node.users == 0 { idle.append(node) }
        }
    }

    // MARK: Keeping

    /// Keeps a full page, which the caller uses.
    ///
    /// - Returns: the node that stands for it from now on. Its page may be another that holds the same rows: they are
    ///   equal to the bit, so one of the two is enough.
    package func insert(_ tokens: ArraySlice<Int32>, _ page: CachePage, under parent: Node?) -> Node {
        precondition(tokens.count == KeyPages.positions, "PrefixTree: a page of \(tokens.count) tokens")
        let parent = parent ?? root
        let known = parent.children[tokens.first!]?.first { $0.isFull && $0.tokens.elementsEqual(tokens) }
        let node = known ?? add(tokens, under: parent)
        if node.page == nil {
            node.page = page
            node.users = 1
        } else {
            _ = use(node)
        }
        return node
    }

    /// Keeps a page that is not full, and that nobody uses as it is.
    ///
    /// - Parameters:
    ///   - parent: must be in use.
    ///   - page: is asked for where these tokens are not kept already, as the beginning of a page with more.
    package func insertPart(_ tokens: ArraySlice<Int32>, under parent: Node?, _ page: () -> CachePage) {
        precondition((1..<KeyPages.positions).contains(tokens.count), "PrefixTree: a part of \(tokens.count) tokens")
        let parent = parent ?? root
        if parent.children[tokens.first!]?.contains(where: { $0.tokens.starts(with: tokens) }) ?? false { return }
        let node = add(tokens, under: parent)
        node.page = page()
        node.tick = ticks
        idle.append(node)
    }

    private func add(_ tokens: ArraySlice<Int32>, under parent: Node) -> Node {
        // A part of what is kept now says nothing more.
        for shorter in parent.children[tokens.first!] ?? [] where shorter.users == 0 && !shorter.isFull {
            if tokens.starts(with: shorter.tokens) { drop(shorter) }
        }
        numbers += 1
        let node = Node(tokens, number: numbers, parent: parent)
        parent.children[tokens.first!, default: []].append(node)
        if store != nil { rememberToStore(node) }
        return node
    }

    // MARK: Leaving

    /// Sees that so many pages of the pool are free.
    ///
    /// More than are ``available`` is a bug in the caller and traps.
    package func makeRoom(_ pages: Int) {
        while pool.limit - pool.count < pages {
            guard let node = idle.popFirst() else {
                preconditionFailure("PrefixTree: \(pages) pages of \(pool.limit), \(pool.count) in use")
            }
            store(node)
            statistics.evictedPages += 1
            node.page = nil
            if !node.isStored { drop(node) }
        }
    }

    /// Forgets everything: another version of the weights begins. Nothing may be in use.
    package func removeAll(version: Int) {
        for node in root.allChildren { drop(node) }
        unstored = []
        store?.begin(version: version)
    }

    /// Removes a node that nobody uses, and everything below it.
    func drop(_ node: Node) {
        if let parent = node.parent, let key = node.tokens.first {
            parent.children[key]?.removeAll { $0 === node }
            if parent.children[key]?.isEmpty ?? false { parent.children[key] = nil }
        }
        for node in Self.unlink(node) {
            precondition(node.users == 0, "PrefixTree: a page in use")
            if node.page != nil { idle.remove(node) }
            if node.isStored { store?.remove(node.number) }
            (node.page, node.isStored, node.isGone) = (nil, false, true)
        }
    }

    /// Takes a node and all below it apart, so that none holds another: a chain of thousands must not be freed by
    /// recursion.
    @discardableResult
    private static func unlink(_ node: Node) -> [Node] {
        var nodes = [node]
        var next = 0
        while next < nodes.count {
            nodes += nodes[next].allChildren
            nodes[next].children = [:]
            nodes[next].parent = nil
            next += 1
        }
        return nodes
    }

    /// A node whose page was just brought from disk, in use.
    func revive(_ node: Node, _ page: CachePage) {
        node.page = page
        node.users = 1
    }

    /// Adds a node that is on disk.
    func addStored(_ tokens: [Int32], number: UInt64, under parent: Node) -> Node {
        let node = Node(tokens, number: number, parent: parent)
        node.isStored = true
        parent.children[tokens[0], default: []].append(node)
        return node
    }

    /// Pages in the order in which they were let go.
    private struct IdleQueue {
        private var entries: [(node: Node, ticket: Int)?] = []
        private var first = 0
        private var tickets: [ObjectIdentifier: Int] = [:]
        private var issued = 0

        var count: Int { tickets.count }

        mutating func append(_ node: Node) {
            // Entries that were passed or have no ticket any more go once they are the most.
            if entries.count > 2 * tickets.count + 64 {
                entries = entries[first...].filter {
                    $0.map { tickets[ObjectIdentifier($0.node)] == $0.ticket } ?? false
                }
                first = 0
            }
            issued += 1
            tickets[ObjectIdentifier(node)] = issued
            entries.append((node, issued))
        }

        mutating func remove(_ node: Node) { tickets[ObjectIdentifier(node)] = nil }

        mutating func popFirst() -> Node? {
            while first < entries.count {
                let entry = entries[first]
                entries[first] = nil
                first += 1
                guard let (node, ticket) = entry, tickets[ObjectIdentifier(node)] == ticket else { continue }
                tickets[ObjectIdentifier(node)] = nil
                return node
            }
            return nil
        }
    }
}
