import Foundation
import GlimTensor
import GlimTestSupport
import Synchronization
import Testing

@Suite("thread pool") struct ThreadPoolTests {
    /// How often each piece ran.
    private final class Counts: Sendable {
        let runs: Locked<[Int]>
        init(_ count: Int) { runs = Locked([Int](repeating: 0, count: count)) }
        func ran(_ i: Int) { runs.withLock { $0[i] += 1 } }
        var areAllOne: Bool { runs.withLock { $0.allSatisfy { $0 == 1 } } }
    }

    @Test("each piece runs exactly once", arguments: 1...6) func once(threads: Int) {
        Machine.alone(threads: threads) {
            for count in [0, 1, 2, 3, 5, 8, 64, 1000, 4097] {
                let counts = Counts(count)
                ThreadPool.shared.run(count) { counts.ran($0) }
                #expect(counts.areAllOne, "\(count) pieces")
            }
            ThreadPool.shared.run(-1) { _ in Issue.record("a piece of no job ran") }
        }
    }

    @Test("with several threads more than one takes part") func shared() {
        Machine.alone(threads: 4) {
            // Each piece waits a moment for another thread to come. A test elsewhere may have the pool: then again.
            let seen = Locked<Set<UInt>>([])
            let deadline = Date().addingTimeInterval(30)
            while seen.withLock({ $0.count }) < 2, Date() < deadline {
                ThreadPool.shared.run(4) { _ in
                    seen.withLock { _ = $0.insert(UInt(bitPattern: ObjectIdentifier(Thread.current))) }
                    let moment = Date().addingTimeInterval(0.02)
                    while seen.withLock({ $0.count }) < 2, Date() < moment {}
                }
            }
            #expect(seen.withLock { $0.count } >= 2)
        }
    }

    @Test("ten thousand tiny jobs, one after another", arguments: [2, 3]) func tiny(threads: Int) {
        Machine.alone(threads: threads) {
            let sum = Atomic<Int>(0)
            for job in 0..<10_000 {
                ThreadPool.shared.run(1 + job % 5) { sum.add($0 + 1, ordering: .relaxed) }
            }
            let expected = (0..<10_000).reduce(0) { $0 + (1 + $1 % 5) * (2 + $1 % 5) / 2 }
            #expect(sum.load(ordering: .relaxed) == expected)
        }
    }

    @Test("a job after a pause wakes threads that sleep") func asleep() {
        Machine.alone(threads: 3) {
            for _ in 0..<5 {
                Thread.sleep(forTimeInterval: 0.02)
                let counts = Counts(100)
                ThreadPool.shared.run(100) { counts.ran($0) }
                #expect(counts.areAllOne)
            }
        }
    }

    /// No lock here: the pool alone makes one thread's writes another's, which the thread sanitizer looks at.
    @Test("what pieces read was written before the job, and what they write is there after it") func ordered() {
        Machine.alone(threads: 4) {
            let count = 64
            nonisolated(unsafe) let cells = UnsafeMutablePointer<Int>.allocate(capacity: count)
            defer { cells.deallocate() }
            cells.initialize(repeating: 0, count: count)
            for job in 1...2000 {
                for i in 0..<count { cells[i] += 1 }
                // Each piece another cell than in the job before, so that cells go from thread to thread.
                ThreadPool.shared.run(count) { cells[($0 + job) % count] += 1 }
                if job % 500 == 0 { Thread.sleep(forTimeInterval: 0.01) }
            }
            #expect((0..<count).allSatisfy { cells[$0] == 4000 })
        }
    }

    @Test("a job within a piece of another runs there") func nested() {
        Machine.alone(threads: 3) {
            let counts = Counts(20 * 30)
            ThreadPool.shared.run(20) { i in
                ThreadPool.shared.run(30) { j in counts.ran(i * 30 + j) }
            }
            #expect(counts.areAllOne)
        }
    }

