import Foundation
import GlimTestSupport
import GlimText
import Testing

/// Draws requests and messages of every kind that the protocol knows.
private struct WireDraw {
    var draw: Draw

    private static let texts = [
        "", "hi", " \n", "é", "e\u{301}", "\u{301}", "日本😀👍🏽",
        "\"\\/\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}", "</think>",
        "<tool_call>f</tool_call>", "<|user|>", "</arg_value>", "{\"a\":1}", "null", "None", "\u{2028}\u{FEFF}",
        "data: x\n\n",
        "\r\n", "[DONE]",
    ]
    private static let names = ["f", "get_weather", "mcp__files__read", "größe", "a-b"]
    private static let numbers = [
        "0", "-0", "7", "-12", "1.50", "1E5", "12345678901234567890123", "1e-7", "-0.0", "1e400", "0.1e1",
    ]

    mutating func text() -> String {
        (0..<draw.integer(0...3)).map { _ in draw.pick(Self.texts) }.joined()
    }

    mutating func json(_ depth: Int = 0) -> JSON {
        switch draw.integer(0...(depth < 4 ? 7 : 4)) {
        case 0: .null
        case 1: .bool(draw.chance(0.5))
        case 2: .number(draw.pick(Self.numbers))
        case 3, 4: .string(text())
        case 5: .array((0..<draw.integer(0...3)).map { _ in json(depth + 1) })
        default: object(depth + 1)
        }
    }

    private mutating func object(_ depth: Int) -> JSON {
        .object(keys().map { .init($0, json(depth)) })
    }

    /// Names of members, none of them twice.
    private mutating func keys() -> [String] {
        var keys: [String] = []
        for _ in 0..<draw.integer(0...3) {
            let key = draw.pick(["z", "a", "b c", "", "é", "e\u{301}", "<k>", "\"", "INVALID_JSON"]) + text()
            if !keys.contains(where: { isSame($0, key) }) { keys.append(key) }
        }
        return keys
    }

    mutating func call(_ place: Int) -> ToolCall {
        ToolCall(
            id: "call_\(place)_\(draw.integer(0...99))", name: draw.pick(Self.names),
            arguments: keys().map { ToolArgument($0, json()) })
    }

    mutating func content() -> ChatMessage.Content {
        switch draw.integer(0...3) {
        case 0: .parts((0..<draw.integer(0...3)).map { _ in .text(text()) })
        default: .text(text())
        }
    }

    mutating func assistant() -> ChatMessage {
        let content: ChatMessage.Content = draw.chance(0.2) ? draw.pick([.null, .absent]) : content()
        let calls = (0..<draw.pick([0, 0, 1, 3])).map { call($0) }
        return ChatMessage(
            .assistant, content, reasoning: draw.pick([nil, "", text()]), toolCalls: calls)
    }

    mutating func message() -> ChatMessage {
        switch draw.integer(0...5) {
        case 0: ChatMessage(.system, content())
        case 1, 2: ChatMessage(.user, content())
        case 3: ChatMessage(.tool, content(), toolCallID: "call_\(draw.integer(0...9))")
        default: assistant()
        }
    }

    mutating func request() -> GenerationRequest {
        var prompt = ChatPrompt(
            (0..<draw.integer(1...8)).map { _ in message() }, addsGenerationPrompt: draw.chance(0.9),
            enablesThinking: draw.chance(0.7), clearsThinking: draw.pick([nil, true, false]),
            effort: draw.pick(ReasoningEffort.allCases))
        for name in Self.names.prefix(draw.integer(0...3)) {
            prompt.tools.append(
                ToolDefinition(
                    .object([
                        .init("type", .string("function")),
                        .init(
                            "function",
                            .object([
                                .init("name", .string(name)), .init("description", .string(text())),
                                .init("parameters", object(1)),
                            ])),
                    ])))
        }
        var request = GenerationRequest(model: "m" + text(), prompt: prompt)
        if !prompt.tools.isEmpty { request.toolChoice = draw.pick([.auto, .never, .required, .named("f")]) }
        request.allowsParallelCalls = draw.chance(0.8)
        request.format = draw.pick([
            .text, .json, .schema(OutputSchema(object(1), name: "n", description: text(), isStrict: draw.chance(0.5))),
        ])
        request.streams = draw.chance(0.5)
        request.reportsUsage = request.streams && draw.chance(0.5)
        request.sampling = sampling()
        return request
    }

    private mutating func sampling() -> SamplingOptions {
        var sampling = SamplingOptions()
        func real(_ range: ClosedRange<Double>, _ draw: inout Draw) -> Double? {
            draw.chance(0.5)
                ? nil : range.lowerBound + Double(draw.float(1) + 1) / 2 * (range.upperBound - range.lowerBound)
        }
        sampling.maximumTokens = draw.pick([nil, 1, .max])
        sampling.maximumThinkingTokens = draw.pick([nil, 2048])
        sampling.temperature = real(0...2, &draw)
        sampling.topP = real(0...1, &draw)
        sampling.topK = draw.pick([nil, 40])
        sampling.seed = draw.pick([nil, .min, .max, 0])
        sampling.stop = (0..<draw.integer(0...2)).map { _ in "s" + text() }
        sampling.presencePenalty = real(-2...2, &draw)
        sampling.frequencyPenalty = real(-2...2, &draw)
        sampling.minP = real(0...1, &draw)
        sampling.repetitionPenalty = real(0.01...100, &draw)
        for _ in 0..<draw.integer(0...2) { sampling.tokenBias[draw.integer(0...154_855)] = real(-100...100, &draw) }
        sampling.replyCount = draw.integer(1...3)
        sampling.topLogprobs = draw.pick([nil, 0, 20])
        return sampling
    }
}

