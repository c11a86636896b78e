import AsyncHTTPClient
public import Foundation
import NIOCore
import NIOHTTP1
import Synchronization

/// Fetches a model from a hub into a folder: several files at a time, each from where an earlier attempt stopped, none
/// under its own name before all its bytes are those that the repository lists.
///
/// ```swift
/// let pull = try Pull(HubRepository("zai-org/GLM-5"), from: Hub(), to: URL(filePath: "GLM-5"))
/// try await pull.run { print($0.doneBytes, "of", $0.totalBytes) }
/// ```
public struct Pull: Sendable {
    /// How far it is.
    public struct Progress: Sendable, Equatable {
        public var doneFiles = 0
        public var totalFiles = 0
        /// What is there, from earlier attempts too.
        public var doneBytes = 0
        public var totalBytes = 0
        /// Of these what came over the network in this run.
        public var fetchedBytes = 0
    }

    /// What was pulled.
    public struct Summary: Sendable, Equatable {
        public let commit: String
        public let files: [HubFile]
        public let bytes: Int
        public let fetchedBytes: Int
    }

    /// Files at a time.
    public static let filesAtOnce = 4

    private let repository: HubRepository
    private let hub: Hub
    private let folder: URL
    private let names: [String]
    package var retry = Retry()
    /// Time without a byte after which a connection counts as broken.
    package var patience = Duration.seconds(30)

    /// - Parameters:
    ///   - folder: made if missing.
    ///   - names: paths of the files that are wanted; without any, those of a model in Hugging Face's layout.
    public init(_ repository: HubRepository, from hub: Hub, to folder: URL, files names: [String] = []) {
        (self.repository, self.hub, self.folder, self.names) = (repository, hub, folder, names)
    }

    /// Fetches what is not there yet.
    ///
    /// - Parameter progress: told now and then, from any thread.
    /// - Throws: `HubError`, or `CancellationError`. What came so far stays, for the next run.
    public func run(_ progress: @escaping @Sendable (Progress) -> Void = { _ in }) async throws -> Summary {
        try await HubConnection.lend(to: hub, patience: patience) { connection in
            // Where nobody answers at all, an address is wrong rather than a connection broken.
            var retry = retry
            retry.attempts = min(retry.attempts, 3)
            let listing = try await HubListing(repository, from: hub, by: connection, retry)
            let files =
                try names.isEmpty
                ? listing.files.ofModel(repository) : listing.files.named(names, in: repository)
            let place = try Place(PullFolder(folder), files, progress)
            place.tidy()
            let entry = files.entry
            // The largest first, so that none is left alone at the end.
            let missing = try place.missing(but: entry).sorted { ($1.size, $0.path) < ($0.size, $1.path) }
            // Files of two saves may fit together, and make a model that says nonsense: while there may be such, nothing
            // is there to load it by.
            if let entry, place.holdsOthers(missing) { try place.withdraw(entry) }
            try await inParallel(missing) { file in
                try await fetch(file, at: listing.commit, by: connection, to: place)
            }
            if let entry, !(try place.count(ifThere: entry)) {
                try await fetch(entry, at: listing.commit, by: connection, to: place)
            }
            let done = place.done
            return Summary(
                commit: listing.commit, files: files, bytes: done.totalBytes, fetchedBytes: done.fetchedBytes)
        }
    }

    private func inParallel(_ files: [HubFile], _ body: @escaping @Sendable (HubFile) async throws -> Void) async throws
    {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, file) in files.enumerated() {
                if number >= Self.filesAtOnce { try await group.next() }
                group.addTask { try await body(file) }
            }
            try await group.waitForAll()
        }
    }

    // MARK: One file

    private func fetch(
        _ file: HubFile, at commit: String, by connection: HubConnection, to place: Place
    ) async throws {
        let part = Part(try place.open(file), place)
        place.count(bytes: part.count)
        let url = hub.url(
            [repository.owner, repository.name, "resolve", commit] + file.path.split(separator: "/").map(String.init))
        var (failures, wrong) = (0, 0)
        while true {
            while part.count < file.size {
                let before = part.count
                do {
                    try await connection.get(url, from: before) { answer in
                        try HTTPStatus.check(answer, "\(file.path) in \(repository)", hub)
                        try part.begin(answer, file)
                        for try await bytes in answer.body { try part.append(bytes) }
                    }
                    guard part.count > before else { throw Retry.Empty() }
                    failures = 0
                } catch let error as HubError where error.isWrongContent && wrong == 0 {
                    wrong += 1
                    try part.reset()
                } catch {
                    failures = part.count > before ? 1 : failures + 1
                    try await retry.wait(after: error, failures: failures, url)
                }
            }
            guard let found = part.wrongName else { break }
            // Once more from the beginning: what an earlier attempt left may be what is wrong.
            wrong += 1
            try part.reset()
            guard wrong < 2 else {
                throw HubError.wrongContent(path: file.path, expected: file.content.text, found: found)
            }
        }
        try part.publish()
        try place.note(file)
    }
}

