/// What the rows of a run are made of, in shares of its tokens.
///
/// A recipe says it as `mixture = ["text=0.8", "retrieval=0.2"]`: shares of their sum.
public struct DataMixture: Sendable, Equatable {
    /// A kind of document (GLM-4.5 report, section 2.3; GLM-5 report, section 2.3).
    public enum Kind: String, Sendable, CaseIterable {
        /// The documents as they are.
        case text
        /// Files of one folder, packed together.
        case repository
        /// Similar documents, cut into pieces that take turns.
        case interleaved
        /// Facts and questions about them, of the simplest form and without any text, which short rows teach.
        case needle
        /// Facts hidden in text, of all forms, and questions about them.
        case retrieval
        /// One of several alike requests, to be told apart by its number.
        case coreference
    }

    /// Each kind once, with a share above 0; the sum is 1.
    public let parts: [(kind: Kind, share: Double)]

    public static func == (a: DataMixture, b: DataMixture) -> Bool {
        a.parts.map(\.kind) == b.parts.map(\.kind) && a.parts.map(\.share) == b.parts.map(\.share)
    }

    struct Problem: Error { let why: String }

    /// - Parameter lines: `kind=share`; none: text alone.
    init(_ lines: [String]) throws(Problem) {
        var parts: [(kind: Kind, share: Double)] = []
        for line in lines {
            let halves = line.split(separator: "=", omittingEmptySubsequences: false)
            guard halves.count == 2, let share = Double(halves[1]), share >= 0, share <= 1e6 else {
                throw Problem(why: "\"\(line)\" is not of the form \"kind=share\", as \"text=0.8\"")
            }
            guard let kind = Kind(rawValue: String(halves[0])) else {
                let known = Kind.allCases.map(\.rawValue).joined(separator: ", ")
                throw Problem(why: "\"\(halves[0])\" is not one of \(known)")
            }
            if parts.contains(where: { $0.kind == kind }) { throw Problem(why: "\(kind.rawValue) is there twice") }
            parts.append((kind, share))
        }
        parts.removeAll { $0.share == 0 }
        if lines.isEmpty { parts = [(.text, 1)] }
        let sum = parts.reduce(0) { $0 + $1.share }
        guard sum > 0 else { throw Problem(why: "all shares are 0") }
        self.parts = parts.map { ($0.kind, $0.share / sum) }
    }
}

extension TrainRecipe {
    /// What `mixture` says.
    ///
    /// - Throws: `RunError` where it is no mixture.
    func dataMixture() throws(RunError) -> DataMixture {
        do throws(DataMixture.Problem) { return try DataMixture(mixture) } catch {
            throw RunError("mixture: \(error.why)")
        }
    }
}

extension DataMixture.Kind {
    /// What makes documents of this kind from texts; nil for the texts as they are.
    ///
    /// - Parameter haystack: asked for by kinds that hide facts, for it is a copy of the texts.
    func builder(
        _ text: [Document], _ haystack: @autoclosure () -> Haystack, seed: UInt64
    ) -> (any DocumentBuilder)? {
        switch self {
        case .text: nil
        case .repository: RepositoryPacking(text, seed: seed)
        case .interleaved: InterleavedDocuments(text, seed: seed)
        case .needle: Retrieval(haystack: haystack(), tasks: [.needle], hasText: false, seed: seed)
        case .retrieval: Retrieval(haystack: haystack(), seed: seed)
        case .coreference: Coreference(haystack: haystack(), seed: seed)
        }
    }

    /// Whether its words are other than those of the texts.
    fileprivate var hasOwnWords: Bool { [.needle, .retrieval, .coreference].contains(self) }
}

extension DataMixture {
    /// The share of tokens in documents with words of their own.
    var builtShare: Double { parts.lazy.filter(\.kind.hasOwnWords).reduce(0) { $0 + $1.share } }

    /// About so many bytes of those documents.
    func builtSample(of text: [Document], byteCount: Int, seed: UInt64) -> [[UInt8]] {
        let haystack = Haystack(text)
        return parts.filter(\.kind.hasOwnWords).flatMap { part -> [[UInt8]] in
            guard let builder = part.kind.builder(text, haystack, seed: seed) else { return [] }
            let count = Int(Double(byteCount) * part.share / builtShare) / Self.sampledBytes
            return (0..<max(1, count)).map { builder.document($0, byteCount: Self.sampledBytes).bytes }
        }
    }

    private static let sampledBytes = 2048
}
