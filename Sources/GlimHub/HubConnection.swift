import Foundation
import Synchronization

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// One conversation with servers: requests one after another, each answer handed over as it comes.
///
/// Foundation's own client does the rest: TLS with the system's certificates, proxies, connections that stay open.
// @unchecked: the session is set once, in init, before anybody else has the object.
final class HubConnection: NSObject, URLSessionDataDelegate, @unchecked Sendable {
    /// What an answer is handed to. Called from the session's queue, one call at a time.
    struct Receiver: Sendable {
        /// Before the first bytes; what it throws ends the request.
        var head: @Sendable (HTTPURLResponse) throws -> Void
        var body: @Sendable (Data) throws -> Void
    }

    private struct Exchange: Sendable {
        let receiver: Receiver
        let continuation: CheckedContinuation<Void, any Error>
        var redirections = 0
        var failure: (any Error)?
    }

    private let hub: Hub
    private let exchange = Mutex<Exchange?>(nil)
    private var session: URLSession!

    /// - Parameter patience: seconds without a byte after which a request has failed.
    init(_ hub: Hub, patience: Double) {
        self.hub = hub
        super.init()
        let configuration = URLSessionConfiguration.ephemeral
        configuration.timeoutIntervalForRequest = patience
        configuration.timeoutIntervalForResource = 7 * 86_400
        configuration.requestCachePolicy = .reloadIgnoringLocalCacheData
        configuration.httpShouldSetCookies = false
        let queue = OperationQueue()
        queue.maxConcurrentOperationCount = 1
        session = URLSession(configuration: configuration, delegate: self, delegateQueue: queue)
    }

    /// To be called at the end: the session holds the object.
    func close() { session.invalidateAndCancel() }

    /// Sends a request and returns when its answer is over.
    ///
    /// - Throws: what the receiver throws, or the `URLError` of a connection that could not be made or broke.
    func get(_ url: URL, bytes: Range<Int>? = nil, _ receiver: Receiver) async throws {
        let task = session.dataTask(with: request(url, bytes))
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                exchange.withLock { $0 = Exchange(receiver: receiver, continuation: continuation) }
                // Cancelled before, it may have said so already, when nobody listened.
                if Task.isCancelled { end(CancellationError()) } else { task.resume() }
            }
        } onCancel: {
            task.cancel()
        }
    }

    private func request(_ url: URL, _ bytes: Range<Int>?) -> URLRequest {
        var request = URLRequest(url: url)
        request.setValue("glim", forHTTPHeaderField: "User-Agent")
        // As stored: a compressed answer would have other places and sizes.
        request.setValue("identity", forHTTPHeaderField: "Accept-Encoding")
        if let bytes {
            request.setValue("bytes=\(bytes.lowerBound)-\(bytes.upperBound - 1)", forHTTPHeaderField: "Range")
        }
        if let token = hub.token, hub.isOwn(url) {
            request.setValue("Bearer \(token)", forHTTPHeaderField: "Authorization")
        }
        return request
    }

    // MARK: What the session tells

    func urlSession(
        _ session: URLSession, task: URLSessionTask, willPerformHTTPRedirection response: HTTPURLResponse,
        newRequest: URLRequest, completionHandler: @escaping @Sendable (URLRequest?) -> Void
    ) {
        let count = exchange.withLock { exchange in
            exchange?.redirections += 1
            return exchange?.redirections ?? 0
        }
        // Made anew: a token must not follow to another server.
        guard count <= 8, let url = newRequest.url else { return completionHandler(nil) }
        var next = request(url, nil)
        next.setValue(task.originalRequest?.value(forHTTPHeaderField: "Range"), forHTTPHeaderField: "Range")
        completionHandler(next)
    }

    func urlSession(
        _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
        completionHandler: @escaping @Sendable (URLSession.ResponseDisposition) -> Void
    ) {
        let isWanted = attempt(dataTask) { receiver in
            guard let response = response as? HTTPURLResponse else { throw URLError(.badServerResponse) }
            try receiver.head(response)
        }
        completionHandler(isWanted ? .allow : .cancel)
    }

    func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
        attempt(dataTask) { try $0.body(data) }
    }

    func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
        end(error)
    }

    /// Wakes who waits for the answer.
    private func end(_ error: (any Error)?) {
        let ended = exchange.withLock { exchange in
            defer { exchange = nil }
            return exchange
        }
        if let error = ended?.failure ?? error {
            ended?.continuation.resume(throwing: error)
        } else {
            ended?.continuation.resume()
        }
    }

    /// Hands something over, unless an earlier piece was refused already.
    @discardableResult
    private func attempt(_ task: URLSessionDataTask, _ body: (Receiver) throws -> Void) -> Bool {
        guard let receiver = exchange.withLock({ $0?.failure == nil ? $0?.receiver : nil }) else { return false }
        do {
            try body(receiver)
            return true
        } catch {
            exchange.withLock { $0?.failure = error }
            task.cancel()
            return false
        }
    }
}
