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

@Suite("constraints by a JSON schema") struct ConstraintTests {
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

    @Test("a union of many objects keeps them all until one is told from the others") func wide() throws {
        let choices = (0..<400).map { number in
            #"{"type": "object", "properties": {"x": {}, "kind": {"const": "k\#(number)"}}, "required": ["kind", "x"]}"#
        }
        let schema = try JSONSchema(parsing: #"{"anyOf": [\#(choices.joined(separator: ","))]}"#.utf8)
        for number in [0, 63, 64, 399] {
            #expect(accepts(schema, #"{"x":[{"y":1}],"kind":"k\#(number)","z":0}"#.utf8))
        }
        #expect(!accepts(schema, #"{"x":1,"kind":"k400"}"#.utf8))
        let trie = try ConstraintVocabulary.structural.get()
        var constraint = TokenConstraint(schema, trie, stops: [])
        for byte in #"{"x":1,"kind":"k39"#.utf8 { constraint.advance(by: trie.tokenizer.encode([byte])[0]) }
        let next = (UInt8(0)...255).filter { constraint.mask()[trie.tokenizer.encode([$0])[0]] }
        #expect(next == Array("\"0123456789".utf8))
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
            (try JSONSchema(parsing: ##"{"type": "array", "items": {"$ref": "#"}}"##.utf8), "[", "]"),
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
            parsing: ##"{"type": "array", "items": {"anyOf": [{"$ref": "#"}, {"const": {"a": {"b": {}}}}]}}"##.utf8)
        for (open, isAllowed) in [(limit - 3, true), (limit - 2, false)] {
            var reader = SchemaReader(needy)
            let results = [String(repeating: "[", count: open), "{"].map { reader.advance($0.utf8) }
            #expect(results == [true, isAllowed])
        }
    }
}
