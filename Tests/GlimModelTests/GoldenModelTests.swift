import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimTestSupport
import GlimTrain
import Testing

// The files say what transformers computes in f32; it and ours round differently in the last bits of each sum.

@Suite("golden models") struct GoldenModelTests {
    @Test("the golden models are where the tests look") func found() { #expect(Golden.models.count >= 15) }

    @Test("logits, hidden states, selections and expert loads are transformers'", arguments: Golden.models)
    func forward(name: String) throws {
        let golden = try GoldenModel(name)
        let (model, expected) = (try golden.model(), try golden.file("expected.safetensors"))
        let scorer = Scorer(model)
        for line in golden.lines {
            expectClose(scorer.logits(line.tokens), try expected.floats(line.id), within: 5e-5, "\(name) \(line.id)")
            if expected.contains("\(line.id).hidden.norm") {
                expectClose(
                    scorer.hidden(line.tokens), try expected.floats("\(line.id).hidden.norm"), within: 5e-5,
                    "\(name) \(line.id) hidden")
            }
            for (layer, found) in scorer.selection(line.tokens).enumerated()
            where model.config.indexerKind(layer: layer) == .full {
                #expect(try found == expected.int32s("\(line.id).layer.\(layer)"), "\(line.id), layer \(layer)")
            }
            let observer = Observer()
            _ = model.hidden(Batch(tokens: line.tokens, lengths: [line.tokens.count]), observer: observer)
            for layer in model.config.denseLayerCount..<model.config.layerCount {
                var load = [Int](repeating: 0, count: model.config.routedExpertCount)
                for e in try expected.int32s("\(line.id).experts.\(layer)") { load[Int(e)] += 1 }
                #expect(observer.expertLoad[layer] == load, "\(line.id), layer \(layer)")
            }
        }
    }

    @Test("training, decoding, chunks and any number of threads make the same bits", arguments: Golden.models)
    func modes(name: String) throws {
        let golden = try GoldenModel(name)
        let (model, widened) = (try golden.model(), try golden.model(.f32))
        for line in golden.lines {
            let (logits, logprobs, selection) = Machine.alone(threads: 1) {
                let scorer = Scorer(model)
                return (scorer.logits(line.tokens), scorer.logprobs(line.tokens), scorer.selection(line.tokens))
            }
            for (threads, mode) in [
                (2, ScoreMode.train), (3, .train), (1, .decode), (2, .decode), (1, .chunked(1)), (2, .chunked(3)),
                (3, .chunked(7)), (1, .chunked(7)), (2, .chunked(64)),
            ] {
                Machine.alone(threads: threads) {
                    let scorer = Scorer(model, mode: mode)
                    let what = "\(name) \(line.id) \(mode), \(threads) threads"
                    expectSame(scorer.logits(line.tokens), logits, what)
                    expectSame(scorer.logprobs(line.tokens), logprobs, what)
                    #expect(scorer.selection(line.tokens) == selection, "\(what)")
                }
            }
            expectSame(Scorer(widened).logits(line.tokens), logits, "\(name) \(line.id), weights widened to f32")
        }
    }

    @Test(
        "loss, log-probabilities and gradients are PyTorch's, the same bits for any threads", arguments: Golden.models)
    func gradients(name: String) throws {
        let golden = try GoldenModel(name)
        let (model, expected) = (try golden.model(.f32), try golden.file("gradients.safetensors"))
        let sequences = golden.lines.map(\.tokens)
        let result = Machine.alone(threads: 2) { LossGradient(model, sequences) }
        #expect(abs(result.loss - Double(try expected.floats("loss")[0])) < 1e-5)
        for (line, logprobs) in zip(golden.lines, result.logprobs) {
            expectClose(logprobs, try expected.floats("\(line.id).logprobs"), within: 5e-5, "\(name) \(line.id)")
            expectSame(logprobs, Scorer(model).logprobs(line.tokens), "\(name) \(line.id) against the scorer")
        }
        let reached = try expectGradients(result.gradients, of: model, in: expected)
        #expect(reached == Set(expected.names.filter { $0 != "loss" && !$0.hasSuffix(".logprobs") }))

        for threads in [1, 3] {
            let again = Machine.alone(threads: threads) { LossGradient(model, sequences) }
            #expect(again.loss == result.loss && again.logprobs == result.logprobs)
            for tensor in model.tensors {
                expectSame(
                    again.gradients.numbers(tensor), result.gradients.numbers(tensor),
                    "\(tensor.name), \(threads) threads")
            }
        }
    }

    @Test("the MTP layer's logits, loss and gradients are PyTorch's") func mtp() throws {
        let golden = try GoldenModel("mtp")
        let model = try golden.model(.f32)
        let (expected, gradients) = (
            try golden.file("expected.safetensors"), try golden.file("mtp_gradients.safetensors")
        )
        let count = golden.lines.reduce(0) { $0 + max(0, $1.tokens.count - 2) }
        var tree = GradientTree()
        var loss = 0.0
        for line in golden.lines {
            let T = line.tokens.count
            let tape = Tape()
            let hidden = model.hidden(Batch(tokens: line.tokens, lengths: [T]), tape: tape)
            let rows = Tensor.selectRows(hidden, Array(0..<T - 1), tape: tape)
            let observer = Observer()
            let ahead = model.predictAhead(
                rows, next: Array(line.tokens.dropFirst()),
                Batch(tokens: Array(line.tokens.dropLast()), lengths: [T - 1]), tape: tape, observer: observer)
            expectClose(
                model.logits(ahead).elements, try expected.floats("\(line.id).mtp"), within: 5e-5, "mtp \(line.id)")
            let layer = model.config.layerCount
            if let selection = observer.selections[layer] {
                let topK = selection.topK
                let chosen = (0..<T - 1).flatMap { t -> [Int32] in
                    let row = selection[t] ?? Array(0...Int32(t))
                    return row + [Int32](repeating: -1, count: topK - row.count)
                }
                #expect(try chosen == expected.int32s("\(line.id).layer.\(layer)"))
            }
            let logprobs = Tensor.crossEntropy(
                ahead, head: model.head, targets: line.tokens.dropFirst(2) + [-1], lossScale: 1 / Float(count),
                tape: tape)
            expectClose(
                Array(logprobs.dropLast()), try gradients.floats("\(line.id).logprobs"), within: 5e-5, "mtp \(line.id)")
            loss -= logprobs.reduce(0) { $0 + Double($1) }
            tape.backward()
            tree.push(tape.gradients)
        }
        #expect(abs(loss / Double(count) - Double(try gradients.floats("loss")[0])) < 1e-5)
        let reached = try expectGradients(tree.sum(), of: model, in: gradients)
        #expect(reached == Set(gradients.names.filter { $0 != "loss" && !$0.hasSuffix(".logprobs") }))
    }

    /// - Returns: the tensors that have a gradient, but for what is no parameter of PyTorch's loss.
    private func expectGradients(_ found: Gradients, of model: Model, in expected: Checkpoint) throws -> Set<String> {
        var reached: Set<String> = []
        for tensor in model.tensors {
            guard let numbers = tensor.numbers(in: found) else { continue }
            reached.insert(tensor.name)
            guard expected.contains(tensor.name) else { continue }
            let off = relativeDistance(numbers.elements, try expected.floats(tensor.name))
            #expect(off < 1e-4, "\(tensor.name) is off by \(off)")
        }
        return reached
    }
}

extension Gradients {
    /// A tensor's gradient as the checkpoint lays it out; empty where there is none.
    func numbers(_ tensor: CheckpointTensor) -> [Float] { tensor.numbers(in: self)?.elements ?? [] }
}
