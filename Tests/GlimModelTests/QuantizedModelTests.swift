import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

/// Quantised models are models: the exactness contract, files, training.
@Suite("quantised models") struct QuantizedModelTests {
    static let seeds = Array(0..<16)

    private static func scheme(_ seed: Int) -> Scheme { Scheme(seed % 2 == 0 ? .w4a8 : .w8a8) }

    /// A folder in f32 and its quantised copy.
    private static func withFolders(_ seed: Int, _ body: (_ plain: URL, _ quantised: URL) throws -> Void) throws {
        try withTemporaryFolder { folder in
            let (plain, quantised) = (folder.appending(path: "plain"), folder.appending(path: "quantised"))
            _ = try Tiny.saveWide(seed, to: plain)
            let done = try Conversion(plain, to: quantised, scheme(seed)).run()
            #expect(done != nil)
            try body(plain, quantised)
        }
    }

    @Test("schemes say what becomes what", arguments: seeds) func formats(seed: Int) throws {
        try Self.withFolders(seed) { _, folder in
            let model = try Model(folder: folder)
            #expect(model.embedding.quantization == nil)
            #expect(model.config.tiesEmbeddings || model.head.quantization?.bits == 8)
            for (i, layer) in (model.layers + model.predictions.map(\.layer)).enumerated() {
                let attention = layer.attention
                for weight in [attention.queryDown, attention.queryUp, attention.keyDown, attention.output].compactMap(
                    \.self)
                {
                    #expect(weight.format.bits == 8)
                }
                #expect(attention.keyUp.quantization == nil && attention.valueUp.quantization == nil)
                if let indexer = attention.indexer {
                    #expect(indexer.query.format.bits == 8)
                    #expect(indexer.key.format == .f32 && indexer.headWeights.format == .f32)
                }
                guard let experts = layer.experts, let resident = experts.resident else { continue }
                // An MTP layer keeps eight bits.
                let bits = Self.scheme(seed).name == .w4a8 && i < model.config.layerCount ? 4 : 8
                for weight in [resident.gate, resident.up, resident.down] { #expect(weight.format.bits == bits) }
                #expect(experts.router.format == .f32 && experts.shared?.down.format.bits == 8)
            }
            for weight in model.weights where !weight.isVector {
                guard let format = weight.quantization else { continue }
                #expect(format == .integers(bits: format.bits, inputs: weight.inputs))
            }
            let said = try #require(model.config.integerWeights)
            #expect(said.ignored.contains { $0.contains("kv_b_proj") })
            #expect(said.groups.allSatisfy { !$0.targets.isEmpty })
        }
    }

    @Test("a token's numbers depend on its own history only, whatever the threads and chunks", arguments: seeds)
    func exact(seed: Int) throws {
        try Self.withFolders(seed) { _, folder in
            let model = try Model(folder: folder)
            var draw = Draw(seed, "sequences")
            let vocabulary = model.config.vocabularySize
            let sequences = [66, 1, 25].map { draw.tokens($0, below: vocabulary) }
            let expected = Machine.alone(threads: 1) { sequences.map { Scorer(model).logits($0) } }
            #expect(expected.allSatisfy { $0.allSatisfy { $0.isFinite } })
            for threads in 1...4 {
                try Machine.alone(threads: threads) {
                    let order = draw.shuffled(Array(sequences.indices))
                    let batch = Batch(
                        tokens: order.flatMap { sequences[$0] }, lengths: order.map { sequences[$0].count })
                    expectSame(
                        model.logits(model.hidden(batch)).elements, order.flatMap { expected[$0] },
                        "packed, \(threads) threads")
                    for mode in [ScoreMode.decode, .chunked(draw.integer(2...30))] {
                        expectSame(
                            Scorer(model, mode: mode).logits(sequences[0]), expected[0], "\(mode), \(threads) threads")
                    }
                    // Several caches at a time, in chunks of any size.
                    let caches = sequences.map { _ in model.makeCache() }
                    while zip(caches, sequences).contains(where: { $0.count < $1.count }) {
                        var (next, rows) = ([(tokens: [Int32], cache: Cache)](), [Float]())
                        for (s, tokens) in sequences.enumerated() where caches[s].count < tokens.count {
                            let first = caches[s].count
                            let end = min(tokens.count, first + draw.integer(1...20))
                            next.append((Array(tokens[first..<end]), caches[s]))
                            rows += expected[s][first * vocabulary..<end * vocabulary]
                        }
                        expectSame(model.logits(model.hidden(Batch(next))).elements, rows, "\(threads) threads")
                    }
                    try #require(caches.map(\.count) == sequences.map(\.count))
                }
            }
            // Generated, with drafts where there are MTP layers.
            var generator = Generator(model, sampler: Sampler(temperature: 0.8, topP: 0.9, seed: 3))
            generator.feed(sequences[2])
            let drawn = (0..<12).compactMap { _ in generator.next() }
            expectSame(
                Array(Scorer(model).logprobs(sequences[2] + drawn.map(\.id)).suffix(12)), drawn.map(\.logprob))
        }
    }

    @Test("training for it computes what is deployed, and saves it, to the bit", arguments: seeds)
    func trained(seed: Int) throws {
        try Self.withFolders(seed) { plain, quantised in
            let trained = try Model(folder: plain, format: .f32, scheme: Self.scheme(seed))
            let deployed = try Model(folder: quantised)
            var draw = Draw(seed, "tokens")
            let tokens = draw.tokens(40, below: trained.config.vocabularySize)
            expectSame(Scorer(trained).logits(tokens), Scorer(deployed).logits(tokens))
            // With a tape, too.
            let tape = Tape()
            let hidden = trained.hidden(Batch(tokens: tokens, lengths: [40]), tape: tape)
            expectSame(hidden.elements, Scorer(deployed, mode: .decode).hidden(tokens))
            // What training saves is the file that conversion writes.
            let saved = plain.deletingLastPathComponent().appending(path: "saved")
            try trained.save(to: saved)
            for file in ["model.safetensors", "config.json"] {
                let (found, expected) = (saved.appending(path: file), quantised.appending(path: file))
                #expect(try Data(contentsOf: found) == Data(contentsOf: expected), "\(file)")
            }
            // And so is what a deployed model saves.
            try deployed.save(to: saved)
            let again = try Data(contentsOf: saved.appending(path: "model.safetensors"))
            #expect(try again == Data(contentsOf: quantised.appending(path: "model.safetensors")))
        }
    }

    @Test("gradients of quantised training are the same bits for any threads", arguments: seeds.prefix(6))
    func gradients(seed: Int) throws {
        try Self.withFolders(seed) { plain, _ in
            let model = try Model(folder: plain, format: .f32, scheme: Self.scheme(seed))
            var draw = Draw(seed, "tokens")
            let tokens = draw.tokens(50, below: model.config.vocabularySize)
            func gradients(recomputes: Bool) -> Gradients {
                let tape = Tape()
                let hidden = model.hidden(
                    Batch(tokens: tokens, lengths: [20, 30]), tape: tape, recomputes: recomputes)
                _ = Tensor.crossEntropy(
                    hidden, head: model.head, targets: Array(tokens.dropFirst()) + [-1], lossScale: 0.02, tape: tape)
                tape.backward()
                return tape.gradients
            }
            let expected = Machine.alone(threads: 1) { gradients(recomputes: false) }
            for (threads, recomputes) in [(2, false), (3, true)] {
                let found = Machine.alone(threads: threads) { gradients(recomputes: recomputes) }
                for tensor in model.tensors {
                    let numbers = tensor.numbers(in: expected)?.elements ?? []
                    expectSame(tensor.numbers(in: found)?.elements ?? [], numbers, tensor.name)
                    #expect(numbers.allSatisfy { $0.isFinite }, "\(tensor.name)")
                }
            }
            // Something reaches the quantised weights.
            for weight in [model.layers[0].attention.output, model.layers[0].attention.keyDown] {
                #expect(weight.quantization != nil)
                #expect(expected[weight]!.elements.contains { $0 != 0 })
            }
        }
    }

    @Test("a quantised folder loads as numbers, for training") func asNumbers() throws {
        try Self.withFolders(2) { _, folder in
            let (integers, numbers) = (try Model(folder: folder), try Model(folder: folder, format: .f32))
            for (a, b) in zip(integers.tensors, numbers.tensors) {
                #expect(b.parts[0].weight.format == .f32 && b.integerFormat == nil)
                expectSame(a.numbers()!.elements, b.numbers()!.elements, a.name)
            }
            #expect(integers.weights.reduce(0) { $0 + $1.byteCount } < numbers.weights.reduce(0) { $0 + $1.byteCount })
            let bytes = try Model.byteCount(ofFolder: folder, format: .asStored)
            #expect(bytes == integers.weights.reduce(0) { $0 + $1.byteCount })
        }
    }
}
