import Foundation
import Synchronization
import Testing

/// Reads many damaged files, and checks what every reader promises: a good value, or one error that says on one line
/// what is wrong and where; never a trap, never a wait.
///
/// `GLIM_FUZZ_COUNT` sets how many files (a few thousand otherwise), `GLIM_FUZZ_SEED` which ones. After a trap
/// of a long run `glim-fuzz-NAME` in the temporary folder is the file that was read.
public struct Fuzz: Sendable {
    public struct Outcome: Sendable {
        public var (accepted, refused) = (0, 0)
        public var slowest = Duration.zero
    }

    /// A whole number that the environment sets.
    public static func number(_ name: String) -> Int? {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
    }

    public static let isLong = number("GLIM_FUZZ_COUNT") != nil
    private static let seed = UInt64(truncatingIfNeeded: number("GLIM_FUZZ_SEED") ?? 1)

    let name: String
    let files: [MutableFile]
    let count: Int
    /// One file may take so long, on a machine that is busy with other things too.
    private let limit = Duration.seconds(5)

    /// - Parameters:
    ///   - name: of the reader, for people.
    ///   - files: good ones, to be damaged.
    ///   - count: how many without `GLIM_FUZZ_COUNT`; a reader that takes `cost` times as long as others gets so many
    ///     fewer then.
    public init(_ name: String, _ files: [MutableFile], count: Int = 3000, cost: Int = 1) {
        (self.name, self.files) = (name, files)
        self.count = Self.number("GLIM_FUZZ_COUNT").map { $0 / cost } ?? count
    }

    /// - Parameters:
    ///   - says: what every error must name: the file.
    ///   - read: reads one file, uses what it read, and throws if it is refused.
    public func run(says: String, _ read: ([UInt8]) throws -> Void) -> Outcome {
        var outcome = Outcome()
        let watch = Watch(name)
        defer { watch.stop() }
        if Self.isLong { print("fuzz \(name): \(count) files, seed \(Self.seed)") }
        let clock = ContinuousClock()
        let (began, before) = (clock.now, Machine.residentBytes)
        for number in 0..<count {
            var mutator = Mutator(seed: Self.seed, number: number)
            let bytes = mutator.mutate(files[number % files.count], donor: files[mutator.below(files.count)])
            watch.begin(number, bytes)
            let time = clock.measure {
                do {
                    try read(bytes)
                    outcome.accepted += 1
                } catch {
                    outcome.refused += 1
                    check("\(error)", says, number)
                }
            }
            outcome.slowest = max(outcome.slowest, time)
            if time > limit { Issue.record("\(name): file \(number) of seed \(Self.seed) took \(time)") }
            if Self.isLong, (number + 1) % max(1, count / 10) == 0 {
                print("fuzz \(name): \(number + 1) read in \(clock.now - began), \(outcome.accepted) good")
            }
        }
        // What one file took must go before the next: a quarter of a gigabyte is not a reader's working memory.
        let grown = Machine.residentBytes - before
        if Self.isLong { print("fuzz \(name): slowest \(outcome.slowest), memory grew by \(grown >> 20) MiB") }
        if Self.isLong, grown > 256 << 20 { Issue.record("\(name): memory grew by \(grown >> 20) MiB") }
        return outcome
    }

    private func check(_ error: String, _ says: String, _ number: Int) {
        let isLine =
            !error.isEmpty && error.unicodeScalars.count <= 2100
            && !error.unicodeScalars.contains { scalar in
                switch scalar.properties.generalCategory {
                case .control, .lineSeparator, .paragraphSeparator: true
                default: false
                }
            }
        if !isLine || !error.contains(says) {
            Issue.record(
                "\(name): file \(number) of seed \(Self.seed): not one line about \(says): \(error.debugDescription.prefix(600))"
            )
        }
    }

    /// Ends the process if one file takes a minute: a test that hangs tells nothing.
    private final class Watch: Sendable {
        private let state = Mutex((number: -1, since: ContinuousClock.now, isOver: false))
        /// Holds the file outside of this process, which may not outlive it.
        private let record: URL

        init(_ name: String) {
            record = FileManager.default.temporaryDirectory.appending(path: "glim-fuzz-\(name)")
            Thread.detachNewThread { [self] in
                while true {
                    Thread.sleep(forTimeInterval: 1)
                    let (number, since, isOver) = state.withLock { $0 }
                    if isOver { return }
                    if ContinuousClock.now - since > .seconds(60) {
                        fatalError("fuzz \(name): file \(number) of seed \(Fuzz.seed) is read without end")
                    }
                }
            }
        }

        func begin(_ number: Int, _ bytes: [UInt8]) {
            state.withLock { ($0.number, $0.since) = (number, .now) }
            guard Fuzz.isLong else { return }
            try? Data(bytes).write(to: record)
        }

        func stop() {
            state.withLock { $0.isOver = true }
            try? FileManager.default.removeItem(at: record)
        }
    }
}
