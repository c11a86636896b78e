import Foundation
import GlimText
import Testing

/// A conversation, and its text by Tools/fixtures_protocol.py.
struct RenderedConversation {
    let json: JSON
    let text: String

    var prompt: ChatPrompt { get throws { try ChatPrompt(json) } }

    static func all(_ template: ChatTemplate) throws -> [RenderedConversation] {
        let file = Golden.folder.appending(path: "../protocol/\(template.rawValue).jsonl")
        return try Data(contentsOf: file).split(separator: UInt8(ascii: "\n")).map { line in
            let json = try JSON(parsing: line)
            return RenderedConversation(
                json: try #require(json["prompt"]), text: try #require(json["text"]?.string))
        }
    }
}

/// Whether two texts have the same bytes: `==` would take two spellings of an é for one.
func isSame(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }

@Suite("chat templates") struct ProtocolTemplateTests {
    @Test("every conversation of the fixtures is rendered as Jinja does", arguments: ChatTemplate.allCases)
    func fixtures(template: ChatTemplate) throws {
        let all = try RenderedConversation.all(template)
        #expect(all.count == (template == .glm5 ? 300 : 70))
        for (number, one) in all.enumerated() {
            let found = try template.pieces(one.prompt).text
            guard !isSame(found, one.text) else { continue }
            let same = zip(found.utf8, one.text.utf8).prefix { $0 == $1 }.count
            func around(_ text: String) -> String {
                String(decoding: text.utf8.dropFirst(max(0, same - 40)).prefix(100), as: UTF8.self).debugDescription
            }
            Issue.record("line \(number), byte \(same): \(around(found)), expected \(around(one.text))")
        }
    }

