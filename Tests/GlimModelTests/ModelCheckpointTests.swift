import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimTestSupport
import Synchronization
import Testing

@Suite("models as checkpoints") struct ModelCheckpointTests {
    @Test("a saved model loads as itself, to the bit, with its config", arguments: [0, 1, 2, 5, 8, 13, 21, 34])
    func roundTrip(seed: Int) throws {
        let model = Tiny.model(seed)
        try withTemporaryFolder { folder in
            try model.save(to: folder)
            for format in [Model.LoadFormat.asStored, .f32] {
                let loaded = try Model(folder: folder, format: format)
                // What is saved is f32, and says so.
                #expect(loaded.config == model.config.with { $0.dtype = .float32 })
                #expect(loaded.tensors.map(\.name) == model.tensors.map(\.name))
                for (a, b) in zip(loaded.tensors, model.tensors) {
                    #expect(a.shape == b.shape)
                    expectSame(a.numbers()!.elements, b.numbers()!.elements, a.name)
                }
                let tokens = (0..<50).map { Int32($0 * 7 % model.config.vocabularySize) }
                expectSame(Scorer(loaded).logits(tokens), Scorer(model).logits(tokens))
            }
            let lean = try Model(folder: folder, format: .inference)
            #expect(
                lean.head.format
                    == (model.config.computeType == .bfloat16 && lean.head !== lean.embedding ? .bf16 : .f32))
            let tokens = (0..<50).map { Int32($0 * 5 % model.config.vocabularySize) }
            expectSame(Scorer(lean, mode: .decode).logits(tokens), Scorer(model).logits(tokens), "held rounded")
            // What was there before stays until the new files are whole: saving over itself changes nothing.
            let before = try Data(contentsOf: folder.appending(path: "model.safetensors"))
            try Model(folder: folder).save(to: folder)
            #expect(try Data(contentsOf: folder.appending(path: "model.safetensors")) == before)
        }
    }

    @Test("an embedding that is read in several pieces is whole, and progress goes from nothing to all") func pieces()
        throws
    {
        var config = Tiny.config(3)
        (config.vocabularySize, config.hiddenSize, config.tiesEmbeddings) = (70_001, 64, false)
        let model = Tiny.model(config, 3)
        try withTemporaryFolder { folder in
            try model.save(to: folder)
            let told = Mutex<[Double]>([])
            let loaded = try Model(folder: folder) { fraction in told.withLock { $0.append(fraction) } }
            for (a, b) in zip(loaded.tensors, model.tensors) {
                expectSame(a.numbers()!.elements, b.numbers()!.elements, a.name)
            }
            let fractions = told.withLock { $0.sorted() }
            #expect(fractions.count == model.tensors.count && fractions.last == 1 && fractions[0] > 0)
        }
    }

    @Test("experts fused as transformers holds them load as the same model", arguments: Golden.models + ["random"])
    func fused(name: String) throws {
        let model = name == "random" ? Tiny.model(7) : try GoldenModel(name).model()
        let config = model.config
        var tensors: [String: NamedTensor] = [:]
        for tensor in model.tensors where !tensor.name.contains(".experts.") {
            tensors[tensor.name] = .floats(tensor.numbers()!.elements, shape: tensor.shape)
        }
        let (E, F, D) = (config.routedExpertCount, config.expertWidth, config.hiddenSize)
        let blocks = model.layers + model.predictions.map(\.layer)
        for (i, layer) in blocks.enumerated() {
            guard let experts = layer.experts?.resident else { continue }
            func rows(_ weight: Weight, _ e: Int) -> [Float] { weight.rows(matrix: e).elements }
            let prefix = "model.layers.\(i).mlp.experts"
            tensors["\(prefix).gate_up_proj"] = .floats(
                (0..<E).flatMap { rows(experts.gate, $0) + rows(experts.up, $0) }, shape: [E, 2 * F, D])
            tensors["\(prefix).down_proj"] = .floats((0..<E).flatMap { rows(experts.down, $0) }, shape: [E, D, F])
        }
        try withTemporaryFolder { folder in
            try CheckpointWriter.writeFile(tensors, to: folder.appending(path: "model.safetensors"))
            let loaded = try Model(config, Checkpoint(folder: folder), format: .asStored)
            for (a, b) in zip(loaded.tensors, model.tensors) {
                expectSame(a.numbers()!.elements, b.numbers()!.elements, a.name)
            }
        }
    }

    @Test("a model that came from FP8 or bf16 files is saved as f32, and its config says f32") func savedFormat() throws
    {
        var model = Tiny.model(1)
        model.config.dtype = .bfloat16
        model.config.scaleBlock = .init(rows: 128, columns: 128)
        try withTemporaryFolder { folder in
            try model.save(to: folder)
            let config = try ModelConfig(folder: folder)
            #expect(config.dtype == .float32 && config.scaleBlock == nil)
        }
    }

    @Test("an MTP layer with an embedding and a head of its own uses them") func ownTables() throws {
        let golden = try GoldenModel("mtp").model()
        let (config, prefix) = (golden.config, "model.layers.\(golden.config.layerCount)")
        let shape = [config.vocabularySize, config.hiddenSize]
        func folderModel(_ own: [String: [Float]]) throws -> Model {
            var tensors: [String: NamedTensor] = [:]
            for tensor in golden.tensors {
                tensors[tensor.name] = .floats(tensor.numbers()!.elements, shape: tensor.shape)
            }
            for (name, numbers) in own { tensors["\(prefix).\(name)"] = .floats(numbers, shape: shape) }
            return try withTemporaryFolder { folder in
                try CheckpointWriter.writeFile(tensors, to: folder.appending(path: "model.safetensors"))
                return try Model(config, Checkpoint(folder: folder), format: .asStored)
            }
        }
        func ahead(_ model: Model) -> [Float] {
            let batch = Batch(tokens: [1, 2, 3, 4], lengths: [4])
            let rows = model.predictAhead(model.hidden(batch), next: [2, 3, 4, 5], batch)
            return Tensor.linear(rows, model.aheadHead()).elements
        }
        let (embedding, head) = (golden.embedding.rows().elements, golden.head.rows().elements)
        let shared = ahead(golden)
        let copies = try folderModel(["embed_tokens.weight": embedding, "shared_head.head.weight": head])
        #expect(copies.predictions[0].embedding != nil && copies.predictions[0].head != nil)
        expectSame(ahead(copies), shared)
        let doubled = try folderModel(["shared_head.head.weight": head.map { 2 * $0 }])
        expectSame(ahead(doubled), shared.map { 2 * $0 })
        let other = try folderModel(["embed_tokens.weight": embedding.reversed()])
        #expect(ahead(other) != shared)
    }

    @Test("an MTP layer that the config announces and the file lacks is left out") func noMTP() throws {
        let golden = try GoldenModel("mtp")
        let model = try golden.model()
        let kept = model.tensors.filter { !$0.name.hasPrefix("model.layers.\(model.config.layerCount).") }
        let tensors = kept.map { ($0.name, NamedTensor.floats($0.numbers()!.elements, shape: $0.shape)) }
        try withTemporaryFolder { folder in
            try CheckpointWriter.writeFile(
                Dictionary(uniqueKeysWithValues: tensors), to: folder.appending(path: "model.safetensors"))
            let loaded = try Model(model.config, Checkpoint(folder: folder), format: .f32)
            #expect(loaded.predictions.isEmpty && loaded.config.mtpLayerCount == 0)
            expectSame(Scorer(loaded).logits(golden.lines[0].tokens), Scorer(model).logits(golden.lines[0].tokens))
        }
    }

    @Test("several MTP layers are stored one after another, and one that is missing is named") func severalMTP() throws
    {
        let model = Tiny.model(Tiny.config(5).with { $0.mtpLayerCount = 3 }, 5)
        let first = model.config.layerCount
        for i in 0..<3 {
            #expect(model.tensors.contains { $0.name == "model.layers.\(first + i).eh_proj.weight" })
        }
        #expect(model.prediction(step: 2).projection === model.predictions[1].projection)
        #expect(model.prediction(step: 7).projection === model.predictions[2].projection)
        let count = (model.config.size.parameterCount) + (model.config.mtpSize?.parameterCount ?? 0)
        #expect(model.tensors.reduce(0) { $0 + $1.shape.reduce(1, *) } == count)
        try withTemporaryFolder { folder in
            try model.save(to: folder)
            #expect(try Model(folder: folder).tensors.map(\.name) == model.tensors.map(\.name))
            let absent = "model.layers.\(first + 1).eh_proj.weight"
            let kept = model.tensors.filter { $0.name != absent }
            let tensors = kept.map { ($0.name, NamedTensor.floats($0.numbers()!.elements, shape: $0.shape)) }
            try CheckpointWriter.writeFile(
                Dictionary(uniqueKeysWithValues: tensors), to: folder.appending(path: "model.safetensors"))
            #expect(throws: CheckpointError.missingTensor(folder: folder.path, tensor: absent)) {
                try Model(folder: folder)
            }
        }
    }

    @Test("a tensor that is missing is named") func missing() throws {
        let model = try GoldenModel("dense").model()
        for absent in ["model.norm.weight", "model.layers.1.self_attn.kv_b_proj.weight", "lm_head.weight"] {
            let kept = model.tensors.filter { $0.name != absent }
            let tensors = kept.map { ($0.name, NamedTensor.floats($0.numbers()!.elements, shape: $0.shape)) }
            try withTemporaryFolder { folder in
                try CheckpointWriter.writeFile(
                    Dictionary(uniqueKeysWithValues: tensors), to: folder.appending(path: "model.safetensors"))
                #expect(throws: CheckpointError.missingTensor(folder: folder.path, tensor: absent)) {
                    try Model(model.config, Checkpoint(folder: folder), format: .f32)
                }
            }
        }
    }

    @Test("a config that does not fit is refused before memory is taken for it") func wrongShape() throws {
        let golden = try GoldenModel("dense")
        let checkpoint = try Checkpoint(folder: golden.folder)
        let config = try ModelConfig(folder: golden.folder)
        // Two terabytes each, were they asked for.
        let changes: [(tensor: String, config: ModelConfig)] = [
            ("model.embed_tokens.weight", config.with { ($0.vocabularySize, $0.hiddenSize) = (1 << 24, 1 << 15) }),
            ("model.layers.0.mlp.gate_proj.weight", config.with { $0.denseWidth = 1 << 34 }),
            ("model.layers.0.self_attn.kv_b_proj.weight", config.with { $0.valueWidth = 1 << 34 }),
        ]
        for change in changes {
            do throws(CheckpointError) {
                _ = try Model(change.config, checkpoint, format: .f32)
                Issue.record("\(change.tensor) was accepted")
            } catch {
                guard case .wrongShape(_, let tensor, _, _) = error else {
                    Issue.record("\(error)")
                    continue
                }
                #expect(tensor == change.tensor)
            }
        }
        let more = config.with { $0.routedExpertCount += 1 }
        #expect(throws: CheckpointError.self) { try Model(more, checkpoint, format: .f32) }
    }

    @Test("a new model is a function of its seed, whatever the threads") func initial() throws {
        let config = Tiny.config(4)
        let models = [1, 2, 4].map { threads in Machine.alone(threads: threads) { Model(config, seed: 9) } }
        let other = Model(config, seed: 10)
        for (i, tensor) in models[0].tensors.enumerated() {
            let numbers = tensor.numbers()!.elements
            for model in models[1...] { expectSame(model.tensors[i].numbers()!.elements, numbers, tensor.name) }
            if tensor.shape.count == 2, tensor.shape[0] * tensor.shape[1] > 8 {
                #expect(other.tensors[i].numbers()!.elements != numbers)
            }
        }
    }

    @Test("a new model's matrices have the config's deviation, smaller where they write to the residual stream")
    func deviation() throws {
        let config = ModelConfig.nano.with { ($0.layerCount, $0.vocabularySize, $0.initializerRange) = (2, 300, 0.02) }
        let model = Model(config, seed: 3)
        for tensor in model.tensors {
            let numbers = tensor.numbers()!.elements
            guard tensor.shape.count == 2 else {
                let isBias = tensor.name.hasSuffix("bias")
                #expect(numbers.allSatisfy { $0 == (isBias ? 0 : 1) }, "\(tensor.name)")
                continue
            }
            let mean = numbers.reduce(0.0) { $0 + Double($1) } / Double(numbers.count)
            let deviation = (numbers.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(numbers.count)).squareRoot()
            let isResidual = tensor.name.hasSuffix("o_proj.weight") || tensor.name.hasSuffix("down_proj.weight")
            let expected = 0.02 * (isResidual ? 0.5 : 1)
            let slack = 5 / Double(numbers.count).squareRoot()
            #expect(abs(deviation / expected - 1) < slack && abs(mean) < expected * slack, "\(tensor.name)")
        }
    }
}
