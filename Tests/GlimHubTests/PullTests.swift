import Foundation
import GlimHub
import GlimTestSupport
import Synchronization
import Testing

/// Against a server of our own that cuts connections, lies and stalls.
@Suite("pulling a model", .serialized) struct PullTests {
    /// Files of a model, some of them large: the same bytes for the same seed.
    static func files(_ seed: UInt64 = 1, largest: Int = 300_000) -> [String: Data] {
        func bytes(_ count: Int, _ number: Int) -> Data {
            var mutator = Mutator(seed: seed, number: number)
            return Data((0..<count).map { _ in UInt8(mutator.below(256)) })
        }
        return [
            "config.json": Data("{\"a\": 1}\n".utf8), "empty.txt": Data(), "tokenizer.json": bytes(40_000, 1),
            "model-00001-of-00002.safetensors": bytes(largest, 2), "model-00002-of-00002.safetensors": bytes(1, 3),
            "model.safetensors.index.json": bytes(500, 4), "with space #1.txt": bytes(30, 5),
            ".gitattributes": bytes(10, 6), "other/config.json": bytes(10, 7), "pytorch_model.bin": bytes(10, 8),
        ]
    }

    static let wanted = files().keys.filter { !$0.hasPrefix(".") && !$0.contains("/") && !$0.hasSuffix(".bin") }

    private func pull(
        _ server: HubServer, to folder: URL, token: String? = nil, files: [String] = [], attempts: Int = 8,
        patience: Duration = .seconds(30)
    ) throws -> Pull {
        var pull = try Pull(
            HubRepository(HubServer.repository), from: Hub(endpoint: server.endpoint, token: token), to: folder,
            files: files)
        (pull.retry.firstPause, pull.retry.attempts, pull.patience) = (.milliseconds(1), attempts, patience)
        return pull
    }

