import Foundation
import GlimText
import Testing

/// Events in a form that a test can be read in.
func summary(_ events: [OutputEvent]) -> String {
    events.merged().map { event in
        switch event {
        case .reasoning(let text): "think:\(text)"
        case .reasoningEnd: "/think"
        case .content(let text): "say:\(text)"
        case .callBegin(let name): "call:\(name)"
        case .argumentBegin(let name, let isString): isString ? "string:\(name)" : "key:\(name)"
        case .argument(let text): "text:\(text)"
        case .argumentEnd(let argument): "value:\(argument.value.compact)"
        case .callEnd: "/call"
        case .callFailed(let text, let isCut): "\(isCut ? "cut" : "bad"):\(text)"
        case .stray(let token): "stray:\(token.rawValue)"
        case .end(let token): "end\(token?.rawValue ?? "")"
        }
    }.joined(separator: " | ")
}

/// Outputs that parsers elsewhere leak, drop or die of, and what they mean.
struct OutputCase: CustomTestStringConvertible, Sendable {
    let name: String
    let output: String
    /// What it means as text, and as tokens where that differs.
    let asText: String
    let asTokens: String
    let startsThinking: Bool

    init(_ name: String, _ output: String, _ asText: String, tokens: String? = nil, startsThinking: Bool = true) {
        (self.name, self.output, self.asText) = (name, output, asText)
        (asTokens, self.startsThinking) = (tokens ?? asText, startsThinking)
    }

    var testDescription: String { name }

    static let tools = [
        ToolDefinition(
            try! JSON(
                parsing: """
                    {"type": "function", "function": {"name": "write", "parameters": {"type": "object", "properties":
                    {"path": {"type": "string"}, "line": {"type": "integer"}, "note": {"type": ["string", "null"]},
                    "any": {"description": "whatever"}, "id": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}}}}
                    """.utf8))
    ]

    private static func call(_ arguments: (String, String)..., name: String = "write") -> String {
        let texts = arguments.map { "<arg_key>\($0)</arg_key><arg_value>\($1)</arg_value>" }
        return "<tool_call>\(name)\(texts.joined())</tool_call>"
    }

