import Synchronization

/// How much of a large model is loaded or written.
final class LoadingProgress: Sendable {
    private let name: String
    private let verb: String
    private let line = Mutex(StatusLine(after: StatusLine.isTerminal ? .seconds(2) : .seconds(10)))

    init(_ name: String, doing verb: String = "loading") { (self.name, self.verb) = (name, verb) }

    /// - Parameter fraction: from 0 to 1.
    func show(_ fraction: Double) {
        guard fraction < 1 else { return }
        line.withLock { $0.show("\(verb) \(name), \(Int(100 * fraction))%") }
    }

    func clear() { line.withLock { $0.clear() } }
}
