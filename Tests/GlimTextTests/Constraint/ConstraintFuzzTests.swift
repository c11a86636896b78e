import Foundation
import GlimTestSupport
import GlimText
import Testing

/// The tokens of a vocabulary by their bytes.
private struct TokenIndex {
    private var ids: [ArraySlice<UInt8>: Int32] = [:]
    private var longest = 0

    init(_ tokenizer: Tokenizer) throws {
        for id in 0..<Int32(tokenizer.vocabularySize) where tokenizer.addedToken(id) == nil {
            let bytes = try tokenizer.bytes(of: id)
            ids[bytes] = id
            longest = max(longest, bytes.count)
        }
    }

    /// Those that a text may begin with, the longest last.
    func tokens(beginning text: ArraySlice<UInt8>) -> [Int32] {
        (1...min(longest, text.count)).compactMap { ids[text.prefix($0)] }
    }
}

/// `GLIM_FUZZ_COUNT` sets how many schemas are drawn, `GLIM_FUZZ_SEED` which.
@Suite("constraints by schemas of every kind") struct ConstraintFuzzTests {
    private static let long = ProcessInfo.processInfo.environment["GLIM_FUZZ_COUNT"].flatMap { Int($0) }
    private static let seed = ProcessInfo.processInfo.environment["GLIM_FUZZ_SEED"].flatMap { Int($0) } ?? 1

    /// A schema that was drawn and that something fits.
    private static func drawn(_ number: Int) throws -> (schema: JSONSchema, json: JSON)? {
        var draw = DocumentDraw(seed, "schema \(number)")
        let json = draw.schema()
        do { return (try JSONSchema(json), json) } catch {
            let isKnown = error.why.contains("no value fits") || error.why.contains("refers to itself")
            #expect(isKnown, "\(error): schema \(number) of seed \(seed): \(json.compact)")
            return nil
        }
    }