    private func expectWhole(_ folder: URL, _ files: [String: Data], _ names: [String] = wanted) throws {
        for name in names {
            #expect(try Data(contentsOf: folder.appending(path: name)) == files[name], "\(name)")
        }
        let found = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0 != ".glim-pull" }
        #expect(Set(found) == Set(names))
        let parts = try FileManager.default.contentsOfDirectory(atPath: folder.path + "/.glim-pull")
        #expect(Set(parts) == ["checked.json", "lock"])
    }

    private func withFolder(_ body: (URL) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "glim-pull-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        try await body(folder)
    }

    @Test("fetches what makes up a model, and the second time nothing") func whole() async throws {
        try await withFolder { folder in
            let files = Self.files()
            let server = try HubServer(files)
            let last = Mutex<Pull.Progress?>(nil)
            let summary = try await pull(server, to: folder).run { now in last.withLock { $0 = now } }
            try expectWhole(folder, files)
            let total = Self.wanted.reduce(0) { $0 + (files[$1]?.count ?? 0) }
            #expect(summary.commit == HubServer.commit && summary.bytes == total && summary.fetchedBytes == total)
            let progress = try #require(last.withLock { $0 })
            #expect(progress.doneFiles == Self.wanted.count && progress.totalFiles == Self.wanted.count)
            #expect(progress.doneBytes == total && progress.totalBytes == total)
            let again = try await pull(server, to: folder).run()
            #expect(again.fetchedBytes == 0 && server.counts.fileBytes == total)
            // A file that was changed since is found out, its size and name being the same.
            let name = "tokenizer.json"
            try Data(repeating: 7, count: files[name]?.count ?? 0).write(to: folder.appending(path: name))
            #expect(try await pull(server, to: folder).run().fetchedBytes == files[name]?.count)
            try expectWhole(folder, files)
        }
    }

    @Test("whatever happens to connections, all bytes are right", arguments: 0..<6) func faults(seed: Int) async throws
    {
        try await withFolder { folder in
            let files = Self.files(UInt64(seed))
            let server = try HubServer(files)
            let faults: [HubServer.Fault] = [.cut, .cut, .cut, .hangUp, .busy, .whole, .none, .none]
            server.setFault { path, number in
                var mutator = Mutator(seed: UInt64(seed), number: number)
                return faults[mutator.below(faults.count)]
            }
            _ = try await pull(server, to: folder, attempts: 60).run()
            try expectWhole(folder, files)
        }
    }

    @Test("goes on where a connection that ended left it") func resumes() async throws {
        try await withFolder { folder in
            let files = Self.files()
            let server = try HubServer(files)
            let large = "model-00001-of-00002.safetensors"
            // Half of it comes, then the server is gone for good.
            let calls = Mutex(0)
            server.setFault { path, _ in
                guard path == large else { return .none }
                return calls.withLock { calls in
                    calls += 1
                    return calls == 1 ? .cut : .hangUp
                }
            }
            let error = await #expect(throws: HubError.self) {
                try await pull(server, to: folder, attempts: 3).run()
            }
            #expect(error?.description.contains("goes on where it stopped") == true, "\(String(describing: error))")
            #expect(!FileManager.default.fileExists(atPath: folder.appending(path: large).path))
            server.setFault { _, _ in .none }
            let parts = folder.appending(path: ".glim-pull")
            let found = try FileManager.default.contentsOfDirectory(at: parts, includingPropertiesForKeys: nil)
            let kept = try found.filter { $0.pathExtension == "part" }.map { try Data(contentsOf: $0).count }.max() ?? 0
            #expect(kept > 0 && kept <= 150_000)
            let before = server.counts.fileBytes
            let summary = try await pull(server, to: folder, files: [large]).run()
            #expect(summary.fetchedBytes == 300_000 - kept && server.counts.fileBytes - before == 300_000 - kept)
            #expect(try Data(contentsOf: folder.appending(path: large)) == files[large])
        }
    }

    @Test("a wrong byte is fetched again; twice wrong is an error, and nothing is believed") func wrong() async throws {
        try await withFolder { folder in
            let files = Self.files()
            let server = try HubServer(files)
            let large = "model-00001-of-00002.safetensors"
            let calls = Mutex(0)
            server.setFault { path, _ in
                guard path == large else { return .none }
                return calls.withLock { calls in
                    calls += 1
                    return calls == 2 ? .changed : .none
                }
            }
            _ = try await pull(server, to: folder).run()
            try expectWhole(folder, files)
            try FileManager.default.removeItem(at: folder)
            server.setFault { path, _ in path == large ? .changed : .none }
            let error = await #expect(throws: HubError.self) { try await pull(server, to: folder).run() }
            #expect(error?.description.contains(large) == true && error?.description.contains("twice") == true)
            #expect(!FileManager.default.fileExists(atPath: folder.appending(path: large).path))
            // What lies there under a part's name, and is longer or other than the content, is no beginning of it.
            server.setFault { _, _ in .none }
            let parts = folder.appending(path: ".glim-pull")
            for name in try FileManager.default.contentsOfDirectory(atPath: parts.path) where name.hasSuffix(".part") {
                try Data(repeating: 1, count: 400_000).write(to: parts.appending(path: name))
            }
            _ = try await pull(server, to: folder).run()
            try expectWhole(folder, files)
        }
    }

    @Test("a server that falls silent is left, and asked again") func stalls() async throws {
        try await withFolder { folder in
            let files = Self.files()
            let server = try HubServer(files)
            let calls = Mutex(0)
            server.setFault { path, _ in
                guard path == "tokenizer.json" else { return .none }
                return calls.withLock { calls in
                    calls += 1
                    return calls == 1 ? .stall : .none
                }
            }
            _ = try await pull(server, to: folder, patience: .seconds(1)).run()
            try expectWhole(folder, files)
        }
    }

    @Test("a token goes to the hub, and to nobody that it redirects to") func token() async throws {
        try await withFolder { folder in
            let files = Self.files()
            let server = try HubServer(files)
            server.setToken("secret")
            let error = await #expect(throws: HubError.self) { try await pull(server, to: folder).run() }
            #expect(error?.description.contains("HF_TOKEN") == true)
            _ = try await pull(server, to: folder, token: "secret").run()
            try expectWhole(folder, files)
            #expect(server.counts.leakedTokens == 0)
        }
    }

    @Test("the same path with new content is fetched anew") func newContent() async throws {
        try await withFolder { folder in
            var files = Self.files()
            let server = try HubServer(files)
            _ = try await pull(server, to: folder).run()
            let name = "tokenizer.json"
            files[name] = Data(files[name]?.reversed() ?? [])
            server.setFile(name, files[name] ?? Data())
            #expect(try await pull(server, to: folder).run().fetchedBytes == files[name]?.count)
            try expectWhole(folder, files)
        }
    }

    @Test("while files of two saves lie side by side nothing is there to load them by") func mixed() async throws {
        try await withFolder { folder in
            let (old, new) = (Self.files(), Self.files(2))
            let (before, server) = (try HubServer(old), try HubServer(new))
            _ = try await pull(before, to: folder).run()
            let last = "model-00002-of-00002.safetensors"
            server.setFault { path, _ in path == last ? .hangUp : .none }
            await #expect(throws: HubError.self) { try await pull(server, to: folder, attempts: 2).run() }
            #expect(try Data(contentsOf: folder.appending(path: last)) == old[last])
            #expect(try Data(contentsOf: folder.appending(path: "tokenizer.json")) == new["tokenizer.json"])
            #expect(!FileManager.default.fileExists(atPath: folder.appending(path: "config.json").path))
            server.setFault { _, _ in .none }
            _ = try await pull(server, to: folder).run()
            try expectWhole(folder, new)
        }
    }

    @Test("who is cancelled leaves at once, and what came stays") func cancelled() async throws {
        try await withFolder { folder in
            let files = Self.files()
            let server = try HubServer(files)
            server.setRate(bytesPerSecond: 100_000)
            for moment in [0, 1, 5, 50, 300] {
                let running = Task { try await pull(server, to: folder).run() }
                try await Task.sleep(for: .milliseconds(moment))
                running.cancel()
                await #expect(throws: CancellationError.self) { try await running.value }
            }
            server.setRate(bytesPerSecond: nil)
            let summary = try await pull(server, to: folder).run()
            #expect(summary.fetchedBytes < summary.bytes)
            try expectWhole(folder, files)
        }
    }

    @Test("a proxy is taken from the environment as most programs take it") func proxies() throws {
        func proxy(_ environment: [String: String]) throws -> String? {
            try Hub(environment: environment).proxy?.absoluteString
        }
        #expect(try proxy([:]) == nil)
        #expect(try proxy(["https_proxy": "http://p:1"]) == "http://p:1")
        #expect(try proxy(["HTTPS_PROXY": "p:1", "http_proxy": "q:1"]) == "http://p:1")
        #expect(try proxy(["http_proxy": "q:1"]) == nil)
        #expect(try proxy(["HF_ENDPOINT": "http://m.example", "http_proxy": "q:1"]) == "http://q:1")
        #expect(try proxy(["https_proxy": "p:1", "no_proxy": "a, .huggingface.co"]) == nil)
        #expect(try proxy(["https_proxy": "p:1", "no_proxy": "face.co"]) == "http://p:1")
        #expect(throws: HubError.badProxy("ftp://p")) { try proxy(["https_proxy": "ftp://p"]) }
    }

    @Test("one at a time in a folder") func busy() async throws {
        try await withFolder { folder in
            let server = try HubServer(Self.files(largest: 200_000))
            server.setRate(bytesPerSecond: 400_000)
            async let first = pull(server, to: folder).run()
            while !FileManager.default.fileExists(atPath: folder.path + "/.glim-pull/lock") {
                try await Task.sleep(for: .milliseconds(5))
            }
            try await Task.sleep(for: .milliseconds(50))
            await #expect(throws: HubError.busy(folder: folder.path)) { try await pull(server, to: folder).run() }
            _ = try await first
        }
    }

    @Test("lists that make no sense are errors of one line") func listings() async throws {
        try await withFolder { folder in
            let server = try HubServer(Self.files())
            func refused(_ listing: String, _ says: String) async throws {
                server.setListing(listing)
                let error = await #expect(throws: HubError.self) { try await pull(server, to: folder).run() }
                let text = error?.description ?? ""
                #expect(text.contains(says) && !text.contains("\n"), "\(text)")
            }
            let name = String(repeating: "a", count: 40)
            func entry(_ path: String, _ oid: String, _ size: Int = 1) -> String {
                "[{\"type\": \"file\", \"path\": \"\(path)\", \"oid\": \"\(oid)\", \"size\": \(size)}]"
            }
            try await refused("no JSON", "list of files")
            try await refused("[]", "no *.safetensors")
            try await refused("[{}]", "list of files")
            try await refused(entry("../../x", name), "leave the folder")
            try await refused(entry("/x", name), "leave the folder")
            try await refused(entry("a//x", name), "leave the folder")
            try await refused(entry("model.safetensors", "zz"), "make no sense")
            try await refused(entry("model.safetensors", name, -5), "make no sense")
            try await refused(entry("model.safetensors", name, .max), "make no sense")
            try await refused(entry("config.json", name), "no *.safetensors")
            #expect(!FileManager.default.fileExists(atPath: folder.path + "/model.safetensors"))
        }
        let server = try HubServer([:])
        for name in ["acme", "acme/tiny/more", "/tiny", "acme/", "../x", "a b/c"] {
            #expect(throws: HubError.badName(name)) { try HubRepository(name) }
        }
        for url in ["huggingface.co", "ftp://x", "http://", ""] {
            #expect(throws: HubError.badEndpoint(url)) { try Hub(endpoint: url) }
        }
        let missing = try Pull(
            HubRepository("acme/none"), from: Hub(endpoint: server.endpoint + "/"), to: URL(filePath: "/nonexistent/x"))
        await #expect(throws: HubError.notFound("acme/none at revision main", endpoint: server.endpoint)) {
            try await missing.run()
        }
    }

    @Test("GGUF files: the only model of a repository, or those that are named") func packed() async throws {
        try await withFolder { folder in
            let part = Data(repeating: 1, count: 100)
            let files = ["q8/m-00001-of-00002.gguf": part, "q8/m-00002-of-00002.gguf": part, "README.md": part]
            let server = try HubServer(files)
            let summary = try await pull(server, to: folder).run()
            #expect(summary.files.count == 2)
            #expect(try Data(contentsOf: folder.appending(path: "q8/m-00002-of-00002.gguf")) == part)
            server.setFile("m-q4.gguf", part)
            let error = await #expect(throws: HubError.self) { try await pull(server, to: folder).run() }
            #expect(error?.description.contains("--file") == true)
            _ = try await pull(server, to: folder, files: ["m-q4.gguf"]).run()
            #expect(try Data(contentsOf: folder.appending(path: "m-q4.gguf")) == part)
        }
    }
}
