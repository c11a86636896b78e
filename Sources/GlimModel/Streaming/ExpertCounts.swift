package import Foundation
import GlimCheckpoint
import GlimTensor

/// How often each expert was chosen, earlier choices counting less: what is kept from one run to the next, so that the
/// experts that are used most are read before they are asked for.
package struct ExpertCounts: Sendable, Equatable, Codable {
    /// By the layer's number in the checkpoint.
    private var layers: [String: [Double]] = [:]

    /// - Parameter heat: of an expert, numbered through all layers.
    init(_ shapes: [ExpertShape], heat: (Int) -> Double) {
        for (l, shape) in shapes.enumerated() {
            layers["\(shape.layer)"] = (0..<shape.count).map { heat(l * shape.count + $0) }
        }
    }

    /// What a file says; nil where it says nothing that can be used, for nothing hangs on it but time.
    package init?(file: URL) {
        guard let bytes = try? PlainFile.read(file.path, limit: 64 << 20),
            let found = try? JSONDecoder().decode(Self.self, from: Data(bytes)),
            found.layers.values.allSatisfy({ $0.allSatisfy { $0 >= 0 && $0.isFinite } })
        else { return nil }
        self = found
    }

    /// - Throws: `CheckpointError.cannotWrite`.
    package func write(to file: URL) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        // Three digits tell the used from the unused.
        var short = self
        for (layer, heats) in layers { short.layers[layer] = heats.map { ($0 * 1000).rounded() / 1000 } }
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try AtomicFile.write(encoder.encode(short), to: file)
    }

    /// Where they are kept: beside the model, or where that cannot be written, in the user's folder for what can be made
    /// again.
    package static func file(ofModel folder: URL) -> URL {
        if FileManager.default.isWritableFile(atPath: folder.path) {
            return folder.appending(path: "expert-counts.json")
        }
        let chosen = ProcessInfo.processInfo.environment["XDG_CACHE_HOME"].map { URL(filePath: $0) }
        let caches = chosen ?? FileManager.default.homeDirectoryForCurrentUser.appending(path: ".cache")
        let hash = ContentHash.hash(Array(folder.standardizedFileURL.path.utf8))
        return caches.appending(path: "glim/expert-counts-\(String(hash, radix: 16)).json")
    }

    /// By expert, numbered through all layers; nil for those of another model.
    func heats(of shapes: [ExpertShape]) -> [Double]? {
        var heats: [Double] = []
        for shape in shapes {
            guard let layer = layers["\(shape.layer)"], layer.count == shape.count else { return nil }
            heats += layer
        }
        return heats
    }

    /// The share of choices that would find their expert in memory, if so many bytes hold those that are used most; nil
    /// for counts of another model, or of none.
    func hitRate(_ shapes: [ExpertShape], byteCount: Int) -> Double? {
        guard let heats = heats(of: shapes) else { return nil }
        let (width, sum) = (shapes.first?.count ?? 1, heats.reduce(0, +))
        guard sum > 0 else { return nil }
        var (left, held) = (byteCount, 0.0)
        for id in heats.indices.sorted(by: { heats[$0] > heats[$1] }) {
            left -= shapes[id / width].byteCount
            if left < 0 { break }
            held += heats[id]
        }
        return held / sum
    }
}
