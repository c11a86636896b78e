import Foundation
import GlimTestSupport
import Testing

/// Disks that are full, or take no files at all: an error in a line, nothing saved earlier lost, and a resumed run ends
/// as if there had been room all along.
@Suite("a full disk", .serialized) struct FullDiskTests {
    /// Root's mode bits stop nobody: full and read-only disks are real ones, mounted where only the script sees them.
    private static func mayMount() async -> Bool {
        guard let folder = try? TemporaryFolder() else { return false }
        return (try? await Program.shell("unshare -m mount -t tmpfs -o size=64k tmpfs /tmp", folder))?.status == 0
    }

    private func command(_ folder: TemporaryFolder, _ out: String) -> String {
        var arguments = TinyRun.arguments(folder, out)
        // Short, with a save every third step.
        arguments[arguments.firstIndex(of: "60")!] = "12"
        arguments[arguments.firstIndex(of: "--save-every")! + 1] = "3"
        arguments[arguments.firstIndex(of: "--evaluate-every")! + 1] = "4"
        return "$GLIM \(arguments.joined(separator: " ")) --resume"
    }

    private func whole(_ folder: TemporaryFolder) async throws -> URL {
        let done = try await Program.shell(command(folder, "whole"), folder)
        #expect(done.status == 0, "\(done.stderr)")
        return folder.path("whole")
    }

    private func expectError(_ text: String, _ says: [String], sourceLocation: SourceLocation = #_sourceLocation) {
        let errors = text.split(separator: "\n").filter { $0.hasPrefix("error: ") }
        #expect(errors.count == 1, "\(text)", sourceLocation: sourceLocation)
        let isSaid = says.contains { errors.first?.contains($0) == true }
        #expect(isSaid, "\(text)", sourceLocation: sourceLocation)
    }

