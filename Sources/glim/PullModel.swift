import ArgumentParser
import Foundation
import GlimHub
import GlimTrain

struct PullModel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pull",
        abstract: "Fetch a model from Hugging Face, or from a mirror.",
        discussion: """
            Several files come at a time. Whatever stops the command, the same command goes on where it stopped; a file \
            gets its name when all its bytes are those that the repository lists. HF_ENDPOINT names a mirror, HF_TOKEN \
            gives access to what is not for everyone.
            """)

    @Argument(help: "OWNER/NAME of the repository.") var repository: String
    @Option(help: "The folder to write (default: NAME).") var out: String?
    @Option(help: "A branch, a tag or a commit.") var revision = "main"
    @Option(
        parsing: .upToNextOption,
        help: "Paths of the files to fetch (default: those of a model; the one GGUF model of a repository without).")
    var file: [String] = []
    @Flag(help: "Print one JSON object at the end.") var json = false

    func run() async throws {
        let start = ContinuousClock.now
        let repository = try HubRepository(self.repository, revision: revision)
        let hub = try Hub(environment: ProcessInfo.processInfo.environment)
        let folder = out ?? repository.name
        let line = PullProgress(repository.name)
        defer { line.clear() }
        let summary = try await Pull(repository, from: hub, to: URL(filePath: folder), files: file).run {
            line.show($0)
        }
        line.clear()
        let report = Report(
            out: folder, commit: summary.commit, files: summary.files.map(\.path).sorted(), bytes: summary.bytes,
            fetchedBytes: summary.fetchedBytes, seconds: start.duration(to: .now) / .seconds(1))
        try emit(
            "\(folder): \(report.files.count) files, \(PullProgress.size(report.bytes)), of commit \(report.commit)\n")
        if json { try emit(report.jsonLine + "\n") }
    }

    private struct Report: Encodable {
        let out: String
        let commit: String
        let files: [String]
        let bytes: Int
        let fetchedBytes: Int
        let seconds: Double

        enum CodingKeys: String, CodingKey {
            case out, commit, files, bytes, seconds
            case fetchedBytes = "fetched_bytes"
        }
    }
}
