import Synchronization

/// Ends replies that still run once a server has no more time for them.
final class Curfew: Sendable {
    private struct State {
        var isOver = false
        var number = 0
        var ends: [Int: @Sendable () -> Void] = [:]
    }

    private let state = Mutex(State())

    var isOver: Bool { state.withLock(\.isOver) }

    /// Does `body`.
    ///
    /// - Parameter end: is called, at most once and from any thread, where the time is over before `body` has ended.
    func watching<R>(end: @escaping @Sendable () -> Void, _ body: () async throws -> R) async rethrows -> R {
        let (number, isOver) = state.withLock { state in
            state.number += 1
            if !state.isOver { state.ends[state.number] = end }
            return (state.number, state.isOver)
        }
        if isOver { end() }
        defer { state.withLock { _ = $0.ends.removeValue(forKey: number) } }
        return try await body()
    }

    /// The time is over, for what runs and for what comes.
    func fall() {
        let ends = state.withLock { state in
            state.isOver = true
            defer { state.ends = [:] }
            return Array(state.ends.values)
        }
        for end in ends { end() }
    }
}
