import GlimEngine
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

@Suite("prefix tree") struct PrefixTreeTests {
    private func tokens(_ count: Int, _ seed: Int = 0) -> [Int32] {
        var draw = Draw(seed, "prefix")
        return draw.tokens(count, below: 50)
    }

    private func expectSame(_ a: [Float], _ b: [Float]) { GlimTestSupport.expectSame(a, b, "rows of a page") }

    @Test("the longest known beginning is found to the token, in pages that are full and in one that is not")
    func match() {
        let pages = Pages(limit: 100)
        let tree = PrefixTree(pages.layout, pages.pool)
        let long = tokens(150)
        tree.keep(long, pages)
        #expect(tree.match(long, limit: 149).count == 149)
        #expect(tree.match(long, limit: 150).count == 150 && tree.match(long, limit: 128).count == 128)
        #expect(tree.match(long + [1], limit: 150).divergence == nil)
        for end in [1, 63, 64, 65, 100, 128, 140] {
            let other = long[..<end] + [50] + long[(end + 1)...]
            let match = tree.match(Array(other), limit: 149)
            #expect(match.count == end && match.divergence == end, "\(end)")
            #expect(match.nodes.count == end / 64 && match.part?.count ?? 0 == end % 64)
        }
        let strange = tree.match([50, 51], limit: 1)
        #expect(strange.count == 0 && strange.divergence == 0)
        #expect(PrefixTree(pages.layout, pages.pool).match(long, limit: 10).divergence == nil)
    }

    @Test("what is known is found in full among random beginnings, and holds the right rows", arguments: 0..<20)
    func random(seed: Int) {
        var draw = Draw(seed, "tree")
        let pages = Pages(limit: 1000)
        let tree = PrefixTree(pages.layout, pages.pool)
        var known: [[Int32]] = []
        for _ in 0..<30 {
            let base = known.isEmpty || draw.chance(0.2) ? [] : draw.pick(known)
            let tokens = base.prefix(draw.integer(0...base.count)) + draw.tokens(draw.integer(1...150), below: 3)
            let all = Array(tokens)
            let expected = known.map { zip($0, all).prefix { $0 == $1 }.count }.max() ?? 0
            #expect(tree.known(all, pages, check: expectSame) == expected)
            tree.keep(all, pages)
            known.append(all)
            #expect(tree.known(all, pages, check: expectSame) == all.count)
        }
        #expect(tree.idleCount == pages.pool.count && tree.available == 1000)
        tree.removeAll(version: 1)
        #expect(pages.pool.count == 0 && tree.available == 1000)
        #expect(tree.match(known[0], limit: known[0].count).count == 0)
    }

    @Test("of two pages with the same rows one is kept") func same() {
        let pages = Pages(limit: 10)
        let tree = PrefixTree(pages.layout, pages.pool)
        let slice = tokens(64)[...]
        let (first, second) = (pages.page(slice, after: []), pages.page(slice, after: []))
        let node = tree.insert(slice, first, under: nil)
        let again = tree.insert(slice, second, under: nil)
        #expect(node === again && again.page === first && node.users == 2)
        tree.release([node])
        #expect(tree.idleCount == 0)
        tree.release([node])
        #expect(tree.idleCount == 1)
    }

    @Test("a page that is not full gives way to one that says more") func parts() {
        let pages = Pages(limit: 10)
        let tree = PrefixTree(pages.layout, pages.pool)
        let all = tokens(64)
        for count in [5, 20, 12] {
            tree.insertPart(all[..<count], under: nil) { pages.page(all[..<count], after: []) }
        }
        #expect(pages.pool.count == 1 && tree.match(all, limit: 64).count == 20)
        tree.insertPart(all[..<3] + [50], under: nil) { pages.page(all[..<3] + [50], after: []) }
        #expect(pages.pool.count == 2)
        tree.keep(all, pages)
        #expect(pages.pool.count == 2 && tree.match(all, limit: 64).count == 64)
    }

    @Test("room is made by what was let go first, a leaf before what it hangs on, and never by what is used")
    func evicted() {
        let pages = Pages(limit: 6)
        let tree = PrefixTree(pages.layout, pages.pool)
        let (old, new) = (tokens(192, 1), tokens(192, 2))
        tree.keep(old, pages)
        tree.keep(new, pages)
        #expect(tree.available == 6 && pages.pool.count == 6)
        tree.makeRoom(1)
        #expect(tree.match(old, limit: 192).count == 128 && tree.match(new, limit: 192).count == 192)
        // Whoever is used goes last, and so does what comes before it.
        let used = tree.match(old, limit: 192).nodes
        for node in used { _ = tree.use(node) }
        tree.makeRoom(4)
        #expect(tree.match(old, limit: 192).count == 128 && tree.match(new, limit: 192).count == 0)
        #expect(tree.available == 4 && tree.statistics.evictedPages == 4)
        tree.release(used)
        #expect(tree.available == 6)
    }

    @Test("more room than there is, is a caller's mistake, which traps") func noRoom() async {
        await #expect(processExitsWith: .failure) {
            let pages = Pages(limit: 2)
            let tree = PrefixTree(pages.layout, pages.pool)
            let slice = [Int32](repeating: 1, count: 64)[...]
            _ = tree.insert(slice, pages.page(slice, after: []), under: nil)
            tree.makeRoom(2)
        }
    }

    @Test("a long chain is let go without recursion") func deep() {
        let pages = Pages(limit: 3000)
        var tree: PrefixTree? = PrefixTree(pages.layout, pages.pool)
        let all = tokens(64 * 3000)
        tree?.keep(all, pages)
        #expect(pages.pool.count == 3000)
        tree = nil
        #expect(pages.pool.count == 0)
    }
}
