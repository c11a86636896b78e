import Foundation
import GlimCheckpoint
import Testing

@Suite("reading checkpoints") struct DecodingTests {
    static let floating = ["f32", "f64", "bf16", "f16", "e4m3", "e5m2", "scalar", "empty"]

    @Test("every format equals torch's conversion", arguments: floating) func formats(name: String) throws {
        let checkpoint = try Checkpoint(folder: golden("formats"))
        let expected = try Checkpoint(file: golden("formats/expected.safetensors"))
        #expect(same(try checkpoint.floats(name), try expected.floats(name)))
        #expect(try checkpoint.info(name).shape == expected.info(name).shape)
    }

    @Test("all half and bfloat16 codes convert exactly") func everyCode() throws {
        try withTemporaryFolder { folder in
            let codes = (0..<65536).map { UInt16($0) }
            try CheckpointWriter(folder: folder).write([
                TensorDeclaration("f16", .f16, [65536]), TensorDeclaration("bf16", .bf16, [65536]),
            ]) { _, sink in
                try codes.withUnsafeBytes { try sink.append(bytes: $0) }
            }
            let checkpoint = try Checkpoint(folder: folder)
            #expect(same(try checkpoint.floats("f16"), codes.map(Self.half)))
            #expect(same(try checkpoint.floats("bf16"), codes.map { Float(bitPattern: UInt32($0) << 16) }))
        }
    }

    /// From the definition of IEEE half precision, in double precision.
    static func half(_ code: UInt16) -> Float {
        let (sign, exponent, fraction) = (code >> 15 == 0 ? 1.0 : -1.0, Int(code >> 10 & 31), Double(code & 1023))
        if exponent == 31 { return fraction == 0 ? Float(sign) * .infinity : .nan }
        let power = Double(sign: .plus, exponent: max(exponent, 1) - 25, significand: 1)
        let magnitude = (exponent == 0 ? fraction : 1024 + fraction) * power
        return Float(sign * magnitude)
    }

    /// Test vectors of FP8 E4M3: 0.3125, 1, 16, 20, 2⁻⁹, 448, -0, 2⁻⁸.
    @Test("E4M3 codes mean what the format says") func e4m3() throws {
        try withTemporaryFolder { folder in
            let codes: [UInt8] = [0x2A, 0x38, 0x58, 0x5A, 0x01, 0x7E, 0x80, 0x02, 0xFE]
            try CheckpointWriter(folder: folder).write([TensorDeclaration("w", .f8E4M3, [9])]) { _, sink in
                try codes.withUnsafeBytes { try sink.append(bytes: $0) }
            }
            let values = try Checkpoint(folder: folder).floats("w")
            #expect(same(values, [0.3125, 1, 16, 20, 0x1p-9, 448, -0.0, 0x1p-8, -448]))
        }
    }

    @Test("FP8 blocks multiply, the short last block too, and shards join") func fp8() throws {
        let name = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight"
        let checkpoint = try Checkpoint(folder: golden("fp8"))
        let expected = try Checkpoint(file: golden("fp8/expected.safetensors"))
        #expect(checkpoint.names == ["lm_head.weight", name, "\(name)_scale_inv", "model.norm.weight"])
        #expect(try checkpoint.info(name).dtype == .f8E4M3)
        let rows = try checkpoint.floats(name, rows: 120..<192)
        #expect(same(rows, try expected.floats(name)))
        let whole = try checkpoint.floats(name)
        #expect(whole.count == 192 * 160 && same(Array(whole[(120 * 160)...]), rows))
        #expect(same(try checkpoint.floats("lm_head.weight"), try expected.floats("lm_head.weight")))
    }

    @Test("fused experts are read one at a time", arguments: ["gate_up_proj", "down_proj"])
    func fused(part: String) throws {
        let name = "model.layers.3.mlp.experts.\(part)"
        let block = try #require(BlockSize(rows: 32, columns: 32))
        let checkpoint = try Checkpoint(folder: golden("fused"), block: block)
        let expected = try Checkpoint(file: golden("fused/expected.safetensors")).floats(name)
        #expect(same(try checkpoint.floats(name), expected))
        let size = expected.count / 3
        for expert in 0..<3 {
            let rows = try checkpoint.floats(name, rows: expert..<expert + 1)
            #expect(same(rows, Array(expected[expert * size..<(expert + 1) * size])))
        }
    }

