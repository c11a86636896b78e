package import GlimTensor

/// What a position of the cache holds: one row a layer for attention, and one for each layer that runs its indexer.
public struct CacheLayout: Sendable, Equatable {
    /// One kind of row.
    public enum Stream: Sendable, Hashable {
        /// `[latent | rotated key]` of a layer.
        case latent(layer: Int)
        /// The indexer's key of a layer.
        case indexKey(layer: Int)
    }

    /// The number format of rows.
    public enum RowFormat: Sendable, Equatable { case f32 }

    public let format: RowFormat
    public let streams: [Stream]
    /// Values of a row, for each stream.
    public let widths: [Int]
    private let places: [Stream: Int]

    /// - Parameter layers: nil for the trunk.
    public init(_ config: ModelConfig, layers: Range<Int>? = nil, format: RowFormat = .f32) {
        self.format = format
        var (streams, widths): ([Stream], [Int]) = ([], [])
        for layer in layers ?? 0..<config.layerCount {
            streams.append(.latent(layer: layer))
            widths.append(config.latent + config.keyRotated)
            if let indexer = config.indexer, config.indexerKind(layer: layer) == .full {
                streams.append(.indexKey(layer: layer))
                widths.append(indexer.headWidth)
            }
        }
        (self.streams, self.widths) = (streams, widths)
        var (places, offset): ([Stream: Int], Int) = ([:], 0)
        for (stream, width) in zip(streams, widths) {
            places[stream] = offset
            offset += width * KeyPages.positions
        }
        self.places = places
    }

    /// Bytes of a page: 64 positions of every stream.
    public var pageByteCount: Int { pageValueCount * 4 }

    /// Numbers of a page.
    var pageValueCount: Int { widths.reduce(0, +) * KeyPages.positions }

    /// Where a stream starts in a page, in values.
    func place(_ stream: Stream) -> Int {
        guard let place = places[stream] else { preconditionFailure("CacheLayout: no \(stream)") }
        return place
    }

    func width(_ stream: Stream) -> Int { widths[streams.firstIndex(of: stream)!] }
}

/// The keys of one sequence, in pages of 64 positions that a table names.
///
/// A cache has one owner at a time: the loop that runs its sequence.
// @unchecked: see above; operations only read pages that the owner has written.
public final class Cache: @unchecked Sendable {
    public let layout: CacheLayout
    /// Positions that are complete: every stream has its row.
    public private(set) var count = 0
    private var pages: [CachePage] = []

    public init(_ layout: CacheLayout) { self.layout = layout }

    /// Makes room for `more` positions after `count`.
    func reserve(_ more: Int) {
        while pages.count * KeyPages.positions < count + more {
            pages.append(CachePage(valueCount: layout.pageValueCount))
        }
    }

    /// Writes rows of one stream at the positions after `count`.
    func write(_ stream: CacheLayout.Stream, _ rows: Tensor, _ slice: SequenceSlice) {
        let (place, width) = (layout.place(stream), layout.width(stream))
        precondition(rows.shape.last == width && slice.position == count, "Cache: \(rows.shape) at \(slice)")
        var done = 0
        while done < slice.count {
            let (page, position) = (count + done).quotientAndRemainder(dividingBy: KeyPages.positions)
            let more = min(slice.count - done, KeyPages.positions - position)
            let first = slice.row + done
            pages[page].write(rows, first..<first + more, place: place, position: position)
            done += more
        }
    }

    /// All rows of one stream.
    func keys(_ stream: CacheLayout.Stream) -> KeyPages {
        KeyPages(pages, place: layout.place(stream), width: layout.width(stream))
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
        pages.removeLast(pages.count - (count + KeyPages.positions - 1) / KeyPages.positions)
    }
}
