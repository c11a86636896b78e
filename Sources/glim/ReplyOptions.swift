import ArgumentParser
import Foundation
import GlimEngine
import GlimModel
import GlimText

/// Where a reply ends, and what it has to look like.
struct ReplyOptions: ParsableArguments {
    @Option(parsing: .unconditionalSingleValue, help: "End before this text; may be given several times.")
    var stop: [String] = []
    @Option(help: "A file with a JSON schema: only a document that fits it is drawn.") var jsonSchema: String?

    func validate() throws {
        if stop.contains("") { throw ValidationError("--stop is empty; give the text that ends the reply.") }
    }

    /// - Throws: `Failure` where the schema cannot be read, or there is no tokenizer to tell texts by.
    func rule(_ config: ModelConfig, _ tokenizer: Tokenizer?, model: String) throws -> ReplyRule? {
        if stop.isEmpty, jsonSchema == nil { return nil }
        guard let tokenizer else {
            throw Failure("--stop and --json-schema are about text, but \(model) has no tokenizer.json")
        }
        let constraint = try jsonSchema.map { path in
            guard let bytes = FileManager.default.contents(atPath: path) else {
                throw Failure("--json-schema: \(path) cannot be read")
            }
            do {
                return TokenConstraint(
                    try JSONSchema(parsing: bytes), TokenTrie(tokenizer),
                    stops: Set(config.endOfTextIDs.map { Int32($0) }))
            } catch {
                throw Failure("--json-schema: \(path): \(error)")
            }
        }
        return ReplyRule(tokenizer, constraint: constraint, stops: stop)
    }
}