    @Test("raw bytes and rows of them are those of the file") func bytes() throws {
        let checkpoint = try Checkpoint(folder: golden("formats"))
        #expect(try checkpoint.bytes(of: "u8").withUnsafeBytes { Array($0) } == [0, 255, 7])
        #expect(try checkpoint.bytes(of: "e4m3", rows: 2..<3).withUnsafeBytes { Array($0) } == Array(32..<48))
        #expect(try checkpoint.bytes(of: "empty").withUnsafeBytes { $0.count } == 0)
        #expect(try checkpoint.int32s("i32") == [1, -2, .max])
    }

    #if os(Linux)
    @Test("what was read takes no memory of the process any longer") func releases() throws {
        try withTemporaryFolder { folder in
            let (file, count) = (folder.appending(path: "model.safetensors"), 1 << 21)
            let zeros = [Float](repeating: 0, count: count)
            try CheckpointWriter.writeFile(
                ["a": .floats(zeros, shape: [count]), "b": .floats(zeros, shape: [count])], to: file)
            func resident() throws -> Int {
                // In pieces: the system gives less at a time than it is asked for.
                let handle = try #require(FileHandle(forReadingAtPath: "/proc/self/smaps"))
                var text = Data()
                while let more = try handle.read(upToCount: 1 << 16), !more.isEmpty { text += more }
                let lines = String(decoding: text, as: UTF8.self).split(separator: "\n")
                let mapping = try #require(lines.firstIndex { $0.hasSuffix(file.path) })
                let line = try #require(lines[mapping...].first { $0.hasPrefix("Rss:") })
                return try #require(line.split(separator: " ").dropFirst().first.flatMap { Int($0) }) * 1024
            }
            let checkpoint = try Checkpoint(folder: folder)
            #expect(try checkpoint.bytes(of: "a").withUnsafeBytes { $0.allSatisfy { $0 == 0 } })
            #expect(try resident() >= 4 * count)
            #expect(try checkpoint.floats("a") == zeros)
            #expect(try checkpoint.floats("b", rows: 1 << 20..<count) == Array(zeros.prefix(1 << 20)))
            let left = try withExtendedLifetime(checkpoint) { try resident() }
            #expect(left <= 1 << 18)
        }
    }
    #endif