    static let all: [OutputCase] = [
        // Thinking.
        OutputCase("thinking and an answer", "hm</think>Hello.", "think:hm | /think | say:Hello. | end"),
        OutputCase("no thinking after all", "</think>Hello.", "/think | say:Hello. | end"),
        OutputCase("an answer without thinking", "Hello.", "say:Hello. | end", startsThinking: false),
        OutputCase("the opening tag repeated", "<think>hm</think>a", "think:hm | /think | say:a | end"),
        OutputCase("the opening tag on a new line", "\n<think>hm</think>a", "think:\nhm | /think | say:a | end"),
        OutputCase(
            "thinking that nobody asked for", "<think>hm</think>a", "think:hm | /think | say:a | end",
            startsThinking: false),
        OutputCase("a closing tag where thinking is off", "</think>a", "say:a | end", startsThinking: false),
        OutputCase("thinking that never ends", "hm, so", "think:hm, so | end"),
        OutputCase("a stop within thinking", "hm<|user|>", "think:hm | end<|user|>"),
        OutputCase(
            "a second closing tag", "a</think>b</think>c", "think:a | /think | say:b</think>c | end",
            tokens: "think:a | /think | say:b | stray:</think> | say:c | end"),
        OutputCase(
            "tags in thoughts are thoughts", "use <tool_call>f</tool_call>?</think>no",
            "think:use <tool_call>f</tool_call>? | /think | say:no | end"),
        OutputCase(
            "thinking again", "a</think>b<think>c</think>d",
            "think:a | /think | say:b<think>c</think>d | end",
            tokens: "think:a | /think | say:b | think:c | /think | say:d | end"),

        // Calls.
        OutputCase(
            "a call without arguments", "</think><tool_call>list</tool_call>",
            "/think | call:list | /call | end"),
        OutputCase(
            "an empty argument", "</think>\(call(("path", "")))",
            "/think | call:write | string:path | value:\"\" | /call | end"),
        OutputCase(
            "an empty argument of no known type", "</think>\(call(("any", "")))",
            "/think | call:write | key:any | value:\"\" | /call | end"),
        OutputCase(
            "two calls and words before them", "t</think>Both.\(call(("line", "3")))\(call(("line", "4")))",
            "think:t | /think | say:Both. | call:write | key:line | text:3 | value:3 | /call"
                + " | call:write | key:line | text:4 | value:4 | /call | end"),
        OutputCase(
            "a call straight from thinking, handed over", "t</think>\(call(("path", "a")))<|observation|>",
            "think:t | /think | call:write | string:path | text:a | value:\"a\" | /call | end<|observation|>"),
        OutputCase(
            "strings that look like something else", "</think>\(call(("path", "3"), ("path", "null")))",
            "/think | call:write | string:path | text:3 | value:\"3\" | string:path | text:null | value:\"null\" | /call"
                + " | end"),
        OutputCase(
            "null or a string", "</think>\(call(("note", "null"), ("note", "3"), ("note", "\"q\"")))",
            "/think | call:write | key:note | text:null | value:null | key:note | text:3 | value:\"3\""
                + " | key:note | text:\"q\" | value:\"\\\"q\\\"\" | /call | end"),
        OutputCase(
            "one of several types", "</think>\(call(("id", "7"), ("id", "7.5"), ("id", "x")))",
            "/think | call:write | key:id | text:7 | value:7 | key:id | text:7.5 | value:\"7.5\""
                + " | key:id | text:x | value:\"x\" | /call | end"),
        OutputCase(
            "values of a tool that nobody declared",
            "</think>\(call(("a", "{\"k\": [1, null]}"), ("b", "True"), ("c", "{'k': 'v'}"), ("d", "x y"), name: "g"))",
            "/think | call:g | key:a | text:{\"k\": [1, null]} | value:{\"k\":[1,null]} | key:b | text:True | value:true"
                + " | key:c | text:{'k': 'v'} | value:{\"k\":\"v\"} | key:d | text:x y | value:\"x y\" | /call | end"),
        OutputCase(
            "code with tags in an argument",
            "</think>\(call(("path", "if a < b: print('</tool_call><think></arg_key>')\n<|user|>")))",
            "/think | call:write | string:path"
                + " | text:if a < b: print('</tool_call><think></arg_key>')\n<|user|>"
                + " | value:\"if a < b: print('</tool_call><think></arg_key>')\\n<|user|>\" | /call | end",
            tokens: "/think | call:write | string:path | text:if a < b: print('</tool_call><think></arg_key>')\n"
                + " | cut:<tool_call>write<arg_key>path</arg_key><arg_value>"
                + "if a < b: print('</tool_call><think></arg_key>')\n | end<|user|>"),
        OutputCase(
            "lines between the parts, as older models write",
            "</think>\n<tool_call>write\n<arg_key>line</arg_key>\n<arg_value>1</arg_value>\n</tool_call>\n"
                + "<tool_call>f\n</tool_call>\n",
            "/think | say:\n | call:write | key:line | text:1 | value:1 | /call | call:f | /call | end"),
        OutputCase(
            "words behind a call", "</think><tool_call>f</tool_call>\n\ndone",
            "/think | call:f | /call | say:\n\ndone | end"),
        OutputCase(
            "characters of several bytes", "é</think>\(call(("path", "日本😀"))) 👍🏽",
            "think:é | /think | call:write | string:path | text:日本😀 | value:\"日本😀\" | /call | say: 👍🏽 | end"),
        OutputCase(
            "a key twice", "</think>\(call(("line", "1"), ("line", "2")))",
            "/think | call:write | key:line | text:1 | value:1 | key:line | text:2 | value:2 | /call | end"),

        // Calls that are none, or nearly.
        OutputCase("cut within a name", "</think>a<tool_call>wri", "/think | say:a | cut:<tool_call>wri | end"),
        OutputCase(
            "cut within a key", "</think><tool_call>f<arg_key>pa",
            "/think | call:f | cut:<tool_call>f<arg_key>pa | end"),
        OutputCase(
            "cut within a value", "</think><tool_call>f<arg_key>k</arg_key><arg_value>v</arg_val",
            "/think | call:f | key:k | text:v</arg_val | cut:<tool_call>f<arg_key>k</arg_key><arg_value>v</arg_val"
                + " | end"),
        OutputCase(
            "cut behind a value", "</think><tool_call>f<arg_key>k</arg_key><arg_value>v</arg_value>",
            "/think | call:f | key:k | text:v | value:\"v\""
                + " | cut:<tool_call>f<arg_key>k</arg_key><arg_value>v</arg_value> | end"),
        OutputCase(
            "an end forgotten before the next call",
            "</think><tool_call>f<arg_key>k</arg_key><arg_value>1</arg_value><tool_call>g</tool_call>",
            "/think | call:f | key:k | text:1 | value:1 | /call | call:g | /call | end"),
        OutputCase(
            "an end forgotten before the tools' turn",
            "</think><tool_call>f<arg_key>k</arg_key><arg_value>1</arg_value><|observation|>",
            "/think | call:f | key:k | text:1 | value:1 | /call | end<|observation|>"),
        OutputCase(
            "a name alone before the tools' turn", "</think><tool_call>f<|observation|>",
            "/think | call:f | /call | end<|observation|>"),
        OutputCase(
            "a call that the user's turn cuts off", "</think><tool_call>f<|user|>",
            "/think | cut:<tool_call>f | end<|user|>"),
        OutputCase(
            "the end of a key forgotten", "</think><tool_call>f<arg_key>k<arg_value>1</arg_value></tool_call>",
            "/think | call:f | key:k | text:1 | value:1 | /call | end"),
        OutputCase(
            "a key without a value", "</think><tool_call>f<arg_key>k</arg_key></tool_call>b",
            "/think | call:f | key:k | bad:<tool_call>f<arg_key>k</arg_key></tool_call> | say:b | end"),
        OutputCase(
            "a call without a name", "</think><tool_call></tool_call>b",
            "/think | bad:<tool_call></tool_call> | say:b | end"),
        OutputCase(
            "words where a value should be", "</think><tool_call>f<arg_key>k</arg_key> is <arg_value>1</arg_value>",
            "/think | call:f | key:k | bad:<tool_call>f<arg_key>k</arg_key>  | say:is <arg_value>1</arg_value> | end",
            tokens: "/think | call:f | key:k | bad:<tool_call>f<arg_key>k</arg_key>  | say:is  | stray:<arg_value>"
                + " | say:1 | stray:</arg_value> | end"),
        OutputCase(
            "JSON where tags should be", "</think><tool_call>{\"name\": \"f\"}</tool_call>",
            "/think | bad:<tool_call>{\"name\":  | say:\"f\"}</tool_call> | end",
            tokens: "/think | bad:<tool_call>{\"name\":  | say:\"f\"} | stray:</tool_call> | end"),
        OutputCase(
            "a tag that is talked about", "</think>The tag <tool_call> begins a call:<tool_call>f</tool_call>",
            "/think | say:The tag  | bad:<tool_call> begins  | say:a call: | call:f | /call | end"),
        OutputCase(
            "a call begun twice", "</think><tool_call>f<tool_call>f</tool_call>",
            "/think | bad:<tool_call>f | call:f | /call | end"),
        OutputCase(
            "a call begun again in a key", "</think><tool_call>f<arg_key><tool_call>f</tool_call>",
            "/think | call:f | bad:<tool_call>f<arg_key> | call:f | /call | end"),
        OutputCase(
            "a closing tag alone", "</think>a</tool_call>b", "/think | say:a</tool_call>b | end",
            tokens: "/think | say:a | stray:</tool_call> | say:b | end"),
        OutputCase(
            "a result that the model makes up", "</think>a<tool_response>12C</tool_response>",
            "/think | say:a<tool_response>12C</tool_response> | end",
            tokens: "/think | say:a | stray:<tool_response> | say:12C | stray:</tool_response> | end"),
        OutputCase("half a tag at the end", "</think>a <tool_ca", "/think | say:a <tool_ca | end"),
        OutputCase(
            "tags that are none", "</think>1 < 2 <<tool_x> </> <|use", "/think | say:1 < 2 <<tool_x> </> <|use | end"),
        OutputCase(
            "a role's name within a text", "</think>a <|user|> b", "/think | say:a <|user|> b | end",
            tokens: "/think | say:a  | end<|user|>"),
        OutputCase("a stop behind an answer", "</think>a<|user|>", "/think | say:a | end<|user|>"),
        OutputCase("nothing", "", "end"), OutputCase("nothing at all", "", "end", startsThinking: false),
    ]
}

