/// Something that reads tokens with sparse attention, seen from outside: our engine, a variant of it, another program.
///
/// The suite asks for numbers and compares them. Whatever a subject cannot tell makes the properties that need it not
/// applicable, never passed.
public protocol ConformanceSubject {
    var facts: ConformanceFacts { get }

    /// Reads a sequence from its beginning.
    ///
    /// - Parameters:
    ///   - tokens: the sequence, T of them.
    ///   - feeding: in which pieces.
    ///   - rows: the positions whose results are wanted. The work of others may be left out where nothing hangs on it.
    func read(_ tokens: [Int32], _ feeding: ConformanceFeeding, rows: Range<Int>) throws -> ConformanceReading

    /// Steps of multi-token prediction over a whole sequence, the first one first: row i of step d, of T - d, has seen
    /// the tokens up to i + d too. Steps beyond the last MTP layer run it again. Nil where a subject has none or cannot
    /// show them.
    func draft(_ tokens: [Int32], steps: Int) throws -> [ConformanceReading]?
}

extension ConformanceSubject {
    public func draft(_ tokens: [Int32], steps: Int) throws -> [ConformanceReading]? { nil }
}

/// In which pieces a sequence is fed.
public enum ConformanceFeeding: Sendable, Equatable {
    /// All at once, without a cache where a subject can do without.
    case whole
    /// So many tokens at a time through a cache; they sum to T.
    case chunks([Int])
}

/// What a subject says of itself.
public struct ConformanceFacts: Sendable, Equatable {
    public var vocabularySize: Int
    /// Positions that attention may read; nil where it is dense.
    public var topK: Int?
    /// Whether chunks are fed as they are asked for.
    public var readsInChunks: Bool
    /// How far outputs may differ between two ways to feed a sequence: 0 promises the same bits.
    public var tolerance: Double
    /// How far its log-probabilities may be from those in double precision.
    public var rounding: Double
    /// How far they may be where the subject rounds numbers to a few bits: one that lies in the middle of two steps may go
    /// either way, and takes with it what is rounded later. Few do, so that at least half of the rows have to be within
    /// `rounding` all the same. 0 where nothing is rounded so.
    public var otherStep: Double
    /// The longest sequence that takes it seconds when only the last rows are wanted.
    public var longest: Int

    /// What steps of integers of eight bits may come to in a log-probability: of trained models some 0.1 are seen, of 4096
    /// tokens at hundreds of positions.
    public static let step = 0.3

    /// How far index scores may be, over the largest: sums of products that are themselves no larger.
    var scoreRounding: Double { rounding / 10 }
    /// The same where a number was rounded to the other step.
    var otherScoreStep: Double { otherStep / 30 }

    public init(
        vocabularySize: Int, topK: Int?, readsInChunks: Bool = true, tolerance: Double = 0, rounding: Double = 1e-3,
        otherStep: Double = 0, longest: Int = .max
    ) {
        (self.vocabularySize, self.topK, self.readsInChunks) = (vocabularySize, topK, readsInChunks)
        (self.tolerance, self.rounding, self.otherStep, self.longest) = (tolerance, rounding, otherStep, longest)
    }
}

/// What came out, for each row asked for.
public struct ConformanceReading: Sendable, Equatable {
    /// Logits or log-probabilities of the whole vocabulary; empty where a subject shows selections only.
    public var outputs: [[Float]]
    /// By trunk layer (for a step of a draft: its MTP layer alone) and row: the positions that attention read, as the
    /// subject orders them. Nil where attention is dense or a subject cannot tell.
    public var selections: [[[Int32]]]?

    public init(outputs: [[Float]], selections: [[[Int32]]]?) {
        (self.outputs, self.selections) = (outputs, selections)
    }
}

/// What makes subjects out of networks, so that the suite can ask about weights of its own making.
public protocol ConformanceEngine {
    func subject(_ network: ConformanceNetwork) throws -> any ConformanceSubject
}
