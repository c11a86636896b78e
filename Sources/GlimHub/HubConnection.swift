import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1

/// Asks servers for what is at an address, and hands the answers over as they come.
///
/// AsyncHTTPClient does the rest: TLS with the system's certificates, connections that stay open, and no more bytes on
/// their way than are taken.
struct HubConnection: Sendable {
    private let hub: Hub
    private let client: HTTPClient
    /// Of one request.
    private static let redirectionLimit = 8

    /// Lends connections to a hub, which are closed afterwards.
    ///
    /// - Parameter patience: after so long without a byte a request has failed.
    static func lend<R>(
        to hub: Hub, patience: Duration, _ body: (HubConnection) async throws -> R
    ) async throws -> R {
        let connection = HubConnection(hub, patience)
        let result: Result<R, any Error>
        do { result = .success(try await body(connection)) } catch { result = .failure(error) }
        try? await connection.client.shutdown()
        return try result.get()
    }

    private init(_ hub: Hub, _ patience: Duration) {
        self.hub = hub
        var configuration = HTTPClient.Configuration(
            // Followed here: a token must not go to another server.
            redirectConfiguration: .disallow,
            timeout: .init(connect: TimeAmount(patience), read: TimeAmount(patience)))
        configuration.httpVersion = .http1Only
        // Tried again here, where it is told.
        configuration.connectionPool.retryConnectionEstablishment = false
        if let proxy = hub.proxy {
            configuration.proxy = .server(
                host: proxy.host ?? "", port: proxy.port ?? 80,
                authorization: proxy.user.map { .basic(username: $0, password: proxy.password ?? "") })
        }
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// Sends a request, following where the answer leads.
    ///
    /// - Parameters:
    ///   - first: bytes of the file that are not wanted.
    ///   - take: reads the answer.
    /// - Throws: what `take` throws, `CancellationError`, and errors of the connection.
    func get<R>(_ url: URL, from first: Int = 0, _ take: (HTTPClientResponse) async throws -> R) async throws -> R {
        var (address, count) = (url, 0)
        while true {
            let response = try await client.execute(request(address, first), deadline: .distantFuture)
            if count < Self.redirectionLimit, let next = Self.redirection(response, from: address) {
                (address, count) = (next, count + 1)
                // Read to its end, the answer leaves its connection to the next request.
                _ = try? await response.body.collect(upTo: 1 << 16)
                continue
            }
            let taken = try await take(response)
            // The bytes of an answer end, too, when their reader is cancelled.
            try Task.checkCancellation()
            return taken
        }
    }

    private func request(_ url: URL, _ first: Int) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: url.absoluteString)
        request.headers.add(name: "User-Agent", value: "glim")
        // As stored: a compressed answer would have other places and sizes.
        request.headers.add(name: "Accept-Encoding", value: "identity")
        if first > 0 { request.headers.add(name: "Range", value: "bytes=\(first)-") }
        if let token = hub.token, hub.isOwn(url) {
            request.headers.add(name: "Authorization", value: "Bearer \(token)")
        }
        return request
    }

    private static func redirection(_ response: HTTPClientResponse, from url: URL) -> URL? {
        guard [301, 302, 303, 307, 308].contains(response.status.code) else { return nil }
        return response.headers.first(name: "Location").flatMap { URL(string: $0, relativeTo: url)?.absoluteURL }
    }
}
