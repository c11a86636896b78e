import Foundation
import GlimText
import Testing

/// A line of Tests/Golden/wire, which Tools/fixtures_wire.py describes.
struct WireFixture: CustomTestStringConvertible, Sendable {
    let json: JSON

    var testDescription: String { json["name"]?.string ?? json["place"]?.string ?? "" }

    func text(_ key: String) -> String { json[key]?.string ?? "" }

    static func all(_ name: String) throws -> [WireFixture] {
        let file = Golden.folder.appending(path: "../wire/\(name).jsonl")
        return try Data(contentsOf: file).split(separator: UInt8(ascii: "\n")).map {
            WireFixture(json: try JSON(parsing: $0))
        }
    }
}

/// Both APIs, where what is to be said of them is the same.
enum WireAPI: String, CaseIterable, Sendable {
    case openAI = "openai"
    case anthropic

    func request(_ json: JSON) throws -> GenerationRequest {
        switch self {
        case .openAI: try GenerationRequest(openAI: Array(json.compact.utf8))
        case .anthropic: try GenerationRequest(anthropic: Array(json.compact.utf8))
        }
    }

    func json(_ request: GenerationRequest) throws -> JSON {
        switch self {
        case .openAI: try request.openAI()
        case .anthropic: try request.anthropic()
        }
    }

    func response(_ json: JSON) throws -> GenerationResponse {
        switch self {
        case .openAI: try GenerationResponse(openAI: json)
        case .anthropic: try GenerationResponse(anthropic: json)
        }
    }

    func json(_ response: GenerationResponse) -> JSON {
        switch self {
        case .openAI: response.openAI
        case .anthropic: response.anthropic
        }
    }

    /// The stream of a response of one reply, from the groups of pieces that come at once.
    func stream(
        _ groups: [[ReplyDelta]], id: String, finish: FinishReason, usage: TokenUsage, reportsUsage: Bool = true
    ) -> String {
        var events: [ServerSentEvent] = []
        switch self {
        case .openAI:
            var writer = OpenAIStreamWriter(id: id, model: "glm-5", created: 1_790_000_000, reportsUsage: reportsUsage)
            for group in groups { events += writer.push(group) }
            events += writer.finish(finish) + writer.usage(usage) + [OpenAIStreamWriter.done]
        case .anthropic:
            var start = usage
            (start.reply, start.reasoning) = (0, nil)
            var writer = AnthropicStreamWriter(id: id, model: "glm-5", usage: start)
            for group in groups { events += writer.push(group) }
            events += writer.finish(finish, usage: usage)
        }
        return events.map(\.text).joined()
    }

    /// Reads a stream whose bytes come in pieces of this size.
    func read(_ stream: [UInt8], chunk: Int) throws -> GenerationResponse {
        var parser = ServerSentEventParser()
        var (openAI, anthropic) = (OpenAIStreamReader(), AnthropicStreamReader())
        var start = 0
        while start < stream.count {
            let end = min(stream.count - start, chunk) + start
            for event in parser.push(stream[start..<end]) {
                switch self {
                case .openAI: _ = try openAI.push(event)
                case .anthropic: _ = try anthropic.push(event)
                }
            }
            start = end
        }
        return self == .openAI ? try openAI.finish() : try anthropic.finish()
    }
}

/// A reply as a text that tells all of it, spelling and order included: `==` would take two spellings of an é for one.
func spelled(_ reply: GenerationReply) -> String {
    GenerationResponse(id: "x", model: "", replies: [reply], usage: nil).openAI.compact
}

@Suite("OpenAI's and Anthropic's APIs, as the official clients have them") struct WireFixtureTests {
    private static let usage = TokenUsage(prompt: 12, cached: 5, reply: 7, reasoning: 3)

    private static func response(_ reply: GenerationReply) -> GenerationResponse {
        GenerationResponse(id: "r1", model: "glm-5", created: 1_790_000_000, replies: [reply], usage: usage)
    }

    @Test("outputs that others leak, drop or die of", arguments: try WireFixture.all("outputs"))
    func outputs(one: WireFixture) throws {
        let bytes = Array(one.text("output").utf8)
        let tools = (one.json["tools"]?.array ?? []).map(ToolDefinition.init)
        let thinks = one.json["starts_thinking"]?.bool == true
        for chunk in 1...max(1, bytes.count) {
            let events = ProtocolParserTests.parse(bytes, chunk: chunk, tools: tools, startsThinking: thinks)
            #expect(isSame(summary(events), one.text("events")), "in pieces of \(chunk)")
            let whole = Self.response(GenerationReply(events, response: "r1"))
            var composer = ReplyComposer(response: "r1")
            let groups = events.map { composer.push($0) }
            for api in WireAPI.allCases {
                let expected = try #require(one.json[api.rawValue])
                #expect(isSame(api.json(whole).compact, expected.compact), "\(api) in pieces of \(chunk)")
                #expect(isSame(spelled(try api.response(expected).replies[0]), spelled(whole.replies[0])))
                let stream = api.stream(groups, id: "r1", finish: composer.finish, usage: Self.usage)
                let read = try api.read(Array(stream.utf8), chunk: chunk)
                #expect(isSame(spelled(read.replies[0]), spelled(whole.replies[0])), "\(api) in pieces of \(chunk)")
                #expect(read.usage == Self.usage)
            }
        }
    }

