import GlimHub
import GlimTrain
import Synchronization

/// How far a download is: `GLM-5  3/141 files  12.3 of 755.6 GB  85.0 MB/s  2:25:10 left`.
final class PullProgress: Sendable {
    private struct State {
        var line = StatusLine()
        /// What had come when, over the last seconds: the rate is theirs.
        var recent: [(at: ContinuousClock.Instant, bytes: Int)] = []
    }

    private static let window: Duration = StatusLine.isTerminal ? .seconds(10) : .seconds(60)

    private let name: String
    private let state = Mutex(State())

    init(_ name: String) { self.name = name }

    func show(_ progress: Pull.Progress) {
        state.withLock { state in
            guard state.line.isDue else { return }
            let now = ContinuousClock.now
            state.recent.append((at: now, bytes: progress.fetchedBytes))
            while state.recent.count > 2, now - state.recent[0].at > Self.window { state.recent.removeFirst() }
            let (first, seconds) = (state.recent[0], (now - state.recent[0].at) / .seconds(1))
            let rate = seconds > 0 ? Double(progress.fetchedBytes - first.bytes) / seconds : 0
            state.line.show(Self.line(name, progress, rate: rate))
        }
    }

    func clear() { state.withLock { $0.line.clear() } }

    private static func line(_ name: String, _ progress: Pull.Progress, rate: Double) -> String {
        var parts = [
            name, "\(progress.doneFiles)/\(progress.totalFiles) files",
            "\(size(progress.doneBytes)) of \(size(progress.totalBytes))",
        ]
        if rate >= 1 {
            parts.append("\(size(Int(rate)))/s")
            let left = Double(progress.totalBytes - progress.doneBytes) / rate
            parts.append("\(ProgressLine.clock(.seconds(left))) left")
        }
        return parts.joined(separator: "  ")
    }

    /// `755.6 GB`: in thousands, as hubs and networks count.
    static func size(_ bytes: Int) -> String {
        var (value, units) = (Double(bytes), ["B", "kB", "MB", "GB", "TB"][...])
        while value >= 999.95, units.count > 1 {
            value /= 1000
            units.removeFirst()
        }
        return "\(value.formatted(digits: units.first == "B" ? 0 : 1)) \(units.first ?? "")"
    }
}
