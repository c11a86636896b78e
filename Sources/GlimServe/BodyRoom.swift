import GlimText
import Synchronization

/// Bounds the memory of requests that are on their way, however many clients send at one time.
final class BodyRoom: Sendable {
    private let limit: Int
    private let taken = Mutex(0)

    /// - Parameter limit: bytes of all bodies together.
    init(limit: Int) { self.limit = limit }

    /// What one request has of it.
    final class Share: Sendable {
        private let room: BodyRoom
        private let taken = Mutex(0)

        fileprivate init(_ room: BodyRoom) { self.room = room }

        /// Takes room for bytes that have come: who only says that they will takes none.
        ///
        /// - Throws: `ServiceError` where there is none left.
        func take(_ byteCount: Int) throws(ServiceError) {
            let fits = room.taken.withLock { all in
                if byteCount > room.limit - all { return false }
                all += byteCount
                return true
            }
            guard fits else {
                throw ServiceError(.rateLimit, "too many requests are on their way; try again later")
            }
            taken.withLock { $0 += byteCount }
        }

        fileprivate func giveBack() { room.taken.withLock { all in all -= taken.withLock(\.self) } }
    }

    /// Has room while `body` goes on, as much as it takes.
    func lend<R>(_ body: (Share) async throws -> R) async throws -> R {
        let share = Share(self)
        defer { share.giveBack() }
        return try await body(share)
    }
}
