import AsyncHTTPClient
import NIOCore
import NIOPosix

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Why AsyncHTTPClient got no answer, for people.
package func connectionFailure(_ error: any Error) -> String {
    if let error = error as? HTTPClientError { return error.shortDescription.lowercased() }
    guard let error = error as? NIOConnectionError else { return systemReason(error) }
    if let attempt = error.connectionErrors.first { return systemReason(attempt.error) }
    return (error.dnsAError ?? error.dnsAAAAError).map { "\(error.host) is not known: \($0)" }
        ?? "no connection to \(error.host)"
}

private func systemReason(_ error: any Error) -> String {
    (error as? IOError).map { String(cString: strerror($0.errnoCode)).lowercased() } ?? "\(error)"
}
