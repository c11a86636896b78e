public import Foundation
import GlimCheckpoint
public import GlimText

extension Tokenizer {
    /// The tokenizer of a model: of a folder in Hugging Face's layout, or of a GGUF file, which holds one.
    ///
    /// - Throws: `TokenizerError`, and `CheckpointError` for a GGUF file that is damaged.
    public convenience init(model: URL) throws {
        if GGUFFile.isNamed(by: model) {
            let file = try GGUFFile(model)
            try self.init(TokenList(file), path: file.path)
        } else {
            try self.init(folder: model)
        }
    }
}

extension Tokenizer {
    /// Whether a model comes with one.
    ///
    /// - Throws: `CheckpointError` for a GGUF file that is damaged.
    public static func exists(for model: URL) throws -> Bool {
        if GGUFFile.isNamed(by: model) {
            return try GGUFFile(model).metadata[GGUFTokens.model]?.string == GGUFTokens.byteLevel
        }
        return FileManager.default.fileExists(atPath: model.appending(path: "tokenizer.json").path)
    }
}

extension ChatTemplate {
    /// A model's own chat template as it stands; nil where it has none.
    ///
    /// - Throws: `CheckpointError` for a GGUF file that is damaged.
    static func jinja(of model: URL) throws -> String? {
        if GGUFFile.isNamed(by: model) { return try GGUFFile(model).metadata[GGUFTokens.chatTemplate]?.string }
        return jinja(in: model)?.text
    }

    /// The chat template of a model: of a folder in Hugging Face's layout, or of a GGUF file. GLM-5's where it has none.
    ///
    /// - Throws: `TokenizerError` where the template is none of those that Glim knows, and `CheckpointError` for a GGUF
    ///   file that is damaged.
    public init(model: URL) throws {
        if GGUFFile.isNamed(by: model) {
            if let jinja = try Self.jinja(of: model) {
                try self.init(jinja: jinja, path: model.path)
            } else {
                self = .glm5
            }
        } else {
            try self.init(folder: model)
        }
    }
}

/// llama.cpp's keys of what concerns text.
enum GGUFTokens {
    static let model = "tokenizer.ggml.model"
    static let pattern = "tokenizer.ggml.pre"
    static let tokens = "tokenizer.ggml.tokens"
    static let kinds = "tokenizer.ggml.token_type"
    static let merges = "tokenizer.ggml.merges"
    static let chatTemplate = "tokenizer.chat_template"
    /// Its word for byte-level BPE.
    static let byteLevel = "gpt2"

    /// Its names for ways to cut text; the first of each is the one that is written.
    static let patterns: [(names: [String], pattern: SplitPattern)] = [
        (["glm4", "chatglm-bpe", "llama-bpe", "llama-v3", "llama3"], .glm), (["qwen2", "deepseek-r1-qwen"], .qwen2),
        (["gpt-2"], .gpt2),
    ]
}

extension TokenList {
    /// What a GGUF file says of its tokenizer.
    ///
    /// - Throws: `TokenizerError` where there is none, or another kind.
    init(_ file: GGUFFile) throws(TokenizerError) {
        func malformed(_ why: String) -> TokenizerError { .malformed(path: file.path, why: why) }
        let model = file.metadata[GGUFTokens.model]?.string
        guard model == GGUFTokens.byteLevel else {
            throw .unsupported(
                path: file.path,
                what: model == "none" || model == nil
                    ? "a tokenizer, for the file holds none; give ids, or a model that has one"
                    : "a tokenizer of the kind \"\(model ?? "")\"")
        }
        let name = file.metadata[GGUFTokens.pattern]?.string ?? "default"
        guard let pattern = GGUFTokens.patterns.first(where: { $0.names.contains(name) })?.pattern else {
            throw .unsupported(path: file.path, what: "the pre-tokenizer \"\(name.prefix(80))\"")
        }
        guard let tokens = file.metadata[GGUFTokens.tokens]?.strings,
            let merges = file.metadata[GGUFTokens.merges]?.strings,
            let numbers = file.metadata[GGUFTokens.kinds]?.integers
        else { throw malformed("its metadata lacks tokens, token_type or merges") }
        let kinds = numbers.compactMap { Kind(rawValue: $0) }
        guard kinds.count == numbers.count else { throw malformed("token_type holds a number that means nothing") }
        self.init(tokens: tokens, kinds: kinds, merges: merges, pattern: pattern)
    }

    /// The same the other way: what a GGUF file is to say of a tokenizer.
    ///
    /// - Parameters:
    ///   - ends: ids of tokens that end a text, as the config lists them: llama.cpp wants the end of a text first, then
    ///     those of a turn.
    ///   - jinja: the model's own chat template, where it has one.
    func ggufMetadata(ends: [Int], pad: Int?, begin: Int?, jinja: String?) -> [(key: String, value: GGUFValue)] {
        let pre = GGUFTokens.patterns.first { $0.pattern == pattern }?.names.first ?? "default"
        var metadata: [(key: String, value: GGUFValue)] = [
            (GGUFTokens.model, .string(GGUFTokens.byteLevel)), (GGUFTokens.pattern, .string(pre)),
            (GGUFTokens.tokens, .strings(tokens)), (GGUFTokens.kinds, .integers(kinds.map(\.rawValue))),
            (GGUFTokens.merges, .strings(merges)), ("tokenizer.ggml.add_bos_token", .bool(false)),
        ]
        metadata += zip(["eos", "eot", "eom"], ends).map { ("tokenizer.ggml.\($0)_token_id", .integer($1)) }
        if let pad { metadata.append(("tokenizer.ggml.padding_token_id", .integer(pad))) }
        if let begin { metadata.append(("tokenizer.ggml.bos_token_id", .integer(begin))) }
        if let jinja { metadata.append((GGUFTokens.chatTemplate, .string(jinja))) }
        return metadata
    }
}