    @Test("the forms of GLM-5") func glm5() {
        func text(_ messages: ChatMessage..., change: (inout ChatPrompt) -> Void = { _ in }) -> String {
            var prompt = ChatPrompt(messages)
            change(&prompt)
            return ChatTemplate.glm5.pieces(prompt).text
        }
        let turns: [ChatMessage] = [.user("q1"), .assistant("a1", reasoning: "r1"), .user("q2")]
        #expect(
            text(.user("hi")) { $0.addsGenerationPrompt = true } == "[gMASK]<sop><|user|>hi<|assistant|><think>")
        #expect(
            text(.user("hi")) { ($0.addsGenerationPrompt, $0.enablesThinking) = (true, false) }
                == "[gMASK]<sop><|user|>hi<|assistant|></think>")
        #expect(
            text(turns[0], turns[1], turns[2]) == "[gMASK]<sop><|user|>q1<|assistant|></think>a1<|user|>q2")
        #expect(
            text(turns[0], turns[1], turns[2]) { $0.clearsThinking = false }
                == "[gMASK]<sop><|user|>q1<|assistant|><think>r1</think>a1<|user|>q2")
        let calls = [
            ToolCall(
                name: "get_weather",
                arguments: [
                    ToolArgument("city", .string("Zürich")), ToolArgument("days", .number("3")),
                    ToolArgument("opts", .object([.init("a", .array([.number("1"), .bool(true)]))])),
                ])
        ]
        #expect(
            text(
                .user("w?"), .assistant("Let me check.", reasoning: "think1", calls: calls), .tool("12C"),
                .tool("13C")
            ) { $0.addsGenerationPrompt = true }
                == "[gMASK]<sop><|user|>w?<|assistant|><think>think1</think>Let me check.<tool_call>get_weather"
                + "<arg_key>city</arg_key><arg_value>Zürich</arg_value><arg_key>days</arg_key><arg_value>3</arg_value>"
                + "<arg_key>opts</arg_key><arg_value>{\"a\": [1, true]}</arg_value></tool_call><|observation|>"
                + "<tool_response>12C</tool_response><tool_response>13C</tool_response><|assistant|><think>")
    }

    @Test("the forms of GLM-5.2 and 5.3, whose levels are words") func effort() {
        func text(_ template: ChatTemplate, _ effort: String?, thinks: Bool = true) -> String {
            template.pieces(
                ChatPrompt(
                    [.user("hi")], addsGenerationPrompt: true, enablesThinking: thinks,
                    effort: ReasoningEffort(named: effort))
            ).text
        }
        func expected(_ level: String) -> String {
            "[gMASK]<sop><|system|>Reasoning Effort: \(level)<|user|>hi<|assistant|><think>"
        }
        for (effort, level) in [(nil, "Max"), ("high", "High"), ("low", "Max"), ("High", "Max")] {
            #expect(text(.glm52, effort) == expected(level))
        }
        #expect(text(.glm52, "high", thinks: false) == "[gMASK]<sop><|user|>hi<|assistant|><think></think>")
        for (effort, level) in [(nil, "Max"), ("high", "High"), ("low", "Low"), ("medium", "Max")] {
            #expect(text(.glm53, effort, thinks: false) == expected(level))
        }
    }

    @Test("results of GLM-5.3 stand in the order of their calls where every call has one") func order() {
        func results(_ ids: String...) -> String {
            let calls = ["a", "b"].map { ToolCall(id: $0, name: $0) }
            let pieces = ChatTemplate.glm53.pieces(
                ChatPrompt([.user("x"), .assistant("", calls: calls)] + ids.map { .tool("r\($0)", answering: $0) }))
            for piece in pieces where piece.part == .result && piece.text.hasPrefix("r") {
                #expect(piece.message == 2 + (ids.firstIndex(of: String(piece.text.dropFirst())) ?? -9))
            }
            return pieces.filter { $0.part == .result }.text
        }
        let both = "<tool_response>ra</tool_response><tool_response>rb</tool_response>"
        #expect(results("b", "a") == both && results("a", "b") == both)
        #expect(results("b", "c") == "<tool_response>rb</tool_response><tool_response>rc</tool_response>")
        #expect(results("b") == "<tool_response>rb</tool_response>")
    }

    @Test("results that do not match the calls one to one stay as they came, and fifty thousand that do take no time")
    func unmatchedOrder() {
        func order(_ calls: [String?], _ results: [String?]) -> [Int] {
            let messages =
                [ChatMessage.assistant("", calls: calls.map { ToolCall(id: $0, name: "f") })]
                + results.map { .tool("r", answering: $0) }
            let pieces = ChatTemplate.glm53.pieces(ChatPrompt(messages))
            return pieces.compactMap { $0.body == .control(.beginToolResponse) ? $0.message : nil }
        }
        #expect(order(["a", "b"], ["b", "a"]) == [2, 1])
        let unmatched: [(calls: [String?], results: [String?])] = [
            (["a", "b"], ["b", "b"]), (["a", "a"], ["a", "b"]), (["a", nil], ["b", "a"]), (["a", "b"], ["b", nil]),
            (["a", nil], [nil, "a"]), (["a"], ["a", "a"]), (["a", "b", "a"], ["b", "a"]),
        ]
        for (calls, results) in unmatched {
            #expect(order(calls, results) == Array(1...results.count), "\(calls), \(results)")
        }
        let many: [String?] = (0..<50_000).map { String($0) }
        var found: [Int] = []
        let time = ContinuousClock().measure { found = order(many, many.reversed()) }
        #expect(found == (1...many.count).reversed() && time < .seconds(5), "\(time)")
    }

    @Test("no text of a conversation becomes a control token") func textStaysText() throws {
        let tokenizer = try TokenizerTrainer(vocabularySize: 400).train()
        let added = Set(tokenizer.addedTokens.map(\.id))
        for one in try RenderedConversation.all(.glm5) + RenderedConversation.all(.glm52) {
            for template in ChatTemplate.allCases {
                let pieces = template.pieces(try one.prompt)
                var controls = 0
                for piece in pieces {
                    if case .control = piece.body { controls += 1 }
                }
                let ids = tokenizer.encode(pieces)
                #expect(ids.filter(added.contains).count == controls)
                #expect(isSame(try tokenizer.decodeText(ids), pieces.text))
                // Text is whole: the tokenizer sees what stands between two control tokens at once.
                for (a, b) in zip(pieces, pieces.dropFirst()) {
                    if case (.text, .text) = (a.body, b.body) { Issue.record("\(a) before \(b)") }
                }
            }
        }
    }

    @Test("what the assistant should produce is what it thinks, says, calls, and the end of its turn") func produced() {
        func marked(_ template: ChatTemplate, _ messages: [ChatMessage], clears: Bool? = nil) -> String {
            template.pieces(ChatPrompt(messages, addsGenerationPrompt: true, clearsThinking: clears))
                .map { $0.isProduced ? "«\($0.text)»" : $0.text }.joined().replacing("»«", with: "")
        }
        let call = ToolCall(name: "f", arguments: [ToolArgument("k", .number("1"))])
        let messages: [ChatMessage] = [
            .system("s"), .user("q"), .assistant("a", reasoning: "r", calls: [call]), .tool("t"), .tool("u"),
            .assistant("b", reasoning: "z"), .user("n"), .assistant("c"),
        ]
        let callText = "<tool_call>f<arg_key>k</arg_key><arg_value>1</arg_value></tool_call>"
        let results = "<tool_response>t</tool_response><tool_response>u</tool_response>"
        #expect(
            marked(.glm5, messages)
                == "[gMASK]<sop><|system|>s<|user|>q<|assistant|></think>«a\(callText)<|observation|>»\(results)"
                + "<|assistant|></think>«b<|user|>»n<|assistant|></think>«c»<|assistant|><think>")
        #expect(
            marked(.glm5, messages, clears: false)
                == "[gMASK]<sop><|system|>s<|user|>q<|assistant|><think>«r</think>a\(callText)<|observation|>»\(results)"
                + "<|assistant|><think>«z</think>b<|user|>»n<|assistant|></think>«c»<|assistant|><think>")
        for (count, end) in [(3, "<|observation|>"), (5, nil), (6, "<|user|>"), (0, nil)] {
            let prompt = ChatPrompt(Array(messages.prefix(count)))
            var asking = prompt
            asking.addsGenerationPrompt = true
            #expect(ChatTemplate.glm5.trainingPieces(asking) == ChatTemplate.glm5.trainingPieces(prompt))
            let last = ChatTemplate.glm5.trainingPieces(prompt).dropFirst(ChatTemplate.glm5.pieces(prompt).count)
            #expect(last.map(\.text) == (end.map { [$0] } ?? []) && last.allSatisfy(\.isProduced))
        }
        #expect(ChatTemplate.stop(after: messages[2]) == .observation && ChatTemplate.stop(after: messages[5]) == .user)
    }

    @Test("a conversation is read as it was written") func roundTrip() throws {
        for template in ChatTemplate.allCases {
            for one in try RenderedConversation.all(template) {
                for message in try one.prompt.messages { #expect(try ChatMessage(message.json) == message) }
            }
        }
    }

    @Test(
        "what is no conversation is one error that says where",
        arguments: [
            ("[]", "the input"), ("{\"messages\": 3}", "messages"), ("{", "byte 1"), ("{}", "messages"),
            ("{\"messages\": [{\"role\": \"robot\", \"content\": \"x\"}]}", "messages[0].role"),
            ("{\"messages\": [{\"role\": \"user\", \"content\": 3}]}", "messages[0].content"),
            ("{\"messages\": [], \"tools\": [1]}", "tools[0]"),
            ("{\"messages\": [], \"enable_thinking\": \"no\"}", "enable_thinking"),
            ("{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{\"id\": \"a\"}]}]}", "tool_calls[0].name"),
            (
                "{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{\"name\": \"a\", \"arguments\": \"[1]\"}]}]}",
                "messages[0].tool_calls[0].arguments"
            ), ("\u{1}", "byte 0"),
        ])
    func malformed(text: String, place: String) {
        let error = #expect(throws: ProtocolError.self) { try ChatPrompt(parsing: text.utf8) }
        #expect(error?.description.contains(place) == true)
    }
}