extension GenerationRequest {
    /// The part of the request that Anthropic's API can say.
    fileprivate func sayable() -> GenerationRequest {
        var request = self
        let isSystemAlone = prompt.messages.allSatisfy { $0.role == .system } && prompt.messages.count == 1
        request.prompt.messages = (prompt.messages + (isSystemAlone ? [.user("q")] : [])).map { message in
            var message = message
            let isAssistant = message.role == .assistant
            switch message.content {
            case .null, .absent: message.content = .text("")
            case .parts(let parts) where isAssistant && parts.count < 2:
                if case .text(let text)? = parts.first?.kind {
                    message.content = .text(text)
                } else {
                    message.content = .text("")
                }
            case .text, .parts: break
            }
            if isAssistant { message.reasoning = message.reasoning ?? "" }
            return message
        }
        request.prompt.addsGenerationPrompt = request.prompt.messages.last?.role != .assistant
        request.allowsParallelCalls = allowsParallelCalls || toolChoice == .never
        if case .schema(let schema) = format { request.format = .schema(OutputSchema(schema.schema)) }
        if format == .json { request.format = .text }
        request.reportsUsage = streams
        request.sampling.maximumTokens = sampling.maximumTokens ?? 9
        request.sampling.temperature = sampling.temperature.map { min($0, 1) }
        (request.sampling.seed, request.sampling.topLogprobs, request.sampling.replyCount) = (nil, nil, 1)
        (request.sampling.presencePenalty, request.sampling.frequencyPenalty) = (nil, nil)
        (request.sampling.minP, request.sampling.repetitionPenalty) = (nil, nil)
        request.sampling.tokenBias = [:]
        return request
    }
}

@Suite("both APIs, whatever is said in them") struct WireFuzzTests {
    private static func number(_ name: String) -> Int? {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
    }

    private static let count = number("GLIM_FUZZ_COUNT") ?? 300
    private static let seed = number("GLIM_FUZZ_SEED") ?? 1

    /// A prompt as a text that tells all of it.
    private static func spelled(_ request: GenerationRequest) -> String {
        let prompt = request.prompt
        let messages = prompt.messages.map { "\($0.json.compact)\($0.reasoning == nil)\($0.content == .absent)" }
        return (messages + prompt.tools.map(\.json.compact) + [request.model] + request.sampling.stop)
            .joined(separator: "\n")
    }

