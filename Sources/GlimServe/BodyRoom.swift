import GlimText
import Synchronization

/// Bounds the memory of requests that are on their way, however many clients send at one time.
final class BodyRoom: Sendable {
    private let limit: Int
    private let taken = Mutex(0)

    /// - Parameter limit: bytes of all bodies together.
    init(limit: Int) { self.limit = limit }

    /// Has room for so many bytes while `body` goes on.
    ///
    /// - Throws: `ServiceError` where there is none, and whatever `body` throws.
    func with<R>(_ byteCount: Int, _ body: () async throws -> R) async throws -> R {
        let fits = taken.withLock { taken in
            if taken + byteCount > limit { return false }
            taken += byteCount
            return true
        }
        guard fits else { throw ServiceError(.rateLimit, "too many requests are on their way; try again later") }
        defer { taken.withLock { $0 -= byteCount } }
        return try await body()
    }
}
