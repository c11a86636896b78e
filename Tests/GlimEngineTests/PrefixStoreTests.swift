import Foundation
import GlimEngine
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

@Suite("prefix store") struct PrefixStoreTests {
    private let pages = Pages(limit: 8)

    private func tokens(_ count: Int, _ seed: Int = 0) -> [Int32] {
        var draw = Draw(seed, "store")
        return draw.tokens(count, below: 50)
    }

    private func store(
        _ folder: URL, identity: String = "a", version: Int = 0, byteLimit: Int = 1 << 30,
        _ lines: Locked<[String]> = Locked([])
    ) throws -> PrefixStore {
        try PrefixStore(
            folder: folder, identity: identity, version: version, layout: pages.layout, byteLimit: byteLimit
        ) { line in lines.withLock { $0.append(line) } }
    }

    private func files(_ folder: URL) -> [URL] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return names.filter { $0.hasSuffix(".page") }.sorted().map { folder.appending(path: $0) }
    }

    /// Keeps sequences on disk, as an engine that ends does.
    private func write(_ sequences: [[Int32]], _ store: PrefixStore) {
        let pages = Pages(limit: 100)
        let tree = PrefixTree(pages.layout, pages.pool, store: store)
        for tokens in sequences { tree.keep(tokens, pages) }
        while tree.storeNext() {}
    }

    /// Tokens of a sequence that come back from disk; each row is looked at.
    private func read(_ tokens: [Int32], _ tree: PrefixTree, _ pages: Pages) -> Int {
        let match = tree.match(tokens, limit: tokens.count)
        var path: [PrefixTree.Node] = []
        for node in match.nodes + (match.part.map { [$0.node] } ?? []) {
            if node.page != nil {
                _ = tree.use(node)
            } else {
                tree.makeRoom(1)
                if tree.restore(node) == nil { break }
            }
            path.append(node)
        }
        let count = tree.known(tokens, pages) { expectSame($0, $1, "rows from disk") }
        tree.release(path)
        return count
    }

    @Test("a page comes back to the bit, after a restart and from memory that was full", arguments: 0..<6)
    func roundTrip(seed: Int) throws {
        try withTemporaryFolder { folder in
            var draw = Draw(seed, "round trip")
            let common = draw.tokens(draw.integer(0...200), below: 50)
            let sequences = (0..<6).map { _ in common + draw.tokens(draw.integer(1...200), below: 50) }
            write(sequences, try store(folder))
            let again = try store(folder)
            let tree = PrefixTree(pages.layout, pages.pool, store: again)
            // Eight pages of memory: what was read goes, and comes back.
            for tokens in draw.shuffled(sequences + sequences) { #expect(read(tokens, tree, pages) == tokens.count) }
            #expect(tree.statistics.restoredPages > 0 && pages.pool.count <= 8)
            #expect(again.byteCount == files(folder).reduce(0) { $0 + ((try? Data(contentsOf: $1).count) ?? 0) })
        }
    }

    @Test("pages that leave memory are found on disk, what they hang on too") func spilled() throws {
        try withTemporaryFolder { folder in
            let tree = PrefixTree(pages.layout, pages.pool, store: try store(folder))
            let sequences = (0..<4).map { tokens(300, $0) }
            for tokens in sequences { tree.keep(tokens, pages) }
            #expect(pages.pool.count == 8 && tree.statistics.storedPages >= 12)
            for tokens in sequences { #expect(read(tokens, tree, pages) == 300) }
        }
    }

    @Test("another model, version, layout or arithmetic finds nothing, and the files go with one line")
    func foreign() throws {
        for change in ["model", "version", "layout", "arithmetic"] {
            try withTemporaryFolder { folder in
                write([tokens(200)], try store(folder))
                let lines = Locked<[String]>([])
                let layout = change == "layout" ? Pages(limit: 1, latent: 5).layout : pages.layout
                let other = try PrefixStore(
                    folder: folder, identity: change == "model" ? "b" : "a", version: change == "version" ? 1 : 0,
                    layout: layout, byteLimit: 1 << 30,
                    arithmetic: change == "arithmetic" ? Model.arithmetic ^ 1 : Model.arithmetic
                ) { line in lines.withLock { $0.append(line) } }
                #expect(other.entries().isEmpty && files(folder).isEmpty, "\(change)")
                let found = lines.withLock { $0 }
                #expect(found.count == 1 && found[0].contains("4 pages"), "\(found)")
            }
        }
    }

    @Test("other weights forget what is on disk") func swapped() throws {
        try withTemporaryFolder { folder in
            let kept = try store(folder)
            let tree = PrefixTree(pages.layout, pages.pool, store: kept)
            tree.keep(tokens(200), pages)
            while tree.storeNext() {}
            #expect(files(folder).count == 4)
            tree.removeAll(version: 1)
            #expect(files(folder).isEmpty && kept.byteCount == 0)
            tree.keep(tokens(100), pages)
            while tree.storeNext() {}
            #expect(kept.entries().count == 2)
        }
    }

    @Test("damage of any byte is noticed: the page is gone, its neighbours are not", arguments: 0..<40)
    func damaged(seed: Int) throws {
        try withTemporaryFolder { folder in
            var draw = Draw(seed, "damage")
            let all = tokens(200)
            write([all], try store(folder))
            let place = draw.integer(0...3)
            let file = files(folder)[place]
            var bytes = try Data(contentsOf: file)
            switch seed % 4 {
            case 0: bytes = bytes.prefix(draw.integer(0...bytes.count - 1))
            case 1: bytes += [0]
            default: bytes[draw.integer(0...bytes.count - 1)] ^= 1 << UInt8(draw.integer(0...7))
            }
            try bytes.write(to: file)
            let lines = Locked<[String]>([])
            let tree = PrefixTree(pages.layout, pages.pool, store: try store(folder, lines))
            // Pages are numbered as they come.
            #expect(read(all, tree, pages) == 64 * place)
            let found = lines.withLock { $0 }
            #expect(found.count >= 1 && found[0].contains(file.path) && found[0].contains("damaged"), "\(found)")
            #expect(!FileManager.default.fileExists(atPath: file.path))
            // What hung on it is of no use.
            #expect(files(folder).count == place)
        }
    }

    @Test("what a killed process left is removed: parts of files, and pages whose beginning was never written")
    func killed() throws {
        try withTemporaryFolder { folder in
            write([tokens(300, 1), tokens(100, 2)], try store(folder))
            let some = files(folder)
            #expect(some.count == 7)
            try Data("GLIMPAGE and then".utf8).write(to: folder.appending(path: "0000000000000063.page.tmp"))
            try Data("not ours".utf8).write(to: folder.appending(path: "notes.txt"))
            try FileManager.default.removeItem(at: some[1])
            let lines = Locked<[String]>([])
            let tree = PrefixTree(pages.layout, pages.pool, store: try store(folder, lines))
            #expect(read(tokens(300, 1), tree, pages) == 64 && read(tokens(100, 2), tree, pages) == 100)
            #expect(files(folder).count == 3)
            let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            #expect(names.contains("notes.txt") && !names.contains { $0.hasSuffix(".tmp") })
            #expect(lines.withLock { $0.count } == 1)
        }
    }

    @Test("a process that is killed while it writes leaves whole pages only", arguments: 0..<3)
    func killedWriting(round: Int) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "glim-test-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        await #expect(processExitsWith: .signal(SIGKILL)) { [path = folder.path as String, round = round as Int] in
            let pages = Pages(limit: 8)
            let store = try PrefixStore(
                folder: URL(filePath: path), identity: "a", version: 0, layout: pages.layout, byteLimit: 1 << 30
            ) { _ in }
            let tree = PrefixTree(pages.layout, pages.pool, store: store)
            for seed in 0... {
                var draw = Draw(seed, "store")
                tree.keep(draw.tokens(300, below: 50), pages)
                while tree.storeNext() {}
                if seed == 0 {
                    Thread.detachNewThread {
                        usleep(UInt32(500 + 3000 * round))
                        kill(getpid(), SIGKILL)
                    }
                }
            }
        }
        let written = files(folder).count
        #expect(written >= 5)
        let lines = Locked<[String]>([])
        let tree = PrefixTree(pages.layout, pages.pool, store: try store(folder, lines))
        let found = (0..<written).map { read(tokens(300, $0), tree, pages) }
        // All that was begun before the last is whole; of others there are only tokens that sequences have in common.
        let whole = found.prefix { $0 == 300 }.count
        #expect(whole >= 1 && found[(whole + 1)...].allSatisfy { $0 < 10 }, "\(found)")
        #expect(lines.withLock { $0 }.isEmpty && files(folder).count == written)
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        #expect(!names.contains { $0.hasSuffix(".tmp") })
    }

    @Test("a folder whose limit was lowered is cut down to it when it is opened") func lowered() throws {
        try withTemporaryFolder { folder in
            write((0..<5).map { tokens(128, $0) }, try store(folder))
            let size = try store(folder).largestByteCount
            let kept = try store(folder, byteLimit: 4 * size)
            _ = PrefixTree(pages.layout, pages.pool, store: kept)
            #expect(kept.byteCount <= 4 * size && files(folder).count == kept.byteCount / size)
            #expect(!files(folder).isEmpty)
        }
    }

    @Test("the folder stays within its bytes, and keeps what was used last") func bounded() throws {
        try withTemporaryFolder { folder in
            let size = try store(folder).largestByteCount
            let kept = try store(folder, byteLimit: 10 * size)
            let tree = PrefixTree(pages.layout, pages.pool, store: kept)
            for seed in 0..<12 {
                tree.keep(tokens(128, seed), pages)
                while tree.storeNext() {}
                #expect(kept.byteCount <= 10 * size && files(folder).count <= 10)
            }
            #expect(read(tokens(128, 11), tree, pages) == 128 && read(tokens(128, 10), tree, pages) == 128)
            #expect(read(tokens(128, 0), tree, pages) == 0)
        }
    }

    #if os(Linux)
    @Test("a page for which the disk has no room is not kept, and no part of it") func noSpace() throws {
        try withTemporaryFolder { folder in
            let lines = Locked<[String]>([])
            let kept = try store(folder, lines)
            let tree = PrefixTree(pages.layout, pages.pool, store: kept)
            // The third page goes where there is never room.
            let place = folder.appending(path: "0000000000000003.page.tmp").path
            try FileManager.default.createSymbolicLink(atPath: place, withDestinationPath: "/dev/full")
            tree.keep(tokens(256), pages)
            while tree.storeNext() {}
            #expect(lines.withLock { $0.count == 1 && $0[0].contains("No space left") })
            let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            #expect(names.sorted() == ["0000000000000001.page", "0000000000000002.page", "lock"])
            #expect(read(tokens(256), tree, pages) == 256)
            // Once something has gone there is room.
            kept.remove(2)
            tree.keep(tokens(64, 1), pages)
            while tree.storeNext() {}
            #expect(files(folder).count == 2 && lines.withLock { $0.count } == 1)
        }
    }
    #endif

    @Test("a folder that is gone ends the writing with one line, and nothing else") func full() throws {
        try withTemporaryFolder { folder in
            let lines = Locked<[String]>([])
            let kept = try store(folder, lines)
            let tree = PrefixTree(pages.layout, pages.pool, store: kept)
            tree.keep(tokens(64), pages)
            // No file can be made where the folder is gone.
            try FileManager.default.removeItem(at: folder)
            for seed in 0..<6 { tree.keep(tokens(128, seed), pages) }
            while tree.storeNext() {}
            #expect(lines.withLock { $0.count } == 1 && pages.pool.count <= 8)
            #expect(read(tokens(128, 5), tree, pages) == 128)
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        }
    }

    @Test("a folder has one process at a time, and must be one") func locked() throws {
        try withTemporaryFolder { folder in
            let first = try store(folder)
            #expect(throws: EngineError.self) { try store(folder) }
            let file = folder.appending(path: "file")
            try Data().write(to: file)
            #expect(throws: EngineError.self) { try store(file) }
            withExtendedLifetime(first) {}
        }
        try withTemporaryFolder { folder in
            _ = try store(folder)
            // The first one has let go.
            _ = try store(folder)
        }
    }
}
