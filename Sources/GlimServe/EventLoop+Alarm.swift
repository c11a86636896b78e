import NIOCore

extension EventLoop {
    /// Sleeps. `Task.sleep` does so, too, but once it is cancelled it keeps its memory until its time would have come:
    /// with limits of an hour that is the memory of all requests of the hour.
    ///
    /// - Throws: `CancellationError`.
    func sleep(for time: Duration) async throws {
        let (rings, bell) = AsyncStream<Void>.makeStream()
        let alarm = alarm(after: time) { bell.finish() }
        defer { alarm.cancel() }
        for await _ in rings {}
        try Task.checkCancellation()
    }

    /// Does something after a while, unless what it returns is cancelled before.
    @discardableResult
    func alarm(after time: Duration, _ action: @escaping @Sendable () -> Void) -> Scheduled<Void> {
        // The clock of the event loop ends after three hundred years, and traps.
        scheduleTask(in: TimeAmount(min(time, .seconds(1 << 30))), action)
    }
}
