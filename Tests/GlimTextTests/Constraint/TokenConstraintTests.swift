import Foundation
import GlimTestSupport
import GlimText
import Testing

@Suite("token constraint") struct TokenConstraintTests {
    private func ids(_ text: String, _ trie: TokenTrie) -> [Int32] {
        text.utf8.flatMap { trie.tokenizer.encode([$0]) }
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
        for id in ids("hm, {\"a\": }", trie) { #expect(constraint.mask()[id] && constraint.advance(by: id)) }
        #expect(!constraint.advance(by: stop) && !constraint.advance(by: user) && !constraint.hasBegun)
        #expect(constraint.advance(by: endThink) && constraint.hasBegun)
        for token in [stop, user, endThink] { #expect(!constraint.mask()[token] && !constraint.advance(by: token)) }
        for id in ids("\n{}", trie) { #expect(constraint.mask()[id] && constraint.advance(by: id)) }
        #expect(constraint.isComplete && constraint.mask()[stop] && constraint.mask()[user] && !constraint.mask()[endThink])
        #expect(constraint.advance(by: user) && constraint.isComplete)
        #expect(constraint.mask().allowedCount == 0 && !constraint.advance(by: stop))
    }

    @Test("no token but those of the vocabulary's text is part of a document") func controls() throws {
        for trie in [try ConstraintVocabulary.golden.get(), try ConstraintVocabulary.structural.get()] {
            let schema = try JSONSchema(parsing: #"{"type": "string"}"#.utf8)
            var constraint = TokenConstraint(schema, trie, stops: [-1, 1 << 30])
            for id in ids("\"a", trie) { #expect(constraint.advance(by: id)) }
            let mask = constraint.mask()
            for token in trie.tokenizer.addedTokens { #expect(!mask[token.id] && !constraint.advance(by: token.id)) }
            for id in [-1, Int32(trie.vocabularySize), 1 << 30, .min, .max] {
                #expect(!mask[id] && !constraint.advance(by: id))
            }
        }
    }

    @Test("a copy goes its own way, and a token that is refused changes nothing") func forks() throws {
        let trie = try ConstraintVocabulary.structural.get()
        let schema = try JSONSchema(
            parsing: #"{"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": false}"#.utf8)
        var constraint = TokenConstraint(schema, trie, stops: [])
        for id in ids("{\"a\":1", trie) { #expect(constraint.advance(by: id)) }
        let (before, kept) = (constraint.mask(), constraint)
        var fork = constraint
        for id in ids("2}", trie) { #expect(fork.advance(by: id)) }
        #expect(fork.isComplete && !constraint.isComplete && constraint.mask() == before)
        for id in ids(",\"x", trie) { #expect(!constraint.advance(by: id)) }
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
            #expect(mask.allowedCount == expected.count && (0..<Int32(count)).allSatisfy { mask[$0] == expected.contains($0) })
            var both = mask
            both.formUnion(TokenMask(count: count, allowsAll: true))
            #expect(both == TokenMask(count: count, allowsAll: true))
        }
    }

    @Test("what a reply's format says becomes a schema") func formats() throws {
        #expect(try JSONSchema(OutputFormat.text) == nil)
        let any = try #require(try JSONSchema(OutputFormat.json))
        #expect(accepts(any, "{\"a\":[1]}".utf8) && !accepts(any, "[1]".utf8))
        let one = try #require(try JSONSchema(OutputFormat.schema(OutputSchema(.object([.init("const", .number("1"))])))))
        #expect(accepts(one, "1".utf8) && !accepts(one, "{}".utf8))
    }

    @Test("a mask over 150,000 tokens is found within milliseconds") func time() throws {
        let clock = ContinuousClock()
        let tokenizer = try ConstraintVocabulary.large(150_000)
        var made: TokenTrie?
        let making = clock.measure { made = TokenTrie(tokenizer) }
        let trie = try #require(made)
        #expect(trie.vocabularySize > 149_000)
        let schemas = [
            ("any object", #"{"type": "object"}"#, #"{"name":"Ada","tags":["x","y"],"deep":{"a":[1,{"b":null}]},"n":-12.5e3}"#),
            (
                "a tool's", #"{"type": "object", "properties": {"path": {"type": "string", "maxLength": 100}, "line": {"type": "integer", "minimum": 1, "maximum": 100000}, "mode": {"enum": ["read", "write"]}, "day": {"type": "string", "format": "date"}}, "required": ["path", "mode"], "additionalProperties": false}"#,
                #"{"path": "/tmp/some file.txt", "line": 4711, "mode": "write", "day": "2024-02-29"}"#
            ),
            ("a pattern", #"{"type": "string", "pattern": "^[^,]+, \\w+$"}"#, #""some words é中, word""#),
        ]
        for (name, text, document) in schemas {
            let schema = try JSONSchema(parsing: text.utf8)
            for round in ["cold", "warm"] {
                var constraint = TokenConstraint(schema, trie, stops: [])
                var times: [Duration] = []
                var allowed = 0
                for id in tokenizer.encode(document) {
                    var mask = TokenMask(count: 0)
                    times.append(clock.measure { mask = constraint.mask() })
                    allowed = max(allowed, mask.allowedCount)
                    #expect(mask[id])
                    #expect(constraint.advance(by: id))
                }
                #expect(constraint.isComplete && allowed > 50_000)
                times.sort()
                print("mask of 150,000 tokens, \(name), \(round): median \(times[times.count / 2]), slowest \(times[times.count - 1]) of \(times.count)")
                // Ten times what a quiet machine takes.
                #expect(times[times.count / 2] < .milliseconds(10) && times[times.count - 1] < .milliseconds(200))
            }
        }
        print("trie of 150,000 tokens: \(making)")
    }
}
