import GlimModel
import GlimTensor
import GlimTrain

/// What a measurement found.
struct BenchResult {
    /// That one timed run computes.
    var tokens: Int
    /// The median run.
    var seconds: Double
    var cost: ModelCost
    /// Of a model whose experts are on disk.
    var experts: ExpertStream.Statistics?
}

/// The measured work itself.
struct BenchWorkload {
    let model: Model
    let batch: Int
    private let seed: UInt64
    private let random: CounterRandom

    init(_ model: Model, seed: UInt64, batch: Int) {
        (self.model, self.batch, self.seed) = (model, batch, seed)
        random = CounterRandom(seed: seed, purpose: "bench tokens")
    }

    /// Seconds of computing `tokens` more in each of `batch` sequences, `chunk` at a time, after `context`, of which
    /// the cache holds random rows: what they are makes no difference to how long it takes.
    func inference(context: Int, tokens: Int, chunk: Int) -> Double {
        let caches = (0..<batch).map { sequence in
            let cache = model.makeCache()
            cache.fill(context, random: CounterRandom(seed: seed, purpose: "bench cache \(sequence)"))
            return cache
        }
        return median { run in
            feed(caches, tokens, chunk: chunk, run: run)
            for cache in caches { cache.truncate(to: context) }
        }
    }

    /// - Parameter run: each has other tokens: with the same ones experts that are read from disk would be there already.
    private func feed(_ caches: [Cache], _ count: Int, chunk: Int, run: Int) {
        for first in stride(from: 0, to: count, by: chunk) {
            let more = min(chunk, count - first)
            let hidden = model.hidden(
                Batch(caches.enumerated().map { b, cache in (ids(b + run * batch, cache.count, more), cache) }))
            // As generation does: of the last token of each sequence.
            if chunk == 1 || first + more == count {
                _ = model.logits(Tensor.selectRows(hidden, (1...batch).map { $0 * more - 1 }))
            }
        }
    }

    private func ids(_ sequence: Int, _ first: Int, _ count: Int) -> [Int32] {
        (first..<first + count).map {
            Int32(random.integer(UInt64(sequence) << 32 + UInt64($0), below: model.config.vocabularySize))
        }
    }

    /// Seconds of a training step: forward, backward and AdamW.
    func training(_ length: Int, _ options: TrainingPass.Options) -> Double {
        let rows = (0..<batch).map { row in
            PackedRow(
                tokens: ids(row, 0, length), segments: [.init(start: 0, count: length)], next: ids(row, 1, length),
                following: [ids(row, length, PackedRow.lookahead)])
        }
        var optimizer = Optimizer(model, .adamw)
        return median { _ in
            _ = optimizer.update(TrainingPass(model, rows, options).gradients, learningRate: 1e-4)
        }
    }

    /// The median time of at least three runs and two seconds, after one that warms up. What takes more than twenty
    /// seconds is run once: warming up is little of it.
    private func median(_ body: (_ run: Int) -> Void) -> Double {
        var run = 0
        func time() -> Double {
            defer { run += 1 }
            return ContinuousClock().measure { body(run) } / .seconds(1)
        }
        let first = time()
        if first > 20 { return first }
        var times: [Double] = []
        while times.count < 3 || times.reduce(0, +) < 2 { times.append(time()) }
        times.sort()
        return times.count.isMultiple(of: 2)
            ? (times[times.count / 2 - 1] + times[times.count / 2]) / 2 : times[times.count / 2]
    }
}
