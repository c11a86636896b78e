import ArgumentParser
import Foundation
import GlimEngine
import GlimModel
import GlimServe
import GlimText
import GlimTrain

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve a model to OpenAI's and Anthropic's clients over HTTP.",
        discussion: """
            There are /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages, /v1/models, /generate (token \
            ids in and out: {"tokens": [1, 2], "max_tokens": 8}), /health and /metrics. Requests share the model: each gets what it would get alone. SIGTERM \
            and Ctrl-C end the program once running replies have come to their ends, or after --drain-seconds; a \
            second one ends them at once.
            """)

    @Option(
        help: "Model folder (config.json, *.safetensors and, but for /generate, tokenizer.json) or GGUF file.")
    var model: String
    @Option(help: "Port to listen at; 0 takes a free one, which is printed.") var port = 8080
    @Option(help: "Address to listen at; 0.0.0.0 lets other machines in.") var host = "127.0.0.1"
    @Option(help: "A file with a key on each line: only who sends one is answered.") var apiKeyFile: String?
    @Option(help: "Name by which clients ask for the model (default: the folder's name).") var name: String?
    @Option(help: "Requests that are open at one time; further ones are told to come again.") var maxRequests = 256
    @Option(
        help:
            "Bytes that the body of a request may have (default: 32 MiB; with --memory what its cache holds words for)."
    )
    var maxBody: Int?
    @Option(help: "Tokens that a prompt may have (default: as many as the model and its memory hold).")
    var maxPrompt: Int?
    @Option(help: "Seconds that a reply may take.") var replySeconds = 3600
    @Option(help: "Seconds that running replies may go on for once the server is told to stop.") var drainSeconds = 30
    @Option(help: "What requests are drawn by that name no seed of their own.") var seed: UInt64 = 0
    @OptionGroup var drafting: DraftOptions
    @OptionGroup var prefixes: EngineOptions
    @OptionGroup var memory: MemoryOptions
    @OptionGroup var compute: ComputeOptions

    func validate() throws {
        guard (0...65535).contains(port) else { throw ValidationError("--port is \(port), not within 0...65535.") }
        for (option, value) in [
            ("--max-requests", maxRequests), ("--max-body", maxBody ?? 1), ("--max-prompt", maxPrompt ?? 1),
            ("--reply-seconds", replySeconds),
        ] where value < 1 {
            throw ValidationError("\(option) is \(value); it must be 1 or more.")
        }
        guard name?.isEmpty != true else { throw ValidationError("--name is empty; give the name clients ask for.") }
        guard (maxBody ?? 1) <= 1 << 40 else {
            throw ValidationError("--max-body is \(maxBody ?? 0); it may be \(1 << 40) at most.")
        }
        guard drainSeconds >= 0 else {
            throw ValidationError("--drain-seconds is \(drainSeconds); it must not be negative.")
        }
    }

    func run() async throws {
        compute.apply()
        let folder = URL(filePath: model)
        // What is wrong with an option is said before gigabytes are read.
        var options = ServerOptions()
        (options.host, options.port, options.seed) = (host, port, seed)
        options.promptLimit = maxPrompt
        (options.replyLimit, options.shutdownLimit) = (.seconds(replySeconds), .seconds(drainSeconds))
        options.keys = try apiKeyFile.map { try APIKeys(file: URL(filePath: $0)) }
        let config = try ModelConfig(folder: folder)
        try drafting.check(config.mtpLayerCount, of: model)
        let hasWords = try Tokenizer.exists(for: folder)
        let tokenizer = hasWords ? try Tokenizer(model: folder) : nil
        let template = hasWords ? try ChatTemplate(model: folder) : .glm5

        let loaded = try memory.load(
            model, positions: Self.sequences * min(config.maximumPositions, Self.positions), drafts: drafting.drafts,
            sequences: Self.sequences)
        options.bodyByteLimit = maxBody ?? bodyByteLimit(loaded.model.config)
        try drafting.check(loaded.model.predictions.count, of: model)
        let engine = try prefixes.start(loaded, path: model, drafts: drafting.drafts, openLimit: maxRequests)
        let served = ServedModel(
            engine, loaded.model.config, name: name ?? folder.standardizedFileURL.lastPathComponent,
            tokenizer: tokenizer,
            template: template)
        let address = host.contains(":") ? "[\(host)]" : host
        let server = Server(served, options: options, obeysSignals: true) { port in
            try? emit("\(served.name) is served at http://\(address):\(port)\n")
        } whenWaiting: { [drainSeconds] connections in
            log("stopping; still answering: \(connections), for \(drainSeconds) seconds at most (once more: at once)")
        }
        defer { loaded.finish() }
        do { try await server.run() } catch {
            await engine.stop()
            throw error
        }
        await engine.stop()
    }

    /// Where memory is limited, so is what a body takes while it is read, which is many times its bytes.
    private func bodyByteLimit(_ config: ModelConfig) -> Int {
        guard memory.memory != nil else { return ServerOptions().bodyByteLimit }
        let context = Self.sequences * min(config.maximumPositions, Self.positions)
        return min(ServerOptions().bodyByteLimit, (1 << 16) + 16 * context)
    }

    /// Where memory is limited: requests that run at a time, and the tokens that each may come to on average.
    private static let sequences = 4
    private static let positions = 4096
}
