import Foundation
import GlimTestSupport
import Testing

@Suite("glim pull", .serialized) struct PullCommandTests {
    private static let golden = URL(filePath: #filePath).appending(path: "../../Golden/gguf/sparse").standardizedFileURL

    private static func server() throws -> (HubServer, [String: Data]) {
        var files: [String: Data] = [:]
        for name in ["config.json", "model.safetensors"] {
            files[name] = try Data(contentsOf: golden.appending(path: name))
        }
        return (try HubServer(files), files)
    }

    /// The environment of the shell's own, with the hub's address.
    private func pull(_ server: HubServer, _ folder: TemporaryFolder, _ more: String = "") async throws
        -> Program.Output
    {
        try await Program.shell(
            "HF_ENDPOINT=\(server.endpoint) HF_TOKEN= \"$GLIM\" pull \(HubServer.repository) --out \"$D/model\" \(more)",
            folder)
    }

    @Test("fetches a model that runs, and says what it did") func pulls() async throws {
        let (server, files) = try Self.server()
        let folder = try TemporaryFolder()
        let output = try await pull(server, folder, "--json")
        #expect(output.status == 0, "\(output.stderr)")
        let json = try output.json
        #expect(json["commit"] as? String == HubServer.commit)
        #expect(json["files"] as? [String] == files.keys.sorted())
        let total = files.values.reduce(0) { $0 + $1.count }
        #expect(json["bytes"] as? Int == total && json["fetched_bytes"] as? Int == total)
        _ = try await Program.succeed(
            "generate", "--model", folder.path("model").path, "--tokens", "1,2,3", "--max-tokens", "2")
        let again = try await pull(server, folder, "--json")
        #expect(try again.json["fetched_bytes"] as? Int == 0)
        for (more, says) in [("--revision other", "other"), ("--file none.gguf", "none.gguf")] {
            let refused = try await pull(server, folder, more)
            #expect(refused.status == 1 && refused.stderr.contains(says), "\(refused.stderr)")
            #expect(refused.stderr.split(separator: "\n").count == 1)
        }
        let wrong = try await Program.run(["pull", "no-owner"])
        #expect(wrong.status == 1 && wrong.stderr.contains("OWNER/NAME"))
    }

    @Test("killed at any moment it goes on, and believes nothing that is not whole") func killed() async throws {
        let (server, files) = try Self.server()
        // About a second for all of it.
        server.setRate(bytesPerSecond: 400_000)
        let folder = try TemporaryFolder()
        var mutator = Mutator(seed: 8, number: 8)
        var kills = 0
        let script = folder.path("pull.sh")
        // The shell gives way to glim, so that the process to kill is glim's.
        try Data(
            """
            #!/bin/sh
            HF_ENDPOINT=\(server.endpoint) exec "$1" pull \(HubServer.repository) --out "$2"
            """.utf8
        ).write(to: script)
        let glim = try #require(Program.url)
        for round in 0..<12 {
            let began = server.counts.fileBytes
            let process = Process()
            process.executableURL = URL(filePath: "/bin/sh")
            process.arguments = [script.path, glim.path, folder.path("model").path]
            (process.standardOutput, process.standardError) = (FileHandle.nullDevice, FileHandle.nullDevice)
            try process.run()
            let moment = Double(mutator.below(600)) / 1000
            try await Task.sleep(for: .seconds(moment))
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            // Where all of it had come, the next round begins anew.
            if process.terminationReason == .uncaughtSignal {
                kills += 1
            } else {
                try FileManager.default.removeItem(at: folder.path("model"))
            }
            #expect(server.counts.fileBytes >= began)
            for (name, data) in files {
                guard let found = try? Data(contentsOf: folder.path("model/\(name)")) else { continue }
                #expect(found == data, "round \(round): \(name)")
            }
        }
        #expect(kills >= 4)
        server.setRate(bytesPerSecond: nil)
        let last = try await pull(server, folder, "--json")
        #expect(last.status == 0, "\(last.stderr)")
        for (name, data) in files {
            #expect(try Data(contentsOf: folder.path("model/\(name)")) == data, "\(name)")
        }
        let parts = try FileManager.default.contentsOfDirectory(atPath: folder.path("model/.glim-pull").path)
        #expect(Set(parts) == ["checked.json", "lock"])
    }
}
