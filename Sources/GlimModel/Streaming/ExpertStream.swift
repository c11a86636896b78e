import Foundation
public import GlimCheckpoint
import GlimTensor

/// The experts of a model that does not fit into memory: those that are used most are held, the others read from the
/// checkpoint when a pass needs them.
///
/// A few threads of its own read, first what a pass waits for, then what the router of the next layer makes of the present
/// one's hidden state, then what earlier runs used most. A pass computes with what is there while the rest comes. None of
/// it shows in a number: experts are the same bits whenever they come, and their outputs are added in a fixed order.
public final class ExpertStream: ExpertSource {
    /// What was asked for, and found.
    public struct Statistics: Sendable, Equatable {
        /// Experts that passes needed, each once a pass and layer.
        public var needed = 0
        /// Of these: in memory when they were asked for,
        public var held = 0
        /// and of those, read because the layer before guessed so.
        public var guessed = 0
        /// Bytes of experts read, guesses included.
        public var readByteCount = 0
        /// Time that passes waited.
        public var waited = Duration.zero

        /// The share of what was needed that did not have to be waited for.
        public var hitRate: Double { needed == 0 ? 1 : Double(held) / Double(needed) }
    }

    private let reading: ExpertReading
    private let readerCount: Int

    /// - Parameters:
    ///   - byteCount: of experts that are held at one time.
    ///   - counts: of earlier runs.
    /// - Throws: `CheckpointError` for files that changed since their headers were read.
    init(
        _ plan: LoadPlan, _ shapes: [ExpertShape], byteCount: Int, counts: ExpertCounts?, options: Options
    ) throws(CheckpointError) {
        let files = try ExpertFiles(plan, shapes, direct: options.isDirect)
        reading = ExpertReading(files, shapes, capacity: byteCount, counts: counts, guess: options.guess)
        readerCount = options.readerCount
    }

    deinit { reading.close() }

    /// Starts its threads, once the rest of the model is loaded, which takes memory of its own.
    func start() {
        for _ in 0..<readerCount {
            let thread = Thread { [reading] in reading.run() }
            thread.name = "glim reader"
            thread.start()
        }
    }

    /// How it reads. None of it changes a number.
    package struct Options: Sendable {
        /// Past the system's memory of files: where that could not hold what is read, it would only cost copying.
        package var isDirect = false
        package var readerCount = ExpertStream.readerCount
        /// What is made of a guess before it is followed: tests guess wrong.
        package var guess: @Sendable ([Int]) -> [Int] = { $0 }

        package init() {}
    }

    /// Threads that read: enough for a disk to have the next piece at hand while one is put in order.
    static let readerCount = 4

    public var statistics: Statistics { reading.latestStatistics }

    /// What went wrong with a file, and made all numbers since worthless; nil if nothing did.
    public var failure: CheckpointError? { reading.latestFailure }

    /// Bytes of experts that are held now.
    public var heldByteCount: Int { reading.heldByteCount }

    /// How often experts were chosen, here and in runs before.
    package var counts: ExpertCounts { reading.counts }

    func serve(layer: Int, needed: [Int], load: [Int], _ use: (ExpertWeights, [Int]) -> Void) {
        reading.serve(layer: layer, needed: needed, load: load, use)
    }

    var wantsGuesses: Bool { reading.wantsGuesses }

    func expect(layer: Int, experts: [Int]) { reading.expect(layer: layer, experts: experts) }
}

/// What passes and readers share.
// @unchecked: `files` and `shapes` are constant; everything else is touched with the lock of `condition` held, and an
// expert's memory by whoever the table gave it to.
private final class ExpertReading: @unchecked Sendable {
    private let files: ExpertFiles
    private let shapes: [ExpertShape]
    /// Where a layer of the checkpoint is among these with experts.
    private let index: [Int: Int]
    private let guess: @Sendable ([Int]) -> [Int]
    private let width: Int
    /// One layer of one pass at a time: two that wait for room would wait for each other.
    private let turn = NSLock()
    private let condition = NSCondition()
    private var table: ExpertTable
    /// Begun, for a pass that waits.
    private var wanted: [(id: Int, memory: UnsafeMutableRawPointer)] = []
    /// Not begun.
    private var guesses: [Int] = []
    /// Not begun, the most used last.
    private var habits: [Int]
    /// Read once at least.
    private var known: Set<Int> = []
    private var statistics = ExpertStream.Statistics()
    private var failure: CheckpointError?
    private var isClosed = false

    init(
        _ files: ExpertFiles, _ shapes: [ExpertShape], capacity: Int, counts: ExpertCounts?,
        guess: @escaping @Sendable ([Int]) -> [Int]
    ) {
        (self.files, self.shapes, self.guess) = (files, shapes, guess)
        let width = shapes.first?.count ?? 0
        let heats = counts?.heats(of: shapes)
        self.width = width
        index = Dictionary(uniqueKeysWithValues: shapes.enumerated().map { ($1.layer, $0) })
        table = ExpertTable(capacity: capacity, sizes: shapes.map(\.byteCount), width: width, heats: heats)
        habits = Self.habits(heats ?? [])
    }

