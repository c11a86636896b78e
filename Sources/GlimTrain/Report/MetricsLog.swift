public import Foundation
import GlimCheckpoint

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// What one step of training measured: one line of `metrics.jsonl`.
public struct StepMetrics: Sendable, Equatable {
    /// From 1.
    public var step: Int
    /// Tokens trained on since the run began.
    public var tokens: Int
    /// Mean cross-entropy per token, in nats.
    public var loss: Double
    /// The same of multi-token prediction.
    public var mtpLoss: Double
    public var learningRate: Double
    /// Norm of the whole gradient, before clipping.
    public var gradientNorm: Double
    /// Of this step, evaluations and saves left out.
    public var tokensPerSecond: Double
    /// At evaluations only.
    public var validationLoss: Double?
    public var validationBitsPerByte: Double?
    /// Anything more, written after the rest in the order of the names.
    public var extras: [String: Double]

    public init(
        step: Int, tokens: Int, loss: Double, mtpLoss: Double, learningRate: Double, gradientNorm: Double,
        tokensPerSecond: Double, validationLoss: Double? = nil, validationBitsPerByte: Double? = nil,
        extras: [String: Double] = [:]
    ) {
        (self.step, self.tokens, self.loss, self.mtpLoss) = (step, tokens, loss, mtpLoss)
        (self.learningRate, self.gradientNorm) = (learningRate, gradientNorm)
        self.tokensPerSecond = tokensPerSecond
        (self.validationLoss, self.validationBitsPerByte) = (validationLoss, validationBitsPerByte)
        self.extras = extras
    }

    /// One JSON object without a line break: keys in fixed order, the shortest decimals that read back to the same
    /// numbers, and `null` for what JSON cannot say (NaN, infinity).
    public var jsonLine: String {
        var fields = [
            ("step", "\(step)"), ("tokens", "\(tokens)"), ("loss", Self.json(loss)), ("mtp_loss", Self.json(mtpLoss)),
            ("lr", Self.json(learningRate)), ("grad_norm", Self.json(gradientNorm)),
            ("tokens_per_second", Self.json(tokensPerSecond)),
        ]
        if let validationLoss { fields.append(("val_loss", Self.json(validationLoss))) }
        if let validationBitsPerByte { fields.append(("val_bits_per_byte", Self.json(validationBitsPerByte))) }
        for (key, value) in extras.sorted(by: { $0.key < $1.key }) where !Self.ownKeys.contains(key) {
            fields.append((key, Self.json(value)))
        }
        return "{" + fields.map { "\($0.0.json):\($0.1)" }.joined(separator: ",") + "}"
    }

    private static let ownKeys: Set = [
        "step", "tokens", "loss", "mtp_loss", "lr", "grad_norm", "tokens_per_second", "val_loss", "val_bits_per_byte",
    ]

    private static func json(_ value: Double) -> String { value.isFinite ? value.description : "null" }
}

extension StepMetrics: Decodable {
    private struct Key: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    public init(from decoder: any Decoder) throws {
        let object = try decoder.container(keyedBy: Key.self)
        /// `null` reads as NaN, a missing key or anything but a number as nil.
        func number(_ key: String) -> Double? {
            let key = Key(stringValue: key)
            if let isNull = try? object.decodeNil(forKey: key), isNull { return .nan }
            return try? object.decode(Double.self, forKey: key)
        }
        step = try object.decode(Int.self, forKey: Key(stringValue: "step"))
        tokens = try object.decode(Int.self, forKey: Key(stringValue: "tokens"))
        loss = number("loss") ?? .nan
        mtpLoss = number("mtp_loss") ?? .nan
        learningRate = number("lr") ?? .nan
        gradientNorm = number("grad_norm") ?? .nan
        tokensPerSecond = number("tokens_per_second") ?? .nan
        validationLoss = number("val_loss")
        validationBitsPerByte = number("val_bits_per_byte")
        extras = [:]
        for key in object.allKeys where !Self.ownKeys.contains(key.stringValue) {
            extras[key.stringValue] = number(key.stringValue)
        }
    }
}

