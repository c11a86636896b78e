import Foundation
import GlimTestSupport
import GlimText
import Testing

/// Whether a document fits, read byte by byte.
func accepts(_ schema: JSONSchema, _ document: some Sequence<UInt8>) -> Bool {
    var reader = SchemaReader(schema)
    for byte in document where !reader.advance(byte) { return false }
    return reader.isComplete
}

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

@Suite("constraints by a JSON schema") struct ConstraintTests {
    private static let long = ProcessInfo.processInfo.environment["GLIM_FUZZ_COUNT"].flatMap { Int($0) }
    private static let seed = ProcessInfo.processInfo.environment["GLIM_FUZZ_SEED"].flatMap { Int($0) } ?? 1

    /// A schema that was drawn and that something fits.
    private static func drawn(_ number: Int) throws -> (schema: JSONSchema, json: JSON)? {
        var draw = DocumentDraw(seed, "schema \(number)")
        let json = draw.schema()
        do { return (try JSONSchema(json), json) } catch let error as SchemaError {
            let isKnown = error.why.contains("no value fits") || error.why.contains("refers to itself")
            #expect(isKnown, "\(error): schema \(number) of seed \(seed): \(json.compact)")
            return nil
        }
    }

    // MARK: Which documents fit

    @Test("documents that fit are read to their end, others are not", arguments: SchemaCase.all)
    func cases(one: SchemaCase) throws {
        let (json, judge) = (try one.json(), SchemaValidator(try one.json()))
        let schema = try JSONSchema(json)
        for document in one.good {
            #expect(accepts(schema, document.utf8), "\(document)")
            let value = try #require(StrictJSON.value(Array(document.utf8)), "\(document)")
            #expect(judge.fits(value), "\(document)")
        }
        for document in one.bad { #expect(!accepts(schema, document.utf8), "\(document)") }
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
                    "\(text.debugDescription), \(fits ? "fits" : "does not fit"): schema \(number) of seed \(Self.seed): \(json.compact)")
            }
        }
        #expect(schemas > (Self.long ?? 1500) / 3 && counts[true]! > 3 * schemas && counts[false]! > 3 * schemas)
    }

    @Test("white space is bounded by the depth") func space() throws {
        let schema = try JSONSchema(.bool(true))
        for depth in 0...3 {
            let (open, close) = (String(repeating: "[", count: depth), String(repeating: "]", count: depth))
            for space in [" ", "\n", "\t", "\r"] {
                let most = String(repeating: space, count: 2 + 4 * depth)
                #expect(accepts(schema, "\(open)\(most)1\(most)\(close)".utf8))
                #expect(!accepts(schema, "\(open)\(most)\(space)1\(close)".utf8))
                #expect(!accepts(schema, "\(open)1\(most)\(space)\(close)".utf8))
            }
        }
    }

    @Test("a document is as deep as may be, and no deeper") func depth() throws {
        let limit = JSONSchema.maximumDepth
        for (schema, open, close) in [
            (try JSONSchema(.bool(true)), "[", "]"), (try JSONSchema(.bool(true)), #"{"a":"#, "}"),
            (try JSONSchema(parsing: #"{"type": "array", "items": {"$ref": "#"}}"#.utf8), "[", "]"),
        ] {
            let inner = open == "[" ? "[]" : "{}"
            func nested(_ depth: Int) -> String {
                String(repeating: open, count: depth - 1) + inner + String(repeating: close, count: depth - 1)
            }
            #expect(accepts(schema, nested(limit).utf8))
            _ = try JSON(parsing: nested(limit).utf8)
            #expect(!accepts(schema, nested(limit + 1).utf8))
        }
        // An object that needs three levels is not begun where there are two.
        let needy = try JSONSchema(
            parsing: #"{"type": "array", "items": {"anyOf": [{"$ref": "#"}, {"const": {"a": {"b": {}}}}]}}"#.utf8)
        for (open, isAllowed) in [(limit - 3, true), (limit - 2, false)] {
            var reader = SchemaReader(needy)
            #expect(reader.advance(String(repeating: "[", count: open).utf8))
            #expect(reader.advance(Array("{".utf8)) == isAllowed)
        }
    }

    // MARK: Masks

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
                #expect(constraint.advance(by: stop))
                #expect(constraint.isComplete && constraint.mask().allowedCount == 0)
                return bytes
            }
            // Mostly what brings the document on.
            let near = ends.filter { mask[$0] }
            var token = draw.pick(allowed)
            if !near.isEmpty, draw.chance(step < 60 ? 0.4 : 0.95) { token = step < 200 ? draw.pick(near) : near[0] }
            if token == stop { continue }
            #expect(constraint.advance(by: token))
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
        for number in 0..<(Self.long.map { $0 / 4 } ?? 150) {
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
            for number in 1000..<(Self.long.map { 1000 + $0 / 20 } ?? 1020) {
                if let (schema, _) = try Self.drawn(number) { schemas.append(schema) }
            }
            for (number, schema) in schemas.enumerated() {
                var (draw, visits) = (Draw(Self.seed, "masks \(number)"), Draw(Self.seed, "visits \(number)"))
                _ = try walk(schema, trie, &draw) { constraint in
                    guard visits.chance(0.2) else { return }
                    let mask = constraint.mask()
                    for id in 0..<Int32(trie.vocabularySize) {
                        var next = constraint
                        if next.advance(by: id) != mask[id] {
                            Issue.record("token \(id), \(try trie.tokenizer.decodeText([id]).debugDescription), schema \(number)")
                        }
                    }
                }
            }
        }
    }

    @Test("a document that fits can be drawn in any tokens that spell it") func tokenizations() throws {
        for trie in try Self.vocabularies() {
            let index = try TokenIndex(trie.tokenizer)
            for number in 2000..<(Self.long.map { 2000 + $0 / 4 } ?? 2150) {
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
                            Issue.record("\(String(decoding: bytes, as: UTF8.self).debugDescription) is cut off before \(rest.count) bytes: \(json.compact)")
                            break
                        }
                        rest = rest.dropFirst(try trie.tokenizer.bytes(of: id).count)
                    }
                    #expect(constraint.isComplete)
                }
            }
        }
    }
}
