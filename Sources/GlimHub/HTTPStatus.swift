import AsyncHTTPClient
import Foundation
import NIOHTTP1

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
    static func check(_ head: HTTPClientResponse, _ what: String, _ hub: Hub) throws {
        let status = Int(head.status.code)
        switch status {
        case 200, 206: return
        case 401, 403: throw HubError.forbidden(what, hasToken: hub.token != nil)
        case 404: throw HubError.notFound(what, endpoint: hub.endpoint.absoluteString)
        case 408, 425, 429, 500...599:
            let asked = head.headers.first(name: "Retry-After").flatMap { Int($0) }
            throw Busy(status: status, delay: asked.map { .seconds(min(300, max(0, $0))) })
        default: throw HubError.refused(url: head.url?.absoluteString ?? what, status: status)
        }
    }
}
