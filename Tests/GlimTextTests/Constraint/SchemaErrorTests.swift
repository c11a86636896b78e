import Foundation
import GlimTestSupport
import GlimText
import Testing

@Suite("schemas that cannot be kept") struct SchemaErrorTests {
    struct Refused: CustomTestStringConvertible, Sendable {
        let schema: String
        let pointer: String
        let keyword: String?

        init(_ schema: String, _ pointer: String, _ keyword: String?) {
            (self.schema, self.pointer, self.keyword) = (schema, pointer, keyword)
        }

        var testDescription: String { schema }
    }

    static let all: [Refused] = [
        Refused("", "#", nil), Refused("{\"a\":}", "#", nil), Refused("3", "#", nil), Refused("[]", "#", nil),
        Refused("false", "#", nil), Refused(#"{"enum": []}"#, "#", "enum"), Refused(#"{"type": "text"}"#, "#", "type"),
        Refused(#"{"type": []}"#, "#", "type"), Refused(#"{"type": ["string", 3]}"#, "#", "type"),
        Refused(#"{"properties": {"a": 3}}"#, "#/properties/a", nil),
        Refused(#"{"properties": []}"#, "#", "properties"),
        Refused(#"{"properties": {"a/b~": {"not": {}}}}"#, "#/properties/a~1b~0", "not"),
        Refused(#"{"items": {"multipleOf": 3}}"#, "#/items", "multipleOf"),
        Refused(#"{"required": ["a", 3]}"#, "#", "required"), Refused(#"{"required": true}"#, "#", "required"),
        Refused(#"{"if": {}}"#, "#", "if"), Refused(#"{"uniqueItems": true}"#, "#", "uniqueItems"),
        Refused(#"{"patternProperties": {}}"#, "#", "patternProperties"),
        Refused(#"{"propertyNames": {}}"#, "#", "propertyNames"),
        Refused(#"{"contains": {}}"#, "#", "contains"),
        Refused(#"{"dependentRequired": {}}"#, "#", "dependentRequired"),
        Refused(#"{"unevaluatedProperties": false}"#, "#", "unevaluatedProperties"),
        Refused(#"{"requierd": ["a"]}"#, "#", "requierd"),
        Refused(#"{"anyOf": [{}, {"minLength": -1}]}"#, "#/anyOf/1", "minLength"),
        Refused(#"{"maxItems": 1.5}"#, "#", "maxItems"), Refused(#"{"minimum": "3"}"#, "#", "minimum"),
        Refused(#"{"exclusiveMinimum": true}"#, "#", "exclusiveMinimum"),
        Refused(#"{"maximum": 1e30}"#, "#", "maximum"), Refused(#"{"minimum": 1e-400}"#, "#", "minimum"),
        Refused(#"{"format": "email"}"#, "#", "format"), Refused(#"{"nullable": 1}"#, "#", "nullable"),
        Refused(#"{"pattern": "a(?=b)"}"#, "#", "pattern"), Refused(#"{"pattern": "(a)\\1"}"#, "#", "pattern"),
        Refused(#"{"pattern": "\\bword\\b"}"#, "#", "pattern"), Refused(#"{"pattern": "(^a)"}"#, "#", "pattern"),
        Refused(#"{"pattern": "a$b"}"#, "#", "pattern"), Refused(#"{"pattern": "["}"#, "#", "pattern"),
        Refused(#"{"pattern": "a{2,1}"}"#, "#", "pattern"), Refused(#"{"pattern": "a**"}"#, "#", "pattern"),
        Refused(#"{"pattern": "(a"}"#, "#", "pattern"), Refused(#"{"pattern": "a)"}"#, "#", "pattern"),
        Refused(#"{"pattern": "[z-a]"}"#, "#", "pattern"), Refused(#"{"pattern": "\\p{L}"}"#, "#", "pattern"),
        Refused(#"{"pattern": "((a{1000}){1000}){1000}"}"#, "#", "pattern"),
        Refused(#"{"pattern": "(a|b)*a(a|b){20}"}"#, "#", "pattern"),
        Refused(#"{"type": "string", "pattern": "a.*b", "minLength": 9000}"#, "#", nil),
        Refused(#"{"$ref": "other.json"}"#, "#", "$ref"), Refused(##"{"$ref": "#name"}"##, "#", "$ref"),
        Refused(##"{"$ref": "#/$defs/a"}"##, "#", "$ref"), Refused(#"{"$ref": 3}"#, "#", "$ref"),
        Refused(##"{"items": {"$ref": "#/%zz"}}"##, "#/items", "$ref"),
        Refused(#"{"items": {"$id": "x"}}"#, "#/items", "$id"),
        // What no document fits.
        Refused(##"{"$ref": "#"}"##, "#", nil), Refused(##"{"anyOf": [{"type": "null"}, {"$ref": "#"}]}"##, "#", nil),
        Refused(##"{"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}"##, "#", nil),
        Refused(#"{"type": "string", "minLength": 3, "maxLength": 2}"#, "#", nil),
        Refused(#"{"type": "integer", "minimum": 0.1, "maximum": 0.9}"#, "#", nil),
        Refused(#"{"allOf": [{"type": "string"}, {"type": "integer"}]}"#, "#", nil),
        Refused(#"{"type": "object", "required": ["a"], "additionalProperties": false}"#, "#", nil),
        Refused(#"{"type": "array", "minItems": 1, "items": false}"#, "#", nil),
        Refused(#"{"type": "string", "pattern": "^[^\\s\\S]$"}"#, "#", nil),
        Refused(#"{"enum": ["a"], "type": "integer"}"#, "#", nil),
    ]

    @Test("an error names the place and the keyword", arguments: all) func refused(one: Refused) throws {
        do {
            _ = try JSONSchema(parsing: one.schema.utf8)
            Issue.record("\(one.schema) was taken")
        } catch {
            #expect(error.pointer == one.pointer && error.keyword == one.keyword, "\(error)")
            #expect(!error.why.isEmpty && error.description.contains(one.pointer))
            if let keyword = one.keyword { #expect(error.description.contains("\"\(keyword)\"")) }
        }
    }

    @Test("a union of unions that multiplies is refused, and soon") func large() throws {
        let choices = (0..<40).map {
            #"{"type": "object", "properties": {"a\#($0)": {"const": \#($0)}}, "required": ["a\#($0)"]}"#
        }
        let union = #"{"anyOf": [\#(choices.joined(separator: ","))]}"#
        let schema = #"{"allOf": [\#(Array(repeating: union, count: 6).joined(separator: ","))]}"#
        let time = ContinuousClock().measure {
            #expect(throws: SchemaError.self) { try JSONSchema(parsing: schema.utf8) }
        }
        #expect(time < .seconds(20))
    }

    @Test("a damaged schema is read or is one error, and what is read can be used") func fuzz() throws {
        let trie = try ConstraintVocabulary.structural.get()
        let files = SchemaCase.all.map { MutableFile(Array($0.schema.utf8), .json) }
        var number = 0
        let outcome = Fuzz("schema", files, count: 3000).run(says: "schema") { bytes in
            number += 1
            let schema = try JSONSchema(parsing: bytes)
            var (constraint, draw) = (TokenConstraint(schema, trie, stops: [0]), Draw(number, "fuzzed"))
            for _ in 0..<6 {
                let mask = constraint.mask()
                let allowed = (0..<Int32(mask.count)).filter { mask[$0] }
                #expect(!allowed.isEmpty)
                guard let token = allowed.isEmpty ? nil : draw.pick(allowed) else { break }
                let isTaken = constraint.advance(by: token)
                #expect(isTaken)
                if token == 0 { break }
            }
        }
        let count = outcome.accepted + outcome.refused
        #expect(outcome.accepted > count / 50 && outcome.refused > count / 4)
    }
}