    private static func finish(_ one: WireFixture) throws -> FinishReason {
        switch one.text("finish") {
        case "end": .endOfTurn
        case "calls": .toolCalls
        case "length": .length
        case "filtered": .filtered
        default: .stopText(try #require(one.json["stop"]?.string))
        }
    }

    @Test("streams of replies", arguments: try WireFixture.all("streams"))
    func streams(one: WireFixture) throws {
        var (deltas, place): ([ReplyDelta], Int) = ([], -1)
        for piece in one.json["pieces"]?.array ?? [] {
            let (kind, text) = (piece.array?[0].string, piece.array?[1].string ?? "")
            switch kind {
            case "think": deltas.append(.reasoning(text))
            case "say": deltas.append(.content(text))
            case "call":
                place += 1
                deltas.append(.callBegin(place: place, id: "call_r1_0_\(place)", name: text))
            default: deltas.append(.arguments(place: place, text))
            }
        }
        var reader = ReplyReader()
        for delta in [.reasoning(""), .content("")] + deltas { reader.add(delta) }
        let finish = try Self.finish(one)
        let reply = reader.reply(finish)
        for api in WireAPI.allCases {
            let stream = api.stream(
                deltas.map { [$0] }, id: "r1", finish: finish, usage: Self.usage,
                reportsUsage: one.json["reports_usage"]?.bool == true)
            #expect(isSame(stream, one.text(api.rawValue)), "\(api)")
            for chunk in [1, 7, 1 << 20] {
                #expect(isSame(spelled(try api.read(Array(stream.utf8), chunk: chunk).replies[0]), spelled(reply)))
            }
            // What the official client made of it: the same, but for arguments that it completed, and a text to stop
            // at, which only Anthropic's keeps.
            guard let client = one.json["\(api.rawValue)_client"] else { continue }
            var theirs = try api.response(client).replies[0]
            if api == .anthropic, !reply.brokenCalls.isEmpty {
                (theirs.message.toolCalls, theirs.brokenCalls) = (reply.message.toolCalls, reply.brokenCalls)
            }
            if api == .openAI, case .stopText = finish {
                #expect(theirs.finish == .endOfTurn)
                theirs.finish = finish
            }
            #expect(isSame(spelled(theirs), spelled(reply)), "\(api)")
        }
    }

    @Test("streams of other servers", arguments: try WireFixture.all("foreign"))
    func foreign(one: WireFixture) throws {
        let api = try #require(WireAPI(rawValue: one.text("api")))
        let expected = try api.response(try #require(one.json["client"]))
        for chunk in [1, 2, 64, 1 << 20] {
            let found = try api.read(Array(one.text("stream").utf8), chunk: chunk)
            #expect(found.replies.map(spelled) == expected.replies.map(spelled))
            #expect((found.id, found.model) == (expected.id, expected.model))
            #expect(found.usage == expected.usage)
        }
    }

    @Test(
        "requests, the messages they mean, and the requests written from those",
        arguments: try WireFixture.all("requests"))
    func requests(one: WireFixture) throws {
        let api = try #require(WireAPI(rawValue: one.text("api")))
        let json = try #require(one.json["request"])
        let request = try api.request(json)
        let messages = JSON.array(request.prompt.messages.map(\.json))
        #expect(isSame(messages.compact, try #require(one.json["messages"]).compact))
        let expected = one.json["written"] ?? json
        let written = try api.json(request)
        #expect(isSame(Self.sorted(written), Self.sorted(expected)))
        #expect(try api.request(written) == request)
        let unknown =
            api == .openAI
            ? GenerationRequest.unknownOpenAIMembers(of: json) : GenerationRequest.unknownAnthropicMembers(of: json)
        #expect(unknown == (json["odd"] == nil ? [] : ["odd"]))
    }

    /// The JSON with its outermost members in the order of their names.
    private static func sorted(_ json: JSON) -> String {
        JSON.object((json.members ?? []).sorted { $0.key < $1.key }).compact
    }

    @Test("requests that are none are one error with its place", arguments: try WireFixture.all("malformed"))
    func malformed(one: WireFixture) throws {
        let api = try #require(WireAPI(rawValue: one.text("api")))
        let json = try #require(one.json.member("request"))
        let error = #expect(throws: ProtocolError.self) { try api.request(json) }
        #expect(error?.place == one.text("place"))
        let says = error?.description ?? ""
        #expect(says.hasPrefix(one.text("place")) && says.contains(one.text("says")), "\(says)")
        #expect(!says.contains("\n") && says.utf8.count < 400)
    }
}
