import Foundation
import GlimTestSupport
import GlimText
import Testing

@Suite("token constraint") struct TokenConstraintTests {
    /// Whether the mask allows the token, and the constraint takes it: both or neither.
    private func takes(_ constraint: inout TokenConstraint, _ token: Int32) -> Bool {
        let isAllowed = constraint.mask()[token]
        let isTaken = constraint.advance(by: token)
        #expect(isAllowed == isTaken)
        return isTaken
    }

    /// The same for a text, byte by byte.
    private func takes(_ constraint: inout TokenConstraint, _ text: String, _ trie: TokenTrie) -> Bool {
        for byte in text.utf8 where !takes(&constraint, trie.tokenizer.encode([byte])[0]) { return false }
        return true
    }

    @Test("the document begins behind a token that says so; before it anything comes but a stop") func after() throws {
        let trie = try ConstraintVocabulary.structural.get()
        let tokenizer = trie.tokenizer
        let (stop, user) = (try #require(tokenizer.id(of: .endOfText)), try #require(tokenizer.id(of: .user)))
        let endThink = try #require(tokenizer.id(of: .endThink))
        let schema = try #require(try JSONSchema(OutputFormat.json))
        var constraint = TokenConstraint(schema, trie, stops: [stop, user], after: endThink)
        #expect(!constraint.hasBegun && !constraint.isComplete)
        #expect(constraint.mask().allowedCount == tokenizer.vocabularySize - 2)
        #expect(takes(&constraint, "hm, {\"a\": }", trie))
        for token in [stop, user] { #expect(!takes(&constraint, token)) }
        #expect(!constraint.hasBegun)
        #expect(takes(&constraint, endThink))
        #expect(constraint.hasBegun)
        for token in [stop, user, endThink] { #expect(!takes(&constraint, token)) }
        #expect(takes(&constraint, "\n{}", trie))
        let mask = constraint.mask()
        #expect(constraint.isComplete && mask[stop] && mask[user] && !mask[endThink])
        #expect(takes(&constraint, user))
        #expect(constraint.isComplete && constraint.mask().allowedCount == 0)
        #expect(!takes(&constraint, stop))
    }

    @Test("no token but those of the vocabulary's text is part of a document") func controls() throws {
        for trie in [try ConstraintVocabulary.golden.get(), try ConstraintVocabulary.structural.get()] {
            let schema = try JSONSchema(parsing: #"{"type": "string"}"#.utf8)
            var constraint = TokenConstraint(schema, trie, stops: [-1, 1 << 30])
            #expect(takes(&constraint, "\"a", trie))
            let others: [Int32] = [-1, Int32(trie.vocabularySize), 1 << 30, .min, .max]
            for id in trie.tokenizer.addedTokens.map(\.id) + others { #expect(!takes(&constraint, id)) }
        }
    }

    @Test("a copy goes its own way, and a token that is refused changes nothing") func forks() throws {
        let trie = try ConstraintVocabulary.structural.get()
        let schema = try JSONSchema(
            parsing: #"{"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": false}"#
                .utf8)
        var constraint = TokenConstraint(schema, trie, stops: [])
        #expect(takes(&constraint, "{\"a\":1", trie))
        let (before, kept) = (constraint.mask(), constraint)
        var fork = constraint
        #expect(takes(&fork, "2}", trie))
        #expect(fork.isComplete && !constraint.isComplete && constraint.mask() == before)
        for byte in "[\"x{".utf8 {
            #expect(!takes(&constraint, trie.tokenizer.encode([byte])[0]))
        }
        #expect(constraint.mask() == before && kept.mask() == before)
        // All masks are the same whoever computed them first.
        let fresh = TokenConstraint(schema, trie, stops: [])
        #expect(fresh.mask() == TokenConstraint(schema, TokenTrie(trie.tokenizer), stops: []).mask())
    }

    @Test("a mask holds ids one by one") func mask() {
        for count in [0, 1, 63, 64, 65, 130] {
            var mask = TokenMask(count: count)
            #expect(mask.allowedCount == 0 && TokenMask(count: count, allowsAll: true).allowedCount == count)
            var expected = Set<Int32>()
            for id in stride(from: Int32(0), to: Int32(count), by: 3) {
                mask[id] = true
                expected.insert(id)
            }
            mask[0] = false
            expected.remove(0)
            for id in [-1, Int32(count), .max] { mask[id] = true }
            #expect(
                mask.allowedCount == expected.count
                    && (0..<Int32(count)).allSatisfy { mask[$0] == expected.contains($0) })
            var both = mask
            both.formUnion(TokenMask(count: count, allowsAll: true))
            #expect(both == TokenMask(count: count, allowsAll: true))
        }
    }

    @Test("what a reply's format says becomes a schema") func formats() throws {
        #expect(try JSONSchema(OutputFormat.text) == nil)
        let any = try #require(try JSONSchema(OutputFormat.json))
        #expect(accepts(any, "{\"a\":[1]}".utf8) && !accepts(any, "[1]".utf8))
        let one = try #require(
            try JSONSchema(OutputFormat.schema(OutputSchema(.object([.init("const", .number("1"))])))))
        #expect(accepts(one, "1".utf8) && !accepts(one, "{}".utf8))
    }

    @Test("unions within unions, and tokens that open many containers, do not take for ever") func unions() throws {
        let brackets = (2...8).map { [UInt8](repeating: UInt8(ascii: "["), count: $0) }
        let trie = TokenTrie(try ConstraintVocabulary.tokenizer(brackets))
        // All bytes come first in this vocabulary.
        func token(_ count: Int) -> Int32 { count == 1 ? 0x5B : Int32(254 + count) }
        #expect(try (1...8).allSatisfy { try trie.tokenizer.bytes(of: token($0)).count == $0 })
        // Arrays of themselves, told apart by nothing before their ends: 10 to the power of the brackets ways to read them.
        let arrays = (1...10).map { ##"{"type": "array", "items": {"$ref": "#"}, "maxItems": \##($0)}"## }
        let schema = try JSONSchema(parsing: #"{"anyOf": [\#(arrays.joined(separator: ","))]}"#.utf8)
        var constraint = TokenConstraint(schema, trie, stops: [])
        let took = ContinuousClock().measure {
            for count in [1, 2, 3, 8, 5] {
                for other in [1, 4, 8] {
                    var fork = constraint
                    #expect(takes(&fork, token(other)))
                }
                #expect(takes(&constraint, token(count)))
            }
        }
        #expect(took < .seconds(60), "\(took)")
        // 19 are open, all of which can be closed.
        #expect(takes(&constraint, String(repeating: "]", count: 19), trie))
        #expect(constraint.isComplete)
    }

    @Test("a mask over 150,000 tokens is found within milliseconds") func time() throws {
        let tokenizer = try ConstraintVocabulary.large(150_000)
        let trie = TokenTrie(tokenizer)
        #expect(trie.vocabularySize > 149_000)
        let schemas = [
            (
                #"{"type": "object"}"#,
                #"{"name":"Ada","tags":["x","y"],"deep":{"a":[1,{"b":null}]},"n":-12.5e3}"#
            ),
            (
                #"{"type": "object", "properties": {"path": {"type": "string", "maxLength": 100}, "line": {"type": "integer", "minimum": 1, "maximum": 100000}, "mode": {"enum": ["read", "write"]}, "day": {"type": "string", "format": "date"}}, "required": ["path", "mode"], "additionalProperties": false}"#,
                #"{"path": "/tmp/some file.txt", "line": 4711, "mode": "write", "day": "2024-02-29"}"#
            ),
            (#"{"type": "string", "pattern": "^[^,]+, \\w+$"}"#, #""some words é中, word""#),
        ]
        for (text, document) in schemas {
            let schema = try JSONSchema(parsing: text.utf8)
            for _ in 0..<2 {
                var constraint = TokenConstraint(schema, trie, stops: [])
                var times: [Duration] = []
                var allowed = 0
                for id in tokenizer.encode(document) {
                    var mask = TokenMask(count: 0)
                    times.append(ContinuousClock().measure { mask = constraint.mask() })
                    allowed = max(allowed, mask.allowedCount)
                    let isTaken = constraint.advance(by: id)
                    #expect(mask[id] && isTaken)
                }
                #expect(constraint.isComplete && allowed > 50_000)
                times.sort()
                // Ten times what a quiet machine takes.
                #expect(times[times.count / 2] < .milliseconds(10) && times[times.count - 1] < .milliseconds(200))
            }
        }
    }
}
