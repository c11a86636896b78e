import CGlimKernelChecks
import CGlimKernels
import Dispatch
import Synchronization

extension KernelTable {
    /// One way in which a table is wrong.
    public struct Failure: Sendable, Equatable, Codable, CustomStringConvertible {
        /// A kernel, or one of the things it computes, such as "dq of attention_backward".
        public let what: String
        /// Such as "differs".
        public let how: String
        /// The element, or byte, where that was seen first.
        public let index: Int
        /// The shape of that call, in words.
        public let shape: String
        /// How often it was seen.
        public let times: Int

        public var description: String {
            "\(what) \(how) at \(index), \(shape)" + (times == 1 ? "" : " (the first of \(times) times)")
        }
    }

    /// So many ways to be wrong are enough to know.
    private static let mostFailures = 100

    /// Holds every kernel against the portable table, to the bit, over all kinds of shapes and values; takes seconds.
    ///
    /// It is run in this process, which a kernel that fails badly takes with it: `glim kernels` has a process for each
    /// table.
    ///
    /// - Parameters:
    ///   - secondsPerCall: a call that takes longer ends the process with SIGALRM; 0 is any time.
    ///   - progress: is told of each call before it begins.
    /// - Returns: what is wrong, in the order in which it was found; nothing of a table that is right.
    public func check(secondsPerCall: Int = 0, progress: KernelProgress? = nil) -> [Failure] {
        check(seed: 0, secondsPerCall: secondsPerCall, progress: progress)
    }

    /// The same on two threads at once, with other shapes and values on each: what a kernel that keeps something between
    /// calls, or during one, does not survive.
    public func checkOnTwoThreads() -> [Failure] {
        let found = Mutex<[Failure]>([])
        DispatchQueue.concurrentPerform(iterations: 2) { thread in
            let failures = check(seed: UInt64(thread) + 1, secondsPerCall: 0, progress: nil)
            found.withLock { $0 += failures }
        }
        return found.withLock(\.self)
    }

    private func check(seed: UInt64, secondsPerCall: Int, progress: KernelProgress?) -> [Failure] {
        let failures = UnsafeMutablePointer<glim_check_failure>.allocate(capacity: Self.mostFailures)
        let own = UnsafeMutablePointer<glim_check_progress>.allocate(capacity: 1)
        defer {
            failures.deallocate()
            own.deallocate()
        }
        let count = withExtendedLifetime(progress) {
            glim_check_kernels(
                pointer, Self.reference.pointer, seed, Int32(secondsPerCall), progress?.memory ?? own, failures,
                Int64(Self.mostFailures))
        }
        return (0..<Int(count)).map {
            var failure = failures[$0]
            let shape = withUnsafeBytes(of: &failure.shape) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            return Failure(
                what: String(cString: failure.what), how: String(cString: failure.how), index: Int(failure.at),
                shape: shape, times: Int(failure.times))
        }
    }
}
