import Foundation
import GlimEngine
import GlimModel
import GlimServe
import GlimTestSupport
import GlimText
import Testing

/// A model of a few thousand numbers with a token for each byte, and a server around it on a port of its own.
struct ServerUnderTest: Sendable {
    let engine: Engine
    let port: Int
    let server: Server

    static let name = "tiny"
    static let tokenizer = try! TokenizerTrainer(vocabularySize: 320).train()
    static let model = Tiny.model(config, 2)
    static let config = Tiny.config(2).with {
        ($0.vocabularySize, $0.maximumPositions, $0.mtpLayerCount) = (320, 4096, 0)
        $0.tiesEmbeddings = false
    }

    static func id(_ token: ControlToken) -> Int { Int(tokenizer.id(of: token) ?? -1) }

    /// For requests that must not end before their tokens are drawn.
    static let endless: String = {
        let stops = [ControlToken.user, .observation, .endOfText].map { "\"\(id($0))\": -100" }
        return "\"logit_bias\": {\(stops.joined(separator: ", "))}"
    }()

    /// Runs a server while `body` goes on.
    ///
    /// - Parameter model: of the same config.
    static func run<R>(
        with change: (inout ServerOptions) -> Void = { _ in },
        engine changeEngine: (inout Engine.Options) -> Void = { _ in }, model: Model = ServerUnderTest.model,
        _ body: (ServerUnderTest) async throws -> R
    ) async throws -> R {
        var options = ServerOptions()
        options.port = 0
        change(&options)
        var engineOptions = Engine.Options(cacheByteCount: 600 * CacheLayout(config).pageByteCount)
        changeEngine(&engineOptions)
        let engine = try Engine(model, version: 7, options: engineOptions)
        let served = ServedModel(engine, config, name: name, tokenizer: tokenizer)
        let (ports, told) = AsyncStream<Int>.makeStream()
        let server = Server(served, options: options) { told.yield($0) }
        let running = Task {
            defer { told.finish() }
            try await server.run()
        }
        var iterator = ports.makeAsyncIterator()
        guard let port = await iterator.next() else {
            try await running.value
            throw ServeError.cannotListen(host: options.host, port: options.port, why: "it ended at once")
        }
        let result: Result<R, any Error>
        do {
            result = .success(try await body(ServerUnderTest(engine: engine, port: port, server: server)))
        } catch { result = .failure(error) }
        await server.stop()
        try await running.value
        await engine.stop()
        return try result.get()
    }

    func post(_ path: String, _ body: String, headers: [String] = []) async throws -> HTTP.Reply {
        try await HTTP.post(port, path, body, headers: headers)
    }

    func get(_ path: String, headers: [String] = []) async throws -> HTTP.Reply {
        try await HTTP.send(port, "GET", path, headers: headers)
    }

    /// Waits until the engine's own account says so; a quarter of a minute at most.
    func wait(_ condition: (Engine.Metrics) -> Bool) async throws -> Bool {
        for _ in 0..<1500 {
            if condition(engine.metrics) { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return condition(engine.metrics)
    }
}

extension HTTP.Reply {
    /// The response that a stream of OpenAI's chat completions makes.
    var openAIStream: GenerationResponse {
        get throws {
            var reader = OpenAIStreamReader()
            for event in events { _ = try reader.push(event) }
            return try reader.finish()
        }
    }

    /// The same of Anthropic's messages.
    var anthropicStream: GenerationResponse {
        get throws {
            var reader = AnthropicStreamReader()
            for event in events { _ = try reader.push(event) }
            return try reader.finish()
        }
    }
}

extension GenerationResponse {
    /// What must be the same whenever a request is answered: everything but ids, times and what a cache knew.
    var essence: String {
        replies.map { reply in
            var reply = reply
            for i in reply.message.toolCalls.indices { reply.message.toolCalls[i].id = nil }
            for i in reply.brokenCalls.indices { reply.brokenCalls[i].id = nil }
            return "\(reply)"
        }.joined(separator: "\n") + " \(usage.map { "\($0.prompt) \($0.reply)" } ?? "")"
    }
}
