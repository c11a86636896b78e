public import GlimTensor

/// What a position of the cache holds: one row a layer for attention, and one for each layer that runs its indexer.
public struct CacheLayout: Sendable, Equatable {
    /// One kind of row.
    public enum Stream: Sendable, Hashable {
        /// `[latent | rotated key]` of a layer.
        case latent(layer: Int)
        /// The indexer's key of a layer.
        case indexKey(layer: Int)
    }

    /// How both kinds are kept.
    public let latents: KeyFormat
    public let indexKeys: KeyFormat
    public let streams: [Stream]
    /// Values of a row, for each stream.
    public let widths: [Int]
    /// Numbers of f32 that it takes, for each stream.
    let sizes: [Int]
    private let indices: [Stream: Int]
    /// Where each stream starts in a page, in numbers.
    let places: [Int]

    /// - Parameter layers: nil for the trunk.
    public init(_ config: ModelConfig, layers: Range<Int>? = nil) {
        latents = config.latentFormat
        indexKeys = config.indexer?.keyFormat ?? .f32
        var (streams, widths): ([Stream], [Int]) = ([], [])
        for layer in layers ?? 0..<config.layerCount {
            streams.append(.latent(layer: layer))
            widths.append(config.latent + config.keyRotated)
            if let indexer = config.indexer, config.indexerKind(layer: layer) == .full {
                streams.append(.indexKey(layer: layer))
                widths.append(indexer.headWidth)
            }
        }
        let (latents, indexKeys) = (latents, indexKeys)
        sizes = zip(streams, widths).map { stream, width in
            if case .indexKey = stream { indexKeys.floats(width: width) } else { latents.floats(width: width) }
        }
        (self.streams, self.widths) = (streams, widths)
        indices = Dictionary(uniqueKeysWithValues: zip(streams, streams.indices))
        places = sizes.reduce(into: [0]) { $0.append($0.last! + $1 * KeyPages.positions) }.dropLast()
    }

    /// Bytes of a page: 64 positions of every stream.
    public var pageByteCount: Int { pageValueCount * 4 }

    /// Numbers of a page.
    package var pageValueCount: Int { sizes.reduce(0, +) * KeyPages.positions }

    /// Which of the streams it is.
    func index(_ stream: Stream) -> Int {
        guard let index = indices[stream] else { preconditionFailure("CacheLayout: no \(stream)") }
        return index
    }

    /// The format of a stream's rows.
    func format(_ stream: Stream) -> KeyFormat {
        if case .indexKey = stream { indexKeys } else { latents }
    }

    /// Calls `body` with the bytes of the first positions of each stream in a page. Index keys in int8 are turned
    /// together: of these it is the whole page's.
    package func withRows(
        of page: CachePage, count: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> Void
    ) rethrows {
        for (i, place) in places.enumerated() {
            let rows = format(streams[i]) == .int8 ? KeyPages.positions : count
            try body(page.bytes(place: place, count: rows * sizes[i]))
        }
    }
}
