import GlimModel
package import GlimTensor

extension PrefixTree {
    /// Brings a node's page from disk; the caller uses it, and has made room for it.
    ///
    /// - Returns: nil where the file is damaged or gone. The node is dropped then, with everything below it.
    package func restore(_ node: Node) -> CachePage? {
        guard let store, node.isStored, node.page == nil else { return nil }
        let page = pool.take()
        guard store.read(node.number, tokens: node.tokens, into: page) else {
            drop(node)
            return nil
        }
        revive(node, page)
        statistics.restoredPages += 1
        return page
    }

    /// Writes one page that is not on disk yet: for times when nothing else is to be done.
    ///
    /// - Returns: false when there is none.
    package func storeNext() -> Bool {
        while let node = unstored.popFirst() {
            if node.isStored || node.page == nil { continue }
            store(node)
            return true
        }
        return false
    }

    /// Writes a page and those that it hangs on, as far as they are not on disk.
    func store(_ node: Node) {
        guard store != nil else { return }
        var path: [Node] = []
        var next: Node? = node
        while let node = next, node !== root, !node.isStored {
            path.append(node)
            next = node.parent
        }
        for node in path.reversed() { guard write(node) else { return } }
    }

    private func write(_ node: Node) -> Bool {
        guard let store, let page = node.page else { return false }
        let byteCount = store.largestByteCount
        if store.byteCount + byteCount > store.byteLimit { makeRoomOnDisk(byteCount) }
        guard store.byteCount + byteCount <= store.byteLimit,
            store.write(page, node.number, tokens: node.tokens, parent: node.parent?.number ?? 0)
        else { return false }
        node.isStored = true
        statistics.storedPages += 1
        return true
    }

    /// Removes what was used longest ago and is on disk only; a good part at a time, for all nodes are looked at.
    private func makeRoomOnDisk(_ byteCount: Int) {
        guard let store else { return }
        var nodes = root.allChildren
        var next = 0
        while next < nodes.count {
            nodes += nodes[next].allChildren
            next += 1
        }
        let aim = store.byteLimit - max(byteCount, store.byteLimit / 16)
        // What hangs on a page was never used later than it.
        let candidates = nodes.filter { $0.isStored && $0.page == nil }.sorted {
            if $0.tick != $1.tick { return $0.tick < $1.tick }
            return $0.depth != $1.depth ? $0.depth > $1.depth : $0.number < $1.number
        }
        for node in candidates where store.byteCount > aim && !node.isGone { drop(node) }
    }

    func rememberToStore(_ node: Node) {
        // Those that have gone meanwhile are passed over; where they are the most, they are let go.
        if unstored.count > 2 * pool.count + 1024 { unstored = unstored.filter { !$0.isStored && $0.page != nil }[...] }
        unstored.append(node)
    }

    /// What an earlier process left on disk.
    func addStoredNodes() {
        guard let store else { return }
        // Ordered by their last use.
        let entries = store.entries()
        var children: [UInt64: [(entry: PrefixStore.Entry, tick: UInt64)]] = [:]
        for (i, entry) in entries.enumerated() {
            children[entry.parent, default: []].append((entry, UInt64(i + 1)))
            numbers = max(numbers, entry.number)
        }
        ticks = UInt64(entries.count)
        var nodes = [root]
        var next = 0
        while next < nodes.count {
            let node = nodes[next]
            next += 1
            guard node === root || node.isFull else { continue }
            let below = children.removeValue(forKey: node.number) ?? []
            for (entry, tick) in below.sorted(by: { $0.entry.number < $1.entry.number }) {
                let child = addStored(entry.tokens, number: entry.number, under: node)
                child.tick = tick
                nodes.append(child)
            }
        }
        // Whoever uses a page uses those before it.
        for node in nodes.reversed() { node.parent?.tick = max(node.parent?.tick ?? 0, node.tick) }
        store.removeOrphans(children.values.flatMap { $0.map(\.entry.number) })
        // An earlier process may have been allowed more.
        if store.byteCount > store.byteLimit { makeRoomOnDisk(0) }
    }
}
