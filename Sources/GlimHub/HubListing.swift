import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1

/// The files of a repository at one commit.
struct HubListing: Sendable {
    /// Everything is fetched from this commit, so that files of one model are of one save.
    let commit: String
    let files: [HubFile]

    /// Asks the hub: first which commit a revision is, then what it holds, page by page.
    ///
    /// - Throws: `HubError`.
    init(_ repository: HubRepository, from hub: Hub, by connection: HubConnection, _ patience: Retry) async throws {
        let base = ["api", "models", repository.owner, repository.name]
        let revision = hub.url(base + ["revision", repository.revision])
        let (answer, _) = try await Self.get(revision, of: repository, hub, connection, patience)
        guard let commit = (try? JSONDecoder().decode(Revision.self, from: answer))?.sha, HubFile.isSafe(commit) else {
            throw HubError.malformedListing(url: revision.absoluteString, reason: "it names no commit")
        }
        self.commit = commit
        var files: [HubFile] = []
        var next: URL? = hub.url(base + ["tree", commit], query: "recursive=true")
        var seen: Set<URL> = []
        while let url = next, seen.insert(url).inserted {
            let (page, link) = try await Self.get(url, of: repository, hub, connection, patience)
            do {
                files += try JSONDecoder().decode([Entry].self, from: page).compactMap { try $0.file }
            } catch let error as HubError {
                throw error
            } catch {
                throw HubError.malformedListing(url: url.absoluteString, reason: "\(error)")
            }
            next = Self.nextPage(link, from: url, hub)
        }
        self.files = files
    }

    private struct Revision: Decodable { let sha: String }

    private struct Entry: Decodable {
        struct Large: Decodable {
            let oid: String
            let size: Int
        }
        let type: String
        let path: String
        let oid: String
        let size: Int?
        let lfs: Large?

        /// Bytes of a file: sums of so many are numbers still.
        private static let largest = 1 << 50

        /// Nil for a folder.
        var file: HubFile? {
            get throws {
                guard type == "file" else { return nil }
                guard HubFile.isSafe(path) else {
                    let isHidden = !path.isEmpty && path.split(separator: "/").allSatisfy { $0 != ".." && $0 != "." }
                    guard isHidden, path.hasPrefix(".") || path.contains("/.") else { throw HubError.unsafePath(path) }
                    return nil
                }
                let (name, size) = (lfs?.oid ?? oid, lfs?.size ?? size ?? -1)
                let digits = lfs == nil ? 40 : 64
                guard (0...Self.largest).contains(size), name.utf8.count == digits,
                    name.allSatisfy({ $0.isHexDigit && !$0.isUppercase })
                else {
                    throw HubError.malformedListing(url: path, reason: "size or name of its content make no sense")
                }
                return HubFile(path: path, size: size, content: lfs == nil ? .gitBlob(name) : .sha256(name))
            }
        }
    }

    /// `<address>; rel="next"`, on the same server only.
    private static func nextPage(_ link: String?, from url: URL, _ hub: Hub) -> URL? {
        guard let link, let entry = link.split(separator: ",").first(where: { $0.contains("rel=\"next\"") }),
            let start = entry.firstIndex(of: "<"), let end = entry.firstIndex(of: ">"), start < end
        else { return nil }
        let next = URL(string: String(entry[entry.index(after: start)..<end]), relativeTo: url)?.absoluteURL
        return next.flatMap { hub.isOwn($0) ? $0 : nil }
    }

    private static let pageLimit = 64 << 20

    private static func get(
        _ url: URL, of repository: HubRepository, _ hub: Hub, _ connection: HubConnection, _ patience: Retry
    ) async throws -> (data: Data, link: String?) {
        try await patience.run(url) {
            try await connection.get(url) { answer in
                try HTTPStatus.check(answer, "\(repository) at revision \(repository.revision)", hub)
                var page = Data()
                for try await bytes in answer.body {
                    page += bytes.readableBytesView
                    guard page.count <= pageLimit else {
                        throw HubError.malformedListing(url: url.absoluteString, reason: "it has no end")
                    }
                }
                return (page, answer.headers.first(name: "Link"))
            }
        }
    }
}
