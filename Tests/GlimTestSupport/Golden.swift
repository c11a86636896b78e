public import Foundation
public import GlimCheckpoint
public import GlimModel

/// A golden model: a tiny checkpoint and what transformers computes with it (Tools/model_golden.py).
public struct GoldenModel: Sendable {
    public struct Line: Decodable, Sendable {
        public let id: String
        public let tokens: [Int32]
    }

    public let name: String
    public let folder: URL
    public let lines: [Line]

    public init(_ name: String) throws {
        self.name = name
        folder = Golden.folder.appending(path: "models/\(name)")
        let text = try String(contentsOf: folder.appending(path: "input.jsonl"), encoding: .utf8)
        lines = try text.split(separator: "\n").map { try JSONDecoder().decode(Line.self, from: Data($0.utf8)) }
    }

    public func model(_ format: Model.LoadFormat = .asStored) throws -> Model {
        try Model(folder: folder, format: format)
    }
    public func file(_ name: String) throws -> Checkpoint { try Checkpoint(file: folder.appending(path: name)) }
}

public enum Golden {
    public static let folder = URL(filePath: #filePath).appending(path: "../../Golden").standardizedFileURL

    /// The names of all golden models, as they lie in the folder.
    public static let models: [String] =
        ((try? FileManager.default.contentsOfDirectory(atPath: folder.appending(path: "models").path)) ?? []).sorted()
}
