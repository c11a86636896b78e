import GlimTensor

/// Holds sparse attention against its definition, from outside.
///
/// Attention that reads chosen positions fails silently: up to `index_topk` tokens every choice is the same, and beyond
/// them a wrong one still writes fluent text. Each property here is one that implementations have broken.
///
/// ```swift
/// let results = ConformanceSuite(ModelEngine()).run()
/// let isSound = results.allSatisfy { $0.status != .failed }
/// ```
public struct ConformanceSuite {
    private let cases: [ConformanceCase]
    private let failure: ConformanceResult?

    /// An engine on the built-in networks, or some of them.
    public init(_ engine: any ConformanceEngine, on networks: [ConformanceNetwork] = ConformanceNetwork.builtIn) {
        do {
            cases = try networks.map { network in
                ConformanceCase(
                    name: network.name, subject: try engine.subject(network), network: network, engine: engine,
                    below: ConformanceNetwork.topK, beyond: 136)
            }
            failure = nil
        } catch {
            (cases, failure) = ([], ConformanceResult("networks", "The built-in networks load.", .failed, "\(error)"))
        }
    }

    /// A loaded model, at lengths that take it seconds.
    public init(model: Model) {
        let config = model.config
        let beyond = (config.indexer?.topK ?? KeyPages.positions) + KeyPages.positions + 8
        // Some fifty passes of this length.
        let operations =
            Double(beyond)
            * config.inferenceCost(context: 0, tokens: beyond, logitsOfAll: true).operationsPerToken
        let why: String? =
            if beyond > config.maximumPositions {
                "its context of \(config.maximumPositions) ends before \(beyond)"
            } else if operations > 1e11 || beyond * config.vocabularySize > 1 << 27 {
                "a pass of \(beyond) tokens is too much work for this machine"
            } else { nil }
        // The engine makes copies of the weights for networks that differ a little.
        let isSmall = config.size.parameterCount < 150_000_000
        cases = [
            ConformanceCase(
                name: "model", subject: ModelSubject(model), network: ConformanceNetwork(model),
                engine: isSmall ? ModelEngine() : nil,
                below: min(config.indexer?.topK ?? 96, why == nil ? beyond : 96, config.maximumPositions),
                beyond: why == nil ? beyond : nil, whyNotBeyond: why, isBuiltIn: false)
        ]
        failure = nil
    }

    /// Something whose weights nobody sees.
    ///
    /// - Parameter beyond: a length past `index_topk` that it can be asked for many times; a shorter one traps.
    public init(subject: any ConformanceSubject, beyond: Int) {
        let topK = subject.facts.topK ?? 1
        precondition(beyond > topK + 1, "ConformanceSuite: \(beyond) tokens are not beyond \(topK)")
        cases = [
            ConformanceCase(
                name: "subject", subject: subject, network: nil, engine: nil,
                below: subject.facts.topK ?? beyond, beyond: beyond, isBuiltIn: false)
        ]
        failure = nil
    }

    /// Every property that can be asked, in order: names and what they say.
    public static var properties: [(name: String, sentence: String)] {
        ConformanceProperty.all.map { ($0.name, $0.sentence) }
    }

    /// Asks for every property, or for those named.
    ///
    /// - Returns: one result a property.
    public func run(_ names: Set<String>? = nil) -> [ConformanceResult] { run(names) { _ in } }

    /// Asks for every property, or for those named.
    ///
    /// - Parameter report: called with each result as it comes.
    /// - Returns: one result a property.
    public func run(_ names: Set<String>? = nil, report: (ConformanceResult) throws -> Void) rethrows
        -> [ConformanceResult]
    {
        if let failure {
            try report(failure)
            return [failure]
        }
        var results: [ConformanceResult] = []
        for property in ConformanceProperty.all where names?.contains(property.name) ?? true {
            let result = property.result(on: cases)
            try report(result)
            results.append(result)
        }
        return results
    }
}

/// What was found of one property.
public struct ConformanceResult: Sendable {
    public enum Status: String, Sendable {
        case passed, failed
        case notAsked = "not asked"
    }

    public let name: String
    /// What the property says, in one sentence.
    public let sentence: String
    public let status: Status
    public package(set) var seconds = 0.0
    /// What was looked at; on failure the position and the numbers; otherwise why it could not be asked.
    public let detail: String

    package init(_ name: String, _ sentence: String, _ status: Status, _ detail: String) {
        (self.name, self.sentence, self.status, self.detail) = (name, sentence, status, detail)
    }
}

/// A property that does not hold: where, and the numbers.
struct Flaw: Error {
    let text: String
    init(_ text: String) { self.text = text }
}

/// A property that cannot be asked of a case.
struct Inapplicable: Error {
    let why: String
    init(_ why: String) { self.why = why }
}

/// One property: its check returns what it looked at, or throws a ``Flaw`` or why it is ``Inapplicable``.
struct ConformanceProperty: Sendable {
    let name: String
    let sentence: String
    /// Asks the first case that applies only: the property is the engine's, not the network's.
    var isAskedOnce = false
    let check: @Sendable (ConformanceCase) throws -> String

