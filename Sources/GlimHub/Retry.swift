import AsyncHTTPClient
import Foundation

/// How often, and after which pauses, a request is tried again: each pause twice as long as the one before.
package struct Retry: Sendable {
    /// Failures in a row, without a byte between, that end it.
    package var attempts = 8
    package var firstPause = Duration.milliseconds(500)
    private static let longestPause = Duration.seconds(30)

    package init() {}

    /// An answer that brings nothing.
    struct Empty: Error, CustomStringConvertible {
        var description: String { "an answer without a byte" }
    }

    /// Whether another attempt may help: not after what was found here, nor where an address makes no sense.
    static func isPassing(_ error: any Error) -> Bool {
        if error is HubError || error is CancellationError { return false }
        let final: [HTTPClientError] = [.invalidURL, .emptyHost, .emptyScheme, .invalidProxyConfiguration, .cancelled]
        guard let error = error as? HTTPClientError else { return true }
        return !final.contains(error) && !error.description.contains("unsupportedScheme")
    }

    /// To be called after each failure: waits, or gives up.
    ///
    /// - Parameter failures: in a row, this one among them.
    /// - Throws: `HubError.unreachable`, the error itself where it is final, or `CancellationError`.
    func wait(after error: any Error, failures: Int, _ url: URL) async throws {
        try Task.checkCancellation()
        guard Self.isPassing(error) else { throw error }
        guard failures < attempts else {
            throw HubError.unreachable(url: url.absoluteString, attempts: failures, reason: connectionFailure(error))
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
