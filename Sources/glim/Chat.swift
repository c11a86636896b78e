import ArgumentParser
import Foundation
import GlimCheckpoint
import GlimEngine
import GlimModel
import GlimText
import GlimTrain

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

struct Chat: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Talk with a model in the terminal.",
        discussion: """
            Replies appear as they are drawn, thinking dim. Ctrl-C ends a reply, Ctrl-D the program; /help lists the \
            commands. With input from a pipe each line is a turn, and only the replies are printed.
            """)

    @Option(help: "Model folder (config.json, *.safetensors, tokenizer.json) or GGUF file.") var model: String
    @Option(parsing: .unconditional, help: "Draw at most this many tokens for a reply.") var maxTokens = 512
    @Option(
        help: """
            Think before each reply and forget it later (interleaved), think and forget nothing (preserved), or answer \
            at once (off).
            """)
    var thinking = Conversation.Thinking.interleaved
    @OptionGroup var sampling: SamplingOptions
    @OptionGroup var drafting: DraftOptions
    @OptionGroup var prefixes: EngineOptions
    @OptionGroup var memory: MemoryOptions
    @OptionGroup var compute: ComputeOptions

    func validate() throws {
        guard maxTokens >= 1 else { throw ValidationError("--max-tokens is \(maxTokens); it must be 1 or more.") }
    }

    func run() async throws {
        compute.apply()
        let folder = URL(filePath: model)
        let config = try ModelConfig(folder: folder)
        try drafting.check(config.mtpLayerCount, of: model)
        let format = try ChatFormat(
            Tokenizer(model: folder), ChatTemplate(model: folder), vocabulary: config.vocabularySize,
            endOfText: config.endOfTextIDs)
        let loaded = try memory.load(
            model, positions: min(config.maximumPositions, Self.positions), drafts: drafting.drafts)
        try drafting.check(loaded.model.predictions.count, of: model)
        let engine = try prefixes.start(loaded, path: model, drafts: drafting.drafts)
        let conversation = Conversation(
            engine, format, context: config.maximumPositions, sampler: sampling.sampler, thinking: thinking,
            maxTokens: maxTokens)
        let isTerminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1
        var loop = ChatLoop(conversation, isTerminal: isTerminal)
        do { try await loop.run() } catch {
            await engine.stop()
            throw error
        }
        await engine.stop()
        loaded.finish()
    }

    /// That a conversation may come to where memory is limited.
    private static let positions = 8192
}

/// Reads lines, answers them, and obeys the ones that begin with a slash.
private struct ChatLoop {
    private var conversation: Conversation
    private let isTerminal: Bool
    private var lines = LineReader()

    init(_ conversation: Conversation, isTerminal: Bool) {
        (self.conversation, self.isTerminal) = (conversation, isTerminal)
    }

    mutating func run() async throws {
        StopSignal.catchInterrupts()
        if isTerminal { try emit("Ctrl-C ends a reply, Ctrl-D leaves, /help lists the commands.\n") }
        while true {
            if isTerminal { try emit("\n> ") }
            switch try lines.next() {
            case .end:
                if isTerminal { try emit("\n") }
                return
            case .interrupted:
                if !isTerminal { return }
                try emit("\n(Ctrl-D or /exit leaves)")
            case .line(let line):
                let text = line.trimmingCharacters(in: .whitespaces)
                if text.isEmpty { continue }
                if text.hasPrefix("/") {
                    if try !obey(text) { return }
                } else {
                    try await answer(line)
                }
            }
        }
    }

    private mutating func answer(_ text: String) async throws {
        StopSignal.clear()
        var progress = ReadingProgress()
        var display = ReplyDisplay(
            conversation.format.tokenizer, startsThinking: conversation.startsThinking, isTerminal: isTerminal)
        var ending = Engine.Reason.stop
        let fits = try await conversation.reply(to: text) { event in
            if case .finished(let reason, _) = event { ending = reason }
            if case .reading(let done, let count) = event { progress.show(done: done, of: count) }
            if case .token(let token) = event { try display.show(token.id) }
            return !StopSignal.arrived
        }
        progress.clear()
        try display.finish()
        if ending == .length { log("note: cut off after \(conversation.maxTokens) tokens (--max-tokens)") }
        if !fits {
            let longest = conversation.context
            log("The conversation would exceed the model's \(longest) tokens: say less, or begin again with /reset.")
        }
    }

    /// Returns false for a command that ends the program.
    private mutating func obey(_ text: String) throws -> Bool {
        let words = text.split(separator: " ", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
        let value = words.count > 1 ? words[1] : ""
        switch words[0] {
        case "/help": try emit(Self.help)
        case "/exit", "/quit": return false
        case "/reset": conversation.reset()
        case "/save": save(to: value)
        case "/thinking":
            if let thinking = Conversation.Thinking(rawValue: value) {
                conversation.thinking = thinking
            } else {
                log("/thinking wants interleaved, preserved or off; it is \(conversation.thinking.rawValue)")
            }
        case "/temperature":
            if let number = Double(value), number >= 0, number.isFinite {
                conversation.sampler.temperature = number
            } else {
                log("/temperature wants a number, 0 or more; it is \(conversation.sampler.temperature)")
            }
        case "/top-p":
            if let number = Double(value), number > 0, number <= 1 {
                conversation.sampler.topP = number
            } else {
                log("/top-p wants a number above 0 and at most 1; it is \(conversation.sampler.topP)")
            }
        case "/seed":
            if let number = UInt64(value) {
                conversation.sampler.seed = number
            } else {
                log("/seed wants a whole number, 0 or more; it is \(conversation.sampler.seed)")
            }
        default: log("There is no \(words[0]); /help lists the commands.")
        }
        return true
    }

    private static let help = """
        /reset           Forget the conversation.
        /save FILE       Write the conversation to a file, as text with its control tokens.
        /thinking MODE   Think before each reply (interleaved), also remember it later (preserved), or not at all (off).
        /temperature X   Draw more boldly (above 1) or carefully (below); 0 takes the most probable token.
        /top-p X         Draw only from the most probable tokens whose probabilities reach this sum.
        /seed N          Draw by another seed.
        /exit            Leave, as Ctrl-D does.

        """

    private func save(to path: String) {
        guard !path.isEmpty else { return log("/save wants the name of a file") }
        let bytes = (try? conversation.format.tokenizer.decode(conversation.transcript)) ?? []
        do {
            try AtomicFile.write(Data(bytes), to: URL(filePath: path))
        } catch {
            log("\(error)")
        }
    }
}
