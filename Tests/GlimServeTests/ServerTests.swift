import Foundation
import GlimEngine
import GlimModel
import GlimServe
import GlimTestSupport
import GlimText
import Testing

/// What each API answers, through real HTTP.
@Suite("server", .timeLimit(.minutes(3))) struct ServerTests {
    private static let chat = "/v1/chat/completions"

    @Test("models, health, metrics and the page are there") func pages() async throws {
        try await ServerUnderTest.run { server in
            let models = try await server.get("/v1/models").json
            #expect(models["data"]?.array?.first?["id"]?.string == "tiny" && models["object"]?.string == "list")
            #expect(try await server.get("/v1/models/tiny").json["object"]?.string == "model")
            let other = try await server.get("/v1/models/other")
            #expect(other.status == 404 && other.problem.contains("tiny"))
            #expect(try await server.get("/health").json["status"]?.string == "ok")
            let home = try await server.get("/")
            #expect(home.status == 200 && home.text.contains("/v1/messages"))
            // Only the page's own script may run, nothing comes from elsewhere, and no page is like the one before.
            let policy = try #require(home.headers["content-security-policy"])
            let nonce = try #require(home.text.firstMatch(of: /<script nonce="([^"]+)">/)?.1)
            #expect(policy.hasPrefix("default-src 'none';") && policy.contains("script-src 'nonce-\(nonce)'"))
            // But for the name of SVG, from which nothing is fetched.
            let text = home.text.replacing("http://www.w3.org/2000/svg", with: "")
            #expect(!text.contains("http://") && !text.contains("https://"))
            #expect(try await !server.get("/").text.contains(nonce))
            let head = try await HTTP.send(server.port, "HEAD", "/health")
            #expect(head.status == 200 && head.body.isEmpty)
            let nothing = try await server.get("/v1/nothing")
            #expect(nothing.status == 404 && nothing.problem.contains("/v1/nothing"))
            let wrong = try await server.get(Self.chat)
            #expect(wrong.status == 405 && wrong.headers["allow"] == "POST")

            let body = """
                {"model": "tiny", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}
                """
            #expect(try await server.post(Self.chat, body).status == 200)
            #expect(try await server.wait { $0.finished == 1 })
            // Each row goes to as many experts of each layer that has some as the config says.
            let layers = try #require(try await server.get("/experts").json["layers"]?.array)
            let config = ServerUnderTest.config
            #expect(layers.count == config.expertLayerCount && !layers.isEmpty)
            for layer in layers {
                let tokens = (layer["tokens"]?.array ?? []).compactMap { $0.compact }.compactMap { Int($0) }
                #expect(tokens.count == config.routedExpertCount)
                #expect(tokens.reduce(0, +) == server.engine.metrics.readTokens * config.expertsPerToken)
            }
            let metrics = try await server.get("/metrics")
            #expect(metrics.headers["content-type"]?.hasPrefix("text/plain; version=0.0.4") == true)
            let lines = metrics.text.split(separator: "\n")
            #expect(lines.contains("glim_requests_finished_total 1") && lines.contains("glim_weights_version 7"))
            #expect(lines.contains("glim_http_responses_total{path=\"\(Self.chat)\",status=\"200\"} 1"))
            #expect(lines.contains("glim_first_token_seconds_count 1") && lines.contains("glim_reply_seconds_count 1"))
            for line in lines where !line.hasPrefix("#") {
                #expect(line.split(separator: " ").last.flatMap { Double($0) } != nil, "\(line)")
            }
        }
    }

    @Test("a stream of OpenAI's chat is the whole response in pieces") func chatStream() async throws {
        try await ServerUnderTest.run { server in
            func body(_ more: String) -> String {
                """
                {"model": "tiny", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content":
                "hi"}], "max_tokens": 60, "seed": 3, "logprobs": true, "top_logprobs": 2, "n": 2\(more)}
                """
            }
            let reply = try await server.post(Self.chat, body(""))
            #expect(reply.status == 200 && reply.headers["content-type"] == "application/json")
            let whole = try GenerationResponse(openAI: reply.json)
            #expect(whole.replies.count == 2 && whole.model == "tiny" && whole.id.hasPrefix("chatcmpl-"))
            #expect(whole.replies[0] != whole.replies[1])
            let options = ", \"stream\": true, \"stream_options\": {\"include_usage\": true}"
            let streamed = try await server.post(Self.chat, body(options))
            #expect(streamed.headers["content-type"]?.hasPrefix("text/event-stream") == true)
            #expect(streamed.events.last == OpenAIStreamWriter.done)
            let response = try streamed.openAIStream
            #expect(response.essence == whole.essence)
            // What was read for the first request is known now.
            let usage = try #require(response.usage)
            #expect(usage.cached == usage.prompt - 1 && usage.reply > 1 && usage.reply <= 120)
            #expect(whole.usage?.cached == 0 && whole.replies[0].logprobs?.allSatisfy { $0.top.count == 2 } == true)
            // The second of two replies is what a request alone gets with the next seed.
            let next = body("").replacing("\"seed\": 3", with: "\"seed\": 4").replacing("\"n\": 2", with: "\"n\": 1")
            let alone = try GenerationResponse(openAI: try await server.post(Self.chat, next).json)
            #expect(alone.replies[0].logprobs == whole.replies[1].logprobs)
        }
    }

    @Test("a stream of Anthropic's messages is the whole response in pieces") func anthropic() async throws {
        try await ServerUnderTest.run { server in
            func body(_ more: String) -> String {
                """
                {"model": "tiny", "max_tokens": 80, "temperature": 0, "system": "Be brief.", "messages": [
                {"role": "user", "content": [{"type": "text", "text": "weather?"}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "glim"},
                {"type": "tool_use", "id": "c1", "name": "get", "input": {"city": "Ulm"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "rain"}]}],
                "tools": [{"name": "get", "input_schema": {"type": "object"}}]\(more)}
                """
            }
            let path = "/v1/messages"
            let whole = try GenerationResponse(anthropic: try await server.post(path, body("")).json)
            let streamed = try await server.post(path, body(", \"stream\": true"))
            #expect(streamed.events.first?.name == "message_start" && streamed.events.last?.name == "message_stop")
            let response = try streamed.anthropicStream
            #expect(response.essence == whole.essence && response.id.hasPrefix("msg_"))
            #expect(response.usage?.cached == (whole.usage?.prompt ?? 0) - 1)
            let count = try await server.post("\(path)/count_tokens", body(""))
            #expect(try GenerationResponse.anthropicTokenCount(try count.json) == whole.usage?.prompt)

            let wrong = try await server.post(path, body(", \"seed\": 1"))
            #expect(wrong.status == 400 && wrong.problem.contains("seed"))
            #expect(try wrong.json["type"]?.string == "error")
        }
    }

    @Test("token ids in and out are the engine's own, with the version of the weights") func generate() async throws {
        try await ServerUnderTest.run { server in
            let body = """
                {"tokens": [5, 6, 7, 300], "max_tokens": 40, "temperature": 0.8, "top_p": 0.9, "min_p": 0.01, "seed": 11,
                "top_logprobs": 3, "stop_tokens": []}
                """
            var sampler = Sampler(temperature: 0.8, topP: 0.9, seed: 11)
            sampler.minP = 0.01
            var request = Engine.Request(prompt: [5, 6, 7, 300], maxTokens: 40, sampler: sampler, stops: [])
            request.topLogprobs = 3
            func drawn() async throws -> [Engine.Token] {
                var tokens: [Engine.Token] = []
                for try await event in try server.engine.submit(request) {
                    if case .token(let token) = event { tokens.append(token) }
                }
                return tokens
            }
            func expectSame(_ reply: JSON?, _ tokens: [Engine.Token]) {
                func numbers(_ key: String) -> [String] {
                    (reply?[key]?.array ?? []).map { if case .number(let text) = $0 { text } else { "none" } }
                }
                #expect(numbers("tokens") == tokens.map { "\($0.id)" })
                #expect(numbers("logprobs").map { Float($0) } == tokens.map(\.logprob))
                #expect(numbers("versions") == tokens.map { "\($0.version)" })
                #expect(reply?["top_logprobs"]?.array?.count == tokens.count)
                #expect(reply?["finish_reason"]?.string == "length")
            }
            let first = try await drawn()
            #expect(first.count == 40 && first[0].version == 7)
            expectSame(try await server.post("/generate", body).json["replies"]?.array?.first, first)
            try await server.engine.swapWeights(Tiny.model(ServerUnderTest.config, 3), version: 8)
            let second = try await drawn()
            #expect(second[0].version == 8 && second.map(\.id) != first.map(\.id))
            expectSame(try await server.post("/generate", body).json["replies"]?.array?.first, second)

            let streamed = body.replacing("\"seed\"", with: "\"stream\": true, \"seed\"")
            let events = try await server.post("/generate", streamed).events
            let told = try events.compactMap { $0.data == "[DONE]" ? nil : try JSON(parsing: $0.data.utf8) }
            #expect(told.compactMap { $0["token"] } == second.map { JSON.number("\($0.id)") })
            #expect(told.last?["usage"] != nil && events.last?.data == "[DONE]")
        }
    }

    @Test("texts are completed, as many as were given") func completions() async throws {
        try await ServerUnderTest.run { server in
            let path = "/v1/completions"
            func body(_ prompt: String, _ more: String = "") -> String {
                "{\"model\": \"tiny\", \"prompt\": \(prompt), \"seed\": 2, \"logprobs\": 1, \"max_tokens\": 30\(more)}"
            }
            let both = try await server.post(path, body("[\"ab\", [98, 99]]", ", \"n\": 2")).json
            let choices = try #require(both["choices"]?.array)
            #expect(choices.count == 4 && choices.compactMap { $0["index"] } == (0..<4).map { JSON.number("\($0)") })
            let alone = try await server.post(path, body("\"ab\"")).json["choices"]?.array?.first
            #expect(alone?["text"] == choices[0]["text"] && alone?["logprobs"] == choices[0]["logprobs"])
            let tokens = alone?["logprobs"]?["tokens"]?.array ?? []
            #expect(!tokens.isEmpty && alone?["logprobs"]?["text_offset"]?.array?.count == tokens.count)

            let events = try await server.post(path, body("\"ab\"", ", \"stream\": true")).events.dropLast()
            let parts = try events.compactMap {
                try JSON(parsing: $0.data.utf8)["choices"]?.array?.first?["text"]?.string
            }
            #expect(alone?["text"]?.string == parts.joined())
        }
    }

    @Test("a response of the newer API tells items, whole and in pieces") func responses() async throws {
        try await ServerUnderTest.run { server in
            func body(_ more: String) -> String {
                """
                {"model": "tiny", "input": [{"role": "user", "content": [{"type": "input_text", "text": "q"}]},
                {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "h"}]},
                {"type": "function_call", "call_id": "c", "name": "get", "arguments": "{\\"a\\": 1}"},
                {"type": "function_call_output", "call_id": "c", "output": "2"}], "instructions": "Be brief.",
                "max_output_tokens": 50, "seed": 5, "tools": [{"type": "function", "name": "get", "parameters": {}}]\(more)}
                """
            }
            let whole = try await server.post("/v1/responses", body("")).json
            #expect(whole["object"]?.string == "response" && whole["usage"]?["total_tokens"] != nil)
            let output = try #require(whole["output"]?.array)
            #expect(output.first?["type"]?.string == "reasoning")
            let events = try await server.post("/v1/responses", body(", \"stream\": true")).events
            let told = try events.map { try JSON(parsing: $0.data.utf8) }
            #expect(told.compactMap { $0["type"]?.string } == events.compactMap(\.name))
            #expect(told.compactMap { $0["sequence_number"] } == told.indices.map { JSON.number("\($0)") })
            #expect(events.first?.name == "response.created")
            let last = told.last?["response"]
            #expect(last?["status"] == whole["status"])
            func essence(_ items: JSON?) -> [String] {
                (items?.array ?? []).map { $0.without("id", "call_id").compact }
            }
            #expect(essence(last?["output"]) == essence(whole["output"]))
            let pieces = told.filter { $0["type"]?.string == "response.reasoning_text.delta" }
            #expect(
                pieces.compactMap { $0["delta"]?.string }.joined()
                    == output.first?["content"]?.array?.first?["text"]?.string)
        }
    }

    @Test("a response has messages and calls as items, each whole or said not to be") func items() async throws {
        try await ServerUnderTest.run { server in
            func last(_ more: String) async throws -> JSON? {
                let start =
                    "{\"model\": \"tiny\", \"input\": \"hi\", \"reasoning\": {\"effort\": \"none\"}, \"seed\": 3"
                let whole = try await server.post("/v1/responses", "\(start), \(more)}").json
                let events = try await server.post("/v1/responses", "\(start), \"stream\": true, \(more)}").events
                let told = try events.map { try JSON(parsing: $0.data.utf8) }
                let response = told.last?["response"]
                // Every item is opened and closed once, and closed as the response has it.
                let done = told.filter { $0["type"]?.string == "response.output_item.done" }.compactMap { $0["item"] }
                #expect(done == response?["output"]?.array)
                #expect(told.count { $0["type"]?.string == "response.output_item.added" } == done.count)
                #expect(response?["output"]?.array?.map { $0["type"] } == whole["output"]?.array?.map { $0["type"] })
                return response
            }
            let endless = ServerUnderTest.endless
            let cut = try await last("\(endless), \"max_output_tokens\": 20")
            #expect(cut?["status"]?.string == "incomplete")
            #expect(cut?["incomplete_details"]?["reason"]?.string == "max_output_tokens")
            let message = cut?["output"]?.array?.first
            #expect(message?["type"]?.string == "message" && message?["status"]?.string == "incomplete")
            #expect(message?["content"]?.array?.first?["text"]?.string?.isEmpty == false)

            let tools = """
                "tools": [{"type": "function", "name": "look_up", "parameters": {"type": "object"}}],
                "tool_choice": {"type": "function", "name": "look_up"}, "parallel_tool_calls": false, "max_output_tokens": 60
                """
            let end = "\"logit_bias\": {\"\(ServerUnderTest.id(.endToolCall))\": 100}"
            let called = try await last("\(tools), \(end)")
            let call = called?["output"]?.array?.first
            #expect(
                called?["status"]?.string == "completed" && called?["output"]?.array?.count == 1,
                "\(called?.compact ?? "")")
            #expect(call?["type"]?.string == "function_call" && call?["name"]?.string == "look_up")
            #expect(call?["status"]?.string == "completed" && call?["arguments"]?.string == "{}")
            // A call that is cut off has no arguments to go by, and says so.
            let never = "\"logit_bias\": {\"\(ServerUnderTest.id(.endToolCall))\": -100}"
            for item in try await last("\(tools), \(never)")?["output"]?.array ?? []
            where item["type"]?.string == "function_call" {
                let isWhole = (try? JSON(parsing: (item["arguments"]?.string ?? "").utf8))?.members != nil
                #expect(isWhole || item["status"]?.string == "incomplete")
            }
        }
    }

    @Test("a server that cannot read its experts any more says so, and is not well") func broken() async throws {
        let folder = try TemporaryFolder()
        let place = folder.path("model")
        try ServerUnderTest.model.save(to: place)
        var plan = try MemoryPlan(folder: place, .init(memory: 1 << 50, programByteCount: 0, positions: 256))
        (plan.isStreamed, plan.heldExpertByteCount) = (true, 3 * plan.largestExpertByteCount)
        try await ServerUnderTest.run(model: Model(folder: place, memory: plan)) { server in
            #expect(try await server.get("/health").status == 200)
            let file = try FileHandle(forUpdating: place.appending(path: "model.safetensors"))
            try file.truncate(atOffset: 1000)
            try file.close()
            var reply: HTTP.Reply?
            // Some experts are in memory still.
            for number in 0..<40 where reply?.status ?? 200 == 200 {
                reply = try await server.post("/generate", "{\"tokens\": [\(number)], \"max_tokens\": 20}")
            }
            #expect(reply?.status == 500 && reply?.problem.contains("changed") == true)
            let health = try await server.get("/health")
            #expect(health.status == 503 && health.problem.contains("changed"))
        }
    }

    @Test("tokens that are parts of characters are told apart") func parts() async throws {
        try await ServerUnderTest.run { server in
            let body = "{\"model\": \"tiny\", \"prompt\": \"hi\", \"max_tokens\": 5, \"logprobs\": 20, \"seed\": 1}"
            let told = try await server.post("/v1/completions", body).json["choices"]?.array?.first?["logprobs"]
            let top = try #require(told?["top_logprobs"]?.array)
            for place in top {
                let keys = (place.members ?? []).map(\.key)
                #expect(keys.count == 20 && Set(keys).count == 20)
            }
            // Of 320 tokens half are such.
            #expect(top.contains { ($0.members ?? []).contains { $0.key.hasPrefix("bytes:\\x") } })
        }
    }

    @Test("a tool that must be called is called, once if so asked") func tools() async throws {
        try await ServerUnderTest.run { server in
            let end = ServerUnderTest.id(.endToolCall)
            func body(_ choice: String, _ more: String) -> String {
                """
                {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 60, "seed": 3,
                "thinking": {"type": "disabled"}, "tools": [{"type": "function", "function": {"name": "look_up",
                "parameters": {"type": "object"}}}], "tool_choice": \(choice)\(more)}
                """
            }
            let named = "{\"type\": \"function\", \"function\": {\"name\": \"look_up\"}}"
            // The model is a stranger to tools: what may follow the name is decided for it.
            let once = ", \"parallel_tool_calls\": false, \"logit_bias\": {\"\(end)\": 100}"
            for more in ["", ", \"stream\": true"] {
                let reply = try await server.post(Self.chat, body(named, once + more))
                let response = try more.isEmpty ? GenerationResponse(openAI: reply.json) : reply.openAIStream
                let message = response.replies[0].message
                #expect(message.toolCalls.map(\.name) == ["look_up"] && response.replies[0].finish == .toolCalls)
                #expect(message.content == .text("") && message.toolCalls[0].id?.hasPrefix("call_") == true)
            }
            // Without a bias a call may fail, but the model cannot do without its beginning.
            let request = body(named, ", \"logprobs\": true")
            let drawn = try GenerationResponse(openAI: try await server.post(Self.chat, request).json)
            let start = drawn.replies[0].logprobs?.prefix(8).map { String(decoding: $0.token.bytes, as: UTF8.self) }
            #expect(start?.joined() == "<tool_call>look_up")
            // Left to itself the model calls one of the tools that there are, and no other.
            let required = try GenerationResponse(
                openAI: try await server.post(Self.chat, body("\"required\"", once)).json)
            #expect(required.replies[0].message.toolCalls.map(\.name) == ["look_up"])
            let never = try await server.post(
                Self.chat, body("\"none\"", ", \"logit_bias\": {\"\(ServerUnderTest.id(.beginToolCall))\": 100}"))
            #expect(try GenerationResponse(openAI: never.json).replies[0].message.toolCalls.isEmpty)
            let both = body("\"required\"", ", \"response_format\": {\"type\": \"json_object\"}")
            let impossible = try await server.post(Self.chat, both)
            #expect(impossible.status == 400 && impossible.problem.contains("format"))
        }
    }

    @Test("a call that must come has the name of a tool") func toolNames() async throws {
        try await ServerUnderTest.run { server in
            let names = ["look", "look_up", "find"]
            let tools = names.map { "{\"type\": \"function\", \"function\": {\"name\": \"\($0)\"}}" }
            // One is the beginning of another.
            for (liked, name) in [("l<", "look"), ("l_", "look_up"), ("f", "find"), ("z", nil)] {
                let bias = ServerUnderTest.tokenizer.encode(liked).map { "\"\($0)\": 100" }.joined(separator: ",")
                let reply = try await server.post(
                    Self.chat,
                    """
                    {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 12, "seed": 1,
                    "thinking": {"type": "disabled"}, "tools": [\(tools.joined(separator: ","))],
                    "tool_choice": "required", "logprobs": true, "logit_bias": {\(bias)}}
                    """)
                let drawn = try GenerationResponse(openAI: reply.json).replies[0].logprobs ?? []
                let text = drawn.map { String(decoding: $0.token.bytes, as: UTF8.self) }.joined()
                #expect(text.hasPrefix("<tool_call>"), "\(text)")
                let called = text.dropFirst("<tool_call>".count).prefix { $0 != "<" }
                #expect(name.map { called == $0 } ?? names.contains(String(called)), "\(text)")
            }
        }
    }

    @Test("a reply fits its schema, ends before its stop text, and thinks no longer than it may")
    func control() async throws {
        try await ServerUnderTest.run { server in
            func reply(_ more: String) async throws -> GenerationReply {
                let reply = try await server.post(
                    Self.chat,
                    """
                    {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 200, "seed": 9, \(more)}
                    """)
                return try GenerationResponse(openAI: reply.json).replies[0]
            }
            let schema = """
                "thinking": {"type": "enabled", "budget_tokens": 5}, "response_format": {"type": "json_schema",
                "json_schema": {"name": "s", "schema": {"type": "object", "properties": {"a": {"enum": ["x", "yy"]},
                "b": {"type": "boolean"}}, "required": ["a", "b"], "additionalProperties": false}}}
                """
            let kept = try await reply(schema)
            let text = try #require(kept.message.content.words)
            let json = try JSON(parsing: text.utf8)
            #expect(json["a"]?.string != nil && json["b"]?.bool != nil && kept.finish == .endOfTurn)
            #expect(kept.message.reasoning?.isEmpty == false)

            let free = "\"thinking\": {\"type\": \"disabled\"}, \(ServerUnderTest.endless)"
            let whole = try #require(try await reply(free).message.content.words)
            // A character of its middle that has not come before ends it there.
            let scalars = whole.unicodeScalars
            let place = try #require(
                scalars.indices.dropFirst(20).first { !scalars[..<$0].contains(scalars[$0]) && scalars[$0].isASCII })
            let stop = String(scalars[place])
            let cut = try await reply("\(free), \"stop\": [\(JSON.string(stop).compact)]")
            #expect(cut.message.content.words == String(scalars[..<place]) && cut.finish == .stopText(stop))
        }
    }

    @Test("usage says what of a prompt was known, and where it went another way") func prefixes() async throws {
        try await ServerUnderTest.run { server in
            func usage(_ tokens: [Int]) async throws -> JSON? {
                try await server.post("/generate", "{\"tokens\": \(tokens), \"max_tokens\": 1}")
                    .json["usage"]?["prompt_tokens_details"]
            }
            let prompt = (0..<200).map { $0 % 13 }
            let first = try await usage(prompt)
            #expect(first?["cached_tokens"] == .number("0") && first?["divergence"] == nil)
            #expect(try await usage(prompt)?["cached_tokens"] == .number("199"))
            let other = try await usage(prompt.prefix(150) + [99] + prompt.suffix(40))
            #expect(other?["divergence"] == .number("150"))
        }
    }
}

extension ChatMessage.Content {
    fileprivate var words: String? { if case .text(let text) = self { text } else { nil } }
}

extension JSON {
    fileprivate func without(_ keys: String...) -> JSON {
        .object((members ?? []).filter { !keys.contains($0.key) })
    }
}
