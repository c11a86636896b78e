import Synchronization

/// What the server has answered: counts, for `/metrics`.
final class Traffic: Sendable {
    struct Endpoint: Hashable {
        let path: String
        let status: Int
    }

    /// How long something took: sums, from which a mean over any stretch of time can be taken.
    struct Times {
        var count = 0
        var seconds = 0.0

        mutating func add(_ time: Duration) {
            count += 1
            seconds += time / .seconds(1)
        }
    }

    struct Counts {
        /// Answers that were begun.
        var answers: [Endpoint: Int] = [:]
        /// Requests whose client left before the end.
        var left = 0
        /// From a request's arrival to its first token, and to its end.
        var firstToken = Times()
        var reply = Times()
    }

    private let counts = Mutex(Counts())
    private let drawn = Mutex<UInt64>(0)

    /// The number of the next request that names no seed.
    func nextNumber() -> UInt64 {
        drawn.withLock { drawn in
            defer { drawn += 1 }
            return drawn
        }
    }

    func note(_ body: (inout Counts) -> Void) { counts.withLock { body(&$0) } }

    var latest: Counts { counts.withLock { $0 } }
}
