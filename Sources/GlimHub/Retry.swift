import Foundation

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// What an answer's status means.
enum HTTPStatus {
    /// An answer that a later attempt may change.
    struct Busy: Error, CustomStringConvertible {
        let status: Int
        /// What the server asks for.
        let delay: Duration?
        var description: String { "status \(status)" }
    }

    /// - Parameter what: what was asked for.
    /// - Throws: `Busy`, or a `HubError` that is final.
    static func check(_ head: HTTPURLResponse, _ what: String, _ hub: Hub) throws {
        let url = head.url?.absoluteString ?? what
        switch head.statusCode {
        case 200, 206: return
        case 401, 403: throw HubError.forbidden(what, hasToken: hub.token != nil)
        case 404: throw HubError.notFound(what, endpoint: hub.endpoint.absoluteString)
        case 408, 425, 429, 500...599:
            let asked = head.value(forHTTPHeaderField: "Retry-After").flatMap { Int($0) }
            throw Busy(status: head.statusCode, delay: asked.map { .seconds(min(300, max(0, $0))) })
        default: throw HubError.refused(url: url, status: head.statusCode)
        }
    }
}

/// How often, and after which pauses, a request is tried again: each pause twice as long as the one before.
package struct Retry: Sendable {
    /// Failures in a row, without a byte between, that end it.
    package var attempts = 8
    package var firstPause = Duration.milliseconds(500)
    private static let longestPause = Duration.seconds(30)

    package init() {}

    /// Whether another attempt may help.
    static func isPassing(_ error: any Error) -> Bool {
        if error is HTTPStatus.Busy { return true }
        guard let error = error as? URLError else { return false }
        switch error.code {
        case .unsupportedURL, .badURL, .userAuthenticationRequired, .cancelled: return false
        default: return true
        }
    }

    /// To be called after each failure: waits, or gives up.
    ///
    /// - Parameter failures: in a row, this one among them.
    /// - Throws: `HubError.unreachable`, the error itself where it is final, or `CancellationError`.
    func wait(after error: any Error, failures: Int, _ url: URL) async throws {
        try Task.checkCancellation()
        guard Self.isPassing(error) else { throw error }
        guard failures < attempts else {
            let reason = (error as? URLError)?.localizedDescription ?? "\(error)"
            throw HubError.unreachable(url: url.absoluteString, attempts: failures, reason: reason)
        }
        let pause = min(Self.longestPause, firstPause * (1 << min(failures - 1, 10)))
        try await Task.sleep(for: max(pause, (error as? HTTPStatus.Busy)?.delay ?? .zero))
    }

    func run<R>(_ url: URL, _ body: () async throws -> R) async throws -> R {
        var failures = 0
        while true {
            do { return try await body() } catch {
                failures += 1
                try await wait(after: error, failures: failures, url)
            }
        }
    }
}
