import Foundation
import GlimEngine
import GlimTensor
import GlimText
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore

/// Answers HTTP requests: finds out what is asked for, who asks, and turns what goes wrong into an error of the API.
struct Routes: HTTPResponder {
    typealias Context = ServeContext

    let served: ServedModel
    let options: ServerOptions
    let traffic = Traffic()
    let curfew = Curfew()
    private let room: BodyRoom

    init(_ served: ServedModel, _ options: ServerOptions) {
        (self.served, self.options) = (served, options)
        room = BodyRoom(limit: 8 * options.bodyByteLimit)
    }

    /// The APIs that draw.
    private static let apis: [String: any ServedRequest.Type] = [
        "/v1/chat/completions": ChatCompletion.self, "/v1/completions": TextCompletion.self,
        "/v1/responses": ModelResponse.self, "/v1/messages": AnthropicMessage.self,
        "/generate": TokenGeneration.self,
    ]
    private static let countPath = "/v1/messages/count_tokens"
    private static let pages: Set = ["/", "/health", "/metrics", "/experts", "/v1/models"]
    /// Everybody may know these.
    private static let open: Set = ["/", "/health"]

    func respond(to request: Request, context: ServeContext) async throws -> Response {
        let path = request.uri.path
        let response: Response
        do {
            try checkKey(request, path)
            response = try await answer(path, request, context)
        } catch let error as Refusal {
            response = Self.refuse(error, path)
        } catch let error as ServiceError {
            response = Self.refuse(Refusal(error), path)
        } catch let error as ProtocolError {
            response = Self.refuse(Refusal(ServiceError(error)), path)
        } catch is CancellationError {
            traffic.note { $0.left += 1 }
            // Who has closed only its own side gets no answer, rather than a wrong one.
            context.channel.close(promise: nil)
            throw CancellationError()
        }
        note(path, response)
        return request.method == .head ? response.createHeadResponse() : response
    }

    /// An error that HTTP has a status of its own for.
    private struct Refusal: Error {
        let error: ServiceError
        let status: HTTPResponse.Status
        let headers: HTTPFields

        init(_ error: ServiceError, _ status: HTTPResponse.Status, _ headers: HTTPFields = [:]) {
            (self.error, self.status, self.headers) = (error, status, headers)
        }

        /// - Parameter closes: whether the connection ends with it.
        init(_ error: ServiceError, closes: Bool = false) {
            var headers: HTTPFields =
                switch error.kind {
                // What is in the way is other requests: how long they take is anybody's guess.
                case .rateLimit, .overloaded: [.retryAfter: "1"]
                case .authentication: [.wwwAuthenticate: "Bearer"]
                default: [:]
                }
            if closes { headers[.connection] = "close" }
            self.init(error, HTTPResponse.Status(code: error.kind.status), headers)
        }
    }

    private func checkKey(_ request: Request, _ path: String) throws(ServiceError) {
        guard let keys = options.keys else {
            let (origin, host) = (request.headers[.origin], request.head.authority)
            guard Origin.isAllowed(origin, host: host, listening: options.host) else {
                throw ServiceError(
                    .permission, "pages of \(origin ?? "") may not send requests here; ask for a key (--api-key-file)")
            }
            return
        }
        guard !Self.open.contains(path) else { return }
        let key = HTTPField.Name("x-api-key").flatMap { request.headers[$0] }
        guard keys.allow(authorization: request.headers[.authorization], key: key) else {
            throw ServiceError(.authentication, "no valid key; send one as Authorization: Bearer or x-api-key")
        }
    }

    private func note(_ path: String, _ response: Response) {
        let isKnown = Self.apis[path] != nil || Self.pages.contains(path) || path == Self.countPath
        traffic.note {
            $0.answers[.init(path: isKnown ? path : "other", status: response.status.code), default: 0] += 1
        }
    }

    private func answer(_ path: String, _ request: Request, _ context: ServeContext) async throws -> Response {
        if let api = Self.apis[path] {
            try Self.check(request, .post, path)
            return try await draw(api, request, context)
        }
        if path == Self.countPath {
            try Self.check(request, .post, path)
            var request = request
            let body = try await body(of: &request, context)
            return Self.response(try await aside { try AnthropicMessage.count(body, served) })
        }
        let models = "/v1/models"
        if Self.pages.contains(path) || path.hasPrefix("\(models)/") { try Self.check(request, .get, path) }
        switch path {
        case "/":
            let nonce = UUID().uuidString
            let page = ByteBuffer(string: HomePage.text(nonce: nonce))
            return Response(status: .ok, headers: HomePage.headers(nonce: nonce), body: ResponseBody(byteBuffer: page))
        case "/health":
            if let failure = served.engine.metrics.failure {
                throw Refusal(ServiceError(.failure, failure), .serviceUnavailable)
            }
            return Self.response(.object([.init("status", .string("ok")), .init("model", .string(served.name))]))
        case "/metrics":
            let page = MetricsPage(served.engine.metrics, traffic.latest)
            return Self.response(page.text, "text/plain; version=0.0.4; charset=utf-8")
        case "/experts": return Self.response(ExpertList.list(served.engine.expertTokens))
        case models: return Self.response(ModelList.list(served))
        case _ where path.hasPrefix("\(models)/"):
            let name = path.dropFirst(models.count + 1)
            try served.check(model: name.removingPercentEncoding ?? String(name))
            return Self.response(ModelList.entry(served))
        default: throw ServiceError(.notFound, "there is nothing at \(path.prefix(200)); GET / lists what there is")
        }
    }

    private static func check(_ request: Request, _ method: HTTPRequest.Method, _ path: String) throws {
        guard request.method == method || request.method == .head && method == .get else {
            let error = ServiceError(
                .invalidRequest, "\(path) wants \(method.rawValue), not \(request.method.rawValue)")
            throw Refusal(error, .methodNotAllowed, [.allow: method.rawValue])
        }
    }

