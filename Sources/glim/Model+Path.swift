import Foundation
import GlimModel
import GlimTrain

extension Model {
    /// Loads a folder, unless its weights would not fit into memory.
    init(path: String, format: LoadFormat = .inference, computeType: ModelConfig.ComputeType? = nil) throws {
        let folder = URL(filePath: path)
        try MemoryRoom.check(
            Model.byteCount(ofFolder: folder, format: format, computeType: computeType), of: path,
            advice: "use a smaller model, or a machine with more")
        let progress = LoadingProgress(path)
        defer { progress.clear() }
        try self.init(folder: folder, format: format, computeType: computeType) { progress.show($0) }
    }
}
