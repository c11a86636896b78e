public import ArgumentParser
import Foundation
import GlimCheckpoint
public import GlimText
import GlimTrain

struct Template: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Render a conversation as the prompt that a model reads.",
        discussion: """
            The input is one JSON object as Hugging Face's apply_chat_template takes it: messages, and if wanted tools, \
            add_generation_prompt, enable_thinking, clear_thinking and reasoning_effort. The template is that of the \
            model's folder, or GLM-5's where the folder has none. Tags written in a message stay text in the tokens. \
            The text is printed as it is, without a line break behind it.
            """)

    @Option(help: "Model folder with tokenizer.json, and chat_template.jinja where it has one; or GGUF file.")
    var model: String
    @Option(help: "File with messages, tools and the rest.") var input: String
    @Option(help: "Render as this model's template does: glm-5 (also 4.7), glm-5.1, glm-5.2 or glm-5.3.")
    var template: ChatTemplate?
    @Flag(help: "Print one JSON object with text and tokens.") var json = false

    func run() throws {
        let folder = URL(filePath: model)
        let files = ["config.json", "tokenizer_config.json", "tokenizer.json", ChatTemplate.fileName]
        guard
            GGUFFile.isNamed(by: folder)
                || files.contains(where: { FileManager.default.fileExists(atPath: folder.appending(path: $0).path) })
        else {
            throw Failure("\(model) holds no model: there is no \(files[0]) and no \(files[2]); give a model folder")
        }
        let template = try self.template ?? ChatTemplate(model: folder)
        let bytes = try inputBytes(input)
        let prompt: ChatPrompt
        do throws(ProtocolError) { prompt = try ChatPrompt(parsing: bytes) } catch {
            throw Failure("\(input): \(error)")
        }
        let pieces = template.pieces(prompt)
        guard json else { return try emit(pieces.text) }
        let tokens = try Tokenizer(model: folder).encode(pieces).map { JSON.number(String($0)) }
        try emit(
            JSON.object([.init("text", .string(pieces.text)), .init("tokens", .array(tokens))]).compact + "\n")
    }
}

extension ChatTemplate: ExpressibleByArgument {}
