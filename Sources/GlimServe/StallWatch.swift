import NIOCore
import Synchronization

/// Lets a client go that takes nothing of what is sent to it: what it holds up is memory, and a place among the
/// connections.
final class StallWatch: Sendable {
    private let channel: any Channel
    private let limit: Duration
    /// Since when something waits to be taken.
    private let waitsSince = Mutex<ContinuousClock.Instant?>(nil)

    init(_ channel: any Channel, limit: Duration) { (self.channel, self.limit) = (channel, limit) }

    var loop: any EventLoop { channel.eventLoop }

    /// Sends something, which may have to wait until the client takes what was sent before.
    func send(_ body: () async throws -> Void) async throws {
        waitsSince.withLock { $0 = ContinuousClock.now }
        defer { waitsSince.withLock { $0 = nil } }
        try await body()
    }

    /// Waits until the system has all that was sent: what a connection holds when it is closed is lost.
    func drain() async throws {
        var last = Int.max
        try await send {
            while case let left = try await channel.getOption(.bufferedWritableBytes).get(), left > 0 {
                // Slow is not still.
                if left < last { waitsSince.withLock { $0 = ContinuousClock.now } }
                last = left
                try await loop.sleep(for: .milliseconds(20))
            }
        }
    }

    /// Watches while `body` sends. What waits for too long fails, as its connection is closed.
    func watching(_ body: () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await self.run() }
            defer { group.cancelAll() }
            try await body()
        }
    }

    private func run() async {
        while (try? await loop.sleep(for: limit / 4)) != nil {
            guard let since = waitsSince.withLock({ $0 }), ContinuousClock.now - since >= limit else { continue }
            channel.close(promise: nil)
            return
        }
    }
}
