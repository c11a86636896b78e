import Foundation
import GlimTestSupport
import Testing

/// What the system does to a program: full disks, closed streams, pipes where files should be.
@Suite("a hostile world") struct WorldTests {
    /// One line on standard error that begins with `error:`, beside what progress said before.
    private func expectError(
        _ output: Program.Output, _ says: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let errors = output.stderr.split(separator: "\n").filter { $0.hasPrefix("error: ") }
        #expect(output.status == 1, "\(output.stderr)", sourceLocation: sourceLocation)
        #expect(errors.count == 1 && output.stderr.hasSuffix("\n"), "\(output.stderr)", sourceLocation: sourceLocation)
        #expect(errors.first?.contains(says) == true, "\(output.stderr)", sourceLocation: sourceLocation)
        #expect(output.stderr.split(separator: "\n").last == errors.first, sourceLocation: sourceLocation)
    }

    private static let lite = Golden.model("lite")

    @Test(
        "results that cannot be printed are an error",
        arguments: [
            "help", "--version", "help train", "inspect --preset nano", "inspect --preset nano --json",
            "bench cost --preset nano", "generate --model \(lite) --tokens 1,2 --max-tokens 3",
            "generate --model \(lite) --tokens 1,2 --max-tokens 3 --json", "doctor --threads 1",
            "--generate-completion-script bash",
        ])
    func output(command: String) async throws {
        let folder = try TemporaryFolder()
        if FileManager.default.fileExists(atPath: "/dev/full") {
            expectError(try await Program.shell("$GLIM \(command) >/dev/full", folder), "No space left")
        }
        expectError(try await Program.shell("$GLIM \(command) >&-", folder), "standard output is closed")
        // A reader that left. The fifo's only reader opens it, and goes before anything is written.
        let script = "mkfifo $D/p; (exec 3<$D/p) & exec 4>$D/p; wait; $GLIM \(command) >&4 4>&-"
        expectError(try await Program.shell(script, folder), "closed by its reader")
    }

