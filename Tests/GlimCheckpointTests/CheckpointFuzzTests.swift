import Foundation
import GlimCheckpoint
import GlimTestSupport
import Testing

@Suite("fuzz: checkpoints", .serialized) struct CheckpointFuzzTests {
    private static func bytes(_ path: String) throws -> [UInt8] { try [UInt8](Data(contentsOf: golden(path))) }

    /// Uses everything a reader gives: names, shapes, bytes, rows and numbers.
    private func use(_ checkpoint: Checkpoint, fileByteCount: Int) throws {
        for name in checkpoint.names {
            let info = try checkpoint.info(name)
            let bytes = try checkpoint.bytes(of: name).withUnsafeBytes { $0.reduce(0) { $0 ^ $1 } }
            #expect(bytes >= 0 && info.byteCount <= fileByteCount && info.fileOffset + info.byteCount <= fileByteCount)
            guard info.dtype != .i32 else {
                #expect(try checkpoint.int32s(name).count == info.elementCount)
                continue
            }
            // A dtype that is no number, or a scale of another shape, is an error of the tensor, on one line too.
            let floats = try checkpoint.floats(name)
            #expect(floats.count == info.elementCount)
            if info.rowCount > 1 {
                let rows = try checkpoint.floats(name, rows: info.rowCount - 1..<info.rowCount)
                #expect(rows.count == floats.count / info.rowCount)
            }
        }
    }

    @Test("damaged safetensors files, header and tensors") func safetensorsFiles() throws {
        let tiny = safetensors(#"{"w":{"dtype":"U8","shape":[1],"x":-1.5e+3,"data_offsets":[0,1]}}"#, dataByteCount: 1)
        let several = safetensors(
            #"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"#
                + #""b":{"dtype":"F8_E4M3","shape":[2,4],"data_offsets":[16,24]},"#
                + #""b_scale_inv":{"dtype":"F32","shape":[1,1],"data_offsets":[24,28]},"#
                + #""c":{"dtype":"BF16","shape":[3],"data_offsets":[28,34]}}"#, dataByteCount: 34)
        let fuzz = Fuzz(
            "safetensors",
            try [
                Self.bytes("formats/model.safetensors"), Self.bytes("fp8/model-00002-of-00002.safetensors"), tiny,
                several,
            ]
            .map { MutableFile($0, .safetensors) }, count: 5000)
        try withTemporaryFolder { folder in
            let file = folder.appending(path: "some.safetensors")
            let outcome = fuzz.run(says: "some.safetensors") { bytes in
                try Data(bytes).write(to: file)
                let checkpoint = try Checkpoint(file: file)
                do { try use(checkpoint, fileByteCount: bytes.count) } catch let error as CheckpointError {
                    // Of a tensor of a file that is in order: it names the tensor.
                    #expect(error.description.contains("tensor") && !error.description.contains("\n"))
                }
            }
            #expect(outcome.accepted > 20 && outcome.refused > 200)
        }
    }

    @Test("a damaged index over whole shards") func index() throws {
        let name = "model.safetensors.index.json"
        let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
        let simple = Array(
            #"{"metadata":{"total_size":8},"weight_map":{"a":"x.safetensors","b":"y.safetensors"}}"#.utf8)
        let fuzz = Fuzz("index", try [Self.bytes("fp8/\(name)"), simple].map { MutableFile($0, .json) })
        try withTemporaryFolder { folder in
            for shard in shards { try Data(Self.bytes("fp8/\(shard)")).write(to: folder.appending(path: shard)) }
            for (shard, tensor) in [("x", "a"), ("y", "b")] {
                let file = safetensors(
                    #"{"\#(tensor)":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, dataByteCount: 4)
                try Data(file).write(to: folder.appending(path: "\(shard).safetensors"))
            }
            let file = folder.appending(path: name)
            let outcome = fuzz.run(says: folder.path) { bytes in
                try Data(bytes).write(to: file)
                let checkpoint = try Checkpoint(folder: folder)
                for name in checkpoint.names { _ = try checkpoint.bytes(of: name).withUnsafeBytes { $0.count } }
            }
            #expect(outcome.accepted > 20 && outcome.refused > 200)
        }
    }
}
