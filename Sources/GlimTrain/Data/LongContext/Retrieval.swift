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
/// from few tokens. How many facts there are differs from document to document: where there are one or two, taking any
/// word of the text is often right, which is learned first, and looking for the right one follows from it. So does the
/// share of real text, from none to most of it; documents of less than 2,048 bytes have little. Words at which nobody
/// could guess are not taught; no pair of words is one that evaluation asks for.
public struct Retrieval: DocumentBuilder {
    private let haystack: Haystack
    private let tasks: [RetrievalTask]
    private let seed: UInt64

    /// - Parameter tasks: each document is of one of them; empty: of any.
    public init(haystack: Haystack, tasks: [RetrievalTask] = RetrievalTask.allCases, seed: UInt64) {
        (self.haystack, self.seed) = (haystack, seed)
        self.tasks = tasks.isEmpty ? RetrievalTask.allCases : tasks
    }

    public func document(_ index: Int, byteCount: Int) -> TaughtDocument {
        let purpose = "retrieval.\(index)"
        var draws = DrawSequence(seed: seed, purpose: purpose)
        let task = draws.pick(tasks)
        return FactDocument(form: task.form, haystack: haystack, seed: seed, purpose: purpose)
            .build(name: "retrieval/\(task.rawValue)/\(index)", byteCount: byteCount)
    }
}

/// Training documents of MRCR's kind: the same request several times, each with another reply, and the question for one
/// of the replies by its number (GLM-5 report, section 2.3).
public struct Coreference: DocumentBuilder {
    private let haystack: Haystack
    private let seed: UInt64

    public init(haystack: Haystack, seed: UInt64) { (self.haystack, self.seed) = (haystack, seed) }

    public func document(_ index: Int, byteCount: Int) -> TaughtDocument {
        FactDocument(form: .say, haystack: haystack, seed: seed, purpose: "coreference.\(index)")
            .build(name: "coreference/\(index)", byteCount: byteCount)
    }
}

/// A document that tells facts of one form and asks for them all along.
struct FactDocument {
    let form: RetrievalForm
    let haystack: Haystack
    let seed: UInt64
    let purpose: String

    /// How often a question may come before others: after it, the answer also stands nearer than the fact.
    private static let maximumAsked = 2

    /// How often a step of the document is text rather than a fact or a question. Short documents are there to teach
    /// copying itself, and have little.
    private static func textShares(_ byteCount: Int) -> [Double] {
        byteCount < 2048 ? [0, 0, 0, 0.2, 0.4] : [0, 0.2, 0.4, 0.6, 0.8]
    }

    /// The most groups of facts: from one alone up to one in 64 bytes, each power of two as often.
    private static func groupLimit(_ byteCount: Int, _ draws: inout DrawSequence) -> Int {
        let highest = max(byteCount / 64, 1).bitWidth - max(byteCount / 64, 1).leadingZeroBitCount - 1
        return 1 << draws.integer(from: 0, through: highest)
    }

    func build(name: String, byteCount: Int) -> TaughtDocument {
        var draws = DrawSequence(seed: seed, purpose: purpose + ".order")
        var maker = FactGroupMaker(form, isHeldOut: false, seed: seed, purpose: purpose)
        var writer = DocumentWriter()
        let textShare = draws.pick(Self.textShares(byteCount))
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
                    guard writer.bytes.count + next.count <= byteCount else { return writer.document(name) }
                    writer.write(next)
                    line += 1
                }
                continue
            }
            let askable = questions.indices.filter { questions[$0].asked < Self.maximumAsked }
            let tells = askable.count < 3 || draws.chance(form == .note ? 0.35 : 0.5)
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
                guard writer.bytes.count + fact.line.utf8.count <= byteCount else { return writer.document(name) }
                fact.write(to: &writer)
                if open[i].facts.isEmpty {
                    questions += open.remove(at: i).questions.map { ($0, 0) }
                }
                continue
            }
            // Where every name is told and every question asked, old questions come again.
            let choices = askable.isEmpty ? Array(questions.indices) : askable
            let i = draws.chance(0.3) ? draws.pick(Array(choices.suffix(3))) : draws.pick(choices)
            let question = questions[i].question
            guard writer.bytes.count + question.line.utf8.count <= byteCount else { return writer.document(name) }
            question.write(to: &writer)
            questions[i].asked += 1
        }
    }
}
