import GlimText
import Testing

/// A schema with documents that fit it and documents that do not. What does not fit need not be wrong at once: somewhere
/// in it no document of the schema goes on so, or its end is none.
struct SchemaCase: CustomTestStringConvertible, Sendable {
    let schema: String
    let good: [String]
    let bad: [String]

    init(_ schema: String, good: [String], bad: [String]) {
        (self.schema, self.good, self.bad) = (schema, good, bad)
    }

    var testDescription: String { schema }

    func json() throws -> JSON { try JSON(parsing: schema.utf8) }

    static let all: [SchemaCase] = [
        SchemaCase(
            "true",
            good: [
                "null", "1", "\"\"", "[]", "{}", " {\n} ", "[1,[2,{\"a\":[]}],\"x\"]", "-0.5e-10",
                "\"\\ud83d\\ude00\\/\"",
            ],
            bad: [
                "", "nul", "01", "1.", "+1", "[1,]", "{,}", "{\"a\":1,\"a\":2}", "\"\\ud83d\"", "\"\\ude00\"",
                "\"\\x\"", "'a'",
            ]),
        SchemaCase(#"{"type": "null"}"#, good: ["null"], bad: ["0", "nulll", "\"null\""]),
        SchemaCase(#"{"type": "boolean"}"#, good: ["true", "false"], bad: ["True", "0", "truefalse"]),
        SchemaCase(
            #"{"type": "integer"}"#, good: ["0", "-1", "1234567890123456789012"],
            bad: ["-0", "01", "1.5", "1e3", "1.0", "-"]),
        SchemaCase(
            #"{"type": "number"}"#, good: ["0", "-0", "1.50", "1e3", "1E-3", "-0.0"], bad: [".5", "1.", "1e", "--1"]),
        SchemaCase(
            #"{"type": "integer", "minimum": -5, "maximum": 12}"#, good: ["-5", "-1", "0", "1", "9", "10", "12"],
            bad: ["-6", "-10", "13", "20", "100", "-0", "12.0"]),
        SchemaCase(
            #"{"type": "integer", "exclusiveMinimum": 7.5, "exclusiveMaximum": 101}"#, good: ["8", "10", "100"],
            bad: ["7", "101", "0", "-8"]),
        SchemaCase(
            #"{"type": "integer", "minimum": 250}"#, good: ["250", "300", "1000", "99999999999999999999999"],
            bad: ["249", "25", "0"]),
        SchemaCase(
            #"{"type": "integer", "maximum": -3}"#, good: ["-3", "-30", "-10000000000000000000000"],
            bad: ["-2", "0", "3"]),
        SchemaCase(
            #"{"type": "number", "minimum": 0, "maximum": 1}"#, good: ["0", "1", "0.5", "0.000", "1.0", "0.999999999"],
            bad: ["1.1", "-0.1", "1.01", "2", "1e-1", "-0"]),
        SchemaCase(
            #"{"type": "number", "exclusiveMinimum": -1.25, "exclusiveMaximum": 2.5}"#,
            good: ["-1.2499", "-1", "0", "2.49", "2.4999", "-1.24"],
            bad: ["-1.25", "-1.250", "2.5", "2.50", "-1.3", "3"]),
        SchemaCase(
            #"{"type": "number", "exclusiveMinimum": 0}"#, good: ["0.1", "0.0001", "1", "77"],
            bad: ["0", "0.0", "-1", "-0.1"]),
        SchemaCase(#"{"type": "integer", "format": "int8"}"#, good: ["-128", "127", "0"], bad: ["128", "-129"]),
        SchemaCase(
            #"{"type": "integer", "format": "uint64"}"#, good: ["18446744073709551615", "0", "9999999999999999999"],
            bad: ["18446744073709551616", "-1", "99999999999999999999"]),

        SchemaCase(
            #"{"type": "string"}"#,
            good: ["\"\"", "\"a\\n\\u00e9\\u4E2D中😀\"", "\"\\uD83D\\udE00\"", "\"\u{7F}\u{2028}\"", "\"\\\\\\\"\""],
            bad: ["\"", "\"\n\"", "\"\\u12G4\"", "\"\\uD83D\\u0041\"", "\"\\udc00\"", "\"\\'\""]),
        SchemaCase(
            #"{"type": "string", "minLength": 2, "maxLength": 3}"#,
            good: ["\"ab\"", "\"abc\"", "\"中文\"", "\"😀😀😀\"", "\"\\ud83d\\ude00a\"", "\"e\u{301}\""],
            bad: ["\"a\"", "\"abcd\"", "\"\"", "\"\\ud83d\\ude00\"", "\"é\""]),
        SchemaCase(#"{"type": "string", "maxLength": 0}"#, good: ["\"\""], bad: ["\"a\"", "\"\\n\""]),
        SchemaCase(
            #"{"enum": ["a", "ab", 1, 12, null, true, "\"\n"]}"#,
            good: ["\"a\"", "\"ab\"", "1", "12", "null", "true", "\"\\\"\\n\""],
            bad: ["\"abc\"", "2", "11", "false", "\"\\u0061\"", "1.0"]),
        SchemaCase(
            #"{"const": {"a": [1, {"b": null}]}}"#, good: [#"{"a":[1,{"b":null}]}"#],
            bad: ["{}", #"{"a":[1,{}]}"#, #"{"a":[1,{"b":null}],"c":1}"#]),
        SchemaCase(#"{"const": null}"#, good: ["null"], bad: ["1"]),
        SchemaCase(
            #"{"type": "string", "enum": ["a", 1, "bb"], "minLength": 2}"#, good: ["\"bb\""], bad: ["\"a\"", "1"]),
        SchemaCase(#"{"type": "number", "enum": [1, 2.5, "x", 7]}"#, good: ["1", "2.5", "7"], bad: ["\"x\"", "2"]),
        SchemaCase(#"{"enum": [1, 2, 3, 40], "minimum": 2, "maximum": 10}"#, good: ["2", "3"], bad: ["1", "40"]),

        SchemaCase(
            #"{"type": "string", "pattern": "^[A-Z]{2}-\\d{3}$"}"#, good: ["\"AB-123\""],
            bad: ["\"AB-12\"", "\"AB-1234\"", "\"ab-123\"", "\"AB-12\\u0033\""]),
        SchemaCase(
            #"{"type": "string", "pattern": "b+"}"#, good: ["\"b\"", "\"abba\"", "\"\\n中b\\\"\""],
            bad: ["\"\"", "\"aca\""]),
        SchemaCase(
            #"{"type": "string", "pattern": "^a|b$", "maxLength": 3}"#, good: ["\"a\"", "\"axx\"", "\"xxb\"", "\"b\""],
            bad: ["\"xa\"", "\"bx\"", "\"axxx\""]),
        SchemaCase(
            #"{"type": "string", "pattern": "^[^\"\\\\]*$"}"#, good: ["\"\"", "\"a'\\u0001\\t\""],
            bad: ["\"\\\"\"", "\"\\\\\""]),
        SchemaCase(
            #"{"allOf": [{"type": "string", "pattern": "^a"}, {"pattern": "z$"}, {"minLength": 3}]}"#,
            good: ["\"aaz\"", "\"abcz\""], bad: ["\"az\"", "\"abc\"", "\"zza\""]),
        SchemaCase(
            #"{"type": "string", "format": "date"}"#, good: ["\"2024-02-29\"", "\"2000-02-29\"", "\"2023-12-31\""],
            bad: ["\"2023-02-29\"", "\"1900-02-29\"", "\"2023-04-31\"", "\"2023-13-01\"", "\"2023-00-10\""]),
        SchemaCase(
            #"{"type": "string", "format": "date-time"}"#,
            good: ["\"2024-02-29T23:59:59Z\"", "\"2024-01-01t00:00:00.125+02:00\""],
            bad: ["\"2024-02-29 23:59:59Z\"", "\"2024-02-29T24:00:00Z\"", "\"2024-02-29T23:59:59\""]),
        SchemaCase(
            #"{"type": "string", "format": "uuid"}"#, good: ["\"123e4567-E89b-12d3-a456-426614174000\""],
            bad: ["\"123e4567e89b12d3a456426614174000\"", "\"123e4567-e89b-12d3-a456-42661417400g\""]),
        SchemaCase(
            #"{"type": "string", "format": "ipv4"}"#, good: ["\"0.0.0.0\"", "\"255.10.1.99\""],
            bad: ["\"256.1.1.1\"", "\"1.1.1\"", "\"01.1.1.1\""]),
        SchemaCase(
            #"{"type": "string", "format": "duration"}"#,
            good: ["\"P1D\"", "\"PT36H\"", "\"P1Y2M3DT4H5M6S\"", "\"P2W\"", "\"PT5M\""],
            bad: ["\"P\"", "\"PT\"", "\"P1W2D\"", "\"P1Y3D\"", "\"PT1H1S\""]),

        SchemaCase(
            #"{"type": "array", "items": {"type": "integer"}}"#,
            good: ["[]", "[1]", "[ 1 ,\n 2]", "[1,2,3,4,5,6,7,8,9,10]"],
            bad: ["[1,]", "[null]", "[1 2]", "[1.5]", "1"]),
        SchemaCase(
            #"{"type": "array", "items": {"enum": [1]}, "minItems": 2, "maxItems": 3}"#, good: ["[1,1]", "[1,1,1]"],
            bad: ["[]", "[1]", "[1,1,1,1]"]),
        SchemaCase(
            #"{"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false, "type": "array"}"#,
            good: ["[]", "[\"a\"]", "[\"a\",1]"], bad: ["[1]", "[\"a\",1,2]", "[\"a\",\"b\"]"]),
        SchemaCase(
            #"{"type": "array", "items": [{"const": 1}], "additionalItems": {"const": 2}, "minItems": 1}"#,
            good: ["[1]", "[1,2]", "[1,2,2,2]"], bad: ["[]", "[2]", "[1,1]"]),
        SchemaCase(
            #"{"type": "array", "prefixItems": [{"const": 1}, false, {"const": 3}]}"#, good: ["[]", "[1]"],
            bad: ["[1,2]", "[1,2,3]"]),

        SchemaCase(
            #"{"type": "object"}"#,
            good: ["{}", #"{"a":1}"#, #"{"":{},"\"":[],"\u0001":"x"}"#, #" { "a" : 1 , "b" : 2 } "#],
            bad: ["[]", "null", #"{"a":1,"a":1}"#, #"{"a"}"#, #"{a:1}"#, #"{"a":1,}"#, #"{"\u0061":1}"#, #"{"\/":1}"#]),
        SchemaCase(
            #"{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "ab": {}}, "required": ["a", "b"], "additionalProperties": false}"#,
            good: [
                #"{"a":1,"b":"x"}"#, #"{"b":"x","a":1}"#, #"{"ab":[1],"b":"","a":0}"#, "{\"a\":1,\n  \"b\":\"x\"\n}",
            ],
            bad: [
                #"{"a":1}"#, #"{"b":"x"}"#, #"{"a":1,"b":"x","c":1}"#, #"{"a":1,"b":"x","a":1}"#, #"{"a":"1","b":""}"#,
                "{}",
            ]),
        SchemaCase(
            #"{"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": {"const": 2}}"#,
            good: ["{}", #"{"a":1}"#, #"{"b":2,"a":1,"ab":2,"":2}"#],
            bad: [#"{"a":2}"#, #"{"b":1}"#, #"{"b":2,"b":2}"#]),
        SchemaCase(
            #"{"type": "object", "properties": {"a": false, "b": {"const": 1}}, "required": ["c"]}"#,
            good: [#"{"c":null}"#, #"{"b":1,"c":[],"d":2}"#], bad: ["{}", #"{"a":1,"c":1}"#, #"{"b":2,"c":1}"#]),
        SchemaCase(
            #"{"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["a"], "minProperties": 2, "maxProperties": 2, "additionalProperties": false}"#,
            good: [#"{"a":1,"b":2}"#, #"{"c":1,"a":2}"#],
            bad: [#"{"a":1}"#, #"{"b":1,"c":2}"#, #"{"a":1,"b":2,"c":3}"#]),
        SchemaCase(#"{"type": "object", "maxProperties": 1}"#, good: ["{}", #"{"x":1}"#], bad: [#"{"x":1,"y":2}"#]),
        SchemaCase(
            #"{"type": "object", "properties": {"\u00e9": {"const": 1}, "e\u0301": {"const": 2}}, "required": ["\u00e9", "e\u0301"], "additionalProperties": false}"#,
            good: ["{\"\u{E9}\":1,\"e\u{301}\":2}", "{\"e\u{301}\":2,\"\u{E9}\":1}"],
            bad: ["{\"\u{E9}\":1}", "{\"\u{E9}\":2,\"e\u{301}\":2}"]),

        SchemaCase(#"{"type": ["string", "null"]}"#, good: ["\"x\"", "null"], bad: ["1", "[]"]),
        SchemaCase(#"{"type": "string", "nullable": true}"#, good: ["\"x\"", "null"], bad: ["1"]),
        SchemaCase(#"{"type": "string", "nullable": true, "enum": ["x"]}"#, good: ["\"x\""], bad: ["null"]),
        SchemaCase(#"{"minimum": 3, "minLength": 2}"#, good: ["3", "\"ab\"", "null", "[]"], bad: ["2", "\"a\""]),
        SchemaCase(
            #"{"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}, {"enum": ["x", "y"]}]}"#,
            good: ["1", "[1,2]", "\"y\""], bad: ["\"z\"", "[\"x\"]", "1.5"]),
        SchemaCase(
            #"{"anyOf": [{"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}, "required": ["kind", "x"], "additionalProperties": false}, {"type": "object", "properties": {"kind": {"const": "b"}, "x": {"type": "string"}}, "required": ["kind", "x"], "additionalProperties": false}]}"#,
            good: [#"{"kind":"a","x":1}"#, #"{"x":"1","kind":"b"}"#, #"{"x":1,"kind":"a"}"#],
            bad: [#"{"kind":"a","x":"1"}"#, #"{"x":"1","kind":"a"}"#, #"{"kind":"a"}"#]),
        SchemaCase(
            #"{"oneOf": [{"type": "number"}, {"type": "integer"}]}"#, good: ["1", "1.5"], bad: ["\"1\""]),
        SchemaCase(
            #"{"type": "object", "required": ["a"], "anyOf": [{"required": ["b"]}, {"required": ["c"]}], "properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}}, "additionalProperties": false}"#,
            good: [#"{"a":1,"b":2}"#, #"{"c":3,"a":1}"#, #"{"b":2,"c":3,"a":1}"#], bad: [#"{"a":1}"#, #"{"b":2}"#]),
        SchemaCase(
            #"{"allOf": [{"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}}, {"properties": {"a": {"type": "number", "maximum": 5}, "b": {"type": "null"}}, "required": ["a"]}]}"#,
            good: [#"{"a":3}"#, #"{"b":null,"a":5,"z":1}"#],
            bad: [#"{"a":2}"#, #"{"a":6}"#, #"{"a":3.5}"#, #"{"b":null}"#, #"{"a":3,"b":1}"#]),
        SchemaCase(
            #"{"allOf": [{"items": {"type": "integer"}, "maxItems": 3}, {"items": {"enum": [1, 2.5, 3]}, "minItems": 1}], "type": "array"}"#,
            good: ["[1]", "[3,1,3]"], bad: ["[]", "[2.5]", "[2]", "[1,1,1,1]"]),
        SchemaCase(
            ##"{"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["value", "next"], "additionalProperties": false}}}"##,
            good: [#"{"value":1,"next":null}"#, #"{"next":{"next":{"next":null,"value":3},"value":2},"value":1}"#],
            bad: [#"{"value":1}"#, #"{"value":1,"next":{}}"#, "null"]),
        SchemaCase(
            ##"{"type": "array", "items": {"$ref": "#"}, "description": "nested lists"}"##,
            good: ["[]", "[[],[[]]]", "[[[[[[]]]]]]"],
            bad: ["[1]", "[{}]"]),
        SchemaCase(
            ##"{"$ref": "#/definitions/a~1b%25c", "definitions": {"a/b%c": {"enum": [1]}}}"##, good: ["1"], bad: ["2"]),
        SchemaCase(
            ##"{"type": "object", "properties": {"a": {"$ref": "#/properties/b/items"}, "b": {"type": "array", "items": {"const": 7}}}, "additionalProperties": false}"##,
            good: [#"{"a":7,"b":[7,7]}"#], bad: [#"{"a":8}"#, #"{"b":7}"#]),
        SchemaCase(
            #"{"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "x", "title": "T", "description": "d", "default": 3, "examples": [1], "x-order": 1, "type": "integer", "deprecated": true}"#,
            good: ["1"], bad: ["null"]),
    ]
}
