import Foundation
import GlimCheckpoint
import Testing

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

@Suite("saving checkpoints") struct WriterTests {
    @Test("what is saved is read back", arguments: [1_000_000, 100]) func roundTrip(maxShardByteCount: Int) throws {
        try withTemporaryFolder { folder in
            let tensors = [
                TensorDeclaration("bf16", .bf16, [3, 5]), TensorDeclaration("f32", .f32, [7, 3]),
                TensorDeclaration("ids", .i32, [2]), TensorDeclaration("scalar", .f32, []),
                TensorDeclaration("empty", .f32, [0, 3]), TensorDeclaration("quote\"\\\n é", .bf16, [1]),
            ]
            let writer = CheckpointWriter(folder: folder, maxShardByteCount: maxShardByteCount)
            try writer.write(tensors) { tensor, sink in
                let count = tensor.shape.reduce(1, *)
                guard tensor.dtype != .i32 else { return try sink.append(int32s: [-1, 5]) }
                for i in 0..<count { try sink.append([Float(i) * 0.5]) }
            }
            let checkpoint = try Checkpoint(folder: folder)
            #expect(checkpoint.names == tensors.map(\.name).sorted())
            for tensor in tensors where tensor.dtype != .i32 {
                #expect(try checkpoint.require(tensor.name, shape: tensor.shape).dtype == tensor.dtype)
                #expect(try checkpoint.floats(tensor.name) == (0..<tensor.shape.reduce(1, *)).map { Float($0) * 0.5 })
            }
            #expect(try checkpoint.int32s("ids") == [-1, 5])
            let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
            let isSharded = maxShardByteCount == 100
            #expect(list(folder) == (isSharded ? shards + ["model.safetensors.index.json"] : ["model.safetensors"]))
            let first = try SafetensorsFile(folder.appending(path: isSharded ? shards[0] : "model.safetensors"))
            #expect(first.metadata == ["format": "pt"])
        }
    }

    @Test("the bytes are those of Hugging Face's writer", arguments: ["fused/model", "fp8/expected", "formats/model"])
    func sameBytes(name: String) throws {
        try withTemporaryFolder { folder in
            let file = golden("\(name).safetensors")
            let (header, source) = (try SafetensorsFile(file), try Checkpoint(file: file))
            let tensors = header.names.compactMap { name in
                header.info(name).map { TensorDeclaration(name, $0.dtype, $0.shape) }
            }
            try CheckpointWriter(folder: folder, metadata: header.metadata).write(tensors) { tensor, sink in
                try source.bytes(of: tensor.name).withUnsafeBytes { try sink.append(bytes: $0) }
            }
            #expect(try Data(contentsOf: folder.appending(path: "model.safetensors")) == Data(contentsOf: file))
        }
    }

    @Test("bfloat16 rounds to nearest, ties to even") func rounding() throws {
        try withTemporaryFolder { folder in
            let floats: [Float] = [1, 0x1.01p0, 0x1.03p0, 0x1.010002p0, -0x1.03p0, .infinity, .nan, 3.4028235e38, -0.0]
            try CheckpointWriter(folder: folder).write([TensorDeclaration("w", .bf16, [9])]) { _, sink in
                try floats.withUnsafeBufferPointer { try sink.append($0) }
            }
            let expected: [Float] = [1, 1, 0x1.04p0, 0x1.02p0, -0x1.04p0, .infinity, .nan, .infinity, -0.0]
            #expect(same(try Checkpoint(folder: folder).floats("w"), expected))
        }
    }

