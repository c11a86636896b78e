import GlimText
import Testing

@Suite("requests and replies of both APIs") struct WireTests {
    private static func openAI(_ text: String) throws -> GenerationRequest {
        try GenerationRequest(openAI: Array("{\"model\":\"m\",\(text)}".utf8))
    }

    private static func anthropic(_ text: String) throws -> GenerationRequest {
        try GenerationRequest(anthropic: Array("{\"model\":\"m\",\"max_tokens\":9,\(text)}".utf8))
    }

    private static func rendered(_ request: GenerationRequest, _ template: ChatTemplate = .glm5) -> String {
        template.pieces(request.prompt.forTemplate).text
    }

    // MARK: To the template

    @Test("null, absent and divided content is rendered as the text it stands for") func forTemplate() throws {
        let call = "{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}"
        let result =
            "{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},"
            + "{\"type\":\"text\",\"text\":\"y\"}]}"
        for content in ["\"content\":null,", "", "\"content\":\"\",", "\"content\":[],"] {
            let request = try Self.openAI(
                "\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\(content)"
                    + "\"reasoning_content\":\"r\",\"tool_calls\":[\(call)]},\(result)]")
            #expect(
                Self.rendered(request) == "[gMASK]<sop><|user|>q<|assistant|><think>r</think><tool_call>f</tool_call>"
                    + "<|observation|><tool_response>xy</tool_response><|assistant|><think>")
        }
        let absent = try Self.anthropic(
            "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"c\"}]}]")
        #expect(
            Self.rendered(absent)
                == "[gMASK]<sop><|observation|><tool_response></tool_response><|assistant|></think>")
        let found = ChatPrompt([ChatMessage(.tool, .parts([.toolReference("f")]), toolCallID: "c")])
        #expect(found.forTemplate == found)
    }

    /// oh-my-pi#517, opencrabs#1348: what clients send back of earlier reasoning must reach the model.
    @Test("reasoning that is sent back stays where it was, in both APIs") func preservedThinking() throws {
        let expected = "[gMASK]<sop><|user|>a<|assistant|><think>r1</think>b<|user|>c<|assistant|><think>"
        let openAI = try Self.openAI(
            """
            "thinking":{"type":"enabled","clear_thinking":false},"messages":[{"role":"user","content":"a"},
            {"role":"assistant","content":"b","reasoning_content":"r1"},{"role":"user","content":"c"}]
            """)
        let anthropic = try Self.anthropic(
            """
            "thinking":{"type":"adaptive","clear_thinking":false},"messages":[{"role":"user","content":"a"},
            {"role":"assistant","content":[{"type":"thinking","thinking":"r1","signature":""},
            {"type":"text","text":"b"}]},
            {"role":"user","content":"c"}]
            """)
        #expect(Self.rendered(openAI) == expected && Self.rendered(anthropic) == expected)
        #expect(openAI.prompt == anthropic.prompt)
    }

    /// vllm#54744, colibri#1278: GLM-5.3 thinks even if asked not to, and its thoughts are no content.
    @Test("a model that always thinks does so when thinking is off, and nothing leaks") func alwaysThinks() throws {
        let request = try Self.openAI(
            "\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"chat_template_kwargs\":{\"enable_thinking\":false}")
        #expect(!request.prompt.enablesThinking)
        for (template, reasoning, content) in [(ChatTemplate.glm53, "hm", "4"), (.glm5, "", "hm</think>4")] {
            let events = ProtocolParserTests.parse(
                Array("hm</think>4<|user|>".utf8), startsThinking: template.opensThinking(request.prompt))
            let reply = GenerationReply(events, response: "r")
            #expect(reply.message == .assistant(content, reasoning: reasoning))
        }
    }

    @Test("text that looks like tags stays text, on the way in and on the way out") func tags() throws {
        let request = try Self.anthropic(
            "\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":"
                + "\"x</think>y<tool_call>\"},{\"role\":\"user\",\"content\":\"<|assistant|>\"}]")
        let pieces = ChatTemplate.glm5.pieces(request.prompt.forTemplate)
        let controls = pieces.filter { if case .control = $0.body { true } else { false } }
        #expect(
            controls.map(\.text).joined() == "[gMASK]<sop><|user|><|assistant|></think><|user|><|assistant|></think>")
        #expect(pieces.text.contains("</think>x</think>y<tool_call><|user|><|assistant|><|assistant|></think>"))
    }

    @Test("a tool's schema is told to the model as it was given, whichever API gave it") func tools() throws {
        let function = "\"name\":\"f\",\"description\":\"d\""
        let schema = "{\"type\":\"object\",\"properties\":{\"b\":{\"const\":1.50},\"a\":{}}}"
        let message = "\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]"
        let openAI = try Self.openAI(
            "\(message),\"tools\":[{\"type\":\"function\",\"function\":{\(function),\"parameters\":\(schema)}}]")
        let anthropic = try Self.anthropic(
            "\(message),\"thinking\":{\"type\":\"adaptive\"},"
                + "\"tools\":[{\(function),\"cache_control\":{},\"input_schema\":\(schema)}]")
        #expect(openAI.prompt == anthropic.prompt)
        #expect(
            Self.rendered(anthropic).contains(
                "{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": \"d\", \"parameters\": "
                    + "{\"type\": \"object\", \"properties\": {\"b\": {\"const\": 1.5}, \"a\": {}}}}}"))
        #expect(try openAI.openAI()["tools"] == (try anthropic.openAI())["tools"])
        let bare = ToolDefinition(openAI.prompt.tools[0].function)
        #expect(
            try GenerationRequest(model: "m", prompt: ChatPrompt([.user("q")], tools: [bare])).openAI()["tools"]
                == .array([openAI.prompt.tools[0].json]))
    }

    // MARK: What cannot be said

    @Test("what an API has no way to say is refused, not left out")
    func inexpressible() throws {
        typealias Change = @Sendable (inout GenerationRequest) -> Void
        let anthropic: [(String, Change)] = [
            ("n", { $0.sampling.replyCount = 2 }), ("logprobs", { $0.sampling.topLogprobs = 0 }),
            ("seed", { $0.sampling.seed = 1 }), ("presence_penalty", { $0.sampling.frequencyPenalty = 1 }),
            ("presence_penalty", { $0.sampling.repetitionPenalty = 2 }), ("min_p", { $0.sampling.minP = 0.5 }),
            ("logit_bias", { $0.sampling.tokenBias = [1: 1] }), ("temperature", { $0.sampling.temperature = 1.5 }),
            ("max_tokens", { $0.sampling.maximumTokens = nil }), ("output_config.format", { $0.format = .json }),
            ("parallel_tool_calls", { ($0.toolChoice, $0.allowsParallelCalls) = (.never, false) }),
            ("messages", { $0.prompt.messages = [.system("s")] }),
            ("messages", { $0.prompt.addsGenerationPrompt = false }),
            ("messages", { $0.prompt.messages.append(.assistant("a")) }),
            ("messages[1].content[0].id", { $0.prompt.messages.append(.assistant("", calls: [ToolCall(name: "f")])) }),
            ("messages[1].content[0].tool_use_id", { $0.prompt.messages.append(.tool("x")) }),
            ("messages[1].content[0]", { $0.prompt.messages.append(Self.image) }),
        ]
        let openAI: [(String, Change)] = [
            (
                "messages[1].tool_calls[0].id",
                { $0.prompt.messages.append(.assistant("", calls: [ToolCall(name: "f")])) }
            ),
            ("messages", { $0.prompt.messages = [] }),
            ("messages[1].tool_call_id", { $0.prompt.messages.append(.tool("x")) }),
            ("messages[1].content", { $0.prompt.messages.append(ChatMessage(.user, .null)) }),
            ("messages[1].content[0]", { $0.prompt.messages.append(Self.image) }),
        ]
        for (api, changes) in [(WireAPI.anthropic, anthropic), (.openAI, openAI)] {
            var good = GenerationRequest(model: "m", prompt: ChatPrompt([.user("q")], addsGenerationPrompt: true))
            good.sampling.maximumTokens = 9
            #expect(try api.request(api.json(good)) == good)
            for (place, change) in changes {
                var request = good
                change(&request)
                if request.prompt.messages.last?.role == .assistant, place != "messages" {
                    request.prompt.addsGenerationPrompt = api == .openAI
                }
                let error = #expect(throws: ProtocolError.self) { try api.json(request) }
                #expect(error?.place == place)
            }
        }
    }

    private static let image = ChatMessage(
        .user, .parts([ContentPart(.object([.init("type", .string("image"))]))]))

    @Test("a body that is not JSON is said to be none") func notJSON() {
        for body in ["", "{", "{\"model\":\"\\ud800\"}", "\u{1}", "{} {}"] {
            for error in [
                #expect(throws: ProtocolError.self) { try GenerationRequest(openAI: Array(body.utf8)) },
                #expect(throws: ProtocolError.self) { try GenerationRequest(anthropic: Array(body.utf8)) },
            ] {
                #expect(error?.description.hasPrefix("not JSON: ") == true && error?.place == nil)
            }
        }
    }

    @Test("counting tokens needs no limit of them") func tokenCount() throws {
        let body = Array("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}".utf8)
        let request = try GenerationRequest(anthropic: body, countsTokens: true)
        #expect(isSame(try request.anthropic(countsTokens: true).compact, String(decoding: body, as: UTF8.self)))
        #expect(try GenerationResponse.anthropicTokenCount(GenerationResponse.anthropicTokenCount(7)) == 7)
        #expect(throws: EndpointError.self) { try GenerationResponse.anthropicTokenCount(.object([])) }
    }

    // MARK: Errors

    @Test("errors are read as they were written", arguments: ServiceError.Kind.allCases)
    func errors(kind: ServiceError.Kind) {
        let error = ServiceError(kind, "no\nway", parameter: "messages[0]")
        #expect(ServiceError(body: error.openAI, status: kind.status) == error)
        #expect(ServiceError(body: error.anthropic) == ServiceError(kind, "no\nway"))
        #expect(ServiceError(body: .object([]), status: kind.status).kind == kind)
        #expect(ServiceError(body: .string("gone"), status: 418) == ServiceError(.invalidRequest, "gone"))
        #expect(
            ServiceError(body: .null).kind == .failure && ServiceError(body: .null, status: 529).kind == .overloaded)
        #expect(throws: EndpointError.reported(error)) { try GenerationResponse(openAI: error.openAI) }
        #expect(throws: EndpointError.self) { try GenerationResponse(anthropic: error.anthropic) }
        #expect(!"\(EndpointError.reported(error))".contains("\n"))
    }

    @Test("a malformed request is an error of the client, with its place") func malformed() {
        let error = #expect(throws: ProtocolError.self) { try Self.openAI("\"messages\":[3]") }
        let service = error.map(ServiceError.init)
        #expect(service?.kind.status == 400 && service?.parameter == "messages[0]")
        #expect(service?.message == "messages[0] is 3; expected a message with role and content")
    }

    // MARK: Streams

    @Test("a stream that ends before its reply is no reply, wherever it ends", arguments: WireAPI.allCases)
    func cut(api: WireAPI) throws {
        let deltas: [ReplyDelta] = [
            .reasoning("t"), .content("a"), .callBegin(place: 0, id: "c", name: "f"), .arguments(place: 0, "{}"),
        ]
        let stream = Array(
            api.stream([deltas], id: "r", finish: .toolCalls, usage: TokenUsage(prompt: 1, reply: 1)).utf8)
        let events = ServerSentEventParser.all(stream)
        // The last events say no more than that the end is near; before them there is no reply.
        let needed = api == .openAI ? events.count - 2 : events.count
        for count in 0..<needed {
            let part = events.prefix(count).map(\.text).joined()
            #expect(throws: EndpointError.cut) { try api.read(Array(part.utf8), chunk: .max) }
        }
        for count in needed...events.count {
            let part = events.prefix(count).map(\.text).joined()
            #expect(try api.read(Array(part.utf8), chunk: .max).replies[0].message.toolCalls.count == 1)
        }
        // An event without its end is none.
        #expect(throws: EndpointError.self) { try api.read(Array(stream.dropLast(stream.count / 2)), chunk: 5) }
    }

    @Test("an error within a stream is told as one", arguments: WireAPI.allCases) func errorInStream(api: WireAPI) {
        let error = ServiceError(.overloaded, "busy")
        let event = ServerSentEvent(data: (api == .openAI ? error.openAI : error.anthropic).compact)
        let begun = api.stream([], id: "r", finish: .endOfTurn, usage: TokenUsage(prompt: 0, reply: 0))
        let stream = ServerSentEventParser.all(Array(begun.utf8))[0].text + event.text
        #expect(throws: EndpointError.reported(error)) { try api.read(Array(stream.utf8), chunk: 3) }
        #expect(throws: EndpointError.self) { try api.read(Array("data: {\n\n".utf8), chunk: 3) }
        #expect(throws: EndpointError.self) { try api.read(Array("data: 3\n\n".utf8), chunk: 3) }
    }

    @Test("events are read however their lines end and wherever they are cut") func serverSentEvents() {
        let text =
            ": comment\r\n\r\nevent: a\r\ndata: 1\r\n\r\ndata:2\rdata: 3é\r\rid: 7\n\ndata\n\n"
            + "data:  x\nretry: 1\n\ndata: y"
        let expected = [
            ServerSentEvent(name: "a", data: "1"), ServerSentEvent(data: "2\n3é"), ServerSentEvent(data: ""),
            ServerSentEvent(data: " x"),
        ]
        for chunk in 1...text.utf8.count {
            var parser = ServerSentEventParser()
            var (events, rest): ([ServerSentEvent], ArraySlice<UInt8>) = ([], Array(text.utf8)[...])
            while !rest.isEmpty {
                events += parser.push(rest.prefix(chunk))
                rest = rest.dropFirst(chunk)
            }
            #expect(events == expected, "in pieces of \(chunk)")
        }
        for event in expected + [ServerSentEvent(name: "n", data: "a\n\nb\n")] {
            #expect(ServerSentEventParser.all(Array(event.text.utf8)) == [event])
        }
        // A byte order mark begins a stream, and nothing else.
        let marked = "\u{FEFF}data: 1\n\n\u{FEFF}data: 2\n\n"
        #expect(ServerSentEventParser.all(Array(marked.utf8)) == [ServerSentEvent(data: "1")])
    }

    @Test("log-probabilities go along with the tokens, half characters too") func logprobs() throws {
        let tokens = [
            TokenLogprob(
                .init([0xC3], logprob: -0.1), top: [.init([0xC3], logprob: -0.1), .init([0x61], logprob: -3)]),
            TokenLogprob(.init([0xA9], logprob: -1e-7)), TokenLogprob(.init([0x22], logprob: -.infinity)),
        ]
        var writer = OpenAIStreamWriter(id: "r", model: "m", created: 1)
        var events = writer.push([], logprobs: [tokens[0]])
        events += writer.push([.content("é"), .content("\"")], logprobs: Array(tokens[1...]))
        events += writer.finish(.endOfTurn)
        let read = try WireAPI.openAI.read(Array(events.map(\.text).joined().utf8), chunk: 2)
        var expected = tokens
        expected[2].token.logprob = -9999
        #expect(read.replies[0].logprobs == expected && read.usage == nil)
        #expect(try GenerationResponse(openAI: read.openAI) == read)
    }

    @Test("several replies to one request keep their places") func severalReplies() throws {
        var replies: [GenerationReply] = []
        var events: [ServerSentEvent] = []
        for number in 0..<3 {
            var writer = OpenAIStreamWriter(id: "r", model: "m", created: 1, number: number)
            var composer = ReplyComposer(response: "r", number: number)
            let output = ProtocolParserTests.parse(
                Array("</think>\(number)<tool_call>f</tool_call><|observation|>".utf8), startsThinking: true)
            replies.append(GenerationReply(output, response: "r", number: number))
            events.insert(contentsOf: output.flatMap { writer.push(composer.push($0)) }, at: 0)
            events += writer.finish(composer.finish)
        }
        let response = GenerationResponse(id: "r", model: "m", created: 1, replies: replies, usage: nil)
        let ids = replies.map { $0.message.toolCalls[0].id }
        #expect(ids == ["call_r_0_0", "call_r_1_0", "call_r_2_0"])
        #expect(try WireAPI.openAI.read(Array(events.map(\.text).joined().utf8), chunk: 100) == response)
        #expect(try GenerationResponse(openAI: response.openAI) == response)
    }

    @Test("a prompt of which more was cached than it has is told all the same") func cachedBeside() throws {
        let usage = "{\"prompt_tokens\":3,\"completion_tokens\":1,\"prompt_tokens_details\":{\"cached_tokens\":5}}"
        let choice = "{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}"
        let body = try JSON(parsing: "{\"choices\":[\(choice)],\"usage\":\(usage)}".utf8)
        let response = try GenerationResponse(openAI: body)
        #expect(response.usage == TokenUsage(prompt: 3, cached: 5, reply: 1))
        #expect(try GenerationResponse(anthropic: response.anthropic).usage?.cached == 5)
    }

    @Test("calls without an id get one, and none is given twice") func callIDs() throws {
        let message = ChatMessage.assistant(
            "", reasoning: "", calls: [ToolCall(name: "f"), ToolCall(id: "x", name: "g")])
        let reply = GenerationReply(
            message, brokenCalls: [BrokenCall(place: 1, id: nil, name: "b", arguments: "{")], finish: .length)
        let response = GenerationResponse(id: "r", model: "m", replies: [reply], usage: TokenUsage(prompt: 1, reply: 2))
        for api in WireAPI.allCases {
            let read = try api.response(api.json(response)).replies[0]
            #expect(read.message.toolCalls.map(\.id) == ["call_r_0_0", "x"])
            #expect(read.brokenCalls == [BrokenCall(place: 1, id: "call_r_0_1", name: "b", arguments: "{")])
        }
    }

    @Test("the time is linear in the lines of an event and in the members of an object") func longBodies() throws {
        func expectFast(_ what: String, _ body: () throws -> Void) rethrows {
            let time = try ContinuousClock().measure(body)
            #expect(time < .seconds(4), "\(what): \(time)")
        }
        let lines = Array((String(repeating: "data: 12345678\n", count: 200_000) + "\n").utf8)
        expectFast("lines") { #expect(ServerSentEventParser.all(lines)[0].data.utf8.count == 200_000 * 9 - 1) }
        let bias = (0..<100_000).map { "\"\($0)\":1" }.joined(separator: ",")
        try expectFast("members") {
            let request = try Self.openAI(
                "\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"logit_bias\":{\(bias)}")
            #expect(request.sampling.tokenBias.count == 100_000)
        }
    }

    @Test("the time is linear in the length of a stream", arguments: WireAPI.allCases) func speed(api: WireAPI) throws {
        func time(_ count: Int) throws -> Duration {
            let value = String(repeating: "é\"<", count: count)
            let output =
                "t</think>" + value + "<tool_call>write<arg_key>path</arg_key><arg_value>" + value
                + "</arg_value></tool_call><|observation|>"
            return try ContinuousClock().measure {
                let events = ProtocolParserTests.parse(Array(output.utf8), chunk: 4, startsThinking: true)
                var composer = ReplyComposer(response: "r")
                let groups = events.map { composer.push($0) }
                let stream = api.stream(
                    groups, id: "r", finish: composer.finish, usage: TokenUsage(prompt: 0, reply: 0))
                let reply = try api.read(Array(stream.utf8), chunk: 1000).replies[0]
                #expect(reply.message.toolCalls[0].arguments[0].value.string?.utf8.count == value.utf8.count)
            }
        }
        // The quicker of two: other tests run at the same time.
        let (short, long) = (min(try time(1_000), try time(1_000)), min(try time(8_000), try time(8_000)))
        #expect(long < short * 24, "\(short), and \(long) for eight times as much")
    }
}

extension ServerSentEventParser {
    static func all(_ bytes: [UInt8]) -> [ServerSentEvent] {
        var parser = ServerSentEventParser()
        return parser.push(bytes)
    }
}
