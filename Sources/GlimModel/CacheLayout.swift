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
    private let indices: [Stream: Int]
    /// Where each stream starts in a page, in numbers.
    let places: [Int]

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
        indices = Dictionary(uniqueKeysWithValues: zip(streams, streams.indices))
        places = widths.reduce(into: [0]) { $0.append($0.last! + $1 * KeyPages.positions) }.dropLast()
    }

    /// Bytes of a page: 64 positions of every stream.
    public var pageByteCount: Int { pageValueCount * 4 }

    /// Numbers of a page.
    package var pageValueCount: Int { widths.reduce(0, +) * KeyPages.positions }

    /// Which of the streams it is.
    func index(_ stream: Stream) -> Int {
        guard let index = indices[stream] else { preconditionFailure("CacheLayout: no \(stream)") }
        return index
    }

    /// Calls `body` with the bytes of the first positions of each stream in a page: all that they are, and nothing else.
    package func withRows(
        of page: CachePage, count: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> Void
    ) rethrows {
        for (place, width) in zip(places, widths) { try body(page.bytes(place: place, count: count * width)) }
    }
}