    @Test("what fits a schema that was drawn is what a plain validator says") func drawnDocuments() throws {
        var (schemas, counts) = (0, [true: 0, false: 0])
        for number in 0..<(Self.long ?? 1500) {
            guard let (schema, json) = try Self.drawn(number) else { continue }
            schemas += 1
            let judge = SchemaValidator(json)
            var draw = DocumentDraw(Self.seed, "documents \(number)")
            for _ in 0..<20 {
                let value = draw.value(json, judge)
                let (text, fits) = (draw.text(value), judge.fits(value))
                counts[fits]! += 1
                #expect(
                    accepts(schema, text.utf8) == fits,
                    "\(text.debugDescription), \(fits ? "fits" : "does not fit"): schema \(number) of seed \(Self.seed): \(json.compact)"
                )
            }
        }
        #expect(schemas > (Self.long ?? 1500) / 3 && counts[true]! > 3 * schemas && counts[false]! > 3 * schemas)
    }

    /// Draws a document within the masks; nil where it has not ended after many tokens.
    ///
    /// - Parameter visit: gets the constraint before each token.
    private func walk(
        _ schema: JSONSchema, _ trie: TokenTrie, _ draw: inout Draw, visit: (TokenConstraint) throws -> Void = { _ in }
    ) throws -> [UInt8]? {
        let (tokenizer, stop) = (trie.tokenizer, try #require(trie.tokenizer.id(of: .endOfText)))
        var (constraint, bytes) = (TokenConstraint(schema, trie, stops: [stop]), [UInt8]())
        let ends = Array("\"}]:,0\\n".utf8).map { tokenizer.encode([$0])[0] }
        for step in 0..<600 {
            try visit(constraint)
            let mask = constraint.mask()
            #expect(constraint.isComplete == mask[stop])
            let allowed = (0..<Int32(mask.count)).filter { mask[$0] }
            if allowed.isEmpty {
                Issue.record("nothing may follow \(String(decoding: bytes, as: UTF8.self).debugDescription)")
                return nil
            }
            if constraint.isComplete, draw.chance(step < 100 ? 0.3 : 0.9) {
                let isTaken = constraint.advance(by: stop)
                #expect(isTaken && constraint.isComplete && constraint.mask().allowedCount == 0)
                return bytes
            }
            // Mostly what brings the document on.
            let near = ends.filter { mask[$0] }
            var token = draw.pick(allowed)
            if !near.isEmpty, draw.chance(step < 60 ? 0.4 : 0.95) { token = step < 200 ? draw.pick(near) : near[0] }
            if token == stop { continue }
            let isTaken = constraint.advance(by: token)
            #expect(isTaken)
            bytes += try tokenizer.bytes(of: token)
        }
        return nil
    }

    private static func vocabularies() throws -> [TokenTrie] {
        [try ConstraintVocabulary.golden.get(), try ConstraintVocabulary.structural.get()]
    }

    @Test("whatever is drawn within the masks is JSON that fits") func walks() throws {
        var (ended, count) = (0, 0)
        var schemas = try SchemaCase.all.map { (try JSONSchema(try $0.json()), try $0.json()) }
        for number in 0..<(Self.long.map { $0 / 40 } ?? 150) {
            if let (schema, json) = try Self.drawn(number) { schemas.append((schema, json)) }
        }
        for trie in try Self.vocabularies() {
            for (number, (schema, json)) in schemas.enumerated() {
                let judge = SchemaValidator(json)
                for walk in 0..<3 {
                    var draw = Draw(Self.seed, "walk \(walk) of \(number)")
                    count += 1
                    guard let bytes = try self.walk(schema, trie, &draw) else { continue }
                    ended += 1
                    let text = String(decoding: bytes, as: UTF8.self)
                    guard let value = StrictJSON.value(bytes) else {
                        Issue.record("no JSON: \(text.debugDescription), of \(json.compact)")
                        continue
                    }
                    #expect(judge.fits(value), "\(text.debugDescription) does not fit \(json.compact)")
                    #expect(throws: Never.self) { try JSON(parsing: bytes) }
                }
            }
        }
        #expect(ended > count * 9 / 10, "\(ended) of \(count)")
    }

    @Test("a mask allows exactly the tokens that a document goes on with") func masks() throws {
        for trie in try Self.vocabularies() {
            var schemas = try SchemaCase.all.map { try JSONSchema(try $0.json()) }
            for number in 1000..<(Self.long.map { 1000 + $0 / 400 } ?? 1020) {
                if let (schema, _) = try Self.drawn(number) { schemas.append(schema) }
            }
            var visited = 0
            for (number, schema) in schemas.enumerated() {
                var (draw, visits) = (Draw(Self.seed, "masks \(number)"), Draw(Self.seed, "visits \(number)"))
                _ = try walk(schema, trie, &draw) { constraint in
                    guard visits.chance(0.08) else { return }
                    visited += 1
                    let mask = constraint.mask()
                    for id in 0..<Int32(trie.vocabularySize) {
                        var next = constraint
                        if next.advance(by: id) != mask[id] {
                            Issue.record(
                                "token \(id), \(try trie.tokenizer.decodeText([id]).debugDescription), schema \(number)"
                            )
                        }
                    }
                }
            }
            #expect(visited > 150)
        }
    }

    @Test("a document that fits can be drawn in any tokens that spell it") func tokenizations() throws {
        for trie in try Self.vocabularies() {
            let index = try TokenIndex(trie.tokenizer)
            var count = 0
            for number in 2000..<(Self.long.map { 2000 + $0 / 20 } ?? 2150) {
                guard let (schema, json) = try Self.drawn(number) else { continue }
                let (judge, fresh) = (SchemaValidator(json), TokenConstraint(schema, trie, stops: []))
                var draw = DocumentDraw(Self.seed, "tokens \(number)")
                for _ in 0..<4 {
                    let value = draw.value(json, judge)
                    if !judge.fits(value) { continue }
                    let bytes = Array(draw.text(value).utf8)
                    var (constraint, rest) = (fresh, bytes[...])
                    while !rest.isEmpty {
                        let tokens = index.tokens(beginning: rest)
                        let id = draw.draw.chance(0.5) ? tokens[tokens.count - 1] : draw.draw.pick(tokens)
                        let mask = constraint.mask()
                        if !mask[id] || !constraint.advance(by: id) {
                            Issue.record(
                                "\(String(decoding: bytes, as: UTF8.self).debugDescription) is cut off before \(rest.count) bytes: \(json.compact)"
                            )
                            break
                        }
                        rest = rest.dropFirst(try trie.tokenizer.bytes(of: id).count)
                    }
                    #expect(constraint.isComplete)
                    count += 1
                }
            }
            #expect(count > 100)
        }
    }
}
