import CGlimKernels
import Foundation
import Synchronization

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The threads that run kernels: they spin briefly for the next job, then park, and never touch Swift's cooperative
/// threads.
///
/// A job is a count of independent pieces; who runs which piece never shows in a result, because every output is
/// computed by one piece in one fixed order. One job runs at a time: a caller that finds the pool taken runs its
/// pieces itself.
///
/// Each thread begins with a share of its own, the same part of every job, and then helps the others: what one
/// operation leaves in a processor's caches, the next one finds there.
// @unchecked: the job's fields are written only by the caller that holds `busy`, while no worker is inside.
public final class ThreadPool: @unchecked Sendable {
    /// The pool of the process.
    public static let shared = ThreadPool()

    /// Threads that take part in a job, the caller included.
    public var threadCount: Int {
        get { limit.load(ordering: .relaxed) }
        set {
            precondition(newValue >= 1, "ThreadPool: \(newValue) threads")
            limit.store(newValue, ordering: .relaxed)
        }
    }

    /// The processors this process may use.
    ///
    /// In a container with a share of a machine that is fewer than there are: threads that spin beyond it would only
    /// take the share from each other.
    public static var processorCount: Int {
        var count = ProcessInfo.processInfo.activeProcessorCount
        #if os(Linux)
        if let file = fopen("/sys/fs/cgroup/cpu.max", "r") {
            defer { fclose(file) }
            var line = [CChar](repeating: 0, count: 64)
            if fgets(&line, 64, file) != nil {
                let words = line.prefix { $0 != 0 }.split { $0 == 32 || $0 == 10 }.map {
                    Int(String(decoding: $0.map { UInt8(bitPattern: $0) }, as: UTF8.self))
                }
                // "max 100000" sets no limit.
                if words.count == 2, let quota = words[0], let period = words[1], period > 0 {
                    count = min(count, (quota + period - 1) / period)
                }
            }
        }
        #endif
        return max(1, count)
    }

    private let limit = Atomic<Int>(ThreadPool.processorCount)
    private let busy = Atomic<Bool>(false)
    // The job. Written by the one caller that holds `busy`, read by workers that passed the gate.
    private var body: (@Sendable (Int) -> Void)?
    private var pieceCount = 0
    private var shareCount = 0
    /// The next piece of each share, `apart` from each other.
    private var next = UnsafeMutablePointer<Atomic<Int>>.allocate(capacity: 0)
    private var shareRoom = 0
    /// Low 16 bits: workers inside. Bit 16: open. Above: the job's number.
    private let gate = Atomic<UInt64>(0)
    private var started = 0
    private let sleepers = Atomic<Int>(0)
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    private static let open: UInt64 = 1 << 16
    private static let inside: UInt64 = open - 1
    /// So that threads do not take cache lines, fetched in pairs, from each other.
    private static let apart = 16