    @Test("results go to one file of any name") func results() throws {
        try withTemporaryFolder { folder in
            let file = folder.appending(path: "scores.safetensors")
            let tensors: [String: NamedTensor] = [
                "b": .floats([1, 2, 3, 4], shape: [2, 2]), "a.layer.0": .int32s([3, -1], shape: [1, 2]),
                "loss": .floats([0.25], shape: []),
            ]
            try CheckpointWriter.writeFile(tensors, to: file)
            let result = try Checkpoint(file: file)
            #expect(result.names == ["a.layer.0", "b", "loss"])
            #expect(try result.floats("b") == [1, 2, 3, 4])
            #expect(try result.int32s("a.layer.0") == [3, -1])
            #expect(
                checkpointError { try CheckpointWriter.writeFile(["x": .floats([1], shape: [2])], to: file) }
                    == .wrongElementCount(tensor: "x", found: 1, expected: 2))
            #expect(try Checkpoint(file: file).names.count == 3, "the earlier file is intact")
            #expect(list(folder) == ["scores.safetensors"])
        }
    }

    // MARK: Replacing

    @Test("a save replaces any earlier one, and nothing stale stays", arguments: [false, true], [false, true])
    func replaces(first: Bool, second: Bool) throws {
        try withTemporaryFolder { folder in
            try Data("{}".utf8).write(to: folder.appending(path: "config.json"))
            try Data(safetensors("{}")).write(to: folder.appending(path: "adapter.safetensors"))
            try save(1, to: folder, sharded: first)
            for value in [2, 3, 4] as [Float] {
                try save(value, to: folder, sharded: second)
                #expect(try savedValue(folder) == value)
                let weights = list(folder).filter { $0.hasPrefix("model") }
                #expect(weights.count == (second ? 4 : 1))
            }
            #expect(list(folder).prefix(2) == ["adapter.safetensors", "config.json"])
        }
    }

    /// Carries out every prefix of the steps by hand, as if the process had ended there.
    @Test("the folder is loadable after every step", arguments: [false, true], [false, true])
    func everyStep(old: Bool, new: Bool) throws {
        var stepCount = 1
        var done = 0
        while done <= stepCount {
            try withTemporaryFolder { folder in
                try save(1, to: folder, sharded: old)
                let oldNames = Set(list(folder))
                let plan = SavePlan(
                    byteCounts: [32, 32, 32], alignments: [4, 4, 4], maxByteCount: new ? 32 : 1000,
                    existing: oldNames, oldShards: oldNames.filter { $0.contains("-of-") })
                stepCount = plan.steps.count
                try withTemporaryFolder { other in
                    // The same files under the names of the plan.
                    try save(2, to: other, sharded: new)
                    let fresh = list(other).filter { $0 != "model.safetensors.index.json" }
                    for step in plan.steps.prefix(done) {
                        switch step {
                        case .publish(let file, let name):
                            var data: Data
                            if file < fresh.count {
                                data = try Data(contentsOf: other.appending(path: fresh[file]))
                            } else {
                                data = try Data(contentsOf: other.appending(path: name))
                                var text = String(decoding: data, as: UTF8.self)
                                for (from, to) in zip(fresh, plan.names) {
                                    text = text.replacingOccurrences(of: from, with: to)
                                }
                                data = Data(text.utf8)
                            }
                            try AtomicFile.write(data, to: folder.appending(path: name))
                        case .synchronize: break
                        case .remove(let name):
                            try FileManager.default.removeItem(at: folder.appending(path: name))
                        }
                    }
                }
                #expect(try savedValue(folder) == (done < plan.turningPoint ? 1 : 2), "after \(done) steps")
                // And whatever was left behind does not hinder the next save.
                try save(3, to: folder, sharded: true)
                #expect(try savedValue(folder) == 3)
                #expect(list(folder).count == 4)
            }
            done += 1
        }
    }

    // MARK: Failing

    struct Interruption: Error {}

    @Test("a failure half-way leaves the earlier save and no litter", arguments: [false, true], [false, true])
    func failure(old: Bool, new: Bool) throws {
        try withTemporaryFolder { folder in
            try save(1, to: folder, sharded: old)
            let before = list(folder)
            let tensors = ["a", "b", "c"].map { TensorDeclaration($0, .f32, [2, 4]) }
            let writer = CheckpointWriter(folder: folder, maxShardByteCount: new ? 32 : 1000)
            #expect(throws: Interruption.self) {
                try writer.write(tensors) { tensor, sink in
                    if tensor.name == "c" { throw Interruption() }
                    try sink.append([Float](repeating: 2, count: 8))
                }
            }
            #expect(list(folder) == before)
            #expect(try savedValue(folder) == 1)
        }
    }

    @Test("too few, too many or wrong elements are refused") func wrongElements() throws {
        try withTemporaryFolder { folder in
            let writer = CheckpointWriter(folder: folder)
            func error(_ tensors: [TensorDeclaration], _ floats: [Float]) -> CheckpointError? {
                checkpointError { try writer.write(tensors) { _, sink in try sink.append(floats) } }
            }
            let w = TensorDeclaration("w", .bf16, [2])
            #expect(error([w], [1]) == .wrongElementCount(tensor: "w", found: 1, expected: 2))
            #expect(error([w], [1, 2, 3]) == .wrongElementCount(tensor: "w", found: 3, expected: 2))
            #expect(error([w, w], [1, 2]) == .cannotDeclare(tensor: "w", reason: "it is named twice"))
            #expect(
                error([TensorDeclaration("__metadata__", .f32, [])], [1])
                    == .cannotDeclare(tensor: "__metadata__", reason: "the name is reserved"))
            #expect(
                error([TensorDeclaration("w", .f32, [-1])], [])
                    == .cannotDeclare(tensor: "w", reason: "shape [-1] is impossible"))
            #expect(
                error([TensorDeclaration("w", .i64, [1])], [1])
                    == .unexpectedDType(tensor: "w", found: .i64, expected: "F32 or BF16"))
            #expect(list(folder).isEmpty)
        }
    }

    @Test("a folder that cannot be one, or cannot be written") func unwritable() throws {
        try withTemporaryFolder { folder in
            let file = folder.appending(path: "file")
            try Data("x".utf8).write(to: file)
            let inside = file.appending(path: "model")
            #expect(
                checkpointError { try save(1, to: inside, sharded: false) }
                    == .cannotWrite(path: inside.path, reason: "the folder cannot be made: Not a directory"))
            #expect(
                checkpointError { try AtomicFile.write("x", to: folder.appending(path: "no/such")) }
                    == .cannotWrite(path: folder.path + "/no", reason: "No such file or directory"))
            #expect(list(folder) == ["file"])
        }
    }

    @Test("atomic files replace and leave nothing else") func atomicFile() throws {
        try withTemporaryFolder { folder in
            let file = folder.appending(path: "config.json")
            try AtomicFile.write("one", to: file)
            try AtomicFile.write("two", to: file)
            #expect(try String(contentsOf: file, encoding: .utf8) == "two")
            let block = folder.appending(path: "folder")
            try FileManager.default.createDirectory(at: block, withIntermediateDirectories: false)
            #expect(throws: CheckpointError.self) { try AtomicFile.write("three", to: block) }
            #expect(list(folder) == ["config.json", "folder"])
        }
    }

    /// In a process of its own, whose files may not grow beyond 1 MiB: to the writer that is a full disk.
    @Test("a full disk is one clear error and the earlier save stays", arguments: [false, true])
    func fullDisk(sharded: Bool) async {
        await #expect(processExitsWith: .success) { [sharded = sharded as Bool] in
            try withTemporaryFolder { folder in
                try save(1, to: folder, sharded: sharded)
                let before = list(folder)
                signal(SIGXFSZ, SIG_IGN)
                var limit = rlimit(rlim_cur: 1 << 20, rlim_max: 1 << 20)
                #if canImport(Darwin)
                let resource = RLIMIT_FSIZE
                #else
                let resource = __rlimit_resource_t(RLIMIT_FSIZE.rawValue)
                #endif
                guard setrlimit(resource, &limit) == 0 else { exit(3) }
                let tensors = ["a", "b"].map { TensorDeclaration($0, .f32, [1 << 17]) }
                let error = checkpointError {
                    try CheckpointWriter(folder: folder).write(tensors + [TensorDeclaration("c", .bf16, [1 << 17])]) {
                        _, sink in try sink.append([Float](repeating: 2, count: 1 << 17))
                    }
                }
                guard case .cannotWrite(folder.path, let reason) = error, reason == "File too large" else { exit(4) }
                guard list(folder) == before, try savedValue(folder) == 1 else { exit(5) }
            }
        }
    }

    @Test("a killed process leaves the earlier save, and the next one sweeps up") func killed() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "glim-killed-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        try save(1, to: folder, sharded: true)
        let before = list(folder)
        await #expect(processExitsWith: .signal(SIGKILL)) { [path = folder.path as String] in
            let writer = CheckpointWriter(folder: URL(filePath: path), maxShardByteCount: 32)
            try writer.write(["a", "b", "c"].map { TensorDeclaration($0, .f32, [2, 4]) }) { tensor, sink in
                if tensor.name == "c" { kill(getpid(), SIGKILL) }
                try sink.append([Float](repeating: 2, count: 8))
            }
        }
        #expect(try savedValue(folder) == 1)
        #expect(list(folder).count > before.count, "the killed process left its temporary files")
        try save(3, to: folder, sharded: true)
        #expect(try savedValue(folder) == 3)
        #expect(list(folder).count == before.count)
    }
}
