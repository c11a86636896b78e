import Foundation
import GlimModel

/// What others ask of the loop, and what they may know of it.
// @unchecked: everything is touched with the lock held.
final class Inbox: @unchecked Sendable {
    enum Command {
        case submit(id: Int, Engine.Request, EventSink)
        case cancel(id: Int)
        /// Is told whether it was done.
        case swap(Model, version: Int, done: @Sendable (Bool) -> Void)
        case stop
    }

    private let condition = NSCondition()
    private var commands: [Command] = []
    private var isClosed = false
    /// Requests that came and have not ended.
    private var open = 0
    private var ids = 0
    private var heldMetrics = Engine.Metrics()
    private var heldExpertTokens: [Int: [Int]] = [:]
    private var onClose: [@Sendable () -> Void] = []

    private func locked<R>(_ body: () -> R) -> R {
        condition.lock()
        defer { condition.unlock() }
        return body()
    }

    /// A number for a request that is about to come.
    ///
    /// - Throws: `EngineError.tooMany`, or `.stopped`.
    func admit(openLimit: Int) throws(EngineError) -> Int {
        let id: Result<Int, EngineError> = locked {
            if isClosed { return .failure(.stopped) }
            if open >= openLimit { return .failure(.tooMany(open)) }
            open += 1
            ids += 1
            return .success(ids)
        }
        return try id.get()
    }

    /// - Returns: false where nobody takes commands any more.
    @discardableResult
    func send(_ command: Command) -> Bool {
        locked {
            if isClosed { return false }
            commands.append(command)
            condition.signal()
            return true
        }
    }

    /// The commands that came since the last call.
    ///
    /// - Parameter waits: whether to wait for one.
    func take(waits: Bool) -> [Command] {
        locked {
            while waits, commands.isEmpty { condition.wait() }
            defer { commands = [] }
            return commands
        }
    }

    /// A request has ended.
    func leave() { locked { open -= 1 } }

    var metrics: Engine.Metrics {
        get { locked { heldMetrics } }
        set { locked { heldMetrics = newValue } }
    }

    /// Tokens that each expert got, by layer.
    var expertTokens: [Int: [Int]] { locked { heldExpertTokens } }

    /// Adds what a pass gave to experts.
    func add(expertTokens: [Int: [Int]]) {
        locked { heldExpertTokens.merge(expertTokens) { zip($0, $1).map(+) } }
    }

    /// Commands that came too late; none comes any more.
    func close() -> [Command] {
        let (late, waiting) = locked {
            isClosed = true
            defer { (commands, onClose) = ([], []) }
            return (commands, onClose)
        }
        for body in waiting { body() }
        return late
    }

    /// Calls `body` once the loop has ended.
    func afterClose(_ body: @escaping @Sendable () -> Void) {
        let isOver = locked {
            if !isClosed { onClose.append(body) }
            return isClosed
        }
        if isOver { body() }
    }
}