    // MARK: Drawing

    private func draw<API: ServedRequest>(
        _ api: API.Type, _ request: Request, _ context: ServeContext
    ) async throws -> Response {
        let arrived = ContinuousClock.now
        var request = request
        let body = try await body(of: &request, context)
        let name = UUID().uuidString.filter { $0 != "-" }.lowercased()
        let stamp = ReplyStamp(id: API.idPrefix + name, created: Int(Date().timeIntervalSince1970))
        let asked = try await aside { try API(body, served, stamp) }
        let seed = asked.job.seed ?? CounterRandom(seed: options.seed, purpose: "serve").bits(traffic.nextNumber())
        let drawing = try Drawing(
            asked.job, served, seed: seed, promptLimit: options.promptLimit, until: curfew)
        let meter = Meter(traffic, arrived)
        if asked.streams { return stream(asked, drawing, request, context, meter) }
        // Whoever watches a connection for its end reads it to its end: no further request comes over it.
        let limit = options.replyLimit
        let answers: [Answer]
        do {
            answers = try await meter.watching {
                try await request.body.consumeWithCancellationOnInboundClose { _ in
                    try await drawing.answers(within: limit, on: context.channel.eventLoop) { meter.note($0) }
                }
            }
        } catch let error as ServiceError { throw Refusal(error, closes: true) }
        meter.end()
        let usage = drawing.usage(answers.compactMap(\.ending))
        return whole(asked.response(answers, usage).compact, context, meter)
    }

    /// An answer that may be long: handed over in pieces, so that a slow client has the time that it takes.
    private func whole(_ text: String, _ context: ServeContext, _ meter: Meter) -> Response {
        let watch = StallWatch(context.channel, limit: options.stallLimit)
        let bytes = ByteBuffer(string: text)
        let body = ResponseBody(contentLength: bytes.readableBytes) { writer in
            try await meter.watching {
                try await watch.watching {
                    var rest = bytes
                    while let piece = rest.readSlice(length: min(rest.readableBytes, 1 << 16)), piece.readableBytes > 0
                    {
                        try await watch.send { try await writer.write(piece) }
                    }
                    try await watch.drain()
                    try await watch.send { try await writer.finish(nil) }
                }
            }
        }
        return Response(status: .ok, headers: [.contentType: "application/json", .connection: "close"], body: body)
    }

    private func stream(
        _ asked: some ServedRequest, _ drawing: Drawing, _ request: Request, _ context: ServeContext, _ meter: Meter
    ) -> Response {
        let watch = StallWatch(context.channel, limit: options.stallLimit)
        let limit = options.replyLimit
        let headers: HTTPFields = [
            .contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache", .connection: "close",
        ]
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { writer in
                try await meter.watching {
                    try await request.body.consumeWithCancellationOnInboundClose { _ in
                        try await EventStream(asked.teller(), drawing, watch, meter).send(to: &writer, within: limit)
                    }
                }
            })
    }

    /// Reads the body as JSON.
    private func body(of request: inout Request, _ context: ServeContext) async throws -> JSON {
        let limit = options.bodyByteLimit
        let tooLarge = ServiceError(.tooLarge, "the body has more than \(limit) bytes, which is the most here")
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw Refusal(tooLarge, closes: true)
        }
        let whole = request.body
        do {
            let json = try await room.lend { share in
                let buffer = try await collect(whole, upTo: limit, of: share, on: context.channel.eventLoop)
                return try await aside { try JSON(request: buffer.readableBytesView) }
            }
            // Its bytes are not kept for as long as the reply takes.
            request.body = RequestBody(buffer: ByteBuffer())
            return json
        } catch is NIOTooManyBytesError {
            throw Refusal(tooLarge, closes: true)
        } catch let error as ServiceError {
            // What has not come is not waited for.
            throw Refusal(error, closes: true)
        }
    }

    /// Reads a body to its end, as long as that takes no longer than it may.
    private func collect(
        _ body: RequestBody, upTo byteLimit: Int, of share: BodyRoom.Share, on loop: any EventLoop
    ) async throws -> ByteBuffer {
        let limit = options.arrivalLimit
        return try await withThrowingTaskGroup(of: ByteBuffer.self) { group in
            group.addTask {
                var whole = ByteBuffer()
                for try await part in body {
                    guard part.readableBytes <= byteLimit - whole.readableBytes else {
                        throw NIOTooManyBytesError(maxBytes: byteLimit)
                    }
                    try share.take(part.readableBytes)
                    whole.writeImmutableBuffer(part)
                }
                try Task.checkCancellation()
                return whole
            }
            group.addTask {
                try await loop.sleep(for: limit)
                let error = ServiceError(
                    .timeout, "the request did not arrive within \(limit.components.seconds) seconds")
                throw Refusal(error, .requestTimeout, [.connection: "close"])
            }
            defer { group.cancelAll() }
            guard let first = try await group.next() else { throw CancellationError() }
            return first
        }
    }

    // MARK: Responses

    private static func response(_ json: JSON) -> Response { response(json.compact, "application/json") }

    private static func response(_ text: String, _ contentType: String) -> Response {
        Response(
            status: .ok, headers: [.contentType: contentType],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }

    private static func refuse(_ refusal: Refusal, _ path: String) -> Response {
        let body =
            if let api = apis[path] { api.body(refusal.error) } else {
                path.hasPrefix("/v1/messages") ? refusal.error.anthropic : refusal.error.openAI
            }
        var response = response(body)
        response.status = refusal.status
        response.headers.append(contentsOf: refusal.headers)
        return response
    }
}
