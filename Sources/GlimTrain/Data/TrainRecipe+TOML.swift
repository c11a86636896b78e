import Foundation
import GlimModel
import TOMLKit

extension TrainRecipe {
    /// Reads the text of a recipe and validates it.
    ///
    /// - Parameter file: named in errors.
    public init(toml text: String, file: String? = nil) throws(RecipeError) {
        self.init()
        let entries: [FlatTOML.Entry]
        do throws(FlatTOML.Problem) { entries = try FlatTOML.entries(of: text) } catch {
            throw RecipeError(file: file, line: error.line, why: "not valid TOML: \(error.why)")
        }
        func line(of key: String?) -> Int? { entries.first { $0.key == key }?.line }
        func field(_ key: String) throws(RecipeError) -> Field {
            if let field = Self.fields.first(where: { $0.key.rawValue == key }) { return field }
            let why = "unknown key; " + Spelling.hint(for: key, among: Self.fields.map(\.key.rawValue))
            throw RecipeError(file: file, line: line(of: key), key: key, why: why)
        }
        // What the parser must not see ends the list: an unknown key before it is told first.
        if let last = entries.last, let deeper = last.deeper {
            for entry in entries.dropLast() { _ = try field(entry.key) }
            let why = try field(last.key).set(&self, .other(deeper)) ?? "found \(deeper)"
            throw RecipeError(file: file, line: last.line, key: last.key, why: why)
        }
        let table: TOMLTable
        do { table = try TOMLTable(string: text) } catch {
            guard let error = error as? TOMLParseError else { throw RecipeError(file: file, why: "not valid TOML") }
            // toml++ speaks of the innermost rule it was in; its first line is enough.
            let why = error.description.split(separator: "\n").first.map(String.init) ?? "a mistake"
            throw RecipeError(file: file, line: error.source.begin.line, why: "not valid TOML: \(why)")
        }
        for key in table.keys.sorted() {
            guard let value = table[key].flatMap({ Value($0) }) else {
                throw RecipeError(file: file, line: line(of: key), key: key, why: "not a value a recipe can hold")
            }
            if let wrong = try field(key).set(&self, value) {
                throw RecipeError(file: file, line: line(of: key), key: key, why: wrong)
            }
        }
        do { try validate() } catch {
            throw RecipeError(file: file, line: line(of: error.key), key: error.key, why: error.why)
        }
    }

    /// Checks every value and how they go together: a recipe built on the command line as one from a file.
    public func validate() throws(RecipeError) {
        for field in Self.fields {
            if let value = field.get(self), let wrong = field.check(value) {
                throw RecipeError(key: field.key.rawValue, why: wrong)
            }
        }
        func fail(_ key: CodingKeys, _ why: String) -> RecipeError { RecipeError(key: key.rawValue, why: why) }
        if steps != nil, minutes != nil { throw fail(.minutes, "give steps or minutes, not both") }
        guard batchTokens >= sequenceLength else {
            throw fail(.batchTokens, "\(batchTokens) is less than a row (sequence_length = \(sequenceLength))")
        }
        if let microBatchTokens {
            guard (sequenceLength...batchTokens).contains(microBatchTokens) else {
                throw fail(
                    .microBatchTokens,
                    "\(microBatchTokens) is not within \(sequenceLength)...\(batchTokens), a row to a batch")
            }
        }
        if let warmupSteps, let steps, warmupSteps > steps {
            throw fail(.warmupSteps, "\(warmupSteps) is more than steps = \(steps)")
        }
    }

    /// The recipe as TOML that reads back to the same recipe; what is not set is left out.
    public var toml: String {
        Self.fields.compactMap { field in field.get(self).map { "\(field.key.rawValue) = \($0)\n" } }.joined()
    }

    /// The keys that have a value: all but the ones where nothing is a choice of its own.
    public var setKeys: Set<CodingKeys> {
        Set(Self.fields.filter { $0.get(self) != nil && ($0.key != .data || !data.isEmpty) }.map(\.key))
    }

