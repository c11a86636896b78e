import Foundation
import GlimTensor

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// `glim bench threads`: what it costs to share work out, and what waiting costs.
enum BenchThreads {
    static func run() throws -> BenchTable {
        var table = BenchTable(.threads)
        try table.begin()
        let times = hotForks()
        // The clock itself takes some tens of nanoseconds of each.
        let median = times[times.count / 2]
        try table.add(
            .init(name: "fork and join, median", measured: median, unit: "s", bar: "under 2 us", ok: median < 2e-6))
        try table.add(.init(name: "fork and join, 99 of 100", measured: times[times.count * 99 / 100], unit: "s"))
        let idle = idleProcessorTime()
        // Waking up to look at the clock is all that may show.
        try table.add(
            .init(
                name: "processor time of an idle second", measured: idle, unit: "s", bar: "under 500 us",
                ok: idle < 5e-4))
        return table
    }

    /// Seconds of jobs of one empty piece a thread, one right after the other, sorted.
    private static func hotForks() -> [Double] {
        let threads = ThreadPool.shared.threadCount
        let clock = ContinuousClock()
        func job() -> Double { clock.measure { ThreadPool.shared.run(threads) { _ in } } / .seconds(1) }
        for _ in 0..<10_000 { _ = job() }
        return (0..<100_000).map { _ in job() }.sorted()
    }

    /// Of all threads, once they have parked.
    private static func idleProcessorTime() -> Double {
        usleep(100_000)
        let before = processorTime
        usleep(1_000_000)
        return processorTime - before
    }

    private static var processorTime: Double {
        var usage = rusage()
        #if canImport(Darwin)
        getrusage(RUSAGE_SELF, &usage)
        #else
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        #endif
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }
}