    func result(on cases: [ConformanceCase]) -> ConformanceResult {
        let start = ContinuousClock.now
        var seen: [(detail: String, names: [String])] = []
        var reasons: [String] = []
        func result(_ status: ConformanceResult.Status, _ detail: String) -> ConformanceResult {
            var result = ConformanceResult(name, sentence, status, detail)
            let spent = (ContinuousClock.now - start).components
            result.seconds = Double(spent.seconds) + Double(spent.attoseconds) * 1e-18
            return result
        }
        for one in cases {
            do {
                let detail = try check(one)
                if let i = seen.firstIndex(where: { $0.detail == detail }) {
                    seen[i].names.append(one.name)
                } else {
                    seen.append((detail, [one.name]))
                }
                if isAskedOnce { break }
            } catch let flaw as Flaw {
                return result(.failed, "\(one.name): \(flaw.text)")
            } catch let reason as Inapplicable {
                if !reasons.contains(reason.why) { reasons.append(reason.why) }
            } catch {
                return result(.failed, "\(one.name): \(error)")
            }
        }
        return seen.isEmpty
            ? result(.notAsked, reasons.joined(separator: "; "))
            : result(.passed, seen.map { "\($0.names.joined(separator: ", ")): \($0.detail)" }.joined(separator: "; "))
    }
}

/// A subject with what is known of it, and the lengths it is asked for.
struct ConformanceCase {
    let name: String
    let subject: any ConformanceSubject
    let network: ConformanceNetwork?
    let engine: (any ConformanceEngine)?
    /// A length at which everything is selected.
    let below: Int
    /// A length at which it is not, more than a page longer; nil where that costs too much.
    let beyond: Int?
    var whyNotBeyond: String?
    var isBuiltIn = true

    var facts: ConformanceFacts { subject.facts }

    /// Tokens drawn for a purpose.
    func tokens(_ count: Int, _ purpose: String = "tokens", below vocabulary: Int? = nil) -> [Int32] {
        let random = CounterRandom(seed: 1, purpose: "conformance.\(purpose)")
        return (0..<count).map {
            Int32(random.integer(UInt64($0), below: min(vocabulary ?? .max, facts.vocabularySize)))
        }
    }

    func read(_ tokens: [Int32], _ feeding: ConformanceFeeding = .whole, rows: Range<Int>? = nil) throws
        -> ConformanceReading
    {
        let rows = rows ?? 0..<tokens.count
        let reading = try subject.read(tokens, feeding, rows: rows)
        guard reading.outputs.count == rows.count,
            reading.selections?.allSatisfy({ $0.count == rows.count }) ?? true
        else { throw Flaw("\(reading.outputs.count) rows came back for \(rows.count)") }
        return reading
    }

    // MARK: What a property needs

    func needTopK() throws -> Int {
        guard let topK = facts.topK else { throw Inapplicable("attention is dense: there is no indexer") }
        return topK
    }

    func needBeyond() throws -> Int {
        guard let beyond else { throw Inapplicable(whyNotBeyond ?? "it cannot be asked beyond index_topk") }
        return beyond
    }

    func needChunks() throws {
        guard facts.readsInChunks else { throw Inapplicable("the subject does not read in chunks") }
    }

    func needEngine() throws -> (ConformanceNetwork, any ConformanceEngine) {
        guard let network, let engine else { throw Inapplicable("no copies of its weights can be changed") }
        return (network, engine)
    }

    func selections(of reading: ConformanceReading) throws -> [[[Int32]]] {
        guard let selections = reading.selections else { throw Inapplicable("the subject shows no selections") }
        return selections
    }

    /// The same for another network of the same engine.
    func other(_ network: ConformanceNetwork) throws -> ConformanceCase {
        let (_, engine) = try needEngine()
        return ConformanceCase(
            name: network.name, subject: try engine.subject(network), network: network, engine: engine, below: below,
            beyond: beyond, whyNotBeyond: whyNotBeyond, isBuiltIn: isBuiltIn)
    }

    /// The network's own case where a plain computation of it is possible, or else its first layer's.
    func plainly() throws -> (ConformanceCase, ConformanceNetwork, PlainNetwork) {
        guard let network else { throw Inapplicable("its weights are not seen") }
        // A large checkpoint in double precision takes too long; its first layer does not.
        if isBuiltIn, let plain = PlainNetwork(network) { return (self, network, plain) }
        let first = network.firstLayer
        guard let plain = PlainNetwork(first) else {
            throw Inapplicable("its first layer has experts, or queries without a latent")
        }
        return (try other(first), first, plain)
    }

    // MARK: Comparing

