import ArgumentParser
import Foundation
import GlimEngine
import GlimModel
import GlimText
import GlimTrain

struct Generate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Continue a text or a list of tokens.",
        discussion: """
            The text appears on standard output as it is drawn. The prompt is plain text: control tokens written in it \
            stay text, unless --special is given. An empty prompt begins with the model's end-of-text token. With \
            --tokens the model needs no tokenizer.
            """)

    @Option(help: "Model folder (config.json, *.safetensors, tokenizer.json) or GGUF file.") var model: String
    @Option(parsing: .unconditional, help: "Text to continue.") var prompt: String?
    @Option(parsing: .unconditional, help: "Token ids to continue instead of a text, such as \"1,2,3\".")
    var tokens: String?
    @Option(parsing: .unconditional, help: "Draw at most this many tokens.") var maxTokens = 256
    @OptionGroup var sampling: SamplingOptions
    @OptionGroup var replying: ReplyOptions
    @OptionGroup var drafting: DraftOptions
    @OptionGroup var prefixes: EngineOptions
    @OptionGroup var memory: MemoryOptions
    @Flag(help: "Let added tokens written in the prompt become control tokens.") var special = false
    @Flag(help: "Print one JSON object at the end instead of the text as it is drawn.") var json = false
    @OptionGroup var compute: ComputeOptions

    func validate() throws {
        guard maxTokens >= 0 else { throw ValidationError("--max-tokens is \(maxTokens); it must not be negative.") }
    }

    func run() async throws {
        // Not in `validate`, which comes before an option of another name is found out.
        guard (prompt == nil) != (tokens == nil) else { throw ValidationError("Give either --prompt or --tokens.") }
        compute.apply()
        let folder = URL(filePath: model)
        // What is wrong with a prompt is said before gigabytes are read.
        let config = try ModelConfig(folder: folder)
        try drafting.check(config.mtpLayerCount, of: model)
        let tokenizer = try loadTokenizer(folder)
        let start = try startTokens(config, tokenizer)
        let rule = try replying.rule(config, tokenizer, model: model)
        let loaded = try memory.load(
            model, positions: min(config.maximumPositions, start.count + min(maxTokens, config.maximumPositions)),
            drafts: drafting.drafts)
        try drafting.check(loaded.model.predictions.count, of: model)
        let engine = try prefixes.start(loaded, path: model, drafts: drafting.drafts)
        var reply = try await draw(engine, start, rule, tokenizer)
        await engine.stop()
        reply.add(loaded.model.expertStream?.statistics)
        loaded.finish()
        if json {
            try emit(reply.jsonLine + "\n")
        } else {
            if tokenizer == nil { try emit(reply.tokens.map(String.init).joined(separator: ",")) }
            try emit("\n")
            if let line = reply.draftLine { log(line) }
            if let line = reply.cutLine(isDocument: replying.jsonSchema != nil) { log(line) }
        }
    }

    /// Ids can be continued without a tokenizer; text cannot.
    private func loadTokenizer(_ folder: URL) throws -> Tokenizer? {
        if tokens != nil, try !Tokenizer.exists(for: folder) { return nil }
        return try Tokenizer(model: folder)
    }

    private func startTokens(_ config: ModelConfig, _ tokenizer: Tokenizer?) throws -> [Int32] {
        var start: [Int32]
        if let tokens {
            start = try tokens.split(separator: ",", omittingEmptySubsequences: false).map { word in
                guard let id = Int32(word.trimmingCharacters(in: .whitespaces)) else {
                    throw Failure("--tokens: \"\(word)\" is not a token id; expected ids as in \"1,2,3\"")
                }
                return id
            }
        } else {
            start = tokenizer?.encode(prompt ?? "", special: special) ?? []
            if start.isEmpty {
                guard let end = tokenizer?.id(of: .endOfText) ?? config.endOfTextIDs.first.map({ Int32($0) }) else {
                    throw Failure("--prompt is empty, and \(model) has no end-of-text token to begin with; give a text")
                }
                start = [end]
            }
        }
        if let bad = start.first(where: { $0 < 0 || Int($0) >= config.vocabularySize }) {
            let source = tokens == nil ? "tokenizer.json gives" : "--tokens:"
            throw Failure("\(source) token \(bad), which is not within the model's 0..<\(config.vocabularySize)")
        }
        guard start.count <= config.maximumPositions else {
            throw Failure(
                "the prompt has \(start.count) tokens, but the model's context is \(config.maximumPositions); shorten it"
            )
        }
        return start
    }

    private func draw(
        _ engine: Engine, _ start: [Int32], _ rule: ReplyRule?, _ tokenizer: Tokenizer?
    ) async throws -> Reply {
        var stops = StopStrings(replying.stop)
        var decoder = tokenizer.map { StreamDecoder($0, skipsSpecial: true) }
        var progress = ReadingProgress()
        var reply = Reply(promptTokens: start.count, text: tokenizer == nil ? nil : "")
        var request = Engine.Request(prompt: start, maxTokens: maxTokens, sampler: sampling.sampler)
        request.rule = rule
        for try await event in try engine.submit(request) {
            switch event {
            case .reading(let done, let count):
                progress.show(done: done, of: count)
            case .token(let token):
                reply.tokens.append(token.id)
                reply.logprobs.append(token.logprob.isFinite ? token.logprob : nil)
                // A model may have more ids than its tokenizer has words: those have no text.
                try show(stops.push((try? decoder?.push(token.id)) ?? ""), &reply)
            case .finished(let reason, let usage):
                reply.stopReason = reason == .stop ? .stop : reason == .context ? .context : .length
                reply.prefillTokensPerSecond = rate(start.count - usage.cachedTokens, usage.readingTime)
                // The first token comes of the prompt's own pass.
                reply.decodeTokensPerSecond = rate(usage.tokens - 1, usage.drawingTime)
                reply.cachedTokens = prefixes.prefixCache == nil ? nil : usage.cachedTokens
                if drafting.drafts > 0 {
                    (reply.draftsTried, reply.draftsAccepted) = (usage.drafts.tried, usage.drafts.accepted)
                    (reply.draftAcceptance, reply.tokensPerStep) = (usage.drafts.acceptance, usage.drafts.tokensPerStep)
                }
            }
        }
        try show(stops.push(decoder?.finish() ?? "") + stops.finish(), &reply)
        return reply
    }

    private func show(_ piece: String, _ reply: inout Reply) throws {
        if piece.isEmpty { return }
        reply.text? += piece
        if !json { try emit(piece) }
    }

    private func rate(_ count: Int, _ time: Duration) -> Double {
        count > 0 ? Double(count) / max(time / .seconds(1), 1e-9) : 0
    }

    /// What `--json` prints.
    private struct Reply: Encodable {
        enum StopReason: String, Encodable {
            /// The model ended its text, or `--stop` or a whole document did.
            case stop
            /// `--max-tokens` were drawn.
            case length
            /// The model's longest context is full.
            case context
        }

        var promptTokens: Int
        var tokens: [Int32] = []
        var text: String?
        /// nil where a broken model gave no number.
        var logprobs: [Float?] = []
        var stopReason = StopReason.length
        /// Tokens of the prompt that a prefix cache knew; absent without one.
        var cachedTokens: Int?
        var prefillTokensPerSecond = 0.0
        var decodeTokensPerSecond = 0.0
        /// Share of the drafts at each position that were right, nil where none got there; absent without drafts.
        var draftAcceptance: [Double?]?
        /// How many that were, for sums over several replies.
        var draftsTried: [Int]?
        var draftsAccepted: [Int]?
        var tokensPerStep: Double?
        /// The share of experts that were in memory when they were needed, and bytes read from disk; absent where all are.
        var expertHitRate: Double?
        var expertBytesRead: Int?

        mutating func add(_ experts: ExpertStream.Statistics?) {
            (expertHitRate, expertBytesRead) = (experts?.hitRate, experts?.readByteCount)
        }

        enum CodingKeys: String, CodingKey {
            case tokens, text, logprobs
            case promptTokens = "prompt_tokens"
            case cachedTokens = "cached_tokens"
            case stopReason = "stop_reason"
            case prefillTokensPerSecond = "prefill_tokens_per_second"
            case decodeTokensPerSecond = "decode_tokens_per_second"
            case draftAcceptance = "draft_acceptance"
            case draftsTried = "drafts_tried"
            case draftsAccepted = "drafts_accepted"
            case tokensPerStep = "tokens_per_step"
            case expertHitRate = "expert_hit_rate"
            case expertBytesRead = "expert_bytes_read"
        }

        /// What drafts came to, for people.
        var draftLine: String? {
            guard let draftAcceptance, let tokensPerStep else { return nil }
            let shares = draftAcceptance.enumerated().map { i, share in
                share.map { "\(Int(($0 * 100).rounded()))% of \(draftsTried?[i] ?? 0)" } ?? "-"
            }
            return "drafts accepted: \(shares.joined(separator: ", ")); "
                + "\(String(format: "%.2f", tokensPerStep)) tokens a step"
        }

        /// What a reply that is not whole lacks, for people. Text that goes on for as long as was asked lacks nothing.
        func cutLine(isDocument: Bool) -> String? {
            switch stopReason {
            case .stop: nil
            case .context: "note: the model's context is full; the reply ends there"
            case .length:
                isDocument ? "note: the document is not whole: --max-tokens ended it after \(tokens.count)" : nil
            }
        }

        init(promptTokens: Int, text: String?) { (self.promptTokens, self.text) = (promptTokens, text) }
    }
}
