import Foundation
import GlimTensor
import GlimTrain

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A kernel table in a process of its own, which may die of it.
///
/// The two share a folder: `report` is what was found, as JSON; `progress` tells what was done last.
enum KernelExamination {
    /// Far beyond what any call of a check, or any figure, takes.
    private static let mostSeconds = 20

    // MARK: The process that asks

    /// Starts `glim kernels` for this table, a name or a path, and waits.
    ///
    /// - Throws: `Failure` where there is no table, or the examination was stopped.
    static func inProcess(_ choice: String) throws -> KernelReport {
        let folder = FileManager.default.temporaryDirectory.appending(path: "glim-kernels-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let progress = try KernelProgress(file: progressFile(folder))
        let process = Process()
        process.executableURL = Bundle.main.executableURL
        process.arguments = ["kernels", "--child", folder.path, "--threads", "\(ThreadPool.shared.threadCount)"]
        // A crash is expected, and needs no trace of Swift's.
        let environment = ["GLIM_KERNELS": choice, "SWIFT_BACKTRACE": "enable=no"]
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        // What a library prints is no result of ours.
        process.standardOutput = FileHandle.standardError
        try process.run()
        process.waitUntilExit()
        guard !StopSignal.arrived else { throw Failure("stopped") }
        let left = try? JSONDecoder().decode(KernelReport.self, from: Data(contentsOf: reportFile(folder)))
        let (exited, status) = (process.terminationReason == .exit, process.terminationStatus)
        if let left, left.status == .refused { throw Failure(left.reason ?? choice) }
        if let left, left.status != .crashed, exited, status == 0 { return left }
        var report = left ?? KernelReport(name: choice, status: .crashed)
        let how = exited ? "it ended the process with status \(status)" : death(status)
        (report.status, report.reason) = (.crashed, "\(how) at \(progress.text)")
        return report
    }

    private static func death(_ signal: Int32) -> String {
        switch signal {
        case SIGILL, SIGTRAP: "an illegal instruction, or a trap,"
        case SIGSEGV, SIGBUS: "a bad access to memory"
        case SIGFPE: "an arithmetic exception"
        case SIGABRT: "an abort"
        case SIGALRM: "it did not come back within \(mostSeconds) seconds"
        default: "signal \(signal)"
        }
    }

    private static func progressFile(_ folder: URL) -> String { folder.appending(path: "progress").path }
    private static func reportFile(_ folder: URL) -> URL { folder.appending(path: "report") }

    // MARK: The process that may die

    /// Checks the table that `GLIM_KERNELS` names, times it if it is right, and leaves what was found in a folder.
    static func run(leaving folder: URL) throws {
        dieQuietly()
        let progress = try KernelProgress(file: progressFile(folder))
        progress.note("loading")
        alarm(UInt32(mostSeconds))
        var report: KernelReport
        do {
            let table = try KernelTable(ProcessInfo.processInfo.environment["GLIM_KERNELS"] ?? "")
            report = KernelReport(name: table.name, file: table.file, kernels: table.given, status: .crashed)
            try write(report, folder)
            let began = ContinuousClock.now
            report.failures = table.check(secondsPerCall: mostSeconds, progress: progress)
            report.checkSeconds = began.duration(to: .now) / .seconds(1)
            // Glim's own keep nothing, by the rules of their sources.
            if table.file != nil, report.failures.isEmpty {
                progress.note("calls from two threads at once")
                alarm(UInt32(mostSeconds) + UInt32(10 * report.checkSeconds))
                report.failures = table.checkOnTwoThreads()
                if !report.failures.isEmpty { report.reason = "only when two threads call at once: it keeps something" }
            }
        } catch let error as KernelTableError {
            return try write(KernelReport(name: "", status: .refused, reason: "\(error)"), folder)
        }
        report.status = report.failures.isEmpty ? .equal : .differs
        if report.status == .equal { report.figures = KernelBench.glance.map { figure($0, progress) } }
        alarm(0)
        progress.note("its end")
        try write(report, folder)
    }

    private static func figure(_ product: BenchedProduct, _ progress: KernelProgress) -> KernelReport.Figure {
        progress.note("timing", product.name)
        alarm(UInt32(mostSeconds))
        let result = product.measure(seconds: 0.2, rounds: 3)
        return KernelReport.Figure(
            name: product.name, measured: result.rate, unit: product.unit, roof: result.roof,
            boundBy: result.boundBy.rawValue, fraction: result.ofRoof)
    }

    private static func write(_ report: KernelReport, _ folder: URL) throws {
        try JSONEncoder().encode(report).write(to: reportFile(folder), options: .atomic)
    }

    /// What it dies of is told by its parent, and leaves no image of the memory behind.
    private static func dieQuietly() {
        signal(SIGBUS, SIG_DFL)
        var none = rlimit(rlim_cur: 0, rlim_max: 0)
        #if canImport(Darwin)
        setrlimit(RLIMIT_CORE, &none)
        #else
        setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none)
        #endif
    }
}
