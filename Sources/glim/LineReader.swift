import GlimTrain

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Lines of standard input. Unlike `readLine`, it tells Ctrl-C from the end.
struct LineReader {
    enum Event {
        case line(String)
        case interrupted
        case end
    }

    private var held: [UInt8] = []
    /// How many of those are known to hold no line break.
    private var searched = 0
    private var isAtEnd = false

    /// No model reads as much in one turn.
    private static let longestLine = 64 << 20

    /// - Throws: `Failure` where standard input cannot be read, or a line never ends.
    mutating func next() throws -> Event {
        while true {
            if let end = held[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer {
                    held.removeSubrange(...end)
                    searched = 0
                }
                return .line(text(held[..<end]))
            }
            searched = held.count
            guard searched <= Self.longestLine else {
                throw Failure(
                    "a line of standard input has more than \(Self.longestLine >> 20) MiB; write less in a turn")
            }
            if isAtEnd {
                defer { (held, searched) = ([], 0) }
                return held.isEmpty ? .end : .line(text(held[...]))
            }
            var chunk = [UInt8](repeating: 0, count: 4096)
            let count = read(STDIN_FILENO, &chunk, chunk.count)
            if count > 0 {
                held += chunk[..<count]
            } else if count == 0 {
                isAtEnd = true
            } else if errno == EINTR {
                StopSignal.clear()
                return .interrupted
            } else {
                let why = String(cString: strerror(errno))
                throw Failure("standard input cannot be read: \(why); give a text with | or type one")
            }
        }
    }

    private func text(_ line: ArraySlice<UInt8>) -> String {
        String(decoding: line.last == UInt8(ascii: "\r") ? line.dropLast() : line, as: UTF8.self)
    }
}