@Suite("what a model's output means") struct ProtocolParserTests {
    /// One token a byte, and GLM's control tokens.
    static let tokenizer = Result { try TokenizerTrainer(vocabularySize: 320).train() }

    static func parse(
        _ bytes: [UInt8], chunk: Int = .max, tools: [ToolDefinition] = OutputCase.tools, startsThinking: Bool
    ) -> [OutputEvent] {
        var parser = OutputTextParser(tools: tools, startsThinking: startsThinking)
        var (events, start): ([OutputEvent], Int) = ([], 0)
        while start < bytes.count {
            let end = bytes.count - start > chunk ? start + chunk : bytes.count
            events += parser.push(bytes[start..<end])
            start = end
        }
        return events + parser.finish()
    }

    static func parse(
        _ ids: [Int32], tools: [ToolDefinition] = OutputCase.tools, startsThinking: Bool
    ) throws -> [OutputEvent] {
        var parser = OutputParser(try tokenizer.get(), tools: tools, startsThinking: startsThinking)
        return ids.flatMap { parser.push($0) } + parser.finish()
    }

    @Test("outputs that others leak, drop or die of", arguments: OutputCase.all)
    func cases(one: OutputCase) throws {
        let bytes = Array(one.output.utf8)
        for chunk in Array(1...max(1, bytes.count)) {
            let found = summary(Self.parse(bytes, chunk: chunk, startsThinking: one.startsThinking))
            #expect(found == one.asText, "in pieces of \(chunk) bytes")
        }
        let ids = try Self.tokenizer.get().encode(one.output, special: true)
        #expect(summary(try Self.parse(ids, startsThinking: one.startsThinking)) == one.asTokens)
        // Text that is spelled out is text, whatever it looks like.
        let spelled = try Self.tokenizer.get().encode(one.output)
        let said = one.output.isEmpty ? "end" : "\(one.startsThinking ? "think" : "say"):\(one.output) | end"
        #expect(summary(try Self.parse(spelled, startsThinking: one.startsThinking)) == said)
    }

