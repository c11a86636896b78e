public import GlimTensor

/// The keys of one sequence, in pages of 64 positions that a table names.
///
/// Pages are shared until they are written: what several sequences begin with lies in memory once. A row that was
/// computed stays what it is, for it depends on the tokens up to its own only.
///
/// A cache has one owner at a time: the loop that runs its sequence.
// @unchecked: see above; operations only read pages that the owner has written.
public final class Cache: @unchecked Sendable {
    public let layout: CacheLayout
    /// Positions that are complete: every stream has its row.
    public private(set) var count = 0
    private let pool: PagePool
    private var pages: [CachePage] = []
    /// For each stream where its rows begin in every page: what attention reads.
    private var tables: [[UnsafePointer<Float>]]

    /// A cache with pages of its own, as many as it comes to need.
    public convenience init(_ layout: CacheLayout) {
        self.init(layout, PagePool(valueCount: layout.pageValueCount))
    }

    /// A cache with pages of a pool, of which others take too.
    public init(_ layout: CacheLayout, _ pool: PagePool) {
        precondition(pool.valueCount == layout.pageValueCount, "Cache: pages of \(pool.valueCount) numbers")
        (self.layout, self.pool) = (layout, pool)
        tables = Array(repeating: [], count: layout.streams.count)
    }

    /// Pages that hold so many positions.
    public static func pageCount(_ positions: Int) -> Int {
        (positions + KeyPages.positions - 1) / KeyPages.positions
    }

    /// Makes room for `more` positions after `count`, in pages that nobody else reads.
    func reserve(_ more: Int) {
        for i in count / KeyPages.positions..<max(count / KeyPages.positions, Self.pageCount(count + more)) {
            if i == pages.count {
                append(pool.take())
            } else if !isKnownUniquelyReferenced(&pages[i]) {
                replacePage(i, with: pool.copy(of: pages[i]))
            }
        }
    }

    /// Writes rows of one stream at the positions after `count`.
    func write(_ stream: CacheLayout.Stream, _ rows: Tensor, _ slice: SequenceSlice) {
        let index = layout.index(stream)
        precondition(
            rows.shape.last == layout.widths[index] && slice.position == count, "Cache: \(rows.shape) at \(slice)")
        var done = 0
        while done < slice.count {
            let (page, position) = (count + done).quotientAndRemainder(dividingBy: KeyPages.positions)
            let more = min(slice.count - done, KeyPages.positions - position)
            let first = slice.row + done
            pages[page].write(
                rows, first..<first + more, place: layout.places[index], position: position,
                format: layout.format(stream))
            done += more
        }
    }

    /// All rows of one stream.
    func keys(_ stream: CacheLayout.Stream) -> KeyPages {
        let index = layout.index(stream)
        return KeyPages(
            tables[index], width: layout.widths[index], format: layout.format(stream), in: pages)
    }

    /// Adds positions whose rows are random numbers of variance 1: what a measurement finds in the cache.
    package func fill(_ more: Int, random: CounterRandom) {
        reserve(more)
        let end = count + more
        while count < end {
            let rows = min(KeyPages.positions, end - count)
            var index = UInt64(count * layout.pageValueCount)
            for (stream, width) in zip(layout.streams, layout.widths) {
                let numbers = (0..<rows * width).map { i -> Float in
                    Float(random.uniform(index + UInt64(i)) - 0.5) * Float(12).squareRoot()
                }
                index += UInt64(numbers.count)
                write(stream, Tensor(numbers, [rows, width]), SequenceSlice(row: 0, count: rows, position: count))
            }
            advance(rows)
        }
    }

    /// The rows just written are complete.
    func advance(_ more: Int) { count += more }

    /// Takes the last `rows` positions back, but keeps what they hold: `advance` may count them again.
    func withdraw(_ rows: Int) {
        precondition(rows >= 0 && rows <= count, "Cache: withdraw \(rows) of \(count)")
        count -= rows
    }

    /// Forgets every position from `count` on.
    public func truncate(to count: Int) {
        precondition(count >= 0 && count <= self.count, "Cache: truncate to \(count) of \(self.count)")
        self.count = count
        let kept = Self.pageCount(count)
        pages.removeLast(pages.count - kept)
        for i in tables.indices { tables[i].removeLast(tables[i].count - kept) }
    }

    // MARK: Sharing pages

    /// The page of positions `64 i ..< 64 (i + 1)`.
    package func page(_ i: Int) -> CachePage { pages[i] }

    /// A page of its own that holds what page `i` does.
    package func copyPage(_ i: Int) -> CachePage { pool.copy(of: pages[i]) }

    /// Takes another page for one that holds the same rows.
    package func replacePage(_ i: Int, with page: CachePage) {
        pages[i] = page
        for (s, place) in layout.places.enumerated() { tables[s][i] = page.rows(place: place) }
    }

    /// Goes on with positions that others have computed: the first `more` of a page.
    ///
    /// Of a full page nothing is copied. One of which only a part counts is, for its other rows are going to be written.
    package func adopt(_ page: CachePage, count more: Int) {
        precondition(
            count % KeyPages.positions == 0 && pages.count == Self.pageCount(count)
                && (1...KeyPages.positions).contains(more), "Cache: \(more) more positions of a page at \(count)")
        append(more < KeyPages.positions ? pool.copy(of: page) : page)
        count += more
    }

    private func append(_ page: CachePage) {
        pages.append(page)
        for (s, place) in layout.places.enumerated() { tables[s].append(page.rows(place: place)) }
    }
}
