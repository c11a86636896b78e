#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif
import GlimTrain

/// How far a long prompt is read: a line of a terminal, redrawn in place and gone when it is through.
struct ReadingProgress {
    private let isTerminal = isatty(STDERR_FILENO) == 1
    private let began = ContinuousClock.now
    private var isShown = false

    mutating func show(done: Int, of count: Int) {
        guard isTerminal, done < count else { return clear() }
        // What is read in a moment needs no telling.
        guard isShown || ContinuousClock.now - began > .milliseconds(500) else { return }
        isShown = true
        ProgressLine.write("\r\u{1B}[Kreading \(done) of \(count) tokens, \(100 * done / count)%")
    }

    mutating func clear() {
        if isShown { ProgressLine.write("\r\u{1B}[K") }
        isShown = false
    }
}
