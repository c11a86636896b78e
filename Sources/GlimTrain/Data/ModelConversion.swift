public import Foundation
public import GlimCheckpoint
import GlimModel
import GlimText

/// A model in another layout: a GGUF file with its tokenizer, or a folder in Hugging Face's layout.
public struct ModelConversion {
    /// Where to, and in which number format.
    public enum Target: Sendable {
        /// A file; the format is that of matrices.
        case gguf(GGMLType)
        /// A folder; numbers that are bf16 stay so, all others become f32.
        case folder
    }

    /// What somebody who uses the result should know.
    public let notes: [String]
    /// Bytes of the numbers to be written.
    public let byteCount: Int

    private let model: URL
    private let work: Work

    private enum Work {
        case gguf(GGUFExport)
        case folder(FolderExport)
    }

    /// Looks at headers only.
    ///
    /// - Throws: `ConfigError`, `CheckpointError`, and `GGUFExportError` for a model that GGUF has no words for.
    public init(_ model: URL, to target: Target) throws {
        self.model = model
        switch target {
        case .gguf(let type):
            let export = try GGUFExport(model: model, type: type)
            (work, notes, byteCount) = (.gguf(export), export.notes, export.byteCount)
        case .folder:
            let export = try FolderExport(model: model)
            (work, notes, byteCount) = (.folder(export), [], export.byteCount)
        }
    }

    /// Writes the model, its tokenizer and its chat template, those that there are: whole, or not at all. A model without
    /// a tokenizer becomes one without.
    ///
    /// - Parameter progress: told after each tensor how many bytes of numbers are written.
    /// - Throws: `CheckpointError` for a disk that is full or a source that is damaged, `TokenizerError` for a tokenizer
    ///   that cannot be used.
    public func write(to place: URL, progress: (Int) -> Void = { _ in }) throws {
        // A folder's name may have a point in it.
        let name = (GGUFFile.isNamed(by: model) ? model.deletingPathExtension() : model.standardizedFileURL)
            .lastPathComponent
        switch work {
        case .gguf(let export):
            try export.write(
                to: place, name: name, metadata: metadata(),
                progress: progress)
        case .folder(let export):
            guard !FileManager.default.fileExists(atPath: place.appending(path: "config.json").path) else {
                throw RunError("\(place.path) holds a model already; give another folder")
            }
            // With its config, which comes last, the folder is a model.
            try makeFolder(place.path)
            try Self.writeText(of: model, to: place)
            try export.write(to: place, progress: progress)
        }
    }

    /// Writes a model's `tokenizer.json` and chat template into a folder, those that it has.
    ///
    /// - Throws: `CheckpointError`, `TokenizerError`.
    public static func writeText(of model: URL, to folder: URL) throws {
        if try Tokenizer.exists(for: model) {
            try AtomicFile.write(Tokenizer(model: model).json(), to: folder.appending(path: "tokenizer.json"))
        }
        if let jinja = try ChatTemplate.jinja(of: model) {
            try AtomicFile.write(jinja, to: folder.appending(path: ChatTemplate.fileName))
        }
    }

    private func metadata() throws -> [(key: String, value: GGUFValue)] {
        // llama.cpp's word for a model that is fed ids.
        guard try Tokenizer.exists(for: model) else { return [(GGUFTokens.model, .string("none"))] }
        let tokenizer = try Tokenizer(model: model)
        let config = try ModelConfig(folder: model)
        guard tokenizer.vocabularySize <= config.vocabularySize else {
            throw RunError(
                "\(model.path): the tokenizer has \(tokenizer.vocabularySize) tokens, the model "
                    + "\(config.vocabularySize); take both from the same model")
        }
        return try tokenizer.list(vocabularySize: config.vocabularySize).ggufMetadata(
            ends: config.endOfTextIDs, pad: config.padID, begin: config.bosID, jinja: ChatTemplate.jinja(of: model))
    }
}
