import AsyncHTTPClient
import Foundation
import GlimCheckpoint
import GlimHub
import GlimText
import NIOCore
import NIOHTTP1

/// A server as its clients see it: token ids go in, tokens with log-probabilities come out.
struct Endpoint: Sendable {
    /// Without `/v1`.
    let address: URL
    let model: String
    /// Tokens of its longest context; nil where it does not say.
    let context: Int?
    /// Whether it has Glim's `/generate`, which tells token ids. Others are asked through OpenAI's completions, which
    /// take ids and tell words.
    let tellsTokens: Bool
    private let key: String?

    private static let client: HTTPClient = {
        // A long prompt on a slow machine says nothing for minutes.
        var configuration = HTTPClient.Configuration(timeout: .init(connect: .seconds(30), read: .minutes(30)))
        configuration.httpVersion = .http1Only
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 64
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }()

    /// What was drawn. Words stand for tokens where a server tells no ids.
    struct Reply: Sendable, Equatable {
        var tokens: [String] = []
        var logprobs: [Double] = []
        /// The most probable tokens at each place.
        var top: [[String: Double]] = []
        /// Whether the model ended its text: who tells no ids cannot be asked to go on.
        var isEnded = false

        /// Whether it has all that was asked for, and each token its numbers.
        func isWhole(_ count: Int) -> Bool {
            logprobs.count == tokens.count && top.count == tokens.count
                && (tokens.count == count || isEnded && tokens.count < count)
        }
    }

    struct Answer: Sendable {
        let status: Int
        let body: Data
        var json: JSON? { try? JSON(parsing: body) }
        var text: String { String(decoding: body.prefix(300), as: UTF8.self).onOneLine }
    }

    /// Asks what is served there.
    ///
    /// - Throws: `Failure` where nothing answers, or not as OpenAI's servers do.
    init(_ text: String, key: String?) async throws {
        var trimmed = text
        while trimmed.hasSuffix("/") { trimmed.removeLast() }
        if trimmed.hasSuffix("/v1") { trimmed.removeLast(3) }
        guard let url = URL(string: trimmed), ["http", "https"].contains(url.scheme), url.host != nil else {
            throw Failure("--endpoint: \(text) is no address; give one such as http://127.0.0.1:8080")
        }
        let listed = try await Self.send(url, "v1/models", key, nil)
        guard listed.status == 200, let entry = listed.json?["data"]?.array?.first, let name = entry["id"]?.string
        else {
            throw Failure("\(url)/v1/models answers \(listed.status) and names no model: \(listed.text)")
        }
        let probe = try await Self.send(url, "generate", key, Self.body(["tokens": "[1]", "max_tokens": "1"]))
        (address, model, self.key) = (url, name, key)
        context = entry["max_model_len"].flatMap(\.wholeNumber)
        tellsTokens = probe.status == 200 && probe.json?["replies"] != nil
    }

    func get(_ path: String) async throws -> Answer { try await Self.send(address, path, key, nil) }
    func post(_ path: String, _ body: Data) async throws -> Answer {
        try await Self.send(address, path, key, body)
    }

    private static func send(_ address: URL, _ path: String, _ key: String?, _ body: Data?) async throws -> Answer {
        var request = HTTPClientRequest(url: address.appending(path: path).absoluteString)
        if let body {
            (request.method, request.body) = (.POST, .bytes(ByteBuffer(bytes: body)))
            request.headers.add(name: "Content-Type", value: "application/json")
        }
        if let key { request.headers.add(name: "Authorization", value: "Bearer \(key)") }
        do {
            let response = try await client.execute(request, deadline: .distantFuture)
            let bytes = try await response.body.collect(upTo: 1 << 30)
            try Task.checkCancellation()
            return Answer(status: Int(response.status.code), body: Data(bytes.readableBytesView))
        } catch let error where !(error is CancellationError) {
            throw Failure("\(address)/\(path) does not answer: \(connectionFailure(error)); is the server running?")
        }
    }

    /// A body of members whose values are JSON already, in the order of their names.
    static func body(_ members: [String: String]) -> Data {
        let parts = members.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\($0.value)" }
        return Data("{\(parts.joined(separator: ","))}".utf8)
    }

    // MARK: Drawing