    /// Experts that were used before, the most used last; of two that were used alike the lower one.
    private static func habits(_ heats: [Double]) -> [Int] {
        heats.indices.filter { heats[$0] > 0 }.sorted { (heats[$0], $1) < (heats[$1], $0) }
    }

    private func locked<R>(_ body: () -> R) -> R {
        condition.lock()
        defer { condition.unlock() }
        return body()
    }

    var latestStatistics: ExpertStream.Statistics { locked { statistics } }
    var latestFailure: CheckpointError? { locked { failure } }
    var heldByteCount: Int { locked { table.byteCount } }
    var counts: ExpertCounts { locked { ExpertCounts(shapes, heat: table.heat) } }
    var wantsGuesses: Bool { locked { !table.isWhole && failure == nil } }

    func close() {
        locked {
            isClosed = true
            condition.broadcast()
        }
    }

    // MARK: Passes

    func serve(layer: Int, needed: [Int], load: [Int], _ use: (ExpertWeights, [Int]) -> Void) {
        guard let l = index[layer] else { preconditionFailure("ExpertStream: layer \(layer) has no experts") }
        turn.lock()
        defer { turn.unlock() }
        condition.lock()
        defer { condition.unlock() }
        // What was guessed and not begun is known better now.
        guesses.removeAll { $0 / width == l }
        table.record(load, layer: l)
        let first = l * width
        note(needed.map { first + $0 })
        var waiting = needed
        while !waiting.isEmpty, failure == nil {
            var ready: [(expert: Int, pointer: UnsafeMutableRawPointer)] = []
            var missing: [Int] = []
            // First those that are there: they must not give way to the others.
            for expert in waiting {
                if let pointer = table.memory(of: first + expert) {
                    table.need(first + expert, true)
                    ready.append((expert, pointer))
                } else {
                    missing.append(expert)
                }
            }
            let isBegun = missing.reduce(false) { begin(first + $1) || $0 }
            if isBegun { condition.broadcast() }
            if ready.isEmpty {
                wait()
                continue
            }
            waiting = missing
            condition.unlock()
            use(shapes[l].placed(ready), ready.map { $0.expert })
            condition.lock()
            for (expert, _) in ready { table.need(first + expert, false) }
        }
        for expert in waiting { table.need(first + expert, false) }
        table.passed(layer: l)
    }

    /// Counts what was needed.
    private func note(_ ids: [Int]) {
        statistics.needed += ids.count
        for id in ids where table.memory(of: id) != nil {
            statistics.held += 1
            if table.isGuessed(id) { statistics.guessed += 1 }
        }
    }

    /// Has an expert read that a pass waits for. What is on its way for another reason is now for this one.
    ///
    /// - Returns: whether a reader has something to do.
    private func begin(_ id: Int) -> Bool {
        if table.isComing(id) {
            table.need(id, true)
            return false
        }
        guard let memory = table.begin(id, for: .need) else { return false }
        wanted.append((id, memory))
        return true
    }

    private func wait() {
        let clock = ContinuousClock()
        let began = clock.now
        condition.wait()
        statistics.waited += clock.now - began
    }

    func expect(layer: Int, experts: [Int]) {
        guard let l = index[layer] else { return }
        locked {
            let ids = guess(experts).map { l * width + $0 }
            for id in ids { table.expect(id) }
            // No more than leave most of what is held alone.
            let most = max(1, table.capacity / 4 / shapes[l].byteCount)
            guesses = Array(ids.filter { table.memory(of: $0) == nil && !table.isComing($0) }.prefix(most))
            if !guesses.isEmpty { condition.broadcast() }
        }
    }

    // MARK: Readers

    /// Reads until the stream is closed.
    func run() {
        let room = ExpertFiles.ReadingRoom(shapes)
        condition.lock()
        defer { condition.unlock() }
        while !isClosed {
            guard failure == nil, let (id, memory) = next() else {
                condition.wait()
                continue
            }
            let isFirst = !known.contains(id)
            condition.unlock()
            let problem = read(id, into: memory, room, isFirst: isFirst)
            condition.lock()
            if let problem {
                failure = failure ?? problem
                table.failed(id)
            } else {
                table.arrived(id)
                known.insert(id)
                statistics.readByteCount += shapes[id / width].byteCount
            }
            condition.broadcast()
        }
    }

    private func read(
        _ id: Int, into memory: UnsafeMutableRawPointer, _ room: ExpertFiles.ReadingRoom, isFirst: Bool
    ) -> CheckpointError? {
        do throws(CheckpointError) {
            try files.read(id % width, of: shapes[id / width], into: memory, room, checksShape: isFirst)
            return nil
        } catch { return error }
    }

    /// What to read next, with its memory.
    private func next() -> (Int, UnsafeMutableRawPointer)? {
        if !wanted.isEmpty { return wanted.removeFirst() }
        while !guesses.isEmpty {
            let id = guesses.removeFirst()
            if let memory = table.begin(id, for: .guess) { return (id, memory) }
        }
        while let id = habits.popLast() {
            if let memory = table.begin(id, for: .habit) { return (id, memory) }
        }
        return nil
    }
}
