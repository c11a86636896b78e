public import Foundation
import Subprocess
import Testing

#if canImport(System)
import System
#else
import SystemPackage
#endif

/// The built program, run as a person would run it.
public enum Program {
    public struct Output {
        public var status: Int32
        public var stdout: Data
        public var stderr: String

        public var text: String { String(decoding: stdout, as: UTF8.self) }
        /// The last line of standard output, as JSON.
        public var json: [String: Any] {
            get throws {
                let line = text.split(separator: "\n").last.map { Data($0.utf8) } ?? Data()
                return try #require(try JSONSerialization.jsonObject(with: line) as? [String: Any])
            }
        }
    }

    /// Beside the tests; the search upwards from this file finds it when something else runs the tests.
    public static let url: URL? = {
        let beside = URL(filePath: CommandLine.arguments[0]).resolvingSymlinksInPath().deletingLastPathComponent()
        let bundle = Bundle.main.bundleURL
        let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardized
        let folders = [
            beside, bundle, bundle.deletingLastPathComponent(), root.appending(path: ".build/release"),
            root.appending(path: ".build/debug"),
        ]
        return folders.map { $0.appending(path: "glim") }.first {
            FileManager.default.isExecutableFile(atPath: $0.path)
        }
    }()

    /// Runs `glim` with these arguments, its output going through files, so that no pipe can fill up.
    public static func run(_ arguments: [String], input: String = "", folder workingFolder: URL? = nil) async throws
        -> Output
    {
        try await run(#require(url, "no glim beside the tests: swift build first"), arguments, input, workingFolder)
    }

    /// Runs a script of the shell, for which `$GLIM` is the program and `$D` a folder.
    public static func shell(_ script: String, _ folder: TemporaryFolder) async throws -> Output {
        let glim: URL = try #require(url, "no glim beside the tests: swift build first")
        return try await run(
            URL(filePath: "/usr/bin/env"),
            ["GLIM=\(glim.path)", "D=\(folder.url.path)", "/bin/sh", "-c", script], "", nil)
    }

    private static func run(
        _ program: URL, _ arguments: [String], _ input: String, _ workingFolder: URL?
    ) async throws -> Output {
        let folder = try TemporaryFolder()
        let (stdin, stdout, stderr) = (folder.path("in"), folder.path("out"), folder.path("err"))
        for (path, text) in [(stdin, input), (stdout, ""), (stderr, "")] { try Data(text.utf8).write(to: path) }
        let done = try await Subprocess.run(
            .path(FilePath(program.path)), arguments: Arguments(arguments),
            workingDirectory: workingFolder.map { FilePath($0.path) },
            input: .fileDescriptor(.open(FilePath(stdin.path), .readOnly), closeAfterSpawningProcess: true),
            output: .fileDescriptor(.open(FilePath(stdout.path), .writeOnly), closeAfterSpawningProcess: true),
            error: .fileDescriptor(.open(FilePath(stderr.path), .writeOnly), closeAfterSpawningProcess: true))
        return Output(
            status: status(done.terminationStatus), stdout: try Data(contentsOf: stdout),
            stderr: String(decoding: try Data(contentsOf: stderr), as: UTF8.self))
    }

    /// Runs `glim` and `body` beside it, which gets the process's number and may wait and send signals. The process has
    /// ended when this returns.
    /// - Parameters:
    ///   - output: a file for what it prints, which is dropped otherwise.
    ///   - errors: a file for what it says on standard error.
    public static func run(
        _ arguments: [String], output: URL? = nil, errors: URL? = nil, beside body: (Int32) async throws -> Void
    ) async throws -> Int32 {
        let glim: URL = try #require(url, "no glim beside the tests: swift build first")
        func open(_ file: URL?) throws -> FileDescriptor {
            try .open(
                FilePath(file?.path ?? "/dev/null"), .writeOnly, options: .create, permissions: .ownerReadWrite)
        }
        let done = try await Subprocess.run(
            .path(FilePath(glim.path)), arguments: Arguments(arguments), input: .none,
            output: .fileDescriptor(open(output), closeAfterSpawningProcess: true),
            error: .fileDescriptor(open(errors), closeAfterSpawningProcess: true)
        ) { process in
            try await body(process.processIdentifier.value)
        }
        return status(done.terminationStatus)
    }

    /// Runs `glim serve` on a free port and `body` beside it, once it listens; then it is told to stop.
    ///
    /// - Returns: what it exits with.
    public static func serve(
        _ arguments: [String], _ body: (_ server: URL, _ process: Int32) async throws -> Void
    ) async throws -> Int32 {
        let folder = try TemporaryFolder()
        let lines = folder.path("lines")
        return try await run(["serve", "--port", "0"] + arguments, output: lines) { process in
            defer { kill(process, SIGTERM) }
            try await body(address(lines), process)
        }
    }

    /// The address that a server prints once it listens; a minute is waited for it.
    public static func address(_ file: URL) async throws -> URL {
        for _ in 0..<600 {
            let text = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
            if text.hasSuffix("\n"), let word = text.split(whereSeparator: \.isWhitespace).last,
                let url = URL(string: String(word))
            {
                return url
            }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw CancellationError()
    }

    /// Whether a process that `run(_:errors:beside:)` started has come to its end; it may still be waited for.
    public static func hasEnded(_ process: Int32) -> Bool {
        var news = siginfo_t()
        let isKnown = waitid(P_PID, id_t(process), &news, WEXITED | WNOHANG | WNOWAIT) == 0
        return !isKnown || news.si_signo == SIGCHLD
    }

    /// Waits until a process that was sent SIGSTOP has stopped, with all its threads.
    ///
    /// - Returns: false where it has come to its end.
    public static func standsStill(_ process: Int32) async -> Bool {
        while true {
            var news = siginfo_t()
            let isKnown = waitid(P_PID, id_t(process), &news, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) == 0
            if !isKnown || news.si_signo == SIGCHLD { return isKnown && Int(news.si_code) == Int(CLD_STOPPED) }
            await Task.yield()
        }
    }

    /// What a program exits with; the negative of the signal that ended it.
    private static func status(_ ended: TerminationStatus) -> Int32 {
        switch ended {
        case .exited(let code): code
        case .signaled(let signal): -signal
        }
    }

    /// Runs a command that must succeed.
    public static func succeed(_ arguments: String..., input: String = "") async throws -> Output {
        let output = try await run(arguments, input: input)
        try #require(output.status == 0, "glim \(arguments.joined(separator: " ")): \(output.stderr)")
        return output
    }
}
