import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

@Suite("pages of a cache") struct CacheTests {
    /// Logits of tokens that a cache goes on with, a few at a time.
    private func feed(_ model: Model, _ cache: Cache, _ tokens: some Collection<Int32>) -> [Float] {
        var (logits, rest): ([Float], ArraySlice<Int32>) = ([], Array(tokens)[...])
        while !rest.isEmpty {
            logits += model.logits(model.hidden(Batch([(Array(rest.prefix(7)), cache)]))).elements
            rest = rest.dropFirst(7)
        }
        return logits
    }

    @Test("what sequences begin with lies in memory once, and none sees what another writes", arguments: 0..<12)
    func shared(seed: Int) {
        let model = Tiny.model(seed)
        let layout = CacheLayout(model.config)
        var draw = Draw(seed, "pages")
        let tokens = draw.tokens(200, below: model.config.vocabularySize)
        let expected = model.logits(model.hidden(Batch(tokens: tokens, lengths: [200]))).elements
        func rows(_ range: Range<Int>) -> [Float] {
            let width = model.config.vocabularySize
            return Array(expected[range.lowerBound * width..<range.upperBound * width])
        }
        let pool = PagePool(valueCount: layout.pageValueCount, limit: 12)
        do {
            let first = Cache(layout, pool)
            expectSame(feed(model, first, tokens[..<150]), rows(0..<150), "the first")
            #expect(pool.count == 3)
            let others = (0..<3).map { _ in Cache(layout, pool) }
            let cuts = [64, 100, 128]
            for (cache, cut) in zip(others, cuts) {
                cache.adopt(first.page(0), count: 64)
                if cut > 64 { cache.adopt(first.page(1), count: cut - 64) }
            }
            // Of a page that fits in part there is a copy.
            #expect(pool.count == 4)
            for (cache, cut) in zip(others, cuts) {
                expectSame(feed(model, cache, tokens[cut..<180]), rows(cut..<180), "cut at \(cut)")
                cache.truncate(to: 70)
                _ = feed(model, cache, draw.tokens(40, below: model.config.vocabularySize))
                cache.truncate(to: 20)
                expectSame(feed(model, cache, tokens[20..<90]), rows(20..<90), "cut again")
            }
            expectSame(feed(model, first, tokens[150...]), rows(150..<200), "the first, later")
        }
        #expect(pool.count == 0)
    }

    @Test("one page too many is a caller's mistake, which traps") func budget() async {
        await #expect(processExitsWith: .failure) {
            let model = Tiny.model(1)
            let layout = CacheLayout(model.config)
            let cache = Cache(layout, PagePool(valueCount: layout.pageValueCount, limit: 1))
            _ = model.hidden(Batch([([Int32](repeating: 1, count: 65), cache)]))
        }
    }
}
