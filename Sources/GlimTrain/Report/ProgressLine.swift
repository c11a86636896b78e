import Foundation

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// The line that tells a person how far training is: `step 120/2000  loss 3.214  41.2k tok/s  12:05 left`.
///
/// On a terminal it is redrawn in place, a few times a second; elsewhere (a log file, CI) it is a new line every now
/// and then. This type only decides what to write and when, given the time; `write` sends it to standard error.
public struct ProgressLine: Sendable {
    private let label: String
    private let unit: String
    private let stepCount: Int
    private let firstStep: Int
    private let isTerminal: Bool
    private let width: Int
    private let interval: Duration
    private let start: ContinuousClock.Instant
    private var lastShown: ContinuousClock.Instant?
    private var isLineOpen = false

    /// - Parameters:
    ///   - label: the stage, first on the line.
    ///   - unit: what a step is called.
    ///   - stepCount: of the whole run.
    ///   - firstStep: the step a resumed run starts from; the time left is judged by the steps since.
    ///   - isTerminal: whether to redraw in place; nil asks whether standard error is a terminal.
    ///   - width: columns to stay within; nil asks the terminal.
    ///   - interval: the least time between two showings; nil for 0.1 s on a terminal, 10 s elsewhere.
    public init(
        label: String, unit: String = "step", stepCount: Int, firstStep: Int = 0, isTerminal: Bool? = nil,
        width: Int? = nil, interval: Duration? = nil, now: ContinuousClock.Instant = .now
    ) {
        let isTerminal = isTerminal ?? (isatty(STDERR_FILENO) == 1)
        (self.label, self.unit, self.stepCount, self.firstStep) = (label, unit, stepCount, firstStep)
        self.isTerminal = isTerminal
        self.width = max(20, width ?? Self.terminalWidth)
        self.interval = interval ?? (isTerminal ? .milliseconds(100) : .seconds(10))
        start = now
    }

    /// What to write after a step; nil when it is too early to show again.
    ///
    /// - Parameter step: how many steps are done.
    public mutating func update(
        step: Int, loss: Double, tokensPerSecond: Double, now: ContinuousClock.Instant = .now
    ) -> String? {
        update(step: step, figure: "loss \(loss.formatted(digits: 3))", tokensPerSecond: tokensPerSecond, now: now)
    }

    /// The same of work that has no loss.
    ///
    /// - Parameter figure: what is told beside the rate.
    public mutating func update(
        step: Int, figure: String, tokensPerSecond: Double, now: ContinuousClock.Instant = .now
    ) -> String? {
        if let lastShown, now - lastShown < interval, step < stepCount { return nil }
        lastShown = now
        var parts = ["\(label)  \(unit) \(step)/\(stepCount)", figure]
        parts.append("\(Self.rate(tokensPerSecond)) tok/s")
        if let left = timeLeft(step: step, now: now) { parts.append("\(Self.clock(left)) left") }
        return draw(parts.joined(separator: "  "))
    }

    /// What to write before other output, so that it starts on a line of its own.
    public mutating func interrupt() -> String {
        defer { isLineOpen = false }
        return isLineOpen ? "\n" : ""
    }

    /// The same at the end.
    public mutating func finish() -> String { interrupt() }

    /// Sends text to standard error.
    public static func write(_ text: String?) {
        guard let text, !text.isEmpty else { return }
        try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
    }

    /// How long the run will go on if it keeps its pace; nil while nothing can be said.
    func timeLeft(step: Int, now: ContinuousClock.Instant) -> Duration? {
        let done = step - firstStep
        guard done > 0 else { return nil }
        return max(.zero, (now - start) * (Double(stepCount - step) / Double(done)))
    }

    private mutating func draw(_ text: String) -> String {
        guard isTerminal else { return text + "\n" }
        isLineOpen = true
        // One column stays free: a full line would wrap, and the next redraw would leave half of it behind.
        return "\r" + text.prefix(width - 1) + "\u{1B}[K"
    }

    // MARK: - Numbers for people

    static func rate(_ value: Double) -> String {
        switch value {
        case _ where !value.isFinite: "\(value)"
        case ..<1000: value.formatted(digits: value < 10 ? 1 : 0)
        case ..<1e6: (value / 1e3).formatted(digits: 1) + "k"
        case ..<1e9: (value / 1e6).formatted(digits: 1) + "M"
        default: (value / 1e9).formatted(digits: 1) + "G"
        }
    }

    /// `0:07`, `12:05`, `3:02:10`.
    package static func clock(_ duration: Duration) -> String {
        // A run without end in sight is shown as very long rather than overflowing.
        let seconds = Int(min(max(0, duration.components.seconds), 359_999_999))
        let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60)
        func two(_ n: Int) -> String { n < 10 ? "0\(n)" : "\(n)" }
        return h > 0 ? "\(h):\(two(m)):\(two(s))" : "\(m):\(two(s))"
    }

    private static var terminalWidth: Int {
        var size = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }
}

extension Double {
    /// For people: so many digits after the point, or "nan", "inf".
    package func formatted(digits: Int) -> String { isFinite ? String(format: "%.\(digits)f", self) : "\(self)" }
}
