import GlimText

/// A request of an API, and how that API tells what comes of it.
///
/// To add an API is to add such a type and to name it in ``Routes``. It says what is to be drawn as a ``Job``; drawing,
/// limits, streams and errors are the same for all.
protocol ServedRequest: Sendable {
    /// What its ids begin with.
    static var idPrefix: String { get }
    /// An error as this API has it.
    static func body(_ error: ServiceError) -> JSON

    /// Reads a body.
    ///
    /// - Throws: `ServiceError` or `ProtocolError`, which name what is wrong or unknown.
    init(_ body: JSON, _ served: ServedModel, _ stamp: ReplyStamp) throws

    var job: Job { get }
    /// Whether the reply should come in pieces.
    var streams: Bool { get }
    /// The whole response.
    ///
    /// - Parameter answers: in the order of the job's replies.
    func response(_ answers: [Answer], _ usage: TokenUsage) -> JSON
    /// What tells the reply in pieces.
    func teller() -> any ReplyTeller
}

/// What names a response.
struct ReplyStamp: Sendable {
    let id: String
    /// Seconds since 1970.
    let created: Int
}

/// Writes replies as the events of a stream.
protocol ReplyTeller {
    /// What a token adds to a reply.
    mutating func tell(_ piece: ReplyPiece, of number: Int) -> [ServerSentEvent]
    /// A reply has ended.
    mutating func tell(_ ending: ReplyEnding, of number: Int) -> [ServerSentEvent]
    /// All have.
    mutating func end(_ usage: TokenUsage) -> [ServerSentEvent]
    /// They never will.
    mutating func fail(_ error: ServiceError) -> [ServerSentEvent]
}

extension ServiceError {
    /// - Parameter unknown: members of a request that its API does not have.
    /// - Throws: where there is one.
    static func refuse(_ unknown: [String]) throws(ServiceError) {
        guard let first = unknown.first else { return }
        let names = unknown.joined(separator: ", ")
        let what = unknown.count == 1 ? "there is no parameter" : "there are no parameters"
        throw ServiceError(.invalidRequest, "\(what) \(names) here; leave out what is not known", parameter: first)
    }

    /// - Parameter known: the members that an API has.
    static func refuse(_ body: JSON, allBut known: Set<String>) throws(ServiceError) {
        try refuse((body.members ?? []).map(\.key).filter { !known.contains($0) })
    }
}

extension WireField {
    /// A list of ids that the model knows.
    func tokens(_ served: ServedModel, allowsNone: Bool = false) throws -> [Int32] {
        let expected = allowsNone ? "a list of token ids" : "a list of token ids, at least one"
        let all = try elements(expected)
        if all.isEmpty, !allowsNone { throw isNot(expected) }
        return try all.map { id in
            guard let value = try id.integer(0...served.vocabularySize - 1) else { throw id.isNot("a token id") }
            return Int32(value)
        }
    }
}

extension [ReplyDelta] {
    /// What a reply says, without its reasoning and calls.
    var content: String {
        reduce(into: "") { text, delta in if case .content(let more) = delta { text += more } }
    }
}

extension JSON {
    /// An object without some of its members.
    func without(_ keys: Set<String>) -> JSON {
        guard let members else { return self }
        return .object(members.filter { !keys.contains($0.key) })
    }
}
