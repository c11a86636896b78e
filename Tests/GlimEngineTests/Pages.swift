import GlimEngine
import GlimModel
import GlimTensor
import GlimTestSupport

/// Pages of a small cache, which hold their tokens, for tests of what keeps them.
struct Pages {
    let layout: CacheLayout
    let pool: PagePool

    /// - Parameters:
    ///   - limit: of the pool.
    ///   - latent: width of the latent part of rows; another makes another layout.
    init(limit: Int, latent: Int = 4) {
        var config = ModelConfig()
        (config.layerCount, config.latent, config.keyRotated) = (2, latent, 2)
        config.indexer = .init(headCount: 1, headWidth: 3, topK: 4, kinds: [.full, .shared])
        layout = CacheLayout(config)
        pool = PagePool(valueCount: layout.pageValueCount, limit: limit)
    }

    /// A page whose rows are made of the tokens before and at their positions, as a network's are.
    func page(_ tokens: ArraySlice<Int32>, after before: ArraySlice<Int32>) -> CachePage {
        let page = pool.take()
        fill(page, tokens, after: before)
        return page
    }

    private func fill(_ page: CachePage, _ tokens: ArraySlice<Int32>, after before: ArraySlice<Int32>) {
        var history = before.reduce(UInt64(7)) { $0 &* 31 &+ UInt64($1) }
        var marks: [Float] = []
        for token in tokens {
            history = history &* 31 &+ UInt64(token)
            marks.append(Float(history % 1_000_003))
        }
        var stream: Float = 0
        layout.withRows(of: page, count: tokens.count) { rows in
            let values = rows.assumingMemoryBound(to: Float.self)
            let width = values.count / tokens.count
            for i in values.indices { values[i] = marks[i / width] + stream + Float(i % width) / 64 }
            stream += 1
        }
    }

    /// The first rows of a page, as numbers.
    func rows(_ page: CachePage, count: Int) -> [Float] {
        var numbers: [Float] = []
        layout.withRows(of: page, count: count) { numbers += Array($0.assumingMemoryBound(to: Float.self)) }
        return numbers
    }

    /// What the rows of a page of these tokens are.
    func expected(_ tokens: ArraySlice<Int32>, after before: ArraySlice<Int32>) -> [Float] {
        let pool = PagePool(valueCount: layout.pageValueCount)
        let page = pool.take()
        fill(page, tokens, after: before)
        return rows(page, count: tokens.count)
    }
}

extension PrefixTree {
    /// Keeps a whole sequence, as a request that has ended does.
    func keep(_ tokens: [Int32], _ pages: Pages) {
        var path: [Node] = []
        var start = 0
        while start + 64 <= tokens.count {
            makeRoom(1)
            let slice = tokens[start..<start + 64]
            path.append(insert(slice, pages.page(slice, after: tokens[..<start]), under: path.last))
            start += 64
        }
        if start < tokens.count, available > 0 {
            makeRoom(1)
            let slice = tokens[start...]
            insertPart(slice, under: path.last) { pages.page(slice, after: tokens[..<start]) }
        }
        release(path)
    }

    /// Tokens of a sequence that are known, each page of them looked at.
    func known(_ tokens: [Int32], _ pages: Pages, check: (_ found: [Float], _ expected: [Float]) -> Void) -> Int {
        let match = match(tokens, limit: tokens.count)
        var start = 0
        for node in match.nodes {
            guard let page = node.page else { return start }
            check(pages.rows(page, count: 64), pages.expected(tokens[start..<start + 64], after: tokens[..<start]))
            start += 64
        }
        if let part = match.part, let page = part.node.page {
            let slice = tokens[start..<start + part.count]
            check(pages.rows(page, count: part.count), pages.expected(slice, after: tokens[..<start]))
            start += part.count
        }
        return start
    }
}