    @Test("where files may not grow beyond a limit, run by run a little further") func limited() async throws {
        let folder = try TinyRun.place()
        let whole = try await whole(folder)
        // In blocks of 512 bytes: the recipe, the tokenizer, the log, the samples, a state, the model.
        for blocks in [0, 2, 20, 60, 300, 1500, 8000] {
            let output = try await Program.shell("(ulimit -f \(blocks); \(command(folder, "run"))) 2>&1 | cat", folder)
            let isDone = output.text.contains("steps 12, tokens ")
            if blocks < 8000 { expectError(output.text, ["File too large"]) } else { #expect(isDone, "\(output.text)") }
            // Whatever stands there under its real name is whole.
            if FileManager.default.fileExists(atPath: folder.path("run/model.safetensors").path) {
                let model = folder.path("run").path
                _ = try await Program.succeed("generate", "--model", model, "--tokens", "1", "--max-tokens", "1")
            }
        }
        let last = try await Program.shell(command(folder, "run"), folder)
        #expect(last.status == 0, "\(last.stderr)")
        try TinyRun.expectSame(folder.path("run"), whole)
    }

    @Test(
        "that is full at one moment or another of a run, and gets room",
        .enabled("mounting is not permitted") { await mayMount() },
        arguments: [8, 48, 200, 700, 1500, 2500])
    func mounted(kibibytes: Int) async throws {
        let folder = try TinyRun.place()
        let whole = try await whole(folder)
        let inner = command(folder, "disk/run")
        let script = """
            mkdir $D/disk; mount -t tmpfs -o size=\(kibibytes)k tmpfs $D/disk || exit 9
            \(inner) >$D/first 2>&1; echo $? >>$D/status
            ls -A $D/disk/run/training >$D/states 2>/dev/null; ls -A $D/disk/run | grep tmp >$D/left
            if [ -e $D/disk/run/model.safetensors ]; then
                $GLIM generate --model $D/disk/run --tokens 1 --max-tokens 1 >/dev/null || exit 8
            fi
            mount -o remount,size=50m $D/disk || exit 7
            \(inner) >$D/second 2>&1; echo $? >>$D/status
            cp -r $D/disk/run $D/copy
            """
        _ = try folder.write(script, to: "script")
        let output = try await Program.shell("unshare -m /bin/sh $D/script", folder)
        #expect(output.status == 0, "\(output.stderr)")
        let first = try String(contentsOf: folder.path("first"), encoding: .utf8)
        expectError(first, ["No space left"])
        #expect(try String(contentsOf: folder.path("status"), encoding: .utf8) == "1\n0\n")
        // What did not become whole takes no room.
        let states = try String(contentsOf: folder.path("states"), encoding: .utf8).split(separator: "\n")
        #expect(states.allSatisfy { $0.hasPrefix("step-") } && states.count <= 2, "\(states)")
        #expect(try Data(contentsOf: folder.path("left")).isEmpty)
        try TinyRun.expectSame(folder.path("copy"), whole)
    }

    @Test(
        "that is full at one moment or another of a conversion to a folder, and gets room",
        .enabled("mounting is not permitted") { await mayMount() })
    func conversion() async throws {
        let folder = try TemporaryFolder(inMemory: true)
        let source = try TinyModel.large(in: folder)
        let whole = folder.path("whole")
        _ = try await Program.succeed("convert", "--model", source, "--to", "folder", "--out", whole.path)
        func kibibytes(_ name: String) throws -> Int {
            (try Data(contentsOf: whole.appending(path: name)).count + 4095) / 4096 * 4
        }
        let (words, weights) = (try kibibytes("tokenizer.json"), try kibibytes("model.safetensors"))
        let inner = "$GLIM convert --model \(source) --to folder --out $D/disk/out"
        // Within the tokenizer, the weights, and before the config.
        for size in [words - 4, words + weights / 2, words + weights] {
            let script = """
                rm -rf $D/disk $D/copy; mkdir $D/disk; mount -t tmpfs -o size=\(size)k tmpfs $D/disk || exit 9
                \(inner) >$D/first 2>&1; echo $? >$D/status
                ls -A $D/disk/out >$D/left
                $GLIM generate --model $D/disk/out --tokens 1 --max-tokens 1 >/dev/null 2>&1; echo $? >>$D/status
                mount -o remount,size=200m $D/disk || exit 7
                \(inner) >$D/second 2>&1; echo $? >>$D/status
                cp -r $D/disk/out $D/copy
                """
            _ = try folder.write(script, to: "script")
            let output = try await Program.shell("unshare -m /bin/sh $D/script", folder)
            #expect(output.status == 0, "\(output.stderr)")
            expectError(try String(contentsOf: folder.path("first"), encoding: .utf8), ["No space left"])
            #expect(try String(contentsOf: folder.path("status"), encoding: .utf8) == "1\n1\n0\n", "\(size)")
            // What did not become whole takes no room.
            let left = try String(contentsOf: folder.path("left"), encoding: .utf8).split(separator: "\n")
            #expect(left.allSatisfy { ["tokenizer.json", "model.safetensors"].contains($0) }, "\(left)")
            for name in ["config.json", "model.safetensors", "tokenizer.json"] {
                let (found, expected) = (folder.path("copy/\(name)"), whole.appending(path: name))
                #expect(try Data(contentsOf: found) == Data(contentsOf: expected), "\(name)")
            }
        }
    }

    @Test(
        "that takes no files is found out before anything is computed",
        .enabled("mounting is not permitted") { await mayMount() })
    func readOnly() async throws {
        let folder = try TinyRun.place()
        let whole = try await whole(folder)
        let (lite, input) = (Golden.model("lite"), Golden.input("lite"))
        let commands = [
            command(folder, "disk/run"), command(folder, "disk/new/run"),
            "$GLIM quickstart --minutes 0.01 --data $D/text.py --out $D/disk/quick",
            "$GLIM score --model \(lite) --input \(input) --output $D/disk/out",
            "$GLIM grad --model \(lite) --input \(input) --output $D/disk/out",
            "$GLIM convert --model \(lite) --to folder --out $D/disk/out",
            "$GLIM sft-data --out $D/disk/out", "$GLIM sft-data --model \(lite) --out $D/disk/out",
        ]
        let script = """
            mkdir $D/disk; mount -t tmpfs -o size=20m tmpfs $D/disk && cp -r \(whole.path) $D/disk/run || exit 9
            rm $D/disk/run/model.safetensors; mount -o remount,ro $D/disk || exit 8
            \(commands.enumerated().map { "\($1) >$D/said\($0) 2>&1; echo $? >>$D/status" }.joined(separator: "\n"))
            """
        _ = try folder.write(script, to: "script")
        let output = try await Program.shell("unshare -m /bin/sh $D/script", folder)
        #expect(output.status == 0, "\(output.stderr)")
        for i in commands.indices {
            expectError(try String(contentsOf: folder.path("said\(i)"), encoding: .utf8), ["Read-only file system"])
        }
        let ones = String(repeating: "1\n", count: commands.count)
        #expect(try String(contentsOf: folder.path("status"), encoding: .utf8) == ones)
    }
}
