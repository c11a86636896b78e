import Foundation
import GlimModel
import GlimText
import GlimTrain

extension Responder {
    /// Loads a model's folder to ask it questions; what is wrong with its small files is said before gigabytes are read.
    init(path: String, maxTokens: Int) throws {
        let folder = URL(filePath: path)
        let config = try ModelConfig(folder: folder)
        let format = try ChatFormat(
            Tokenizer(model: folder), ChatTemplate(model: folder), vocabulary: config.vocabularySize,
            endOfText: config.endOfTextIDs)
        self.init(try Model(path: path), format, maxTokens: maxTokens)
    }
}
