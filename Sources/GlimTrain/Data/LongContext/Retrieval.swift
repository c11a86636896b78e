/// The tasks of RULER, in a form that a small model can learn (GLM-5 report, section 2.3; RULER, arXiv 2404.06654).
public enum RetrievalTask: String, CaseIterable, Codable, Sendable {
    /// One fact in much text, which is asked for.
    case needle
    /// Many facts that look alike; one is asked for.
    case multiKey = "multi-key"
    /// Several values told of one name; all are asked for.
    case multiValue = "multi-value"
    /// Several facts are asked for, one after the other, the answers before in sight.
    case multiQuery = "multi-query"
    /// A value goes from hand to hand; all hands are asked for.
    case variableTracking = "variable-tracking"
    /// Of the values told of a name, the most frequent.
    case aggregation

    var form: RetrievalForm {
        switch self {
        case .needle, .multiKey, .multiQuery: .note
        case .multiValue: .add
        case .variableTracking: .link
        case .aggregation: .vote
        }
    }
}

/// Training documents of RULER's kind: facts among real text, and questions about them all along.
///
/// A document is dense with questions, from just behind a fact to the whole length away, so that the skill is learned
/// from few tokens. How many facts there are differs from document to document, and so does the share of real text, from
/// none to most of it. In documents of less than 2,048 bytes any fact told so far may be asked for, as often as any
/// other, so that no guess from what stands near is worth much. No name stands beside a value beside which evaluation
/// puts it.
public struct Retrieval: DocumentBuilder {
    private let haystack: Haystack
    private let tasks: [RetrievalTask]
    private let hasText: Bool
    private let seed: UInt64

    /// - Parameters:
    ///   - tasks: each document is of one of them; empty: of any.
    ///   - hasText: whether facts stand between lines of text; to look for them at all is learned sooner without.
    public init(
        haystack: Haystack, tasks: [RetrievalTask] = RetrievalTask.allCases, hasText: Bool = true, seed: UInt64
    ) {
        (self.haystack, self.hasText, self.seed) = (haystack, hasText, seed)
        self.tasks = tasks.isEmpty ? RetrievalTask.allCases : tasks
    }

    public func document(_ index: Int, byteCount: Int) -> Document {
        let purpose = "retrieval.\(index)"
        var draws = DrawSequence(seed: seed, purpose: purpose)
        let task = draws.pick(tasks)
        return FactDocument(form: task.form, haystack: haystack, hasText: hasText, seed: seed, purpose: purpose)
            .build(name: "retrieval/\(task.rawValue)/\(index)", byteCount: byteCount)
    }
}

/// Training documents of MRCR's kind: the same request several times, each with another reply, and the question for one
/// of the replies by its number (GLM-5 report, section 2.3).
public struct Coreference: DocumentBuilder {
    private let haystack: Haystack
    private let seed: UInt64

    public init(haystack: Haystack, seed: UInt64) { (self.haystack, self.seed) = (haystack, seed) }

    public func document(_ index: Int, byteCount: Int) -> Document {
        FactDocument(form: .say, haystack: haystack, seed: seed, purpose: "coreference.\(index)")
            .build(name: "coreference/\(index)", byteCount: byteCount)
    }
}

/// A document that tells facts of one form and asks for them all along.
struct FactDocument {
    let form: RetrievalForm
    let haystack: Haystack
    var hasText = true
    let seed: UInt64
    let purpose: String

    /// How often a question of a long document may come before others: after it, the answer also stands nearer than the
    /// fact.
    private static let maximumAsked = 2
    /// How often a step of a document is text rather than a fact or a question.
    private static let textShares = [0, 0.2, 0.4, 0.6, 0.8]
    /// Bytes, below which a document is short.
    private static let shortest = 2048

    /// The most groups of facts: in a short document several, so that guessing among them is seldom right; in a long one
    /// from two up to one in 64 bytes, each power of two as often.
    private static func groupLimit(_ byteCount: Int, _ draws: inout DrawSequence) -> Int {
        if byteCount < shortest { return draws.pick([2, 3, 4, 6, 8]) }
        let most = byteCount / 64
        return 1 << draws.integer(from: 1, through: most.bitWidth - most.leadingZeroBitCount - 1)
    }

    func build(name: String, byteCount: Int) -> Document {
        var draws = DrawSequence(seed: seed, purpose: purpose + ".order")
        var maker = FactGroupMaker(form, isHeldOut: false, seed: seed, purpose: purpose)
        var bytes: [UInt8] = []
        let isShort = byteCount < Self.shortest
        let textShare = hasText ? draws.pick(Self.textShares) : 0
        let maximumAsked = isShort ? Int.max : Self.maximumAsked
        let limit = Self.groupLimit(byteCount, &draws)
        var line = draws.integer(below: haystack.lineCount)
        // Groups of which facts are still to be told, and questions of those that are complete.
        var open: [FactGroup] = []
        var questions: [(question: FactGroup.Question, asked: Int)] = []
        var (groupCount, isExhausted) = (0, false)

        while true {
            if draws.chance(textShare) {
                for _ in 0...draws.integer(below: 4) {
                    let next = haystack.line(line)
                    guard bytes.count + next.count <= byteCount else { return Document(name: name, bytes: bytes) }
                    bytes += next
                    line += 1
                }
                continue
            }
            let askable = questions.indices.filter { questions[$0].asked < maximumAsked }
            let tells = askable.count < (isShort ? 2 : 3) || draws.chance(form == .note ? 0.35 : 0.5)
            if tells, open.count < (form == .note ? 1 : 3), groupCount < limit, !isExhausted {
                if let group = maker.next(count: 2 + draws.integer(below: 3)) {
                    open.append(group)
                    groupCount += 1
                } else {
                    isExhausted = true
                }
            }
            if tells, !open.isEmpty {
                let i = draws.integer(below: open.count)
                let fact = open[i].facts.removeFirst()
                guard bytes.count + fact.line.utf8.count <= byteCount else { return Document(name: name, bytes: bytes) }
                bytes += fact.line.utf8
                if open[i].facts.isEmpty {
                    questions += open.remove(at: i).questions.map { ($0, 0) }
                }
                continue
            }
            // Where every name is told and every question asked, old questions come again.
            let choices = askable.isEmpty ? Array(questions.indices) : askable
            let i = !isShort && draws.chance(0.3) ? draws.pick(Array(choices.suffix(3))) : draws.pick(choices)
            let question = questions[i].question
            guard bytes.count + question.line.utf8.count <= byteCount else { return Document(name: name, bytes: bytes) }
            bytes += question.line.utf8
            questions[i].asked += 1
        }
    }
}