    @Test("without any standard stream a result still goes to its own file") func noStreams() async throws {
        let folder = try TemporaryFolder()
        let input = Golden.input("lite")
        let score = "$GLIM score --model \(Self.lite) --input \(input) --output $D/out"
        #expect(try await Program.shell("\(score) <&- >&- 2>&-", folder).status == 0)
        #expect(try Safetensors(folder.path("out")).entries.isEmpty == false)
        #expect(
            try await Program.shell("$GLIM score --model $D --input x --output $D/o 2>/dev/full", folder).status == 1)
    }

    @Test(
        "what is no plain file is refused wherever a file is expected, and never waited for",
        arguments: ["fifo", "folder", "loop", "/dev/zero", "/dev/null"])
    func noFiles(kind: String) async throws {
        let folder = try TemporaryFolder()
        let text = try folder.write("some text to train on\n", to: "text.txt")
        _ = try await Program.shell("mkfifo $D/fifo; mkdir $D/folder; ln -s loop $D/loop", folder)
        let path = kind.hasPrefix("/") ? kind : folder.path(kind).path
        let (input, out) = (Golden.input("lite"), folder.path("out").path)
        let train = ["train", "pretrain", "--steps", "1", "--out", out]
        var commands = [
            ["inspect", "--config", path], ["score", "--model", Self.lite, "--input", path, "--output", out],
            train + ["--recipe", path], train + ["--data", path], train + ["--data", text, "--config", path],
            train + ["--data", text, "--model", path], train + ["--data", text, "--tokenizer", path],
        ]
        // A link to nowhere may be replaced by what is written.
        if kind != "loop" {
            commands.append(["score", "--model", Self.lite, "--input", input, "--output", path])
            commands.append(["grad", "--model", Self.lite, "--input", input, "--output", path])
            commands.append(["sft-data", "--out", path])
        }
        if kind != "folder" { commands.append(["quickstart", "--data", text, "--out", path]) }
        for arguments in commands { expectError(try await Program.run(arguments), path) }
        #expect(!FileManager.default.fileExists(atPath: out))

        for (name, command) in [
            ("config.json", ["generate", "--tokens", "1"]), ("model.safetensors", ["generate", "--tokens", "1"]),
            ("tokenizer.json", ["tokenize"]), ("tokenizer.json", ["chat"]),
        ] {
            let model = try Golden.copy("lite")
            try? FileManager.default.removeItem(at: model.path(name))
            try FileManager.default.createSymbolicLink(atPath: model.path(name).path, withDestinationPath: path)
            expectError(try await Program.run(command + ["--model", model.url.path]), model.url.path)
        }
    }

    @Test("standard input that is no text is read as bytes, or refused in a line") func input() async throws {
        let speaker = try Golden.speaker()
        let folder = try TemporaryFolder()
        _ = try await Program.shell("head -c 5000 /dev/urandom >$D/noise; printf 'a\\377b\\000c\\n' >$D/bytes", folder)
        let model = speaker.url.path
        for options in ["", "--whole", "--special"] {
            let ids = try await Program.shell("$GLIM tokenize --model \(model) \(options) <$D/noise", folder)
            #expect(ids.status == 0 && ids.stderr.isEmpty)
        }
        let back =
            "$GLIM tokenize --model \(model) --whole <$D/noise | $GLIM tokenize --model \(model) --whole --decode"
        #expect(try await Program.shell(back, folder).stdout == Data(contentsOf: folder.path("noise")))
        let decode = "$GLIM tokenize --model \(model) --decode"
        expectError(try await Program.shell("\(decode) <$D/bytes", folder), "line 1 of stdin")
        let chat = "$GLIM chat --model \(model) --max-tokens 2 --threads 1"
        for stdin in ["$D/bytes", "/dev/null"] {
            #expect(try await Program.shell("\(chat) <\(stdin)", folder).status == 0)
        }
        for command in [chat, "$GLIM tokenize --model \(model)"] {
            expectError(try await Program.shell("\(command) <$D", folder), "standard input cannot be read")
        }
    }

    @Test("a folder of data may hold loops, pipes, sparse files and noise") func data() async throws {
        let folder = try TinyRun.place()
        let made = try await Program.shell(
            """
            mkdir -p $D/data/deep $D/data/closed && cp $D/text.py $D/data/ && cd $D/data && ln -s . here && ln -s .. up \\
            && ln -s a b && ln -s b a && ln -s nowhere gone && mkfifo pipe && truncate -s 1T huge.bin \\
            && head -c 100000 /dev/urandom >noise && : >empty && printf 'x\\377y\\n' >latin.txt && printf 'a\\000b' >nul.txt \\
            && ln -s ../text.py deep/again.py && ln -s /dev/zero zero && chmod 000 closed
            """, folder)
        #expect(made.status == 0, "\(made.stderr)")
        var arguments = TinyRun.arguments(folder, "run")
        arguments[arguments.firstIndex(of: folder.path("text.py").path)!] = folder.path("data").path
        arguments[arguments.firstIndex(of: "60")!] = "1"
        let output = try await Program.run(arguments)
        #expect(output.status == 0, "\(output.stderr)")
        for word in ["unreadable", "binary", "empty", "special"] { #expect(output.stderr.contains(word)) }

        _ = try await Program.shell(
            "truncate -s 1T $D/huge.jsonl; mkdir $D/bin; cp $D/data/noise $D/data/empty $D/bin", folder)
        let train = ["train", "pretrain", "--steps", "1", "--out", folder.path("new/run").path, "--data"]
        expectError(try await Program.run(train + [folder.path("huge.jsonl").path]), "memory")
        expectError(try await Program.run(train + [folder.path("bin").path]), "empty or binary-only")
        expectError(try await Program.run(train + [folder.path("data/a").path]), "a link to nowhere")
        #expect(!FileManager.default.fileExists(atPath: folder.path("new").path))
    }

    @Test("shapes and numbers beyond reason are refused before memory is taken") func absurd() async throws {
        let folder = try TinyRun.place()
        let whole = try String(contentsOf: folder.path("config.json"), encoding: .utf8)
        func config(_ changes: [String: String]) throws -> String {
            let text = changes.reduce(whole) { text, change in
                text.replacing(try! Regex("\"\(change.key)\": [0-9]+"), with: "\"\(change.key)\": \(change.value)")
            }
            return try folder.write(text, to: "absurd.json")
        }
        let train = ["train", "pretrain", "--data", folder.path("text.py").path, "--out", folder.path("run").path]
        for (key, value) in [
            ("num_attention_heads", "0"), ("hidden_size", "-64"), ("vocab_size", "99999999999999999999"),
            ("moe_intermediate_size", "1e30"), ("n_routed_experts", "\"4\""),
        ] {
            expectError(try await Program.run(train + ["--config", config([key: value])]), key)
        }
        let largest = try config([
            "hidden_size": "131072", "moe_intermediate_size": "262144", "num_hidden_layers": "1024",
            "n_routed_experts": "4096", "vocab_size": "16777216",
        ])
        let more = ["--config", largest, "--batch-tokens", "1073741824"]
        expectError(try await Program.run(train + more), "GiB")
        #expect(!FileManager.default.fileExists(atPath: folder.path("run").path))
        // A config that asks for millions of tensors, beside a file that has dozens.
        let model = try Golden.copy("lite")
        let own = try String(contentsOf: model.path("config.json"), encoding: .utf8)
        for (key, value) in [("n_routed_experts", "4096"), ("num_hidden_layers", "1024"), ("hidden_size", "131072")] {
            let text = own.replacing(try Regex("\"\(key)\": [0-9]+"), with: "\"\(key)\": \(value)")
                .replacing(try Regex("\"mlp_layer_types\": \\[[^\\]]*\\],"), with: "")
            #expect(text != own)
            _ = try model.write(text, to: "config.json")
            let began = ContinuousClock.now
            expectError(
                try await Program.run(["generate", "--model", model.url.path, "--tokens", "1"]), model.url.path)
            #expect(ContinuousClock.now - began < .seconds(10))
        }
    }

    @Test("a disk that fails under a mapped file ends in a line") func bus() async throws {
        let folder = try TemporaryFolder()
        let speaker = try Golden.speaker()
        let script = """
            mkfifo $D/in; $GLIM chat --model \(speaker.url.path) --threads 1 <$D/in & exec 3>$D/in; sleep 1
            kill -BUS $!; wait $!
            """
        expectError(try await Program.shell(script, folder), "its disk failed")
    }
}