    /// Throws where two readings of the same rows differ by more than the subject's tolerance.
    ///
    /// - Parameters:
    ///   - first: the position of the first row of both.
    ///   - what: of the second reading, for the message.
    func expectSame(
        _ a: ConformanceReading, _ b: ConformanceReading, rows: Range<Int>? = nil, first: Int = 0, _ what: String
    ) throws {
        for row in rows ?? a.outputs.indices {
            if let (entry, x, y) = difference(a.outputs[row], b.outputs[row]) {
                throw Flaw("position \(first + row), output \(entry): \(y) \(what), \(x) otherwise")
            }
        }
        guard let before = a.selections, let after = b.selections else { return }
        for layer in before.indices {
            for row in rows ?? before[layer].indices where before[layer][row] != after[layer][row] {
                let (x, y) = (before[layer][row], after[layer][row])
                let at = x.indices.first { $0 >= y.count || x[$0] != y[$0] } ?? x.count
                throw Flaw(
                    "position \(first + row), layer \(layer): selection \(Self.excerpt(y, at)) \(what), "
                        + "\(Self.excerpt(x, at)) otherwise")
            }
        }
    }

    /// The first entry that differs by more than the tolerance.
    func difference(_ a: [Float], _ b: [Float]) -> (entry: Int, Float, Float)? {
        guard a.count == b.count else { return (0, .nan, .nan) }
        for i in a.indices where !(Double(abs(a[i] - b[i])) <= facts.tolerance) { return (i, a[i], b[i]) }
        return nil
    }

    /// Throws where log-probabilities are not the plain ones.
    func expectPlain(_ reading: ConformanceReading, _ plain: [[Double]], rows: Range<Int>, _ place: String = "") throws
    {
        var others = OtherSteps(facts.rounding, otherStep: facts.otherStep, rows: rows.count)
        for (i, row) in rows.enumerated() {
            let found = PlainNetwork.logSoftmax(reading.outputs[i].map { Double($0) })
            guard found.count == plain[i].count else {
                throw Flaw("position \(row)\(place): \(found.count) outputs for \(plain[i].count) tokens")
            }
            let apart = zip(found, plain[i]).map { abs($0 - $1) }
            let entry = apart.firstIndex { $0.isNaN } ?? apart.indices.max { apart[$0] < apart[$1] } ?? 0
            try others.see(apart[entry], in: 1) {
                "position \(row)\(place): log-probability of token \(entry) is \(found[entry]), plainly computed "
                    + "\(plain[i][entry])"
            }
        }
    }

    /// Throws where selections are not made of the highest plain scores; equals within rounding may go either way.
    func expectTop(
        _ selections: [[Int32]], _ scores: [[Double]], _ topK: Int, rows: Range<Int>, _ hint: () -> String = { "" }
    ) throws {
        var others = OtherSteps(facts.scoreRounding, otherStep: facts.otherScoreStep, rows: rows.count)
        for (i, t) in rows.enumerated() {
            try expectTop(selections[i], scores[i], topK, position: t, &others, hint)
        }
    }

    private func expectTop(
        _ selection: [Int32], _ scores: [Double], _ topK: Int, position: Int, _ others: inout OtherSteps,
        _ hint: () -> String
    ) throws {
        let chosen = Set(selection)
        let largest = scores.reduce(0) { max($0, abs($1)) }
        let count = min(topK, scores.count)
        guard chosen.count == count, chosen.allSatisfy({ $0 >= 0 && $0 < scores.count }) else {
            throw Flaw(
                "position \(position): \(chosen.count) of \(scores.count) visible positions chosen, expected \(count)"
                    + hint())
        }
        var (lowest, best): (Int?, Int?)
        for s in scores.indices {
            if chosen.contains(Int32(s)) {
                if lowest.map({ scores[s] < scores[$0] }) ?? true { lowest = s }
            } else if best.map({ scores[s] > scores[$0] }) ?? true {
                best = s
            }
        }
        guard let lowest, let best else { return }
        try others.see(max(0, scores[best] - scores[lowest]), in: largest) {
            "position \(position): key \(lowest) with index score \(Float(scores[lowest])) is chosen, key \(best) with "
                + "\(Float(scores[best])) is not" + hint()
        }
    }

    /// Counts the rows that are only right if a number was rounded to the other of two steps.
    private struct OtherSteps {
        private let rounding: Double
        private let otherStep: Double
        private let most: Int
        private var count = 0

        init(_ rounding: Double, otherStep: Double, rows: Int) {
            (self.rounding, self.otherStep, most) = (rounding, otherStep, rows / 2)
        }

        /// - Parameters:
        ///   - difference: a row's largest from what is plainly computed.
        ///   - unit: what both bounds are multiplied by.
        mutating func see(_ difference: Double, in unit: Double, _ text: () -> String) throws {
            if difference <= rounding * unit { return }
            count += 1
            guard difference <= otherStep * unit, count <= most else {
                throw Flaw(text() + (difference <= otherStep * unit ? ", and so in \(count) positions" : ""))
            }
        }
    }

    /// A few positions around index `at`.
    static func excerpt(_ positions: [Int32], _ at: Int) -> String {
        let shown = positions[max(0, min(at, positions.count) - 2)..<min(positions.count, at + 3)]
        return "[\(shown.count < positions.count ? "… " : "")\(shown.map { "\($0)" }.joined(separator: " "))"
            + "\(shown.count < positions.count ? " …" : "")]"
    }
}
