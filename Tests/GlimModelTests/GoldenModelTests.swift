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

    @Test("each MTP step's logits and choices are PyTorch's", arguments: ["mtp", "mtp_layers"])
    func mtpForward(name: String) throws {
        let golden = try GoldenModel(name)
        let (model, expected) = (try golden.model(.f32), try golden.file("expected.safetensors"))
        for line in golden.lines {
            let T = line.tokens.count
            var (rows, first) = (model.hidden(Batch(tokens: line.tokens, lengths: [T])), Selection?.none)
            for step in 1...min(3, T - 1) {
                let (kept, next, observer) = (T - step, Array(line.tokens.dropFirst(step)), Observer())
                rows = model.predictAhead(
                    Tensor.selectRows(rows, Array(0..<kept)), next: next, Batch(tokens: next, lengths: [kept]),
                    step: step, sharing: first?.selectRows(Array(0..<kept)), observer: observer)
                let what = "\(name) \(line.id), step \(step)"
                expectClose(
                    model.logits(rows).elements, try expected.floats("\(line.id).mtp.\(step)"), within: 5e-5, what)
                let layer = model.config.layerCount + min(step, model.config.mtpLayerCount) - 1
                let selection = observer.selections[layer]
                if let selection {
                    let chosen = (0..<kept).flatMap { t -> [Int32] in
                        let row = selection[t] ?? Array(0...Int32(t))
                        return row + [Int32](repeating: -1, count: selection.topK - row.count)
                    }
                    let number = model.config.layerCount + step - 1
                    #expect(try chosen == expected.int32s("\(line.id).layer.\(number)"), "\(what)")
                }
                if step == 1 { first = selection }
            }
        }
    }

    @Test(
        "a training pass learns from PyTorch's MTP loss and gradients: one step, three of one layer, three layers",
        arguments: [("mtp", "mtp_first_gradients", 1), ("mtp", "mtp_gradients", 3), ("mtp_layers", "mtp_gradients", 3)])
    func mtpGradients(name: String, file: String, steps: Int) throws {
        let golden = try GoldenModel(name)
        let model = try golden.model(.f32)
        let (trunk, ahead) = (
            try golden.file("gradients.safetensors"), try golden.file("\(file).safetensors")
        )
        var options = TrainingPass.Options()
        (options.balanceWeight, options.mtpWeight, options.mtpSteps) = (0, 0.7, steps)
        options.microBatchRows = 2
        let pass = TrainingPass(model, golden.lines.map { PackedRow(document: $0.tokens) }, options)
        #expect(abs(pass.loss - Double(try trunk.floats("loss")[0])) < 1e-5)
        #expect(abs(pass.mtpLoss - Double(try ahead.floats("loss")[0])) < 1e-5)
        var reached = 0
        for tensor in model.tensors {
            guard let numbers = tensor.numbers(in: pass.gradients) else { continue }
            let parts = try [(trunk, Float(1)), (ahead, 0.7)].filter { $0.0.contains(tensor.name) }.map {
                file, weight in
                try file.floats(tensor.name).map { $0 * weight }
            }
            let sum = parts.dropFirst().reduce(parts.first ?? []) { zip($0, $1).map(+) }
            let off = relativeDistance(numbers.elements, sum)
            #expect(off < 1e-4, "\(tensor.name) is off by \(off)")
            reached += 1
        }
        let named = Set(trunk.names + ahead.names).filter { $0 != "loss" && !$0.contains(".logprobs") }
        #expect(reached == named.count)
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
