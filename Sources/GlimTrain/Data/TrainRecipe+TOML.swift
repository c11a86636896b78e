import Foundation
import GlimModel
import TOMLKit

extension TrainRecipe {
    /// Reads the text of a recipe and validates it.
    ///
    /// - Parameters:
    ///   - file: named in errors.
    ///   - stage: whose defaults hold where the text names none.
    public init(toml text: String, file: String? = nil, stage: Stage = .pretrain) throws(RecipeError) {
        self.init(stage: stage)
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
        if let named = table[CodingKeys.stage.rawValue]?.string.flatMap(Stage.init) { self.init(stage: named) }
        if table.contains(key: CodingKeys.sequenceLength.rawValue) { useOneLength() }
        if table.contains(key: CodingKeys.contextLengths.rawValue) { contextShares = [] }
        for key in table.keys.sorted() {
            guard let value = table[key].flatMap({ Value($0) }) else {
                throw RecipeError(file: file, line: line(of: key), key: key, why: "not a value a recipe can hold")
            }
            let field = try field(key)
            if let wrong = field.set(&self, value) {
                throw RecipeError(file: file, line: line(of: key), key: key, why: wrong)
            }
            if let owner = self.stage.owner(of: field.key) {
                let why = "a value of \(owner.rawValue), and this is \(self.stage.rawValue); leave it out"
                throw RecipeError(file: file, line: line(of: key), key: key, why: why)
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
        if stage == .sft, !mixture.isEmpty {
            throw fail(.mixture, "rows of sft are the conversations in data; leave it out")
        }
        if !contextShares.isEmpty, contextShares.count != contextLengths.count {
            throw fail(.contextShares, "\(contextShares.count) shares for \(contextLengths.count) context_lengths")
        }
        guard contextShares.isEmpty || contextShares.reduce(0, +) > 0 else {
            throw fail(.contextShares, "all shares are 0")
        }
        if contextLengths.isEmpty, batchTokens < sequenceLength {
            throw fail(.batchTokens, "\(batchTokens) is less than a row (sequence_length = \(sequenceLength))")
        }
        if contextLengths.count > 1,
            let odd = contextLengths.first(where: { $0 < batchTokens && batchTokens % $0 != 0 })
        {
            throw fail(.contextLengths, "a step (batch_tokens = \(batchTokens)) is not whole rows of \(odd)")
        }
        if let microBatchTokens {
            let range = longestRow...max(batchTokens, longestRow)
            guard range.contains(microBatchTokens) else {
                throw fail(
                    .microBatchTokens,
                    "\(microBatchTokens) is not within \(range.lowerBound)...\(range.upperBound), a row to a batch")
            }
        }
        if let warmupSteps, let steps, warmupSteps > steps {
            throw fail(.warmupSteps, "\(warmupSteps) is more than steps = \(steps)")
        }
    }

    /// The recipe as TOML that reads back to the same recipe; what is not set, or not of its stage, is left out.
    public var toml: String {
        Self.fields.filter { stage.owner(of: $0.key) == nil }.compactMap { field in
            field.get(self).map { "\(field.key.rawValue) = \($0)\n" }
        }.joined()
    }

    /// The keys that have a value: all but the ones where nothing is a choice of its own.
    public var setKeys: Set<CodingKeys> {
        Set(Self.fields.filter { $0.get(self).map { !$0.isEmptyList } ?? false }.map(\.key))
    }
}
