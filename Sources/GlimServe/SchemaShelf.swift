import GlimText
import Synchronization

/// Schemas that were made ready, kept for whoever asks for the same again: agents send one schema a hundred times.
final class SchemaShelf: Sendable {
    private struct Key: Hashable {
        let schema: String
        let stops: Set<Int32>
        let after: Int32?
    }

    private struct Kept {
        var trie: TokenTrie?
        var constraints: [Key: TokenConstraint] = [:]
    }

    private let tokenizer: Tokenizer
    private let kept = Mutex(Kept())

    /// Each holds the masks of the states that were visited: of a large vocabulary all together 40 MB.
    private static let largestCount = 8

    init(_ tokenizer: Tokenizer) { self.tokenizer = tokenizer }

    /// See ``ServedModel/constraint(_:stops:after:)``.
    func constraint(
        _ format: OutputFormat, stops: Set<Int32>, after token: Int32?
    ) throws(ServiceError) -> TokenConstraint? {
        let spelled: String
        switch format {
        case .text: return nil
        case .json: spelled = ""
        case .schema(let output): spelled = output.schema.compact
        }
        let key = Key(schema: spelled, stops: stops, after: token)
        if let known = kept.withLock({ $0.constraints[key] }) { return known }
        let schema: JSONSchema
        do {
            guard let made = try JSONSchema(format) else { return nil }
            schema = made
        } catch { throw ServiceError(.invalidRequest, "\(error)", parameter: "response_format") }
        let trie = kept.withLock { kept in
            let trie = kept.trie ?? TokenTrie(tokenizer)
            kept.trie = trie
            return trie
        }
        let made = TokenConstraint(schema, trie, stops: stops, after: token)
        kept.withLock { kept in
            if kept.constraints.count >= Self.largestCount { kept.constraints.removeAll() }
            kept.constraints[key] = made
        }
        return made
    }
}