/// `metrics.jsonl`: one line a step, there as soon as the step is done.
///
/// A line goes to the system in one write, so a killed process leaves at most one half-written line, the last, and
/// opening the log again cuts that off.
public struct MetricsLog: ~Copyable {
    private let descriptor: Int32
    private let path: String

    /// Opens the log for appending; makes the file if there is none.
    ///
    /// - Parameter afterStep: on resume, the step of the checkpoint: later lines are dropped, to be written again.
    public init(file: URL, afterStep: Int? = nil) throws(ReportError) {
        let path = file.path
        try Self.truncate(file: file, toStep: afterStep)
        let descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw .cannotWrite(path, why: String(cString: strerror(errno))) }
        (self.descriptor, self.path) = (descriptor, path)
    }

    /// Drops a half-written last line and, given a step, the lines of later steps and those that tell no step.
    ///
    /// The file is rewritten only if something goes, and by renaming: a kill on the way loses nothing.
    public static func truncate(file: URL, toStep last: Int?) throws(ReportError) {
        let lines = try lines(file.path)
        let kept = lines.lines.filter { line in
            guard let last else { return true }
            return line.step.map { $0 <= last } ?? false
        }
        guard kept.count < lines.lines.count || lines.hasHalfLine else { return }
        let text = kept.flatMap { $0.bytes + [UInt8(ascii: "\n")] }
        do { try AtomicFile.write(Data(text), to: file) } catch { throw .cannotWrite(file.path, why: error.reason) }
    }

    deinit { close(descriptor) }

    /// Writes the line of a step.
    ///
    /// - Throws: `ReportError.cannotWrite`.
    public func append(_ metrics: StepMetrics) throws(ReportError) {
        try Self.write(Array((metrics.jsonLine + "\n").utf8), to: descriptor, path: path)
    }

    /// What is in the log, oldest first. Lines that are not of a step, and a half-written last one, are left out; no
    /// file is no lines.
    public static func read(file: URL) throws(ReportError) -> [StepMetrics] {
        let decoder = JSONDecoder()
        return try lines(file.path).lines.compactMap { line in
            try? decoder.decode(StepMetrics.self, from: Data(line.bytes))
        }
    }

    private struct Lines {
        /// Complete lines, and the step each tells.
        var lines: [(step: Int?, bytes: ArraySlice<UInt8>)] = []
        /// Whether bytes follow the last line break.
        var hasHalfLine = false
    }

    private struct StepOnly: Decodable { var step: Int }

    /// The contents of a log; none where there is no file.
    static func bytes(_ path: String) throws(ReportError) -> [UInt8] {
        guard let entry = FileBytes.entry(path, following: true) else { return [] }
        guard entry.kind == .file else { throw .cannotRead(path, why: "it is not a plain file") }
        do throws(FileBytes.Problem) { return try FileBytes.read(path) } catch {
            throw .cannotRead(path, why: error.description)
        }
    }

    private static func lines(_ path: String) throws(ReportError) -> Lines {
        let bytes = try bytes(path)
        let decoder = JSONDecoder()
        var lines = Lines()
        var start = 0
        while let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) {
            let line = bytes[start..<end]
            lines.lines.append(((try? decoder.decode(StepOnly.self, from: Data(line)))?.step, line))
            start = end + 1
        }
        lines.hasHalfLine = start < bytes.count
        return lines
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32, path: String) throws(ReportError) {
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes { bytes in
                #if canImport(Darwin)
                Darwin.write(descriptor, bytes.baseAddress, bytes.count)
                #else
                Glibc.write(descriptor, bytes.baseAddress, bytes.count)
                #endif
            }
            if count < 0 {
                if errno == EINTR { continue }
                throw .cannotWrite(path, why: String(cString: strerror(errno)))
            }
            written += count
        }
    }
}
