public import Foundation

extension ChatTemplate {
    /// The template of a model's folder, told by what its own template, which is Jinja's, mentions: the file
    /// `chat_template.jinja`, or the text in `tokenizer_config.json`. GLM-5's where there is none, as in models that Glim
    /// trained.
    ///
    /// - Throws: `TokenizerError` where the template is none of those that Glim knows.
    public init(folder: URL) throws(TokenizerError) {
        guard let (file, jinja) = Self.jinja(in: folder) else {
            self = .glm5
            return
        }
        try self.init(jinja: jinja, path: file.path)
    }

    /// The template that a text in Jinja is, told by what it mentions.
    ///
    /// - Parameter path: of the file that holds the text, for errors.
    /// - Throws: `TokenizerError` where it is none of those that Glim knows.
    package init(jinja: String, path: String) throws(TokenizerError) {
        func mentions(_ words: String...) -> Bool { words.contains { jinja.contains($0) } }
        guard mentions("[gMASK]<sop>"), mentions("<arg_key>"), !mentions("/nothink") else {
            throw .unsupported(path: path, what: "a chat template that is not of GLM-4.7, 5, 5.1, 5.2 or 5.3")
        }
        if mentions("Reasoning Effort") {
            self = mentions("'low'", "\"low\"") ? .glm53 : .glm52
        } else {
            self = mentions("defer_loading") ? .glm51 : .glm5
        }
    }

    /// The folder's own template as it stands, and the file that holds it; nil where there is none.
    package static func jinja(in folder: URL) -> (file: URL, text: String)? {
        let file = folder.appending(path: fileName)
        if let data = try? Data(contentsOf: file) { return (file, String(decoding: data, as: UTF8.self)) }
        let settings = folder.appending(path: "tokenizer_config.json")
        guard let data = try? Data(contentsOf: settings) else { return nil }
        return (try? JSON(parsing: data))?["chat_template"]?.string.map { (settings, $0) }
    }

    package static let fileName = "chat_template.jinja"
}
