import Foundation
public import GlimModel
import GlimTensor
public import GlimText

/// How well a model predicts text it was not trained on.
public struct Evaluation: Sendable, Equatable {
    /// Mean cross-entropy per token, nats.
    public let loss: Double
    /// The same text's information per byte, in bits: comparable between tokenizers.
    public let bitsPerByte: Double

    /// - Parameters:
    ///   - rows: fixed rows with at least one target.
    ///   - byteCounts: bytes of each token id; 0 for control tokens.
    public init(_ model: Model, _ rows: [PackedRow], byteCounts: [Int]) {
        var (nats, targets, bytes) = (0.0, 0, 0)
        let rowsAtOnce = max(1, Self.tokensAtOnce / max(1, rows.first?.tokens.count ?? 1))
        for first in stride(from: 0, to: rows.count, by: rowsAtOnce) {
            let micro = MicroBatch(rows[first..<min(rows.count, first + rowsAtOnce)])
            let hidden = model.hidden(micro.batch)
            let logprobs = Tensor.crossEntropy(hidden, head: model.head, targets: micro.next)
            nats -= logprobs.reduce(0.0) { $0 + Double($1) }
            for target in micro.next where target >= 0 {
                targets += 1
                bytes += byteCounts[Int(target)]
            }
        }
        loss = nats / Double(max(1, targets))
        bitsPerByte = nats / log(2) / Double(max(1, bytes))
    }

    private static let tokensAtOnce = 4096
}

extension Tokenizer {
    /// Bytes of each token id below `count`; 0 for control tokens and ids beyond the vocabulary.
    public func byteCounts(_ count: Int) -> [Int] {
        (0..<count).map { id in
            guard id < vocabularySize, addedToken(Int32(id)) == nil else { return 0 }
            return (try? bytes(of: Int32(id)).count) ?? 0
        }
    }
}
