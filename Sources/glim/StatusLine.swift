import GlimTrain

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// A line that tells how far something is: on a terminal redrawn in place, five times a second at most, and gone when it is
/// cleared; elsewhere (a log file, CI) a new line every ten seconds.
struct StatusLine: Sendable {
    /// Whether there is a line to redraw.
    static let isTerminal = isatty(STDERR_FILENO) == 1

    private static let interval: Duration = isTerminal ? .milliseconds(200) : .seconds(10)

    private var next: ContinuousClock.Instant
    private var isOpen = false

    /// - Parameter delay: what takes no longer than this needs no telling.
    init(after delay: Duration = .zero) { next = .now + delay }

    /// Whether it is time to show something: who has to compute what asks first.
    var isDue: Bool { ContinuousClock.now >= next }

    /// Shows a text, where it is time to.
    mutating func show(_ text: @autoclosure () -> String) {
        guard isDue else { return }
        next = .now + Self.interval
        isOpen = Self.isTerminal
        ProgressLine.write(Self.isTerminal ? Self.start + text() : text() + "\n")
    }

    /// Takes the line away.
    mutating func clear() {
        if isOpen { ProgressLine.write(Self.start) }
        isOpen = false
    }

    /// The line's beginning, all behind it erased.
    private static let start = "\r\u{1B}[K"
}
