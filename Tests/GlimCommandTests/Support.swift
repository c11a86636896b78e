import Foundation
import Subprocess
import Testing

#if canImport(System)
import System
#else
import SystemPackage
#endif

/// The built program, run as a person would run it.
enum Program {
    struct Output {
        var status: Int32
        var stdout: Data
        var stderr: String

        var text: String { String(decoding: stdout, as: UTF8.self) }
        /// The last line of standard output, as JSON.
        var json: [String: Any] {
            get throws {
                let line = text.split(separator: "\n").last.map { Data($0.utf8) } ?? Data()
                return try #require(try JSONSerialization.jsonObject(with: line) as? [String: Any])
            }
        }
    }

    /// Beside the tests; the search upwards from this file finds it when something else runs the tests.
    static let url: URL? = {
        let beside = URL(filePath: CommandLine.arguments[0]).resolvingSymlinksInPath().deletingLastPathComponent()
        let bundle = Bundle.main.bundleURL
        let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardized
        let folders = [
            beside, bundle, bundle.deletingLastPathComponent(), root.appending(path: ".build/release"),
            root.appending(path: ".build/debug"),
        ]
        return folders.map { $0.appending(path: "glim") }.first {
            FileManager.default.isExecutableFile(atPath: $0.path)
        }
    }()

    /// Runs `glim` with these arguments, its output going through files, so that no pipe can fill up.
    static func run(_ arguments: [String], input: String = "", folder workingFolder: URL? = nil) async throws -> Output
    {
        try await run(#require(url, "no glim beside the tests: swift build first"), arguments, input, workingFolder)
    }

    /// Runs a script of the shell, for which `$GLIM` is the program and `$D` a folder.
    static func shell(_ script: String, _ folder: TemporaryFolder) async throws -> Output {
        let glim: URL = try #require(url, "no glim beside the tests: swift build first")
        return try await run(
            URL(filePath: "/usr/bin/env"),
            ["GLIM=\(glim.path)", "D=\(folder.url.path)", "/bin/sh", "-c", script], "", nil)
    }

    private static func run(
        _ program: URL, _ arguments: [String], _ input: String, _ workingFolder: URL?
    ) async throws -> Output {
        let folder = try TemporaryFolder()
        let (stdin, stdout, stderr) = (folder.path("in"), folder.path("out"), folder.path("err"))
        for (path, text) in [(stdin, input), (stdout, ""), (stderr, "")] { try Data(text.utf8).write(to: path) }
        let done = try await Subprocess.run(
            .path(FilePath(program.path)), arguments: Arguments(arguments),
            workingDirectory: workingFolder.map { FilePath($0.path) },
            input: .fileDescriptor(.open(FilePath(stdin.path), .readOnly), closeAfterSpawningProcess: true),
            output: .fileDescriptor(.open(FilePath(stdout.path), .writeOnly), closeAfterSpawningProcess: true),
            error: .fileDescriptor(.open(FilePath(stderr.path), .writeOnly), closeAfterSpawningProcess: true))
        return Output(
            status: status(done.terminationStatus), stdout: try Data(contentsOf: stdout),
            stderr: String(decoding: try Data(contentsOf: stderr), as: UTF8.self))
    }

    /// Runs `glim` and `body` beside it, which gets the process's number and may wait and send signals. Its output is
    /// dropped; the process has ended when this returns.
    /// - Parameter errors: a file for what it says on standard error.
    static func run(
        _ arguments: [String], errors: URL? = nil, beside body: (pid_t) async throws -> Void
    ) async throws -> Int32 {
        let glim: URL = try #require(url, "no glim beside the tests: swift build first")
        let file = FilePath(errors?.path ?? "/dev/null")
        let done = try await Subprocess.run(
            .path(FilePath(glim.path)), arguments: Arguments(arguments), input: .none, output: .discarded,
            error: .fileDescriptor(
                .open(file, .writeOnly, options: .create, permissions: .ownerReadWrite),
                closeAfterSpawningProcess: true)
        ) { process in
            try await body(process.processIdentifier.value)
        }
        return status(done.terminationStatus)
    }

    /// Whether a process that `run(_:errors:beside:)` started has come to its end; it may still be waited for.
    static func hasEnded(_ process: pid_t) -> Bool {
        var news = siginfo_t()
        let isKnown = waitid(P_PID, id_t(process), &news, WEXITED | WNOHANG | WNOWAIT) == 0
        return !isKnown || news.si_signo == SIGCHLD
    }

    /// What a program exits with; the negative of the signal that ended it.
    private static func status(_ ended: TerminationStatus) -> Int32 {
        switch ended {
        case .exited(let code): code
        case .signaled(let signal): -signal
        }
    }

    /// Runs a command that must succeed.
    static func succeed(_ arguments: String..., input: String = "") async throws -> Output {
        let output = try await run(arguments, input: input)
        try #require(output.status == 0, "glim \(arguments.joined(separator: " ")): \(output.stderr)")
        return output
    }
}

/// A folder that goes away with its last user.
final class TemporaryFolder {
    let url: URL

