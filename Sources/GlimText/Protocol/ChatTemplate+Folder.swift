public import Foundation

extension ChatTemplate {
    /// The template of a model's folder, told by what its own template, which is Jinja's, mentions: the file
    /// `chat_template.jinja`, or the text in `tokenizer_config.json`. GLM-5's where there is none, as in models that Glim
    /// trained.
    ///
    /// - Throws: `TokenizerError` where the template is none of those that Glim knows.
    public init(folder: URL) throws(TokenizerError) {
        let file = folder.appending(path: "chat_template.jinja")
        let settings = folder.appending(path: "tokenizer_config.json")
        var source = (file, (try? Data(contentsOf: file)).map { String(decoding: $0, as: UTF8.self) })
        if source.1 == nil, let data = try? Data(contentsOf: settings) {
            source = (settings, (try? JSON(parsing: data))?["chat_template"]?.string)
        }
        guard let jinja = source.1 else {
            self = .glm5
            return
        }
        func mentions(_ words: String...) -> Bool { words.contains { jinja.contains($0) } }
        guard mentions("[gMASK]<sop>"), mentions("<arg_key>"), !mentions("/nothink") else {
            throw .unsupported(
                path: source.0.path, what: "a chat template that is not of GLM-4.7, 5, 5.1, 5.2 or 5.3")
        }
        if mentions("Reasoning Effort") {
            self = mentions("'low'", "\"low\"") ? .glm53 : .glm52
        } else {
            self = mentions("defer_loading") ? .glm51 : .glm5
        }
    }
}