    /// What is asked for, but for members that both APIs have.
    var drawPath: String { tellsTokens ? "generate" : "v1/completions" }

    func drawBody(
        _ prompt: [Int32], count: Int, temperature: Double = 0, seed: Int = 0, streams: Bool = false,
        adding more: [String: String] = [:]
    ) -> Data {
        let ids = "[\(prompt.map(String.init).joined(separator: ","))]"
        var members = [
            "model": JSON.string(model).compact, "max_tokens": "\(count)", "temperature": "\(temperature)",
            "seed": "\(seed)",
        ]
        if streams { members["stream"] = "true" }
        if tellsTokens {
            (members["tokens"], members["top_logprobs"], members["stop_tokens"]) = (ids, "20", "[]")
        } else {
            (members["prompt"], members["logprobs"]) = (ids, "5")
        }
        return Self.body(members.merging(more) { $1 })
    }

    /// Draws from a prompt.
    ///
    /// - Throws: `Failure` for a refusal, or an answer of another form.
    func draw(
        _ prompt: [Int32], count: Int, temperature: Double = 0, seed: Int = 0, streams: Bool = false
    ) async throws -> Reply {
        let answer = try await post(
            drawPath, drawBody(prompt, count: count, temperature: temperature, seed: seed, streams: streams))
        guard answer.status == 200 else {
            throw Failure("/\(drawPath) answers \(answer.status) to \(prompt.count) tokens: \(answer.text)")
        }
        var reply = Reply()
        if streams {
            var parser = ServerSentEventParser()
            for event in parser.push(answer.body) where event.data != "[DONE]" {
                guard let json = try? JSON(parsing: event.data.utf8) else {
                    throw Failure("/\(drawPath) streams what is no JSON: \(event.data.prefix(200))".onOneLine)
                }
                if tellsTokens {
                    if json["token"] != nil { reply.add(json) }
                } else {
                    reply.add(completion: json)
                }
            }
        } else if let json = answer.json {
            if tellsTokens { reply.add(generation: json) } else { reply.add(completion: json) }
        }
        guard reply.isWhole(count) else {
            throw Failure(
                "/\(drawPath) tells \(reply.tokens.count) tokens with \(reply.logprobs.count) log-probabilities, of "
                    + "\(count): \(answer.text)")
        }
        return reply
    }
}

extension Endpoint.Reply {
    /// One event of a stream of `/generate`.
    fileprivate mutating func add(_ event: JSON) {
        guard let id = event["token"]?.wholeNumber else { return }
        tokens.append("\(id)")
        logprobs.append(event["logprob"]?.double ?? .nan)
        top.append(Self.top(event["top_logprobs"]))
    }

    /// The reply of `/generate`.
    fileprivate mutating func add(generation json: JSON) {
        guard let reply = json["replies"]?.array?.first, let ids = reply["tokens"]?.array,
            let numbers = reply["logprobs"]?.array, let likely = reply["top_logprobs"]?.array
        else { return }
        tokens = ids.map { "\($0.wholeNumber ?? -1)" }
        logprobs = numbers.map { $0.double ?? .nan }
        top = likely.map { Self.top($0) }
    }

    /// A completion, or a piece of one.
    fileprivate mutating func add(completion json: JSON) {
        let choice = json["choices"]?.array?.first
        if choice?["finish_reason"]?.string == "stop" { isEnded = true }
        guard let told = choice?["logprobs"] else { return }
        tokens += (told["tokens"]?.array ?? []).map { $0.string ?? "" }
        logprobs += (told["token_logprobs"]?.array ?? []).map { $0.double ?? .nan }
        top += (told["top_logprobs"]?.array ?? []).map { one in
            Dictionary((one.members ?? []).map { ($0.key, $0.value.double ?? .nan) }) { a, _ in a }
        }
    }

    private static func top(_ list: JSON?) -> [String: Double] {
        let pairs = (list?.array ?? []).map { ("\($0["token"]?.wholeNumber ?? -1)", $0["logprob"]?.double ?? .nan) }
        return Dictionary(pairs) { a, _ in a }
    }
}

extension JSON {
    fileprivate var double: Double? { if case .number(let text) = self { Double(text) } else { nil } }
    fileprivate var wholeNumber: Int? { double.flatMap { Int(exactly: $0) } }
}