    @Test("many threads read one checkpoint") func threads() async throws {
        let checkpoint = try Checkpoint(folder: golden("fp8"))
        let name = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight"
        let whole = try checkpoint.floats(name)
        try await withThrowingTaskGroup(of: [Float].self) { group in
            for _ in 0..<8 { group.addTask { try checkpoint.floats(name) } }
            for try await floats in group { #expect(floats == whole) }
        }
    }

    // MARK: Faults

    @Test("wrong questions have clear answers") func wrongQuestions() throws {
        let path = golden("formats").path
        let checkpoint = try Checkpoint(folder: golden("formats"))
        #expect(
            checkpointError { _ = try checkpoint.floats("nope") } == .missingTensor(folder: path, tensor: "nope"))
        #expect(
            checkpointError { try checkpoint.require("f32", shape: [3, 2]) }
                == .wrongShape(folder: path, tensor: "f32", found: [2, 3], expected: [3, 2]))
        #expect(
            checkpointError { _ = try checkpoint.floats("f32", rows: 1..<3) }
                == .rowsOutOfRange(tensor: "f32", rows: 1..<3, rowCount: 2))
        #expect(
            checkpointError { _ = try checkpoint.floats("f32", rows: -1..<1) }
                == .rowsOutOfRange(tensor: "f32", rows: -1..<1, rowCount: 2))
        #expect(
            checkpointError { _ = try checkpoint.floats("i64") }
                == .unexpectedDType(tensor: "i64", found: .i64, expected: "a floating-point number"))
        #expect(
            checkpointError { _ = try checkpoint.int32s("f32") }
                == .unexpectedDType(tensor: "f32", found: .f32, expected: "I32"))
        var small = [Float](repeating: 0, count: 5)
        #expect(
            checkpointError { try small.withUnsafeMutableBufferPointer { try checkpoint.floats(of: "f32", into: $0) } }
                == .wrongElementCount(tensor: "f32", found: 5, expected: 6))
    }

    @Test("scales that do not fit are refused, not ignored") func scales() throws {
        let name = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight"
        for side in [64, 160, Int.max] {
            let block = try #require(BlockSize(rows: side, columns: side))
            let count = side == 64 ? 3 : side == 160 ? 2 : 1
            let expected = [count, side == 64 ? 3 : 1]
            let checkpoint = try Checkpoint(folder: golden("fp8"), block: block)
            #expect(
                checkpointError { _ = try checkpoint.floats(name) }
                    == .wrongScaleShape(tensor: name, found: [2, 2], expected: expected))
        }
        #expect(BlockSize(rows: 0, columns: 128) == nil)

        try withTemporaryFolder { folder in
            try CheckpointWriter(folder: folder).write([
                TensorDeclaration("w", .f8E4M3, [1]), TensorDeclaration("w_scale", .f32, []),
            ]) { declaration, sink in
                if declaration.dtype == .f32 {
                    try sink.append([1])
                } else {
                    try [UInt8(1)].withUnsafeBytes { try sink.append(bytes: $0) }
                }
            }
            #expect(
                checkpointError { _ = try Checkpoint(folder: folder).floats("w") }
                    == .unsupportedScale(tensor: "w", scale: "w_scale"))
        }
    }

    @Test("files that are no files") func noFiles() throws {
        try withTemporaryFolder { folder in
            let file = folder.appending(path: "model.safetensors")
            #expect(checkpointError { _ = try Checkpoint(folder: folder) } == .noWeights(folder: folder.path))
            try Data().write(to: file)
            #expect(
                checkpointError { _ = try Checkpoint(folder: folder) } == .tooShort(path: file.path, byteCount: 0))
            #expect(
                checkpointError { _ = try SafetensorsFile(folder) }
                    == .unreadable(path: folder.path, reason: "a folder"))
            #expect(
                checkpointError { _ = try SafetensorsFile(URL(filePath: "/dev/zero")) }
                    == .unreadable(path: "/dev/zero", reason: "not a plain file"))
            #expect(
                checkpointError { _ = try SafetensorsFile(folder.appending(path: "no")) }
                    == .unreadable(path: folder.path + "/no", reason: "No such file or directory"))
        }
    }

    @Test("faults of the index") func index() throws {
        try withTemporaryFolder { folder in
            let index = folder.appending(path: "model.safetensors.index.json")
            func error(_ json: String) throws -> CheckpointError? {
                try Data(json.utf8).write(to: index)
                return checkpointError { _ = try Checkpoint(folder: folder) }
            }
            let path = index.path
            func malformed(_ offset: Int, _ reason: String) -> CheckpointError {
                .malformedIndex(path: path, offset: offset, reason: reason)
            }
            #expect(try error("") == malformed(0, "expected an object: the JSON ends early"))
            #expect(try error("{}\n") == malformed(2, "weight_map is missing"))
            #expect(try error("{\"weight_map\":{},\"weight_map\":{}}") == malformed(30, "weight_map appears twice"))
            #expect(
                try error("{\"weight_map\":{\"a\":1}}")
                    == .malformedIndex(path: path, offset: 19, reason: "expected a string"))
            #expect(
                try error("{\"weight_map\":{\"a\":\"s.safetensors\",\"a\":\"s.safetensors\"}}")
                    == .duplicateTensor(path: path, tensor: "a"))
            for shard in ["../s.safetensors", "/etc/passwd", "s.bin", ".s.safetensors", "", "a/b.safetensors"] {
                #expect(
                    try error("{\"weight_map\":{\"a\":\"\(shard)\"}}") == .unsafeShardName(path: path, shard: shard))
            }
            #expect(
                try error("{\"weight_map\":{\"a\":\"s.safetensors\"}}")
                    == .missingShard(path: path, shard: "s.safetensors"))
            try Data(safetensors("{}")).write(to: folder.appending(path: "s.safetensors"))
            #expect(
                try error("{\"weight_map\":{\"a\":\"s.safetensors\"}}")
                    == .missingFromShard(path: path, tensor: "a", shard: "s.safetensors"))
        }
    }
}