extension HubError {
    fileprivate var isWrongContent: Bool { if case .wrongContent = self { true } else { false } }
}

// MARK: - What workers share

/// The folder and the count of what is there.
private final class Place: Sendable {
    private struct State {
        let folder: PullFolder
        var progress: Pull.Progress
    }

    private let state: Mutex<State>
    private let files: [HubFile]
    private let tell: @Sendable (Pull.Progress) -> Void

    init(_ folder: sending PullFolder, _ files: [HubFile], _ tell: @escaping @Sendable (Pull.Progress) -> Void) {
        let total = files.reduce(0) { $0 + $1.size }
        state = Mutex(
            State(folder: folder, progress: Pull.Progress(totalFiles: files.count, totalBytes: total)))
        (self.files, self.tell) = (files, tell)
    }

    var done: Pull.Progress { state.withLock { $0.progress } }

    func tidy() { state.withLock { $0.folder.tidy(keeping: files) } }

    /// The files that are not there with the right content; the others count as done.
    func missing(but entry: HubFile?) throws -> [HubFile] {
        try files.filter { file in
            try Task.checkCancellation()
            return try file != entry && !count(ifThere: file)
        }
    }

    /// Counts a file as done where it is there with the right content.
    func count(ifThere file: HubFile) throws(HubError) -> Bool {
        guard try has(file) else { return false }
        change {
            $0.doneFiles += 1
            $0.doneBytes += file.size
        }
        return true
    }

    /// Whether some of these are there with another content.
    func holdsOthers(_ files: [HubFile]) -> Bool {
        let path = state.withLock { $0.folder.path }
        return files.contains { FileManager.default.fileExists(atPath: "\(path)/\($0.path)") }
    }

    /// Takes a file's name from it, until it gets it again.
    func withdraw(_ file: HubFile) throws(HubError) {
        let isRight = try has(file)
        try state.withLock { state throws(HubError) in try state.folder.withdraw(file, isRight: isRight) }
    }

    /// By the record, or by reading it.
    private func has(_ file: HubFile) throws(HubError) -> Bool {
        let (isRecorded, path) = state.withLock { ($0.folder.isRecorded(file), $0.folder.path) }
        if isRecorded { return true }
        guard PartialFile.holds(file, at: "\(path)/\(file.path)") else { return false }
        try state.withLock { state throws(HubError) in try state.folder.note(file) }
        return true
    }

    func open(_ file: HubFile) throws(HubError) -> sending PartialFile {
        try PartialFile(file, in: state.withLock { $0.folder.parts })
    }

    func publish(_ part: PartialFile) throws(HubError) {
        try part.publish(in: state.withLock { $0.folder.path })
    }

    /// A file has its name.
    func note(_ file: HubFile) throws(HubError) {
        try state.withLock { state throws(HubError) in try state.folder.note(file) }
        change { $0.doneFiles += 1 }
    }

    func count(bytes: Int, fetched: Bool = false) {
        change {
            $0.doneBytes += bytes
            if fetched { $0.fetchedBytes += bytes }
        }
    }

    private func change(_ body: (inout Pull.Progress) -> Void) {
        let now = state.withLock { state in
            body(&state.progress)
            return state.progress
        }
        tell(now)
    }
}

/// A file on its way.
private final class Part: Sendable {
    private let file: Mutex<PartialFile>
    private let place: Place

    init(_ file: sending PartialFile, _ place: Place) {
        self.file = Mutex(file)
        self.place = place
    }

    var count: Int { file.withLock { $0.count } }
    var wrongName: String? { file.withLock { $0.wrongName } }

    /// Holds an answer's head against what was asked for.
    func begin(_ head: HTTPClientResponse, _ whole: HubFile) throws {
        // All of it, by a server that knows no parts of files.
        guard head.status == .partialContent else { return try reset() }
        let words = head.headers.first(name: "Content-Range")?.split { " -/".contains($0) } ?? []
        guard words.count == 4, words[0] == "bytes", Int(words[1]) == count, Int(words[3]) == whole.size else {
            throw HubError.wrongContent(
                path: whole.path, expected: "bytes from \(count) on of \(whole.size)",
                found: "the range \(words.joined(separator: " "))")
        }
    }

    func append(_ bytes: ByteBuffer) throws {
        let added = try file.withLock { file in
            let before = file.count
            try file.append(Array(bytes.readableBytesView))
            return file.count - before
        }
        place.count(bytes: added, fetched: true)
    }

    func reset() throws {
        let lost = try file.withLock { file in
            let count = file.count
            if count > 0 { try file.reset() }
            return count
        }
        place.count(bytes: -lost)
    }

    func publish() throws {
        try file.withLock { try place.publish($0) }
    }
}
