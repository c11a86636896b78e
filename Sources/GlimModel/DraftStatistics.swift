/// How well a sequence's drafts were guessed.
public struct DraftStatistics: Sendable, Equatable {
    /// Passes of the trunk that verified drafts.
    public private(set) var steps = 0
    /// Tokens that these passes gave: the accepted drafts, and mostly one that the trunk drew itself.
    public private(set) var tokens = 0
    /// For each position of a draft, how many were compared: those whose predecessors had all been accepted.
    public private(set) var tried: [Int]
    public private(set) var accepted: [Int]

    /// - Parameter depth: the most drafts of a step.
    public init(depth: Int) {
        (tried, accepted) = (.init(repeating: 0, count: depth), .init(repeating: 0, count: depth))
    }

    /// Counts one step.
    ///
    /// - Parameters:
    ///   - tried: drafts compared, at most the depth.
    ///   - accepted: as many of the first of them.
    ///   - tokens: that the step gave.
    public mutating func record(tried: Int, accepted: Int, tokens: Int) {
        precondition(
            (0...self.tried.count).contains(tried) && (0...tried).contains(accepted), "\(accepted) of \(tried)")
        steps += 1
        self.tokens += tokens
        for i in 0..<tried { self.tried[i] += 1 }
        for i in 0..<accepted { self.accepted[i] += 1 }
    }

    /// For each position the share of compared drafts that were accepted; nil where none was.
    public var acceptance: [Double?] { zip(accepted, tried).map { $1 == 0 ? nil : Double($0) / Double($1) } }

    /// 1 without a single right draft, at most the depth and one; nil before the first step.
    public var tokensPerStep: Double? { steps == 0 ? nil : Double(tokens) / Double(steps) }
}