    @Test("several callers at a time, while the number of threads changes, all get their work done") func callers() {
        Machine.alone(threads: 3) {
            let failures = Atomic<Int>(0)
            let finished = Atomic<Int>(0)
            for caller in 0..<4 {
                Thread.detachNewThread {
                    for job in 0..<400 {
                        let counts = Counts(1 + (caller * 31 + job) % 40)
                        ThreadPool.shared.run(counts.runs.withLock { $0.count }) { counts.ran($0) }
                        if !counts.areAllOne { failures.add(1, ordering: .relaxed) }
                    }
                    finished.add(1, ordering: .releasing)
                }
            }
            var next = 0
            while finished.load(ordering: .acquiring) < 4 {
                ThreadPool.shared.threadCount = 1 + next % 5
                next += 1
                Thread.sleep(forTimeInterval: 0.0005)
            }
            #expect(failures.load(ordering: .relaxed) == 0)
        }
    }
}

@Suite("buffers") struct BufferTests {
    @Test("bytes in use return to what they were, and blocks are used again") func reuse() async {
        await #expect(processExitsWith: .success) {
            let before = BufferPool.liveBytes
            var addresses: Set<UnsafeMutableRawPointer> = []
            for _ in 0..<5 {
                let tensor = Tensor(zeros: [1000, 37])
                #expect(BufferPool.liveBytes >= before + 148_000 && BufferPool.liveBytes < before + 148_000 * 9 / 8)
                addresses.insert(UnsafeMutableRawPointer(tensor.pointer))
                withExtendedLifetime(tensor) {}
            }
            #expect(addresses.count == 1)
            #expect(BufferPool.liveBytes == before)
        }
    }

    @Test("the peak is the most that was in use at one time") func peak() async {
        await #expect(processExitsWith: .success) {
            let kilobyte = 1024
            BufferPool.resetPeak()
            let before = BufferPool.peakBytes
            #expect(before == BufferPool.liveBytes)
            do {
                let (a, b) = (Buffer(byteCount: 64 * kilobyte), Buffer(byteCount: 32 * kilobyte))
                withExtendedLifetime((a, b)) {}
            }
            do { withExtendedLifetime(Buffer(byteCount: 64 * kilobyte)) {} }
            #expect(BufferPool.peakBytes == before + 96 * kilobyte)
            BufferPool.resetPeak()
            #expect(BufferPool.peakBytes == before)
            BufferPool.trim()
            withExtendedLifetime(Buffer(byteCount: kilobyte)) {}
        }
    }

    @Test("a training loop stops taking memory after its first step") func steady() async {
        await #expect(processExitsWith: .success) {
            let (x, weight) = (Tensor(zeros: [64, 128]), Weight(outputs: 128, inputs: 128))
            let state = AdamWState(for: weight)
            var (peaks, live): (Set<Int>, Set<Int>) = ([], [])
            for step in 1...6 {
                BufferPool.resetPeak()
                let tape = Tape()
                let y = Tensor.linear(Tensor.linear(tape.follow(x), weight, tape: tape), weight, tape: tape)
                tape.backward(from: [(y, x)])
                weight.adamW(
                    state, gradient: tape.gradients[weight]!, gradientScale: 1, learningRate: 1e-3, beta1: 0.9,
                    beta2: 0.95, epsilon: 1e-8, decay: 0, step: step)
                if step > 1 {
                    (peaks, live) = (peaks.union([BufferPool.peakBytes]), live.union([BufferPool.liveBytes]))
                }
            }
            #expect(peaks.count == 1 && live.count <= 2)
        }
    }

    @Test("every size has room, aligned to 64 bytes", arguments: [0, 1, 63, 64, 65, 1000, 1024, 1025, 4097, 5 << 20])
    func sizes(byteCount: Int) {
        let buffer = Buffer(byteCount: byteCount)
        #expect(Int(bitPattern: buffer.pointer) % 64 == 0 && buffer.byteCount == byteCount)
        buffer.pointer.initializeMemory(as: UInt8.self, repeating: 0xA5, count: byteCount)
        #expect(byteCount == 0 || buffer.pointer.load(fromByteOffset: byteCount - 1, as: UInt8.self) == 0xA5)
    }
}