    @Test("a whole output tells whether it begins with thinking") func startsThinking() {
        for (output, starts) in [
            ("a</think>b", true), ("</think>b", true), ("<think>a</think>b", true), ("b", false), ("", false),
            ("<tool_call>f<arg_key>k</arg_key><arg_value></think></arg_value></tool_call>", false),
            ("<tool_call>f</tool_call>", false),
        ] { #expect(OutputTextParser.startsThinking(output) == starts) }
    }

    @Test(
        "values are what the schema says, else JSON, else Python, else text",
        arguments: [
            ("12", "12"), (" 12 ", "12"), ("-0.50", "-0.50"), ("\"a\"", "\"a\""), ("true", "true"), ("True", "true"),
            ("None", "null"), ("['a', \"b\", (1, 2,), {}]", "[\"a\",\"b\",[1,2],{}]"),
            ("{'k': {'l': False}}", "{\"k\":{\"l\":false}}"), ("'it\\'s \\x41\\u00e9\\n'", "\"it's Aé\\n\""),
            ("'open", "\"'open\""), ("{1, 2}", "\"{1, 2}\""), ("[1 2]", "\"[1 2]\""), ("01", "\"01\""), ("", "\"\""),
            ("[1,", "\"[1,\""), ("a: b", "\"a: b\""), ("{'a' 1}", "\"{'a' 1}\""), ("'\\q'", "\"'\\\\q'\""),
            ("{\"a\": 1, \"b\": 2, \"a\": 3}", "{\"a\":3,\"b\":2}"),
            ("{'a': 1, 'b': 2, 'a': None}", "{\"a\":null,\"b\":2}"), ("('a')", "\"a\""), ("((1))", "1"),
            ("(1,)", "[1]"), ("()", "[]"), ("(,)", "\"(,)\""), ("'\\x+1'", "\"'\\\\x+1'\""),
        ])
    func values(text: String, json: String) {
        let argument = ToolArgument("k", written: text, as: nil)
        #expect(argument.value.compact == json)
        #expect(argument.text == text)
    }

    @Test("events of a character each are put together in a blink") func together() {
        let count = 400_000
        let text = String(repeating: "a", count: count)
        let kinds: [(String) -> OutputEvent] = [{ .reasoning($0) }, { .content($0) }, { .argument($0) }]
        for kind in kinds {
            let pieces = [OutputEvent.reasoningEnd] + Array(repeating: kind("a"), count: count)
            var (merged, parsed): ([OutputEvent], ParsedOutput) = ([], ParsedOutput())
            let time = ContinuousClock().measure { (merged, parsed) = (pieces.merged(), ParsedOutput(pieces)) }
            #expect(merged == [.reasoningEnd, kind(text)] && merged.merged() == merged)
            #expect([parsed.reasoning, parsed.content, parsed.written].contains(text) || kind("") == .argument(""))
            #expect(time < .seconds(3))
        }
    }

    @Test("of two arguments with one name the last counts, and both are written again") func twice() {
        let call = ToolCall(
            name: "f",
            arguments: ["1", "2", "3"].enumerated().map { i, text in
                ToolArgument(i == 1 ? "b" : "a", written: text, as: nil)
            })
        #expect(call.json.compact == "{\"a\":3,\"b\":2}")
        let written = ChatTemplate.glm5.pieces(ChatPrompt([.assistant("", calls: [call])])).text
        #expect(written.components(separatedBy: "<arg_key>a</arg_key>").count == 3)
    }

    @Test("deep nesting is text, not a trap") func depth() {
        for open in ["[", "{'a':", "{\"a\":", "("] {
            let text = String(repeating: open, count: 100_000)
            #expect(ToolArgument("k", written: text, as: nil).value == .string(text))
        }
    }

    @Test(
        "ten megabytes are read in a blink, whatever they are made of and wherever they are cut",
        arguments: [1, 1 << 16])
    func speed(chunk: Int) {
        let pieces = [
            "plain words, a good deal of them. ", "<", "<tool_call>", "<tool_call>f</tool_call>", "</arg_value", "é",
            " ", "<tool_call>f<arg_key>k</arg_key><arg_value>[1, 2]</arg_value></tool_call>",
            "<tool_call>f<arg_key>k</arg_key><arg_value>", "<|user|>", "<tool_call>\n",
        ]
        // A byte at a time the calls alone take their time.
        let size = (chunk == 1 ? 1 << 20 : 10 << 20) / pieces.count
        for piece in pieces {
            let bytes = Array("</think>\(String(repeating: piece, count: size / piece.utf8.count))".utf8)
            let time = ContinuousClock().measure {
                _ = Self.parse(bytes, chunk: chunk, startsThinking: true)
            }
            #expect(time < .seconds(2), "\(piece) in pieces of \(chunk)")
        }
    }
}
