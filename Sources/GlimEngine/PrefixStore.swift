package import Foundation
package import GlimModel
package import GlimTensor

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Pages of prefixes on disk: a folder of files, one a page, that outlasts the process.
///
/// A file is written under a temporary name and renamed, and carries hashes of all it says: whatever a kill, a full disk
/// or a loss of power leaves is noticed and removed, so nothing is forced to the disk at once. It belongs to one model,
/// one version of its weights, one layout of rows and one arithmetic: what a build made whose kernels come to other bits
/// is as foreign as another model's. Of anything foreign nothing is read. One process at a time has the folder.
package final class PrefixStore {
    /// What a file says of its page.
    package struct Entry: Equatable {
        package let number: UInt64
        /// The page before it; 0 for the first of a sequence.
        package let parent: UInt64
        package let tokens: [Int32]
    }

    package let byteLimit: Int
    /// Bytes of all files.
    package private(set) var byteCount = 0
    private let folder: String
    private var owner: PageFile.Owner
    private let layout: CacheLayout
    private let report: @Sendable (String) -> Void
    /// -1 once it is given up.
    private var lock: Int32
    private var isFull = false

    /// Opens a folder, made where there is none, and forgets what is of no use in it.
    ///
    /// - Parameters:
    ///   - identity: what names the model whose rows these are; the same name must mean the same numbers.
    ///   - byteLimit: of all files.
    ///   - arithmetic: what this build's kernels come to; tests have others.
    ///   - report: is told, a line each, what was removed and why.
    /// - Throws: `EngineError.store` for a folder that cannot be used, or that another process has.
    package init(
        folder: URL, identity: String, version: Int, layout: CacheLayout, byteLimit: Int,
        arithmetic: UInt64 = Model.arithmetic, report: @escaping @Sendable (String) -> Void
    ) throws(EngineError) {
        (self.folder, self.layout, self.byteLimit, self.report) = (folder.path, layout, byteLimit, report)
        owner = PageFile.Owner(identity, version: version, layout, arithmetic: arithmetic)
        var isFolder: ObjCBool = false
        if FileManager.default.fileExists(atPath: folder.path, isDirectory: &isFolder), !isFolder.boolValue {
            throw .store(path: folder.path, reason: "it is not a folder")
        }
        do { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) } catch {
            throw .store(path: folder.path, reason: "it cannot be made")
        }
        lock = open(folder.path + "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
        guard lock >= 0 else { throw .store(path: folder.path, reason: String(cString: strerror(errno))) }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            let (isTaken, problem) = (errno == EWOULDBLOCK, String(cString: strerror(errno)))
            throw .store(
                path: folder.path,
                reason: isTaken ? "another process keeps its prefixes there" : "it cannot be locked: \(problem)")
        }
    }

    deinit { release() }

    /// Leaves the folder to others; nothing is read or written any more.
    package func release() {
        if lock < 0 { return }
        // Closing is not enough: a child that was forked a moment ago has the file, too, until it becomes another program.
        flock(lock, LOCK_UN)
        close(lock)
        lock = -1
    }

    private func path(_ number: UInt64) -> String { "\(folder)/\(PageFile.name(number))" }

    /// Bytes of the file of a full page; no other has more.
    package var largestByteCount: Int {
        PageFile.Header.byteCount(tokens: KeyPages.positions) + layout.pageByteCount
    }

    /// All pages that may be used, the longest unused first. The others are removed.
    package func entries() -> [Entry] {
        var (found, foreign): ([(entry: Entry, used: Date)], Int) = ([], 0)
        byteCount = 0
        for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] {
            let path = "\(folder)/\(name)"
            if name.hasSuffix(PageFile.temporarySuffix) {
                // Of a process that was killed: there is no other.
                unlink(path)
                continue
            }
            guard let number = PageFile.number(name) else { continue }
            switch PageFile.read(headerOf: path) {
            case .success(let header)
            where header.owner == owner && header.number == number && header.payloadByteCount <= layout.pageByteCount:
                byteCount += header.byteCount + header.payloadByteCount
                let used = try? FileManager.default.attributesOfItem(atPath: path)[.modificationDate] as? Date
                found.append(
                    (Entry(number: number, parent: header.parent, tokens: header.tokens), used ?? .distantPast))
            case .success:
                foreign += 1
                unlink(path)
            case .failure(let damage):
                report("\(path) is damaged: \(damage.reason); it was removed")
                unlink(path)
            }
        }
        if foreign > 0 {
            report("\(foreign) pages of another model, other weights or other kernels were removed from \(folder)")
        }
        // Two of one moment must not be in the order of a folder.
        found.sort { $0.used != $1.used ? $0.used < $1.used : $0.entry.number < $1.entry.number }
        return found.map(\.entry)
    }

    /// Removes pages whose beginnings are gone.
    package func removeOrphans(_ numbers: [UInt64]) {
        if numbers.isEmpty { return }
        report("\(numbers.count) pages without what they hang on were removed from \(folder)")
        for number in numbers { remove(number) }
    }

    /// Writes a page.
    ///
    /// - Returns: false where the disk does not take it; it is not asked again then.
    package func write(_ page: CachePage, _ number: UInt64, tokens: [Int32], parent: UInt64) -> Bool {
        if isFull || lock < 0 { return false }
        do throws(PageFile.Damage) {
            byteCount += try PageFile.write(
                path(number), owner: owner, number: number, parent: parent, tokens: tokens, page, layout)
        } catch {
            report("prefixes are no longer kept in \(folder): \(error.reason)")
            isFull = true
            return false
        }
        return true
    }

    /// Fills a page with what was written, to the bit.
    ///
    /// - Returns: false where the file is gone or damaged; it is to be removed then.
    package func read(_ number: UInt64, tokens: [Int32], into page: CachePage) -> Bool {
        let path = path(number)
        do throws(PageFile.Damage) {
            let header = try PageFile.read(path, into: page, layout)
            guard header.owner == owner, header.number == number, header.tokens == tokens else {
                throw PageFile.Damage(reason: "it is another page's")
            }
        } catch {
            report("\(path) is damaged: \(error.reason); it was removed")
            return false
        }
        // Its last use.
        utimensat(AT_FDCWD, path, nil, 0)
        return true
    }

    /// Removes a page's file.
    package func remove(_ number: UInt64) {
        let path = path(number)
        var status = stat()
        guard stat(path, &status) == 0, unlink(path) == 0 else { return }
        byteCount = max(0, byteCount - Int(status.st_size))
        // There is room again.
        isFull = false
    }

    /// From here on pages are of other weights.
    package func begin(version: Int) { owner.version = Int64(version) }
}
