import AsyncHTTPClient
import NIOCore
import NIOPosix

/// Why AsyncHTTPClient got no answer, for people.
package func connectionFailure(_ error: any Error) -> String {
    if let error = error as? HTTPClientError { return error.shortDescription.lowercased() }
    guard let error = error as? NIOConnectionError else { return "\(error)" }
    if let attempt = error.connectionErrors.first { return "\(attempt.error)" }
    return (error.dnsAError ?? error.dnsAAAAError).map { "\(error.host) is not known: \($0)" }
        ?? "no connection to \(error.host)"
}