    @Test("a request is read as it was written") func requests() throws {
        for number in 0..<Self.count {
            var draw = WireDraw(draw: Draw(Self.seed, "request \(number)"))
            let drawn = draw.request()
            for api in WireAPI.allCases {
                let request = api == .openAI ? drawn : drawn.sayable()
                let json = try api.json(request)
                let read = try api.request(json)
                #expect(
                    read == request && isSame(Self.spelled(read), Self.spelled(request)),
                    "\(api), request \(number) of seed \(Self.seed): \(json.compact)")
                #expect(isSame(try api.json(read).compact, json.compact))
            }
        }
    }

    @Test("a message is read as it was written into a response") func responses() throws {
        for number in 0..<Self.count {
            var draw = WireDraw(draw: Draw(Self.seed, "response \(number)"))
            var message = draw.assistant()
            if case .parts(let parts) = message.content {
                message.content = .text(parts.compactMap(\.json["text"]?.string).joined())
            }
            let finish = draw.draw.pick([
                FinishReason.endOfTurn, .toolCalls, .length, .filtered, .stopText("x"), .other("pause_turn"),
            ])
            let usage = TokenUsage(
                prompt: draw.draw.integer(9...99), cached: draw.draw.integer(0...9),
                divergence: draw.draw.pick([nil, 8]),
                reply: draw.draw.integer(0...9), reasoning: draw.draw.pick([nil, 3]))
            for api in WireAPI.allCases {
                var expected = message
                if api == .anthropic {
                    expected.reasoning = message.reasoning ?? ""
                    if message.content == .null || message.content == .absent { expected.content = .text("") }
                }
                let response = GenerationResponse(
                    id: "r\(number)", model: "m", created: api == .openAI ? 5 : 0,
                    replies: [GenerationReply(expected, finish: finish)], usage: usage)
                let body = try JSON(parsing: Array(api.json(response).compact.utf8))
                let read = try api.response(body)
                // One argument alone that has the name which Anthropic's API gives to broken ones is the exception.
                let looksBroken = api == .anthropic && body.compact.contains("{\"INVALID_JSON\":\"")
                #expect(
                    read == response && isSame(api.json(read).compact, body.compact) || looksBroken,
                    "\(api), response \(number) of seed \(Self.seed): \(body.compact)")
            }
        }
    }

    /// Holds a test to account elsewhere: Tools/fixtures_wire.py reads what is written here.
    private static let dump = ProcessInfo.processInfo.environment["GLIM_WIRE_DUMP"]

    @Test("an output is the same reply as a body and as a stream, however both were cut") func streams() throws {
        var lines: [String] = []
        for number in 0..<Self.count {
            var draw = Draw(Self.seed, "stream \(number)")
            let bytes = Array(ProtocolFuzzTests.output(&draw).joined().utf8)
            let startsThinking = draw.chance(0.5)
            let what =
                "stream \(number) of seed \(Self.seed): \(String(decoding: bytes, as: UTF8.self).debugDescription)"

            let whole = ProtocolParserTests.parse(bytes, startsThinking: startsThinking)
            let reply = GenerationReply(whole, response: "r")
            let parsed = ParsedOutput(whole)
            if parsed.malformedCalls.isEmpty {
                #expect(reply.brokenCalls.isEmpty)
                let (found, meant) = (reply.message, parsed.message)
                #expect(found.content == meant.content && found.reasoning == meant.reasoning, "\(what)")
                #expect(found.toolCalls.map(\.name) == meant.toolCalls.map(\.name), "\(what)")
            } else {
                #expect(reply.message.toolCalls.count == parsed.toolCalls.count, "\(what)")
                #expect(reply.brokenCalls.count <= parsed.malformedCalls.count, "\(what)")
            }

            let cut = ProtocolParserTests.parse(bytes, chunk: draw.integer(1...9), startsThinking: startsThinking)
            var composer = ReplyComposer(response: "r")
            let groups = cut.map { composer.push($0) }
            let usage = TokenUsage(prompt: 9, cached: 4, reply: cut.count, reasoning: 1)
            let response = GenerationResponse(
                id: "r", model: "glm-5", created: 1_790_000_000, replies: [reply], usage: usage)
            var dumped: [JSON.Member] = [.init("is_whole", .bool(reply.brokenCalls.isEmpty))]
            for api in WireAPI.allCases {
                let stream = api.stream(groups, id: "r", finish: composer.finish, usage: usage)
                let read = try api.read(Array(stream.utf8), chunk: draw.integer(1...64))
                #expect(isSame(GlimTextTests.spelled(read.replies[0]), GlimTextTests.spelled(reply)), "\(api), \(what)")
                #expect(read.usage == usage)
                let body = api.json(response)
                #expect(isSame(GlimTextTests.spelled(try api.response(body).replies[0]), GlimTextTests.spelled(reply)))
                let events = ServerSentEventParser.all(Array(stream.utf8)).filter { $0.data != "[DONE]" }
                dumped.append(.init(api.rawValue, body))
                dumped.append(
                    .init("\(api.rawValue)_stream", .array(try events.map { try JSON(parsing: $0.data.utf8) })))
            }
            if Self.dump != nil { lines.append(JSON.object(dumped).compact + "\n") }
        }
        if let dump = Self.dump { try Data(lines.joined().utf8).write(to: URL(filePath: dump)) }
    }

    /// Some of what is damaged can still be read, and some cannot.
    private static func check(_ outcome: Fuzz.Outcome) {
        let count = outcome.accepted + outcome.refused
        #expect(outcome.accepted > count / 50 && outcome.refused > count / 4)
    }

    @Test("a damaged request is read or is one error", arguments: WireAPI.allCases) func damagedRequests(api: WireAPI)
        throws
    {
        let good = try WireFixture.all("requests").filter { $0.text("api") == api.rawValue }.compactMap {
            $0.json["request"]
        }
        let outcome = Fuzz(
            "wire-\(api.rawValue)", good.map { MutableFile(Array($0.compact.utf8), .json) }, count: Self.count * 2
        ).run(says: " ") { bytes in
            let request =
                api == .openAI ? try GenerationRequest(openAI: bytes) : try GenerationRequest(anthropic: bytes)
            #expect(try api.request(api.json(request)) == request)
            for template in ChatTemplate.allCases { _ = template.pieces(request.prompt.forTemplate) }
        }
        Self.check(outcome)
    }

    @Test("a damaged response or stream is read or is one error", arguments: WireAPI.allCases)
    func damagedStreams(api: WireAPI) throws {
        let fixtures = try WireFixture.all("streams") + WireFixture.all("outputs")
        var files: [MutableFile] = []
        for fixture in fixtures {
            guard let value = fixture.json[api.rawValue] else { continue }
            files.append(MutableFile(Array((value.string ?? value.compact).utf8), .json))
        }
        let outcome = Fuzz("wire-stream-\(api.rawValue)", files, count: Self.count * 2).run(says: " ") { bytes in
            if bytes.first == UInt8(ascii: "{") {
                let json = try JSON(parsing: bytes)
                let response = try api.response(json)
                _ = (response.openAI, response.anthropic)
            } else {
                _ = try api.read(bytes, chunk: 7)
            }
        }
        Self.check(outcome)
    }
}