    /// - Parameter isInMemory: where the system has a disk in memory: for runs that save all the time.
    init(inMemory isInMemory: Bool = false) throws {
        let memory = URL(filePath: "/dev/shm")
        let isThere = isInMemory && FileManager.default.isWritableFile(atPath: memory.path)
        let parent = isThere ? memory : FileManager.default.temporaryDirectory
        url = parent.appending(path: "glim-commands-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    func path(_ name: String) -> URL { url.appending(path: name) }

    func write(_ text: String, to name: String) throws -> String {
        try Data(text.utf8).write(to: path(name))
        return path(name).path
    }
}

enum Golden {
    private static let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()

    /// The path of one of the small models of `Tests/Golden/models`.
    static func model(_ name: String) -> String { tests.appending(path: "Golden/models/\(name)").path }
    static func input(_ name: String) -> String { model(name) + "/input.jsonl" }

    /// A copy of a model, to be spoiled.
    static func copy(_ name: String) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        for file in try FileManager.default.contentsOfDirectory(atPath: model(name)) {
            try FileManager.default.copyItem(atPath: model(name) + "/" + file, toPath: folder.path(file).path)
        }
        return folder
    }

    /// A model that speaks: a token for every byte and GLM's roles, over the golden network with tied embeddings.
    ///
    /// - Parameter drafts: whether it has an MTP layer, made of its last layer.
    static func speaker(drafts: Bool = false) throws -> TemporaryFolder {
        let folder = try copy("lite_tied")
        let added = ["<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<think>", "</think>"]
        let vocabulary = 256 + added.count
        var config = try json(folder.path("config.json"))
        (config["vocab_size"], config["eos_token_id"]) = (vocabulary, [256])
        if drafts { config["num_nextn_predict_layers"] = 1 }
        try JSONSerialization.data(withJSONObject: config).write(to: folder.path("config.json"))

        var tensors = try Safetensors(folder.path("model.safetensors"))
        let embedding = try #require(tensors["model.embed_tokens.weight"])
        let row = embedding.shape[1] * 4
        let rows = (0..<vocabulary).map { $0 % embedding.shape[0] }.map {
            embedding.bytes[embedding.bytes.startIndex + $0 * row..<embedding.bytes.startIndex + ($0 + 1) * row]
        }
        tensors["model.embed_tokens.weight"] = .init(
            type: "F32", shape: [vocabulary, embedding.shape[1]], bytes: rows.reduce(Data(), +))
        if drafts {
            let count = try #require(config["num_hidden_layers"] as? Int)
            for (name, entry) in tensors.entries where name.hasPrefix("model.layers.\(count - 1).") {
                tensors["model.layers.\(count)." + name.split(separator: ".").dropFirst(3).joined(separator: ".")] =
                    entry
            }
            let norm = try #require(tensors["model.norm.weight"])
            for name in ["enorm", "hnorm", "shared_head.norm"] {
                tensors["model.layers.\(count).\(name).weight"] = norm
            }
            let width = norm.shape[0]
            // Half of each: of the token's embedding, and of the trunk's output.
            let joining = (0..<width).flatMap { i in (0..<2 * width).map { Float($0 % width == i ? 0.5 : 0) } }
            tensors["model.layers.\(count).eh_proj.weight"] = .init(
                type: "F32", shape: [width, 2 * width], bytes: joining.withUnsafeBytes { Data($0) })
        }
        try tensors.data.write(to: folder.path("model.safetensors"))

        let printable = Array(33...126) + Array(161...172) + Array(174...255)
        let others = (0...255).filter { !printable.contains($0) }
        var words: [String: Int] = [:]
        for byte in 0...255 {
            let scalar = printable.contains(byte) ? byte : 256 + others.firstIndex(of: byte)!
            words[String(Character(Unicode.Scalar(UInt32(scalar))!))] = byte
        }
        let tokenizer: [String: Any] = [
            "version": "1.0",
            "added_tokens": added.enumerated().map { i, content in
                ["id": 256 + i, "content": content, "special": !content.contains("think"), "normalized": false]
            },
            "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false, "use_regex": true],
            "decoder": ["type": "ByteLevel"],
            "model": ["type": "BPE", "vocab": words, "merges": [String]()],
        ]
        try JSONSerialization.data(withJSONObject: tokenizer).write(to: folder.path("tokenizer.json"))
        return folder
    }

    static func json(_ file: URL) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any])
    }
}

/// A safetensors file, read apart from the code that is tested.
struct Safetensors {
    struct Entry {
        var type: String
        var shape: [Int]
        var bytes: Data

        var floats: [Float] {
            bytes.withUnsafeBytes { raw in
                (0..<raw.count / 4).map { raw.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
            }
        }
    }

    private(set) var entries: [String: Entry] = [:]

    init(_ file: URL) throws {
        let data = try Data(contentsOf: file)
        let count = data.withUnsafeBytes { Int($0.loadUnaligned(as: UInt64.self).littleEndian) }
        let header = try #require(
            try JSONSerialization.jsonObject(with: data[8..<8 + count]) as? [String: [String: Any]])
        for (name, entry) in header where name != "__metadata__" {
            let offsets = try #require(entry["data_offsets"] as? [Int])
            entries[name] = Entry(
                type: try #require(entry["dtype"] as? String), shape: try #require(entry["shape"] as? [Int]),
                bytes: data[8 + count + offsets[0]..<8 + count + offsets[1]])
        }
    }

    subscript(name: String) -> Entry? {
        get { entries[name] }
        set { entries[name] = newValue }
    }

    var data: Data {
        get throws {
            var (header, body): ([String: Any], Data) = ([:], Data())
            for (name, entry) in entries.sorted(by: { $0.key < $1.key }) {
                header[name] = [
                    "dtype": entry.type, "shape": entry.shape,
                    "data_offsets": [body.count, body.count + entry.bytes.count],
                ]
                body += entry.bytes
            }
            let json = try JSONSerialization.data(withJSONObject: header)
            return withUnsafeBytes(of: UInt64(json.count).littleEndian) { Data($0) } + json + body
        }
    }
}
