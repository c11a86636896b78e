public import Foundation
import GlimCheckpoint

/// What a run came to, for a person (`report.html`) and for programs (`report.json`).
public struct Report: Codable, Sendable, Equatable {
    public var title: String
    /// A sentence or two on what was done.
    public var summary: String
    public var figures: Figures
    public var stages: [Stage]
    public var samples: [Sample]
    /// The machine and the settings, as they should be read: names and values in order.
    public var machine: [Fact]
    /// What to type to talk to the model.
    public var chatCommand: String

    public init(
        title: String, summary: String = "", figures: Figures = Figures(), stages: [Stage] = [],
        samples: [Sample] = [], machine: [Fact] = [], chatCommand: String = ""
    ) {
        (self.title, self.summary, self.figures, self.stages) = (title, summary, figures, stages)
        (self.samples, self.machine, self.chatCommand) = (samples, machine, chatCommand)
    }

    enum CodingKeys: String, CodingKey {
        case title, summary, figures, stages, samples, machine
        case chatCommand = "chat_command"
    }

    /// The numbers one asks for first. What was not measured is nil, in JSON null.
    public struct Figures: Codable, Sendable, Equatable {
        public var validationBitsPerByte: Double?
        public var tokensPerSecond: Double?
        /// Of the machine's peak rate of operations, 0 to 1.
        public var fractionOfPeak: Double?
        public var seconds: Double?
        public var totalParameters: Int?
        /// Those that take part in computing one token.
        public var activeParameters: Int?
        /// Trained on, all stages together.
        public var tokens: Int?

        public init(
            validationBitsPerByte: Double? = nil, tokensPerSecond: Double? = nil, fractionOfPeak: Double? = nil,
            seconds: Double? = nil, totalParameters: Int? = nil, activeParameters: Int? = nil, tokens: Int? = nil
        ) {
            (self.validationBitsPerByte, self.tokensPerSecond) = (validationBitsPerByte, tokensPerSecond)
            (self.fractionOfPeak, self.seconds) = (fractionOfPeak, seconds)
            (self.totalParameters, self.activeParameters) = (totalParameters, activeParameters)
            self.tokens = tokens
        }

        enum CodingKeys: String, CodingKey {
            case validationBitsPerByte = "val_bits_per_byte"
            case tokensPerSecond = "tokens_per_second"
            case fractionOfPeak = "fraction_of_peak"
            case seconds
            case totalParameters = "total_parameters"
            case activeParameters = "active_parameters"
            case tokens
        }
    }

    /// One stage of training.
    public struct Stage: Codable, Sendable, Equatable {
        public var name: String
        public var steps: Int
        public var tokens: Int
        public var seconds: Double?
        public var finalLoss: Double?
        public var validationBitsPerByte: Double?
        /// What the model can do after it.
        public var gain: Gain?

        public init(
            name: String, steps: Int, tokens: Int, seconds: Double? = nil, finalLoss: Double? = nil,
            validationBitsPerByte: Double? = nil, gain: Gain? = nil
        ) {
            (self.name, self.steps, self.tokens, self.seconds) = (name, steps, tokens, seconds)
            (self.finalLoss, self.validationBitsPerByte, self.gain) = (finalLoss, validationBitsPerByte, gain)
        }

        enum CodingKeys: String, CodingKey {
            case name, steps, tokens, seconds, gain
            case finalLoss = "final_loss"
            case validationBitsPerByte = "val_bits_per_byte"
        }
    }

    /// What the model made of a prompt.
    public struct Sample: Codable, Sendable, Equatable {
        public var prompt: String
        public var continuation: String

        public init(prompt: String, continuation: String) {
            (self.prompt, self.continuation) = (prompt, continuation)
        }
    }

    /// A line of a list of facts.
    public struct Fact: Codable, Sendable, Equatable {
        public var name: String
        public var value: String

        public init(_ name: String, _ value: String) { (self.name, self.value) = (name, value) }
    }

    /// `report.json`: snake_case keys in alphabetical order.
    public func json() throws(ReportError) -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        do { return try encoder.encode(self) + Data("\n".utf8) } catch {
            throw .cannotWrite("report.json", why: ReportError.why(error))
        }
    }

    /// Writes `report.html`, `report.json` and, if there is a curve, `loss.svg` into a folder, making it if need be.
    public func write(to folder: URL, curve: LossCurve? = nil) throws(ReportError) {
        let json = try json()
        do { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) } catch {
            throw .cannotWrite(folder.path, why: ReportError.why(error))
        }
        var files = [("report.json", json), ("report.html", Data(html(curve: curve).utf8))]
        if let curve { files.append(("loss.svg", Data(curve.svg().utf8))) }
        for (name, data) in files {
            let file = folder.appending(path: name)
            do { try AtomicFile.write(data, to: file) } catch { throw .cannotWrite(file.path, why: error.reason) }
        }
    }
}

// JSON has no NaN and no infinity, and an encoder that meets one fails: what is not a number counts as not measured.
extension KeyedEncodingContainer {
    /// `null` for what was not measured.
    mutating func encode(finite value: Double?, forKey key: Key) throws {
        try encode(value.flatMap { $0.isFinite ? $0 : nil }, forKey: key)
    }
}

extension Report.Figures {
    public func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(finite: validationBitsPerByte, forKey: .validationBitsPerByte)
        try values.encode(finite: tokensPerSecond, forKey: .tokensPerSecond)
        try values.encode(finite: fractionOfPeak, forKey: .fractionOfPeak)
        try values.encode(finite: seconds, forKey: .seconds)
        try values.encode(totalParameters, forKey: .totalParameters)
        try values.encode(activeParameters, forKey: .activeParameters)
        try values.encode(tokens, forKey: .tokens)
    }
}

extension Report.Stage {
    public func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(name, forKey: .name)
        try values.encode(steps, forKey: .steps)
        try values.encode(tokens, forKey: .tokens)
        try values.encode(finite: seconds, forKey: .seconds)
        try values.encode(finite: finalLoss, forKey: .finalLoss)
        try values.encode(finite: validationBitsPerByte, forKey: .validationBitsPerByte)
        try values.encodeIfPresent(gain, forKey: .gain)
    }
}