    // MARK: - Fields

    /// The values that occur in recipes.
    enum Value: CustomStringConvertible {
        case text(String)
        case integer(Int)
        case number(Double)
        case texts([String])
        case other(String)

        init?(_ value: any TOMLValueConvertible) {
            switch value.type {
            case .string: self = .text(value.string ?? "")
            case .int: self = .integer(value.int ?? 0)
            case .double: self = .number(value.double ?? .nan)
            case .array:
                guard let array = value.array else { return nil }
                let texts = (0..<array.count).map { array[$0].string }
                self =
                    texts.contains(nil)
                    ? .other("an array with other things than strings") : .texts(texts.compactMap(\.self))
            case .bool: self = .other("a boolean")
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
            case .texts(let texts): "[" + texts.map(Self.quoted).joined(separator: ", ") + "]"
            case .other(let what): what
            }
        }

        /// What kind of thing it is, for people.
        var kind: String {
            switch self {
            case .text(let text): "the string \(Self.quoted(text))"
            case .integer(let value): "the integer \(value)"
            case .number(let value): "the number \(value)"
            case .texts: "an array"
            case .other(let what): what
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

    private typealias Path<T> = any WritableKeyPath<TrainRecipe, T> & Sendable

    static let fields: [Field] = [
        choice(.stage, \.stage), text(.preset, \.preset), text(.config, \.config),
        count(.depth, \.depth, ModelConfig.depthRange), text(.model, \.model),
        Field(
            key: .data,
            set: { recipe, value in
                switch value {
                case .texts(let paths): recipe.data = paths
                case .text(let path): recipe.data = [path]
                default: return "expected an array of strings, found \(value.kind)"
                }
                return nil
            }, get: { .texts($0.data) },
            check: { value in
                if case .texts(let paths) = value, paths.contains("") { "an empty path" } else { nil }
            }),
        choice(.computeType, \.computeType), text(.out, \.out), text(.tokenizer, \.tokenizer),
        count(.vocabularySize, \.vocabularySize, 257...1 << 22),
        count(.steps, \.steps, 1...1 << 40), number(.minutes, \.minutes, 0.001...1e7),
        count(.sequenceLength, \.sequenceLength, 2...1 << 20), count(.batchTokens, \.batchTokens, 2...1 << 30),
        count(.microBatchTokens, \.microBatchTokens, 2...1 << 30), choice(.optimizer, \.optimizer),
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
        number(.validationFraction, \.validationFraction, 0...0.5),
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

    // MARK: - Kinds of fields

    private static func text(_ key: CodingKeys, _ path: Path<String>) -> Field {
        text(key, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    private static func text(_ key: CodingKeys, _ path: Path<String?>) -> Field {
        text(key, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    private static func text(
        _ key: CodingKeys, set: @escaping @Sendable (inout TrainRecipe, String) -> Void,
        get: @escaping @Sendable (TrainRecipe) -> String?
    ) -> Field {
        Field(
            key: key,
            set: { recipe, value in
                guard case .text(let text) = value else { return "expected a string, found \(value.kind)" }
                set(&recipe, text)
                return nil
            }, get: { get($0).map(Value.text) },
            check: { if case .text(let text) = $0, text.isEmpty { "an empty string" } else { nil } })
    }

    private static func choice<C: RawRepresentable<String> & CaseIterable & Sendable>(
        _ key: CodingKeys, _ path: Path<C>
    ) -> Field {
        choice(key, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    private static func choice<C: RawRepresentable<String> & CaseIterable & Sendable>(
        _ key: CodingKeys, _ path: Path<C?>
    ) -> Field {
        choice(key, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    private static func choice<C: RawRepresentable<String> & CaseIterable & Sendable>(
        _ key: CodingKeys, set: @escaping @Sendable (inout TrainRecipe, C) -> Void,
        get: @escaping @Sendable (TrainRecipe) -> C?
    ) -> Field {
        let choices = C.allCases.map { ($0.rawValue, $0) }
        return Field(
            key: key,
            set: { recipe, value in
                guard case .text(let text) = value else { return "expected a string, found \(value.kind)" }
                guard let (_, choice) = choices.first(where: { $0.0 == text }) else {
                    return "\"\(text)\" is not one of \(choices.map(\.0).joined(separator: ", "))"
                }
                set(&recipe, choice)
                return nil
            }, get: { get($0).map { .text($0.rawValue) } }, check: { _ in nil })
    }

    private static func count(_ key: CodingKeys, _ path: Path<Int>, _ range: ClosedRange<Int>) -> Field {
        count(key, range, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    private static func count(_ key: CodingKeys, _ path: Path<Int?>, _ range: ClosedRange<Int>) -> Field {
        count(key, range, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    private static func count(
        _ key: CodingKeys, _ range: ClosedRange<Int>, set: @escaping @Sendable (inout TrainRecipe, Int) -> Void,
        get: @escaping @Sendable (TrainRecipe) -> Int?
    ) -> Field {
        let check: @Sendable (Value) -> String? = { value in
            guard case .integer(let count) = value, !range.contains(count) else { return nil }
            return "\(count) is not within \(range.lowerBound)...\(range.upperBound)"
        }
        return Field(
            key: key,
            set: { recipe, value in
                guard case .integer(let count) = value else { return "expected an integer, found \(value.kind)" }
                if let wrong = check(value) { return wrong }
                set(&recipe, count)
                return nil
            }, get: { get($0).map(Value.integer) }, check: check)
    }

    private static func number(_ key: CodingKeys, _ path: Path<Double>, _ range: ClosedRange<Double>) -> Field {
        number(key, range, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    private static func number(_ key: CodingKeys, _ path: Path<Double?>, _ range: ClosedRange<Double>) -> Field {
        number(key, range, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    private static func number(
        _ key: CodingKeys, _ range: ClosedRange<Double>, set: @escaping @Sendable (inout TrainRecipe, Double) -> Void,
        get: @escaping @Sendable (TrainRecipe) -> Double?
    ) -> Field {
        let check: @Sendable (Value) -> String? = { value in
            guard case .number(let number) = value, !range.contains(number) else { return nil }
            return "\(number) is not within \(range.lowerBound)...\(range.upperBound)"
        }
        return Field(
            key: key,
            set: { recipe, value in
                let number: Double
                switch value {
                case .number(let found): number = found
                case .integer(let found): number = Double(found)
                default: return "expected a number, found \(value.kind)"
                }
                if let wrong = check(.number(number)) { return wrong }
                set(&recipe, number)
                return nil
            }, get: { get($0).map(Value.number) }, check: check)
    }
}

/// Helps a person who mistyped.
enum Spelling {
    /// The known word that is meant, or all of them if none is near.
    static func hint(for word: String, among known: [String]) -> String {
        let lower = word.lowercased().replacingOccurrences(of: "-", with: "_")
        let ranked = known.map { (distance(Array(lower.utf8), Array($0.utf8)), $0) }.min { $0 < $1 }
        let isInside = known.first { lower.count >= 3 && ($0.contains(lower) || lower.contains($0) && $0.count > 3) }
        if let (distance, nearest) = ranked, distance <= max(1, nearest.count / 3) {
            return "did you mean \(nearest)?"
        }
        if let isInside { return "did you mean \(isInside)?" }
        return "known keys are \(known.joined(separator: ", "))"
    }

    /// How many letters must be put in, left out or changed to get from one word to the other.
    static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        // A key of a thousand letters is no misspelling of anything.
        guard a.count <= 64, b.count <= 64 else { return max(a.count, b.count) }
        var row = Array(0...b.count)
        for i in a.indices {
            var diagonal = row[0]
            row[0] = i + 1
            for j in b.indices {
                let above = row[j + 1]
                row[j + 1] = min(above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1))
                diagonal = above
            }
        }
        return row[b.count]
    }
}
