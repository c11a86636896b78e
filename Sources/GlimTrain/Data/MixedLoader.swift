/// The rows of a whole run: context stages one after the other, in each of them several sources side by side.
///
/// Row n of a stage comes from the source that lags most behind its share of n + 1 rows, the first of equals: a
/// function of n and the shares, so that any stretch of rows holds about the mixture. Nothing but `position` changes.
public struct MixedLoader: Sendable {
    /// Part of a checkpoint.
    public struct Position: Codable, Sendable, Equatable {
        /// The context stage that rows come from.
        public var stage = 0
        /// For each source how many rows of the stage it gave.
        public var taken: [Int]
        /// For each source where it is.
        public var sources: [PackedLoader.Position]
    }

    /// One context stage: rows of one length.
    struct Stage: Sendable {
        var length: Int
        var sources: [any RowSource]
        /// Of each source; the sum is 1.
        var shares: [Double]
    }

    private let stages: [Stage]
    private var current: Stage
    private var stage = 0
    private var taken: [Int]

    init(_ stages: [Stage]) {
        self.stages = stages
        (current, taken) = (stages[0], stages[0].sources.map { _ in 0 })
    }

    /// A single source in a single stage.
    public init(_ loader: PackedLoader) {
        self.init([Stage(length: loader.sequenceLength, sources: [loader], shares: [1])])
    }

    public var position: Position {
        Position(stage: stage, taken: taken, sources: current.sources.map(\.position))
    }

    /// The next rows.
    ///
    /// - Parameter stage: a later one than before begins its sources.
    public mutating func batch(rows count: Int, stage: Int) -> [PackedRow] {
        if stage != self.stage {
            (self.stage, current) = (stage, stages[stage])
            taken = current.sources.map { _ in 0 }
        }
        return (0..<count).map { _ in nextRow() }
    }

    private mutating func nextRow() -> PackedRow {
        let count = Double(taken.reduce(1, +))
        var (chosen, most) = (0, -Double.infinity)
        for (i, share) in current.shares.enumerated() {
            let lag = share * count - Double(taken[i])
            if lag > most { (chosen, most) = (i, lag) }
        }
        taken[chosen] += 1
        return current.sources[chosen].nextRow()
    }

    /// The same rows from another place on.
    ///
    /// - Throws: `DataError` if the position is not of this data.
    package func moved(to position: Position) throws(DataError) -> MixedLoader {
        var moved = MixedLoader(stages)
        guard stages.indices.contains(position.stage) else {
            throw .badPosition("stage \(position.stage)", why: "there are \(stages.count) stages")
        }
        moved.current = stages[position.stage]
        let count = moved.current.sources.count
        for found in [position.taken.count, position.sources.count] where found != count {
            throw .badPosition("in \(found) sources", why: "the mixture has \(count)")
        }
        if let odd = position.taken.first(where: { !(0...1 << 50).contains($0) }) {
            throw .badPosition("\(odd) rows of a source", why: "there are never so many")
        }
        for i in 0..<count {
            moved.current.sources[i] = try moved.current.sources[i].erasedMove(to: position.sources[i])
        }
        (moved.stage, moved.taken) = (position.stage, position.taken)
        return moved
    }
}

extension RowSource {
    fileprivate func erasedMove(to position: PackedLoader.Position) throws(DataError) -> any RowSource {
        try moved(to: position)
    }
}
