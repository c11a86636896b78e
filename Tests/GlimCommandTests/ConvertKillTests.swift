import Foundation
import GlimTestSupport
import Testing

/// SIGKILL at any moment: no half of a model is taken for one, and the same command goes on.
@Suite("a conversion that is killed", .serialized) struct ConvertKillTests {
    @Test("of a file leaves nothing, or everything") func file() async throws {
        let folder = try TemporaryFolder(inMemory: true)
        let source = try TinyModel.large(in: folder)
        let whole = folder.path("whole.gguf").path
        let began = ContinuousClock.now
        _ = try await Program.succeed("convert", "--model", source, "--out", whole, "--type", "q8_0")
        var length = ContinuousClock.now - began
        let expected = try Data(contentsOf: URL(filePath: whole))
        let out = folder.path("place/out.gguf")
        try FileManager.default.createDirectory(at: folder.path("place"), withIntermediateDirectories: true)
        var mutator = Mutator(seed: 3, number: 3)
        var (kills, round) = (0, 0)
        while kills < 6 || round < 12, round < 100 {
            round += 1
            let (moment, started) = (length * Double(mutator.below(1000)) / 1000, ContinuousClock.now)
            let status = try await Program.run(
                ["convert", "--model", source, "--out", out.path, "--type", "q8_0"]
            ) { process in
                try await Task.sleep(for: moment)
                kill(process, SIGKILL)
            }
            kills += status == -SIGKILL ? 1 : 0
            // It came to its end before: the next moment is within the time that it takes by now.
            if status == 0 { length = min(length, ContinuousClock.now - started) }
            if let found = try? Data(contentsOf: out) {
                #expect(found == expected)
                try FileManager.default.removeItem(at: out)
            }
        }
        #expect(kills >= 6)
        _ = try await Program.succeed("convert", "--model", source, "--out", out.path, "--type", "q8_0")
        #expect(try Data(contentsOf: out) == expected)
        // What the killed ones left is gone.
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path("place").path) == ["out.gguf"])
    }

    @Test("to a folder leaves what is refused as a model, or is whole") func folder() async throws {
        let folder = try TemporaryFolder(inMemory: true)
        let source = try TinyModel.large(in: folder)
        func command(_ out: URL) -> [String] { ["convert", "--model", source, "--to", "folder", "--out", out.path] }
        let (whole, out) = (folder.path("whole"), folder.path("out"))
        let began = ContinuousClock.now
        #expect(try await Program.run(command(whole)).status == 0)
        var length = ContinuousClock.now - began
        let expected = try Self.files(whole)
        #expect(expected.keys.sorted() == ["config.json", "model.safetensors", "tokenizer.json"])
        var mutator = Mutator(seed: 4, number: 4)
        var (kills, halves, round) = (0, 0, 0)
        while kills < 10 || halves < 6, round < 100 {
            round += 1
            let moment = length * Double(mutator.below(1000)) / 1000
            // Some as soon as a file has its name, or a little later: between two of them there is hardly any time.
            let awaited = [nil, "tokenizer.json", "model.safetensors", "config.json"][round % 4]
            if let awaited { try? FileManager.default.removeItem(at: out.appending(path: awaited)) }
            let more = UInt32(mutator.below(2) * mutator.below(2000))
            let started = ContinuousClock.now
            let status = try await Program.run(command(out)) { process in
                if let awaited {
                    while !Self.exists(out.appending(path: awaited)), !Program.hasEnded(process) { await Task.yield() }
                    usleep(more)
                } else {
                    try await Task.sleep(for: moment)
                }
                kill(process, SIGKILL)
            }
            kills += status == -SIGKILL ? 1 : 0
            // It came to its end before: the next moment is within the time that it takes by now.
            if status == 0 { length = min(length, ContinuousClock.now - started) }
            let isModel = Self.exists(out.appending(path: "config.json"))
            let used = try await Program.run(["generate", "--model", out.path, "--tokens", "1", "--max-tokens", "1"])
            #expect(used.status == (isModel ? 0 : 1), "\(awaited ?? "\(moment)"): \(used.stderr)")
            let again = try await Program.run(command(out))
            if isModel {
                // It is whole, and stays so.
                #expect(again.status == 1 && again.stderr.contains("holds a model already; give another folder"))
            } else {
                halves += 1
                #expect(used.stderr.hasPrefix("error: ") && used.stderr.split(separator: "\n").count == 1)
                #expect(again.status == 0, "\(again.stderr)")
            }
            #expect(try Self.files(out) == expected)
            // Every other kill meets what an earlier one left: the names of all files but the last.
            try FileManager.default.removeItem(at: out.appending(path: "config.json"))
            if round % 2 == 1 { try FileManager.default.removeItem(at: out) }
        }
        #expect(kills >= 10 && halves >= 6, "\(kills), \(halves)")
    }

    private static func exists(_ file: URL) -> Bool { FileManager.default.fileExists(atPath: file.path) }

    /// Nor does anything lie about under a temporary name.
    private static func files(_ folder: URL) throws -> [String: Data] {
        try FileManager.default.contentsOfDirectory(atPath: folder.path).reduce(into: [:]) {
            $0[$1] = try Data(contentsOf: folder.appending(path: $1))
        }
    }
}
