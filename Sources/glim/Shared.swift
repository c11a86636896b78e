public import ArgumentParser
import Foundation
import GlimModel
import GlimTensor
import GlimTrain

/// Options of every command that computes.
struct ComputeOptions: ParsableArguments {
    @Option(help: "Threads that compute (default: one per core). Changes time, never a result.")
    var threads: Int?

    /// To be called before anything computes.
    func apply() {
        guard let threads else { return }
        ThreadPool.shared.threadCount = threads
        if threads > ThreadPool.processorCount {
            log("note: \(threads) threads on \(ThreadPool.processorCount) processors wait for each other")
        }
    }

    func validate() throws {
        if let threads, !(1...1024).contains(threads) {
            throw ValidationError("--threads is \(threads), not within 1...1024.")
        }
    }
}

/// Options of every command that draws tokens.
struct SamplingOptions: ParsableArguments {
    @Option(help: "Divides the logits; 0 takes the most probable token each time.") var temperature = 1.0
    @Option(help: "Draw only from the most probable tokens whose probabilities reach this sum.")
    var topP = 1.0
    @Option(help: "The same seed draws the same tokens.") var seed: UInt64 = 0

    var sampler: Sampler { Sampler(temperature: temperature, topP: topP, seed: seed) }

    func validate() throws {
        guard temperature >= 0, temperature.isFinite else {
            throw ValidationError("--temperature is \(temperature); it must be 0 or more.")
        }
        guard topP > 0, topP <= 1 else { throw ValidationError("--top-p is \(topP), not above 0 and at most 1.") }
    }
}

/// Sequences of tokens to score: one JSON object a line, `{"id": "a", "tokens": [1, 2, 3]}`.
struct TokenLine: Decodable {
    let id: String
    let tokens: [Int32]

    /// Reads a file of them; every line is checked against the vocabulary and the longest context.
    static func read(_ path: String, vocabulary: Int, longest: Int) throws -> [TokenLine] {
        let data: [UInt8]
        do throws(FileBytes.Problem) { data = try FileBytes.read(path, atMost: MemoryRoom.byteCount / 8) } catch {
            throw Failure("\(path) cannot be read: \(error); give a file of JSON lines")
        }
        var lines: [TokenLine] = []
        var seen: Set<String> = []
        for (i, line) in data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            if line.allSatisfy({ $0 == 32 || $0 == 13 || $0 == 9 }) { continue }
            let place = "\(path):\(i + 1)"
            guard let parsed = try? JSONDecoder().decode(TokenLine.self, from: Data(line)) else {
                throw Failure("\(place): expected {\"id\": \"a\", \"tokens\": [1, 2, 3]} with whole 32-bit numbers")
            }
            guard !parsed.tokens.isEmpty else { throw Failure("\(place): \"tokens\" is empty") }
            guard parsed.tokens.count <= longest else {
                throw Failure("\(place): \(parsed.tokens.count) tokens, but the model's context is \(longest)")
            }
            if let bad = parsed.tokens.first(where: { $0 < 0 || Int($0) >= vocabulary }) {
                throw Failure("\(place): token \(bad) is not within 0..<\(vocabulary)")
            }
            guard seen.insert(parsed.id).inserted else { throw Failure("\(place): id \"\(parsed.id)\" appears twice") }
            lines.append(parsed)
        }
        guard !lines.isEmpty else {
            throw Failure("\(path) has no lines; expected {\"id\": \"a\", \"tokens\": [1, 2]}")
        }
        return lines
    }
}

/// Writes to standard error: progress and logs, never results.
func log(_ text: String) {
    try? FileHandle.standardError.write(contentsOf: Data((text + "\n").utf8))
}

/// Writes to standard output at once: what a person watches as it comes.
func emit(_ text: String) throws { try emit(Data(text.utf8)) }

/// The same for bytes that need not be text.
func emit(_ bytes: Data) throws {
    try bytes.withUnsafeBytes { try Streams.emit($0) }
}

extension ModelConfig.ComputeType: ExpressibleByArgument {}

/// How many tokens multi-token prediction guesses at a time.
struct DraftOptions: ParsableArguments {
    @Option(help: "Guess this many tokens ahead with the MTP layer: changes time, never a result.")
    var drafts = 0

    func validate() throws {
        guard (0...64).contains(drafts) else { throw ValidationError("--drafts is \(drafts), not within 0...64.") }
    }

    /// - Throws: `Failure` where drafts are asked for and there is nothing to make them with.
    func check(_ layerCount: Int, of model: String) throws {
        guard drafts == 0 || layerCount > 0 else {
            throw Failure(
                "--drafts is \(drafts), but \(model) has no MTP layer to draft with; leave it out, or train a model with --mtp-layers 1"
            )
        }
    }
}

extension Model {
    /// Loads a folder, unless its weights would not fit into memory.
    init(path: String, format: LoadFormat = .inference, computeType: ModelConfig.ComputeType? = nil) throws {
        let folder = URL(filePath: path)
        try MemoryRoom.check(
            Model.byteCount(ofFolder: folder, format: format, computeType: computeType), of: path,
            advice: "use a smaller model, or a machine with more")
        try self.init(folder: folder, format: format, computeType: computeType)
    }
}

extension Encodable {
    /// One line of JSON with its keys sorted, so that equal values print equal text.
    var jsonLine: String {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return String(decoding: try encoder.encode(self), as: UTF8.self)
        }
    }
}
