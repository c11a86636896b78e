import GlimModel
import TOMLKit

extension TrainRecipe {
    /// The values that occur in recipes.
    enum Value: CustomStringConvertible {
        case text(String)
        case integer(Int)
        case number(Double)
        case flag(Bool)
        case texts([String])
        case integers([Int])
        case numbers([Double])
        case other(String)

        init?(_ value: any TOMLValueConvertible) {
            switch value.type {
            case .string: self = .text(value.string ?? "")
            case .int: self = .integer(value.int ?? 0)
            case .double: self = .number(value.double ?? .nan)
            case .array:
                guard let array = value.array else { return nil }
                let elements = (0..<array.count).map { array[$0] }
                let texts = elements.compactMap(\.string)
                let integers = elements.compactMap { $0.type == .int ? $0.int : nil }
                let numbers = elements.compactMap { $0.type == .int ? $0.int.map { Double($0) } : $0.double }
                if texts.count == elements.count {
                    self = .texts(texts)
                } else if integers.count == elements.count {
                    self = .integers(integers)
                } else if numbers.count == elements.count {
                    self = .numbers(numbers)
                } else {
                    self = .other("an array of several things")
                }
            case .bool: self = .flag(value.bool ?? false)
            case .table: self = .other("a table")
            case .date, .time, .dateTime: self = .other("a date")
            }
        }

        /// As TOML writes it.
        var description: String {
            switch self {
            case .text(let text): Self.quoted(text)
            case .integer(let value): "\(value)"
            // "1e-08" and "inf" read back; a whole number keeps its ".0".
            case .number(let value): "\(value)"
            case .flag(let value): "\(value)"
            case .texts(let texts): "[" + texts.map(Self.quoted).joined(separator: ", ") + "]"
            case .integers(let values): "\(values)"
            case .numbers(let values): "\(values)"
            case .other(let what): what
            }
        }

        /// What kind of thing it is, for people.
        var kind: String {
            switch self {
            case .text(let text): "the string \(Self.quoted(text))"
            case .integer(let value): "the integer \(value)"
            case .number(let value): "the number \(value)"
            case .flag: "a boolean"
            case .texts: "an array of strings"
            case .integers, .numbers: "an array of numbers"
            case .other(let what): what
            }
        }

        /// No choice of its own.
        var isEmptyList: Bool {
            switch self {
            case .texts(let list): list.isEmpty
            case .integers(let list): list.isEmpty
            case .numbers(let list): list.isEmpty
            default: false
            }
        }

        private static func quoted(_ text: String) -> String {
            var quoted = "\""
            for scalar in text.unicodeScalars {
                switch scalar {
                case "\"": quoted += "\\\""
                case "\\": quoted += "\\\\"
                case "\u{0}"..."\u{1F}", "\u{7F}":
                    let hex = String(scalar.value, radix: 16)
                    quoted += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
                default: quoted.unicodeScalars.append(scalar)
                }
            }
            return quoted + "\""
        }
    }

    /// How one key is read, checked and written. `set` and `check` return what is wrong, or nil.
    struct Field: Sendable {
        let key: CodingKeys
        let set: @Sendable (inout TrainRecipe, Value) -> String?
        let get: @Sendable (TrainRecipe) -> Value?
        let check: @Sendable (Value) -> String?
    }

    typealias Path<T> = any WritableKeyPath<TrainRecipe, T> & Sendable

    static let fields: [Field] = [
        choice(.stage, \.stage), text(.preset, \.preset), text(.config, \.config),
        count(.depth, \.depth, ModelConfig.depthRange), text(.model, \.model),
        texts(.data, \.data) { $0.contains("") ? "an empty path" : nil },
        choice(.computeType, \.computeType), text(.out, \.out), text(.tokenizer, \.tokenizer),
        count(.vocabularySize, \.vocabularySize, 257...1 << 22),
        count(.steps, \.steps, 1...1 << 40), number(.minutes, \.minutes, 0.001...1e7),
        count(.sequenceLength, \.sequenceLength, 2...1 << 20),
        counts(.contextLengths, \.contextLengths, 2...1 << 20), numbers(.contextShares, \.contextShares, 0...1e6),
        texts(.mixture, \.mixture) { lines in
            do throws(DataMixture.Problem) { _ = try DataMixture(lines) } catch { return error.why }
            return nil
        },
        count(.batchTokens, \.batchTokens, 2...1 << 30), count(.microBatchTokens, \.microBatchTokens, 2...1 << 30),
        flag(.recompute, \.recompute), choice(.optimizer, \.optimizer),
        number(.learningRate, \.learningRate, 0...10),
        number(.minimumLearningRateRatio, \.minimumLearningRateRatio, 0...1),
        count(.warmupSteps, \.warmupSteps, 0...1 << 40), number(.warmupRatio, \.warmupRatio, 0...1),
        choice(.schedule, \.schedule), number(.weightDecay, \.weightDecay, 0...10),
        number(.beta1, \.beta1, 0...0.999_999), number(.beta2, \.beta2, 0...0.999_999),
        number(.epsilon, \.epsilon, 1e-30...1), number(.clip, \.clip, 0...1e9),
        count(.mtpLayers, \.mtpLayers, 0...ModelConfig.maximumMTPLayers),
        count(.mtpSteps, \.mtpSteps, 1...ModelConfig.maximumMTPLayers), number(.mtpWeight, \.mtpWeight, 0...100),
        number(.balanceRate, \.balanceRate, 0...1),
        number(.sequenceBalanceWeight, \.sequenceBalanceWeight, 0...100),
        count(.topK, \.topK, 1...1 << 24), count(.shareEvery, \.shareEvery, 1...1024),
        number(.indexerLearningRate, \.indexerLearningRate, 0...10),
        number(.minimumIndexerLearningRateRatio, \.minimumIndexerLearningRateRatio, 0...1),
        choice(.quantize, \.quantize), number(.validationFraction, \.validationFraction, 0...0.5),
        count(.evaluateEvery, \.evaluateEvery, 0...1 << 40), count(.saveEvery, \.saveEvery, 0...1 << 40),
        count(.sampleEvery, \.sampleEvery, 0...1 << 40),
        Field(
            key: .seed,
            set: { recipe, value in
                guard case .integer(let seed) = value else { return "expected an integer, found \(value.kind)" }
                guard seed >= 0 else { return "\(seed) is negative" }
                recipe.seed = UInt64(seed)
                return nil
            },
            // TOML integers have 63 bits and a sign; a greater seed can only come from the command line.
            get: { .integer(Int(clamping: $0.seed)) }, check: { _ in nil }),
        count(.threads, \.threads, 1...4096),
    ]
}
