import Dispatch
import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

/// Experts from disk are the same model: the exactness contract, damaged files, and the bound on memory.
@Suite("experts from disk") struct ExpertStreamTests {
    /// A folder with a model that has experts: in integers, in bf16 or f32, by its seed.
    private static func withFolder(
        _ seed: Int, _ change: (inout ModelConfig) -> Void = { _ in }, _ body: (URL) throws -> Void
    ) throws {
        try withTemporaryFolder { folder in
            let (plain, quantised) = (folder.appending(path: "plain"), folder.appending(path: "quantised"))
            let config = Tiny.wideConfig(seed).with {
                $0.denseLayerCount = min($0.denseLayerCount, $0.layerCount - 1)
                $0.routedExpertCount = max($0.routedExpertCount, 4 * $0.groupCount)
                change(&$0)
            }
            try Tiny.model(config, seed).save(to: plain)
            guard seed % 3 > 0 else { return try body(plain) }
            #expect(try Conversion(plain, to: quantised, Scheme(seed % 3 == 1 ? .w4a8 : .w8a8)).run() != nil)
            try body(quantised)
        }
    }

    /// A model that holds so many of its largest experts at a time; nil for all.
    private static func load(
        _ folder: URL, held: Int?, counts: ExpertCounts? = nil,
        guess: @escaping @Sendable ([Int]) -> [Int] = { $0 }, isDirect: Bool = false
    ) throws -> Model {
        var plan = try MemoryPlan(folder: folder, .init(memory: 1 << 50, programByteCount: 0, positions: 256))
        plan.isStreamed = true
        plan.heldExpertByteCount = held.map { $0 * plan.largestExpertByteCount } ?? 1 << 40
        var options = ExpertStream.Options()
        (options.guess, options.isDirect) = (guess, isDirect)
        return try Model(folder: folder, memory: plan, counts: counts, options: options)
    }

    /// Every expert but those that were guessed.
    private static func wrong(_ folder: URL) throws -> @Sendable ([Int]) -> [Int] {
        let count = try ModelConfig(folder: folder).routedExpertCount
        return { guessed in (0..<count).filter { !guessed.contains($0) } }
    }

    @Test("numbers are those of the model in memory, whatever is held and guessed", arguments: 0..<12)
    func sameBits(seed: Int) throws {
        try Self.withFolder(seed) { folder in
            let whole = try Model(folder: folder, format: .inference)
            var draw = Draw(seed, "sequences")
            let tokens = draw.tokens(70, below: whole.config.vocabularySize)
            let expected = Scorer(whole).logits(tokens)
            let ways: [(held: Int?, guess: @Sendable ([Int]) -> [Int])] = [
                (2, { $0 }), (2, try Self.wrong(folder)), (3, { _ in [] }), (5, try Self.wrong(folder)), (5, { $0 }),
                (nil, { $0 }),
            ]
            for (i, way) in ways.enumerated() {
                let model = try Self.load(folder, held: way.held, guess: way.guess, isDirect: i % 2 == 0)
                let stream = try #require(model.expertStream)
                for (threads, mode) in [(1, ScoreMode.train), (3, .chunked(17)), (2, .decode)] {
                    let found = Machine.alone(threads: threads) { Scorer(model, mode: mode).logits(tokens) }
                    expectSame(found, expected, "\(way.held.map { "\($0)" } ?? "all") held, \(mode)")
                }
                #expect(stream.failure == nil && stream.statistics.readByteCount > 0)
                if let held = way.held {
                    let plan = try MemoryPlan(
                        folder: folder, .init(memory: 1 << 50, programByteCount: 0, positions: 1))
                    #expect(stream.heldByteCount <= held * plan.largestExpertByteCount)
                } else {
                    // Each was read once at most.
                    #expect(stream.statistics.readByteCount == stream.heldByteCount)
                }
            }
        }
    }

