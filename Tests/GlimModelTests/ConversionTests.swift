import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

@Suite("conversion to integers") struct ConversionTests {
    /// Everything in a folder.
    private static func files(_ folder: URL) throws -> [String: Data] {
        var files: [String: Data] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) {
            files[name] = try Data(contentsOf: folder.appending(path: name))
        }
        return files
    }

    @Test("each matrix is the quantiser's, each other tensor as it was, and the errors are told", arguments: [1, 4, 9])
    func contents(seed: Int) throws {
        try withTemporaryFolder { folder in
            let (plain, quantised) = (folder.appending(path: "a"), folder.appending(path: "b"))
            _ = try Tiny.saveWide(seed, to: plain)
            try Data("{}".utf8).write(to: plain.appending(path: "tokenizer.json"))
            let conversion = try Conversion(plain, to: quantised, Scheme(.w4a8))
            let errors = try #require(try conversion.run())
            let (before, after) = (try Model(folder: plain), try Model(folder: quantised))
            for (a, b) in zip(before.tensors, after.tensors) {
                guard let format = b.integerFormat else {
                    expectSame(b.numbers()!.elements, a.numbers()!.elements, a.name)
                    continue
                }
                let quantizer = Quantizer(format, inputs: a.shape[1])
                let integers = a.numbers()!.withElements { quantizer($0) }
                #expect(integers == b.integers(), "\(a.name)")
            }
            for error in errors {
                #expect(error.relative < (error.bits == 4 ? 0.2 : 0.02) && error.relative > 0, "\(error)")
            }
            #expect(errors.count == Set(errors.map(\.name)).count)
            let hasExperts = before.config.denseLayerCount < before.config.layerCount
            #expect(errors.contains { $0.name.hasSuffix("mlp.experts") } == hasExperts)
            let bytes = try conversion.byteCounts
            let size = try Data(contentsOf: quantised.appending(path: "model.safetensors")).count
            #expect(bytes.after < size && bytes.after > size / 2 && bytes.after < bytes.before)
            #expect(try Self.files(quantised).keys.sorted() == ["config.json", "model.safetensors", "tokenizer.json"])
        }
    }

    @Test("block-scaled FP8 and fused experts are read, and what is not quantised becomes bf16")
    func fp8AndFused() throws {
        let config = Tiny.wideConfig(1).with { ($0.dtype, $0.scaleBlock) = (.bfloat16, .init(rows: 32, columns: 32)) }
        try withTemporaryFolder { folder in
            let (source, quantised) = (folder.appending(path: "fp8"), folder.appending(path: "b"))
            var draw = Draw(5)
            let (E, F, D) = (config.routedExpertCount, config.expertWidth, config.hiddenSize)
            var declarations: [TensorDeclaration] = []
            for tensor in Model(config, isBlueprint: true).tensors where !tensor.name.contains(".mlp.experts.") {
                let isScaled = tensor.shape.count == 2 && tensor.name.contains("proj")
                declarations.append(TensorDeclaration(tensor.name, isScaled ? .f8E4M3 : .bf16, tensor.shape))
                if isScaled {
                    let blocks = tensor.shape.map { ($0 + 31) / 32 }
                    declarations.append(TensorDeclaration("\(tensor.name)_scale_inv", .f32, blocks))
                }
            }
            for layer in config.denseLayerCount..<config.layerCount + config.mtpLayerCount {
                let prefix = "model.layers.\(layer).mlp.experts"
                declarations += [
                    TensorDeclaration("\(prefix).gate_up_proj", .bf16, [E, 2 * F, D]),
                    TensorDeclaration("\(prefix).down_proj", .bf16, [E, D, F]),
                ]
            }
            try CheckpointWriter(folder: source).write(declarations) { declaration, sink in
                let count = declaration.shape.reduce(1, *)
                if declaration.dtype == .f8E4M3 {
                    // Any code but those of NaN.
                    let codes = (0..<count).map { _ in UInt8(draw.integer(0...126) + 128 * draw.integer(0...1)) }
                    try codes.withUnsafeBytes { try sink.append(bytes: $0) }
                } else {
                    try sink.append(draw.floats(count, scale: 0.2).map { $0 + 0.001 })
                }
            }
            try config.json.write(to: source.appending(path: "config.json"))
            _ = try #require(try Conversion(source, to: quantised, Scheme(.w4a8)).run())
            let (before, after) = (try Model(folder: source, format: .f32), try Model(folder: quantised))
            #expect(after.config.scaleBlock == nil && after.config.integerWeights != nil)
            let file = try Checkpoint(folder: quantised)
            for (a, b) in zip(before.tensors, after.tensors) {
                let numbers = a.numbers()!
                if let format = b.integerFormat {
                    let integers = numbers.withElements { Quantizer(format, inputs: a.shape[1])($0) }
                    #expect(integers == b.integers(), "\(a.name)")
                } else {
                    #expect(try file.info(a.name).dtype == .bf16)
                    for (x, y) in zip(numbers.elements, b.numbers()!.elements) {
                        #expect(abs(x - y) <= abs(x) / 256, "\(a.name)")
                    }
                }
            }
        }
    }

    @Test("a conversion that is stopped after any shard goes on to the same files") func resumes() throws {
        try withTemporaryFolder { folder in
            let (plain, whole, cut) = (
                folder.appending(path: "plain"), folder.appending(path: "whole"), folder.appending(path: "cut")
            )
            _ = try Tiny.saveWide(7, to: plain)
            func conversion(_ out: URL, _ scheme: Scheme = Scheme(.w4a8)) throws -> Conversion {
                try Conversion(plain, to: out, scheme, shardBytes: 20_000)
            }
            let errors = try #require(try conversion(whole).run())
            let shards = try Self.files(whole).keys.filter { $0.hasSuffix(".safetensors") }
            try #require(shards.count > 3)
            var runs = 0
            var found: [Conversion.ModuleError]?
            while found == nil {
                found = try conversion(cut).run(isStopped: { true })
                runs += 1
                guard found == nil else { break }
                // Until it is whole nobody takes it for a model, nor another conversion for its own.
                #expect(throws: (any Error).self) { try Model(folder: cut) }
                #expect(throws: QuantizationError.self) { try conversion(cut, Scheme(.w8a8)).run() }
                // What a killed process leaves: a shard that was named and not recorded, or half of one.
                if runs == 2 {
                    let name = shards.sorted()[runs]
                    try Data([1, 2, 3]).write(to: cut.appending(path: name))
                }
            }
            // One run a shard, and one for what comes after the last.
            #expect(runs == shards.count + 1 && found == errors)
            #expect(try Self.files(cut) == Self.files(whole))
            #expect(try Model(folder: cut).tensors.count == Model(folder: plain).tensors.count)
        }
    }

    @Test("a folder has one writer, and nothing else in it") func folder() throws {
        try withTemporaryFolder { folder in
            let (plain, out) = (folder.appending(path: "plain"), folder.appending(path: "out"))
            _ = try Tiny.saveWide(7, to: plain)
            let conversion = try Conversion(plain, to: out, Scheme(.w4a8))
            var refused: CheckpointError?
            // The second writer comes while the first is at work.
            _ = try conversion.run(whole: { _ in
                do throws(CheckpointError) { _ = try FolderLock(out.path) } catch { refused = error }
                #expect(throws: CheckpointError.self) { try conversion.run() }
            })
            #expect(refused?.reason == "another process writes there")
            _ = try FolderLock(out.path)
            let other = folder.appending(path: "other")
            try FileManager.default.createDirectory(at: other, withIntermediateDirectories: true)
            try Data("x".utf8).write(to: other.appending(path: "letter.txt"))
            let error = #expect(throws: QuantizationError.self) {
                try Conversion(plain, to: other, Scheme(.w4a8)).run()
            }
            #expect(error?.description.contains("letter.txt") == true)
            #expect(try FileManager.default.contentsOfDirectory(atPath: other.path) == ["letter.txt"])
        }
    }

    @Test("what comes after a whole copy may fail, and comes again") func whole() throws {
        struct Stop: Error {}
        try withTemporaryFolder { folder in
            let (plain, out) = (folder.appending(path: "plain"), folder.appending(path: "out"))
            _ = try Tiny.saveWide(7, to: plain)
            let conversion = try Conversion(plain, to: out, Scheme(.w4a8))
            #expect(throws: Stop.self) {
                try conversion.run(whole: { _ in
                    _ = try Model(folder: out)
                    throw Stop()
                })
            }
            var seen: [Conversion.ModuleError] = []
            let errors = try conversion.run(whole: { seen = $0 })
            #expect(!seen.isEmpty && errors == seen)
            #expect(throws: QuantizationError.self) { try conversion.run() }
        }
    }

    @Test("what cannot be converted is one error that says why") func errors() throws {
        try withTemporaryFolder { folder in
            let (plain, quantised) = (folder.appending(path: "plain"), folder.appending(path: "quantised"))
            _ = try Tiny.saveWide(3, to: plain)
            _ = try Conversion(plain, to: quantised, Scheme(.w8a8)).run()
            #expect(throws: QuantizationError.alreadyQuantized(path: quantised.path)) {
                try Conversion(quantised, to: folder.appending(path: "c"), Scheme(.w8a8))
            }
            for out in [plain, quantised] {
                let error = #expect(throws: QuantizationError.self) {
                    try Conversion(plain, to: out, Scheme(.w8a8)).run()
                }
                #expect(error?.description.contains("holds a model already") == true)
            }
            let model = try Model(folder: plain, format: .f32)
            var numbers = model.layers[0].attention.output.rows().elements
            numbers[3] = .nan
            numbers.withUnsafeBufferPointer { model.layers[0].attention.output.set($0) }
            try model.save(to: folder.appending(path: "broken"))
            let name = "model.layers.0.self_attn.o_proj.weight"
            #expect(throws: QuantizationError.notFinite(tensor: name)) {
                try Conversion(
                    folder.appending(path: "broken"), to: folder.appending(path: "d"), Scheme(.w8a8)
                ).run()
            }
        }
    }

    @Test("damaged integers are one error that names the tensor") func damaged() throws {
        try withTemporaryFolder { folder in
            let (plain, quantised) = (folder.appending(path: "plain"), folder.appending(path: "quantised"))
            // With experts, and a hidden size of several groups.
            _ = try Tiny.model(
                Tiny.wideConfig(1).with { ($0.hiddenSize, $0.layerCount, $0.denseLayerCount) = (192, 1, 0) }
                    .with { $0.indexer?.kinds = [.full] }, 1
            ).save(to: plain)
            _ = try Conversion(plain, to: quantised, Scheme(.w4a8)).run()
            let source = try Checkpoint(folder: quantised)
            let (eight, four) = (
                "model.layers.0.self_attn.kv_a_proj_with_mqa.weight", "model.layers.0.mlp.experts.1.up_proj.weight"
            )
            /// Writes the checkpoint again with one tensor changed, or left out.
            func error(_ name: String, _ change: (StoredType, [Int])?, extra: TensorDeclaration? = nil) -> String {
                let broken = folder.appending(path: "broken")
                do {
                    try? FileManager.default.removeItem(at: broken)
                    var declarations: [TensorDeclaration] = []
                    for each in source.names {
                        let info = try source.info(each)
                        if each != name {
                            declarations.append(TensorDeclaration(each, info.dtype, info.shape))
                        } else if let change {
                            declarations.append(TensorDeclaration(each, change.0, change.1))
                        }
                    }
                    try CheckpointWriter(folder: broken).write(declarations + [extra].compactMap(\.self)) {
                        declaration, sink in
                        let size = declaration.shape.reduce(1, *) * declaration.dtype.bitCount / 8
                        let isOld = declaration.name != name && declaration != extra
                        let bytes =
                            try isOld
                            ? source.bytes(of: declaration.name).withUnsafeBytes { Array($0) }
                            : [UInt8](repeating: 3, count: size)
                        try bytes.withUnsafeBytes { try sink.append(bytes: $0) }
                    }
                    try FileManager.default.copyItem(
                        at: quantised.appending(path: "config.json"), to: broken.appending(path: "config.json"))
                    _ = try Model(folder: broken)
                    return ""
                } catch { return "\(error)" }
            }
            #expect(error("none", nil).isEmpty)
            let (rows, D) = (try source.info(eight).shape[0], 192)
            let F = try source.info("\(four)_scale").shape[0]
            let cases: [(String, (StoredType, [Int])?, TensorDeclaration?, [String])] = [
                ("\(eight)_scale", nil, nil, ["no tensor", "kv_a_proj_with_mqa.weight_scale"]),
                ("\(eight)_scale", (.f32, [rows, 5]), nil, ["weight_scale", "shape [\(rows), 5]"]),
                ("\(eight)_scale", (.f32, [rows]), nil, ["weight_scale", "shape [\(rows)]"]),
                ("\(eight)_scale", (.f32, [rows, 64]), nil, ["3 columns share a scale"]),
                (eight, (.i8, [rows, D - 1]), nil, ["kv_a_proj_with_mqa.weight", "expected [\(rows), \(D)]"]),
                ("none", nil, TensorDeclaration("\(eight)_zero_point", .i8, [rows, 3]), ["zero_point"]),
                (
                    "\(four)_packed", (.i32, [F, D / 8 + 1]), nil,
                    ["up_proj.weight_packed", "expected [\(F), \(D / 8)]"]
                ),
                ("\(four)_packed", (.f32, [F, D / 8]), nil, ["up_proj.weight_packed", "F32", "I32"]),
                ("\(four)_shape", nil, nil, ["no tensor", "up_proj.weight_shape"]),
                // Eight bytes of 3 each.
                ("\(four)_shape", (.i64, [2]), nil, ["up_proj.weight", "expected [\(F), \(D)]"]),
                ("\(four)_packed", nil, nil, ["no tensor", "up_proj.weight"]),
            ]
            for (name, change, extra, words) in cases {
                let message = error(name, change, extra: extra)
                for word in words { #expect(message.contains(word), "\(name): \(message)") }
                #expect(!message.contains("\n"))
            }
            // A file that is cut short.
            let file = quantised.appending(path: "model.safetensors")
            try Data(contentsOf: file).dropLast(100).write(to: file)
            #expect(throws: CheckpointError.self) { try Model(folder: quantised) }
        }
    }
}
