import Foundation
import GlimCheckpoint

/// Lends a new folder, removed afterwards.
func withTemporaryFolder<Result>(_ body: (URL) throws -> Result) throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appending(path: "glim-checkpoint-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try body(folder)
}

/// A folder or file made by Tools/checkpoint_golden.py.
func golden(_ path: String) -> URL {
    URL(filePath: #filePath).appending(path: "../../Golden/checkpoints/\(path)").standardizedFileURL
}

/// The bytes of a safetensors file with that header and so many bytes of data.
func safetensors(_ json: String, dataByteCount: Int = 0) -> [UInt8] {
    withUnsafeBytes(of: UInt64(json.utf8.count).littleEndian) { Array($0) } + Array(json.utf8)
        + (0..<dataByteCount).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) }
}

/// What is wrong with a file of these bytes, or nil.
func headerError(_ bytes: [UInt8]) -> CheckpointError? {
    bytes.withUnsafeBytes { bytes in
        do throws(CheckpointError) {
            _ = try SafetensorsHeader(bytes, path: "x")
            return nil
        } catch {
            return error
        }
    }
}

func checkpointError(_ body: () throws -> Void) -> CheckpointError? {
    do {
        try body()
        return nil
    } catch {
        return error as? CheckpointError
    }
}

/// The names in a folder, hidden ones too.
func list(_ folder: URL) -> [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).sorted()
}

/// Equal to the bit, except that any NaN equals any other.
func same(_ a: [Float], _ b: [Float]) -> Bool {
    a.count == b.count && zip(a, b).allSatisfy { $0.bitPattern == $1.bitPattern || $0.isNaN && $1.isNaN }
}

/// A small save: three matrices of `value`, in one file or, with the small limit, three.
func save(_ value: Float, to folder: URL, sharded: Bool) throws {
    let tensors = ["a", "b", "c"].map { TensorDeclaration($0, .f32, [2, 4]) }
    let writer = CheckpointWriter(folder: folder, maxShardByteCount: sharded ? 32 : 1000)
    try writer.write(tensors) { _, sink in try sink.append([Float](repeating: value, count: 8)) }
}

/// The one value that fills the save in a folder; nil if the folder mixes saves.
func savedValue(_ folder: URL) throws -> Float? {
    let checkpoint = try Checkpoint(folder: folder)
    let values = Set(try ["a", "b", "c"].flatMap { try checkpoint.floats($0) })
    return values.count == 1 ? values.first : nil
}
