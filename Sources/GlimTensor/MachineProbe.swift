import CGlimKernels

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// What the threads of this machine can do at most, measured: the roofs for every other measurement.
public struct MachineProbe: Sendable, Equatable {
    /// Bytes read from memory in a second, all threads together.
    public let bytesPerSecond: Double
    /// Operations in a second (a multiply-add is two), all threads together, from registers alone.
    public let operationsPerSecond: Double
    /// What they are done in: f32 with f32, bf16 with bf16, or integers with int8.
    public let format: Weight.Format

    /// The higher of two measurements: neighbours on a shared machine only ever take away.
    public static func best(_ a: MachineProbe, _ b: MachineProbe) -> MachineProbe {
        MachineProbe(
            bytesPerSecond: max(a.bytesPerSecond, b.bytesPerSecond),
            operationsPerSecond: max(a.operationsPerSecond, b.operationsPerSecond), format: a.format)
    }

    /// Measures for about a second, with the threads that `ThreadPool.shared` has.
    public static func measure(_ format: Weight.Format = .f32) -> MachineProbe {
        MachineProbe(bytesPerSecond: readRate(), operationsPerSecond: operationRate(format), format: format)
    }

    /// Whether products of bf16 pairs are faster here than of f32, by more than a measurement is off: of two processors
    /// with AVX-512 BF16 a Zen 4 does them twice as fast, a Sapphire Rapids half as fast.
    public static var prefersBF16: Bool {
        KernelSet.multipliesBF16 && operationRate(.bf16) > 1.2 * operationRate(.f32)
    }

    /// Beyond every cache; not from the buffer pool, whose peak is a measurement of its own.
    private static let probedBytes = 256 << 20

    private static func readRate() -> Double {
        let count = probedBytes / 4
        var raw: UnsafeMutableRawPointer?
        guard posix_memalign(&raw, 2 << 20, probedBytes) == 0, let raw else { return 0 }
        defer { free(raw) }
        #if os(Linux)
        madvise(raw, probedBytes, 14 /* MADV_HUGEPAGE */)
        #endif
        let numbers = raw.assumingMemoryBound(to: Float.self)
        numbers.update(repeating: 1, count: count)
        let pieces = ThreadPool.shared.threadCount * 4
        let each = count / pieces
        return fastest(seconds: 0.4) {
            spread(pieces) { i in Double(kernels.pointee.probe_read(numbers + i * each, Int64(each))) }
            return Double(each * pieces * 4)
        }
    }

    private static func operationRate(_ format: Weight.Format) -> Double {
        let threads = ThreadPool.shared.threadCount
        var rounds: Int64 = 1 << 12
        // Long enough that starting the threads does not show: about 10 ms.
        while rounds < 1 << 30 {
            let time = seconds { _ = chain(rounds, format) }
            if time > 0.01 { break }
            rounds *= 2
        }
        return fastest(seconds: 0.4) { spread(threads) { _ in chain(rounds, format) } }
    }

    private static func chain(_ rounds: Int64, _ format: Weight.Format) -> Double {
        var (value, integer): (Float, Int32) = (1, 1)
        return switch format {
        case .f32: kernels.pointee.probe_fma(&value, rounds)
        case .bf16: kernels.pointee.probe_bf16(&value, rounds)
        case .int8, .int4: kernels.pointee.probe_int8(&integer, rounds)
        }
    }

    /// The sum of what the pieces return.
    @discardableResult
    private static func spread(_ pieces: Int, _ body: (Int) -> Double) -> Double {
        let results = UnsafeMutableBufferPointer<Double>.allocate(capacity: pieces)
        defer { results.deallocate() }
        results.initialize(repeating: 0)
        ThreadPool.shared.run(pieces) { results[$0] = body($0) }
        return results.reduce(0, +)
    }

    /// Repeats `body`, which returns how much it did; the highest rate of at least three runs.
    private static func fastest(seconds limit: Double, _ body: () -> Double) -> Double {
        var (best, spent, runs) = (0.0, 0.0, 0)
        while runs < 3 || spent < limit {
            var done = 0.0
            let time = seconds { done = body() }
            best = max(best, done / max(time, 1e-9))
            spent += time
            runs += 1
        }
        return best
    }

    static func seconds(_ body: () -> Void) -> Double {
        ContinuousClock().measure(body) / .seconds(1)
    }
}
