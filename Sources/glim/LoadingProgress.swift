#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif
import GlimTrain
import Synchronization

/// How much of a large model is loaded or written: a line of a terminal, redrawn in place and gone at the end; elsewhere a new line
/// every ten seconds.
final class LoadingProgress: Sendable {
    private let name: String
    private let verb: String
    private let isTerminal = isatty(STDERR_FILENO) == 1
    private let shown: Mutex<(at: ContinuousClock.Instant, isOpen: Bool)>

    init(_ name: String, doing verb: String = "loading") {
        (self.name, self.verb) = (name, verb)
        // What is loaded in two seconds needs no telling.
        let first = ContinuousClock.now + .seconds(isTerminal ? 2 : 10) - Self.interval(isTerminal)
        shown = Mutex((at: first, isOpen: false))
    }

    private static func interval(_ isTerminal: Bool) -> Duration { isTerminal ? .milliseconds(200) : .seconds(10) }

    /// - Parameter fraction: from 0 to 1.
    func show(_ fraction: Double) {
        shown.withLock { shown in
            let now = ContinuousClock.now
            guard now - shown.at >= Self.interval(isTerminal), fraction < 1 else { return }
            shown = (now, isTerminal)
            let text = "\(verb) \(name), \(Int(100 * fraction))%"
            ProgressLine.write(isTerminal ? "\r\u{1B}[K\(text)" : "\(text)\n")
        }
    }

    func clear() {
        shown.withLock { shown in
            if shown.isOpen { ProgressLine.write("\r\u{1B}[K") }
            shown.isOpen = false
        }
    }
}