    private init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(wake, nil)
    }

    /// Calls `body` once for each of 0 ..< pieces, in no order, and returns when all are done.
    package func run(_ pieces: Int, _ body: (Int) -> Void) {
        let threads = min(threadCount, pieces)
        guard threads > 1, busy.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged else {
            for i in 0..<max(0, pieces) { body(i) }
            return
        }
        defer { busy.store(false, ordering: .releasing) }
        withoutActuallyEscaping(body) { body in
            // The pieces write disjoint outputs, which the compiler cannot see.
            self.body = unsafeBitCast(body, to: (@Sendable (Int) -> Void).self)
            defer { self.body = nil }
            pieceCount = pieces
            share(among: threads)
            while started < threads - 1 { start() }
            let job = (gate.load(ordering: .relaxed) >> 17 &+ 1) << 17
            gate.store(job | Self.open, ordering: .sequentiallyConsistent)
            if sleepers.load(ordering: .sequentiallyConsistent) > 0 {
                pthread_mutex_lock(mutex)
                pthread_cond_broadcast(wake)
                pthread_mutex_unlock(mutex)
            }
            work(first: 0)
            // Close, then wait for whoever is inside. A worker that came too late finds the gate closed.
            var state = gate.bitwiseAnd(~Self.open, ordering: .acquiringAndReleasing).newValue
            var spin = 0
            while state & Self.inside != 0 {
                // A worker that takes this long has lost its processor to another program: let it have this one.
                spin += 1
                if spin % Self.spins == 0 { sched_yield() } else { glim_relax() }
                state = gate.load(ordering: .acquiring)
            }
        }
    }

    private func share(among threads: Int) {
        if threads > shareRoom {
            next.deinitialize(count: shareRoom * Self.apart)
            next.deallocate()
            next = .allocate(capacity: threads * Self.apart)
            for i in 0..<threads * Self.apart { (next + i).initialize(to: Atomic(0)) }
            shareRoom = threads
        }
        shareCount = threads
        for i in 0..<threads { next[i * Self.apart].store(start(ofShare: i), ordering: .relaxed) }
    }

    private func start(ofShare share: Int) -> Int {
        // The product of the two may be beyond Int.
        pieceCount / shareCount * share + min(share, pieceCount % shareCount)
    }

    /// Runs pieces until none is left, beginning with a share.
    // Never inlined: its hold on `body` must end before the caller is told that it has left.
    @inline(never) private func work(first: Int) {
        let body = body!
        for share in first..<first + shareCount {
            let share = share % shareCount
            let end = start(ofShare: share + 1)
            while true {
                let i = next[share * Self.apart].wrappingAdd(1, ordering: .relaxed).oldValue
                if i >= end { break }
                body(i)
            }
        }
    }

    /// Enters the open job if it is not the one numbered `seen`; returns the number of the job last looked at.
    private func join(after seen: UInt64, index: Int) -> UInt64 {
        var state = gate.load(ordering: .acquiring)
        while true {
            let job = state >> 17
            if job == seen { return seen }
            // Too many threads for the present limit: this one sits the job out.
            if state & Self.open == 0 || index >= threadCount - 1 { return job }
            let (exchanged, original) = gate.compareExchange(
                expected: state, desired: state + 1, ordering: .acquiringAndReleasing)
            if exchanged {
                work(first: index + 1)
                gate.wrappingSubtract(1, ordering: .releasing)
                return job
            }
            state = original
        }
    }

    private func start() {
        let index = started
        started += 1
        let argument = Unmanaged.passRetained(Start(pool: self, index: index)).toOpaque()
        #if canImport(Darwin)
        var thread: pthread_t?
        pthread_create(&thread, nil, { ThreadPool.main($0) }, argument)
        #else
        var thread = pthread_t()
        pthread_create(&thread, nil, { ThreadPool.main($0!) }, argument)
        #endif
    }

    private final class Start {
        let (pool, index): (ThreadPool, Int)
        init(pool: ThreadPool, index: Int) { (self.pool, self.index) = (pool, index) }
    }

    private static func main(_ argument: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
        let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        start.pool.serve(start.index)
        return nil
    }

    /// About 100 µs of looking before a thread parks: waking one costs 20 to 50.
    private static let spins = 4000

    private func serve(_ index: Int) {
        var seen: UInt64 = 0
        while true {
            var spin = 0
            while spin < Self.spins {
                let job = join(after: seen, index: index)
                if job != seen { (seen, spin) = (job, 0) } else { spin += 1 }
                glim_relax()
            }
            pthread_mutex_lock(mutex)
            sleepers.wrappingAdd(1, ordering: .sequentiallyConsistent)
            while gate.load(ordering: .sequentiallyConsistent) >> 17 == seen { pthread_cond_wait(wake, mutex) }
            sleepers.wrappingSubtract(1, ordering: .sequentiallyConsistent)
            pthread_mutex_unlock(mutex)
        }
    }
}

/// A pointer that the pieces of one job share, while the call that made it lasts.
// @unchecked: the pieces only read, or write disjoint parts.
struct Shared<Pointer>: @unchecked Sendable {
    let pointer: Pointer
    init(_ pointer: Pointer) { self.pointer = pointer }
}
