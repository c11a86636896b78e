/// How far a long prompt is read, on a terminal.
struct ReadingProgress {
    private var line = StatusLine(after: .milliseconds(500))

    mutating func show(done: Int, of count: Int) {
        guard StatusLine.isTerminal, done < count else { return clear() }
        line.show("reading \(done) of \(count) tokens, \(100 * done / count)%")
    }

    mutating func clear() { line.clear() }
}