    @Test("replies are the same with drafts, and with several sequences in a pass", arguments: [1, 2, 3])
    func drafts(seed: Int) throws {
        try Self.withFolder(seed, { $0.mtpLayerCount = 1 }) { folder in
            let whole = try Model(folder: folder, format: .inference)
            func reply(_ model: Model, drafts: Int) -> [GeneratedToken] {
                var generator = Generator(model, sampler: Sampler(seed: 5), stops: [], drafts: drafts)
                generator.feed([1, 2, 3, 4])
                return (0..<20).compactMap { _ in generator.next() }
            }
            let expected = reply(whole, drafts: 0)
            let streamed = try Self.load(folder, held: 2)
            for drafts in [0, 2] { #expect(reply(streamed, drafts: drafts) == expected) }
            // Batches of sequences that are at different places.
            func batched(_ model: Model) -> [Float] {
                let caches = (0..<3).map { _ in model.makeCache() }
                var out: [Float] = []
                for step in 0..<6 {
                    let next = caches.enumerated().map { i, cache in
                        ((0...(i + step) % 3).map { Int32(($0 * 5 + i + step) % 17) }, cache)
                    }
                    out += model.logits(model.hidden(Batch(next))).elements
                }
                return out
            }
            expectSame(batched(streamed), batched(whole))
        }
    }

    @Test("several threads share the little that is held") func concurrent() throws {
        try Self.withFolder(4) { folder in
            let whole = try Model(folder: folder, format: .inference)
            let streamed = try Self.load(folder, held: 2)
            var draw = Draw(4, "sequences")
            let sequences = (0..<4).map { draw.tokens(20 + $0, below: whole.config.vocabularySize) }
            let expected = sequences.map { Scorer(whole).logits($0) }
            let found = Locked([[Float]](repeating: [], count: 4))
            DispatchQueue.concurrentPerform(iterations: 4) { i in
                let logits = Scorer(streamed, mode: .chunked(5)).logits(sequences[i])
                found.withLock { $0[i] = logits }
            }
            for i in 0..<4 { expectSame(found.withLock { $0[i] }, expected[i]) }
        }
    }

    @Test("experts fused as transformers holds them, and bf16 ones, are read as they lie") func fused() throws {
        let model = Tiny.model(Tiny.config(7).with { $0.denseLayerCount = 0 }, 7)
        let config = model.config
        let (E, F, D) = (config.routedExpertCount, config.expertWidth, config.hiddenSize)
        for isFused in [true, false] {
            try withTemporaryFolder { folder in
                var declared: [(TensorDeclaration, [Float])] = []
                for tensor in model.tensors where !isFused || !tensor.name.contains(".experts.") {
                    declared.append((TensorDeclaration(tensor.name, .bf16, tensor.shape), tensor.numbers()!.elements))
                }
                for (i, layer) in (model.layers + model.predictions.map(\.layer)).enumerated() where isFused {
                    guard let experts = layer.experts?.resident else { continue }
                    func rows(_ weight: Weight, _ e: Int) -> [Float] { weight.rows(matrix: e).elements }
                    let prefix = "model.layers.\(i).mlp.experts"
                    declared.append(
                        (
                            .init("\(prefix).gate_up_proj", .bf16, [E, 2 * F, D]),
                            (0..<E).flatMap { rows(experts.gate, $0) + rows(experts.up, $0) }
                        ))
                    declared.append(
                        (.init("\(prefix).down_proj", .bf16, [E, D, F]), (0..<E).flatMap { rows(experts.down, $0) }))
                }
                let numbers = Dictionary(uniqueKeysWithValues: declared.map { ($0.0.name, $0.1) })
                try CheckpointWriter(folder: folder).write(declared.map(\.0)) { declaration, sink in
                    try sink.append(numbers[declaration.name]!)
                }
                try config.with { $0.dtype = .bfloat16 }.json.write(to: folder.appending(path: "config.json"))
                let tokens = (0..<40).map { Int32($0 * 7 % config.vocabularySize) }
                let expected = Scorer(try Model(folder: folder, format: .inference)).logits(tokens)
                expectSame(Scorer(try Self.load(folder, held: 2)).logits(tokens), expected, "fused: \(isFused)")
            }
        }
    }

    enum Damage: CaseIterable, Sendable { case truncated, written, grown }

    @Test("a file that changes while it is used is one error, and no signal", arguments: Damage.allCases)
    func damaged(damage: Damage) throws {
        try Self.withFolder(1) { folder in
            let model = try Self.load(folder, held: 2)
            let tokens = (0..<30).map { Int32($0 % model.config.vocabularySize) }
            _ = Scorer(model).logits(tokens)
            #expect(model.expertStream?.failure == nil)
            let path = folder.appending(path: "model.safetensors")
            let file = try FileHandle(forUpdating: path)
            let end = try file.seekToEnd()
            switch damage {
            case .truncated: try file.truncate(atOffset: end / 3)
            case .grown: try file.write(contentsOf: Data([0]))
            case .written:
                // The clock of files may tick slowly.
                Thread.sleep(forTimeInterval: 0.05)
                try file.seek(toOffset: end - 1)
                try file.write(contentsOf: Data([255]))
            }
            try file.close()
            _ = Scorer(model).logits(tokens)
            let failure = try #require(model.expertStream?.failure)
            guard case .changed(let found, _) = failure else {
                Issue.record("\(failure)")
                return
            }
            #expect(found.hasSuffix("model.safetensors") && "\(failure)".contains("changed while it was in use"))
        }
    }

    @Test("another file under its name changes nothing, for the old one is still open") func replaced() throws {
        try Self.withFolder(1) { folder in
            let tokens = (0..<30).map { Int32($0 % 17) }
            let expected = Scorer(try Model(folder: folder, format: .inference)).logits(tokens)
            let model = try Self.load(folder, held: 2)
            try Data("nothing".utf8).write(to: folder.appending(path: "model.safetensors"), options: .atomic)
            expectSame(Scorer(model).logits(tokens), expected)
            #expect(model.expertStream?.failure == nil)
        }
    }

    @Test("a model that does not hold its experts is not saved") func notSaved() throws {
        try Self.withFolder(2) { folder in
            let model = try Self.load(folder, held: 2)
            #expect(throws: CheckpointError.self) { try model.save(to: folder.appending(path: "copy")) }
        }
    }

    @Test("what was used is known in the next run, and read before it is asked for") func habits() throws {
        try Self.withFolder(5, { ($0.groupCount, $0.groupsKept, $0.routedExpertCount) = (1, 1, 8) }) { folder in
            let first = try Self.load(folder, held: 3)
            let tokens = (0..<40).map { Int32($0 % 11) }
            _ = Scorer(first, mode: .decode).logits(tokens)
            let file = folder.appending(path: "kept/counts.json")
            let counts = try #require(first.expertStream).counts
            try counts.write(to: file)
            let known = try #require(ExpertCounts(file: file))
            let second = try Self.load(folder, held: 3, counts: known)
            // Reading begins at once; wait for what there is room for.
            let stream = try #require(second.expertStream)
            for _ in 0..<200 where stream.statistics.readByteCount < stream.heldByteCount || stream.heldByteCount == 0 {
                Thread.sleep(forTimeInterval: 0.01)
            }
            #expect(stream.heldByteCount > 0 && stream.statistics.needed == 0)
            // Nonsense is as good as nothing.
            for text in ["{", "[]", #"{"layers":{"1":[-1]}}"#] {
                try Data(text.utf8).write(to: file)
                #expect(ExpertCounts(file: file) == nil)
            }
            try Data(#"{"layers":{"1":[1]}}"#.utf8).write(to: file)
            let other = try #require(ExpertCounts(file: file))
            let third = try Self.load(folder, held: 3, counts: other)
            expectSame(Scorer(third).logits(tokens), Scorer(first).logits(tokens))
        }
    }
}

@Suite("plans of memory") struct MemoryPlanTests {
    private static func wish(_ memory: Int) -> MemoryPlan.Wish {
        MemoryPlan.Wish(memory: memory, programByteCount: 50 << 20, positions: 4096)
    }

    private static func sum(_ plan: MemoryPlan) -> Int {
        plan.parts.reduce(plan.heldExpertByteCount) { $0 + $1.byteCount }
    }

    @Test("everything counts, nothing exceeds the memory, and the least that is said is enough and no more")
    func least() throws {
        for config in [ModelConfig.glm5, .glm47Flash, .mini] {
            func plan(_ memory: Int) throws -> MemoryPlan {
                try MemoryPlan(w4a8: config, name: "it", Self.wish(memory))
            }
            var least = 0
            do {
                _ = try plan(1 << 20)
                Issue.record("a mebibyte was enough")
            } catch MemoryError.tooSmall(_, let memory, let found, let parts) {
                #expect(memory == 1 << 20 && found > memory && parts.count >= 5)
                least = found
            }
            #expect(throws: MemoryError.self) { try plan(least - 1) }
            let smallest = try plan(least)
            #expect(smallest.isStreamed && Self.sum(smallest) <= least)
            #expect(smallest.heldExpertByteCount >= 2 * smallest.largestExpertByteCount)
            var before = smallest
            for memory in [least + least / 3, 2 * least, 4 * least, 1 << 42] {
                let next = try plan(memory)
                #expect(Self.sum(next) <= memory && next.heldExpertByteCount >= before.heldExpertByteCount)
                #expect(next.chunk >= before.chunk)
                before = next
            }
            #expect(!before.isStreamed && before.heldShare == 1)
        }
    }

    @Test("GLM-5 in w4a8: what it is made of") func glm5() throws {
        let plan = try MemoryPlan(w4a8: .glm5, name: "glm-5", Self.wish(64 << 30))
        // 3 matrices of 2048 x 6144 in four bits with a scale for each 128, in 75 layers; those of MTP in eight.
        let numbers = 3 * 2048 * 6144
        #expect(plan.largestExpertByteCount == numbers + numbers / 128 * 4)
        #expect(plan.expertByteCount == 256 * (75 * (numbers / 2 + numbers / 32) + numbers + numbers / 32))
        let weights = try #require(plan.parts.first { $0.name == "weights" }).byteCount
        // 17 billion numbers beside the experts, most of them in eight bits.
        #expect(weights > 17 << 30 && weights < 26 << 30)
        #expect(plan.isStreamed && plan.heldShare > 0.05 && plan.heldShare < 0.12)
    }

    @Test("a forecast is faster with more memory, a faster disk, and known habits") func forecast() throws {
        let config = ModelConfig.glm5.inW4A8
        let roofs = MachineRoofs(bytes: 40e9, f32: 5e11, bf16: 1e12, int8: 2e12)
        func rate(_ memory: Int, disk: Double, hitRate: Double? = nil) throws -> SpeedForecast {
            SpeedForecast(
                try MemoryPlan(w4a8: .glm5, name: "glm-5", Self.wish(memory)), config, context: 4096,
                on: .init(roofs: roofs, readBytesPerSecond: disk), hitRate: hitRate)
        }
        let base = try rate(64 << 30, disk: 2e9)
        // 600 experts of 20 MB a token, nine tenths of them from a disk of 2 GB/s, and a fifth more in vain.
        #expect(base.decode.readSeconds > 6 && base.decode.readSeconds < 7.2 && !base.isLearned)
        #expect(base.decode.tokensPerSecond > 0.1 && base.decode.tokensPerSecond < 0.2)
        #expect(base.prefill.tokensPerSecond > base.decode.tokensPerSecond)
        #expect(try rate(128 << 30, disk: 2e9).decode.tokensPerSecond > base.decode.tokensPerSecond)
        #expect(try rate(64 << 30, disk: 4e9).decode.tokensPerSecond > 1.5 * base.decode.tokensPerSecond)
        let learned = try rate(64 << 30, disk: 2e9, hitRate: 0.7)
        #expect(learned.decode.tokensPerSecond > base.decode.tokensPerSecond && learned.isLearned)
        let whole = try rate(1 << 40, disk: 1)
        #expect(whole.hitRate == 1 && whole.decode.readByteCount == 0)
    }
}
