import Foundation
import GlimCheckpoint

/// What a conversion that is not whole yet has done: `quantize.json` in its folder.
struct ConversionRecord: Codable, Equatable {
    private static let file = "quantize.json"
    private static let maximumBytes = 1 << 28

    /// A file of the source, as far as it can be known again without reading it.
    struct File: Codable, Equatable {
        let bytes: Int
        /// When it was changed last, in seconds since 1970.
        let changed: Double
    }

    /// What is converted: the scheme, and the source's files.
    let scheme: String
    let kept: [String: Int]
    let source: [String: File]
    /// The errors of the modules of each shard that is written, by its number.
    var shards: [String: [Conversion.ModuleError]] = [:]

    private init(source folder: URL, _ scheme: Scheme) {
        self.scheme = scheme.name.rawValue
        kept = scheme.kept.mapValues(\.rawValue)
        source = Self.files(in: folder)
    }

    /// The files that a model is read from.
    static func files(in folder: URL) -> [String: File] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return Dictionary(
            uniqueKeysWithValues: names.filter { $0.hasSuffix(".safetensors") || $0 == "config.json" }.map { name in
                // Through links, of which caches of models are made.
                let path = folder.appending(path: name).resolvingSymlinksInPath().path
                let attributes = try? FileManager.default.attributesOfItem(atPath: path)
                let bytes = (attributes?[.size] as? NSNumber)?.intValue ?? 0
                return (
                    name,
                    File(bytes: bytes, changed: (attributes?[.modificationDate] as? Date)?.timeIntervalSince1970 ?? 0)
                )
            })
    }

    /// The record in a folder, or a new one.
    ///
    /// - Throws: `QuantizationError.folderInUse` for one of another conversion, and for a folder that holds a model.
    static func find(in folder: URL, source: URL, _ scheme: Scheme) throws -> ConversionRecord {
        let new = ConversionRecord(source: source, scheme)
        let path = folder.appending(path: file).path
        guard FileManager.default.fileExists(atPath: path) else {
            for name in ["config.json", "model.safetensors", "model.safetensors.index.json"]
            where FileManager.default.fileExists(atPath: folder.appending(path: name).path) {
                throw QuantizationError.folderInUse(path: folder.path, reason: "holds a model already (\(name))")
            }
            return new
        }
        let bytes = try PlainFile.read(path, limit: maximumBytes)
        guard let found = try? JSONDecoder().decode(ConversionRecord.self, from: Data(bytes)) else {
            throw QuantizationError.folderInUse(path: folder.path, reason: "has a damaged \(file)")
        }
        var begun = found
        begun.shards = [:]
        guard begun == new else {
            throw QuantizationError.folderInUse(
                path: folder.path, reason: "holds a conversion of another model, or by another scheme")
        }
        return found
    }

    /// Writes the record, into a folder that is made if missing.
    func write(to folder: URL) throws {
        do { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) } catch {
            throw CheckpointError.cannotWrite(path: folder.path, reason: "the folder cannot be made")
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        try AtomicFile.write(encoder.encode(self), to: folder.appending(path: Self.file))
    }

    static func remove(from folder: URL) throws {
        let path = folder.appending(path: file).path
        guard FileManager.default.fileExists(atPath: path) else { return }
        do { try FileManager.default.removeItem(atPath: path) } catch {
            throw CheckpointError.cannotWrite(path: path, reason: "it cannot be removed")
        }
    }
}
