import GlimCheckpoint
import GlimTensor

extension LoadPlan {
    /// A tensor's numbers, row-major, integers times their scales: some megabytes of rows at a time where the checkpoint
    /// has them so, else all at once.
    func forEachRows(
        of tensor: CheckpointTensor, _ body: (UnsafeBufferPointer<Float>) throws(CheckpointError) -> Void
    ) throws(CheckpointError) {
        guard readsRows(of: tensor) else { return try numbers(of: tensor).forEach(body) }
        let width = tensor.shape.dropFirst().reduce(1, *)
        let rowsAtOnce = max(1, (1 << 22) / width)
        for first in stride(from: 0, to: tensor.shape[0], by: rowsAtOnce) {
            let rows = first..<min(tensor.shape[0], first + rowsAtOnce)
            let numbers = try Tensor([rows.count * width]) { out throws(CheckpointError) in
                try checkpoint.floats(of: tensor.name, rows: rows, into: out)
            }
            try numbers.forEach(body)
        }
    }

    /// All numbers of a tensor, integers times their scales.
    func numbers(of tensor: CheckpointTensor) throws(CheckpointError) -> Tensor {
        let count = tensor.shape.reduce(1, *)
        let piece = fused[tensor.name]
        if piece == nil, let format = try checkpoint.integerFormat(of: tensor.name, shape: tensor.shape) {
            return Tensor(try checkpoint.integers(of: tensor.name, shape: tensor.shape, format).numbers, [count])
        }
        return try tensor.withNumbers(from: checkpoint, piece) { Tensor(Array($0), [count]) }
    }

    private func readsRows(of tensor: CheckpointTensor) -> Bool {
        guard fused[tensor.name] == nil, checkpoint.readsRowsApart(of: tensor.name) else { return false }
        return (try? checkpoint.integerFormat(of: tensor.name, shape: tensor.shape)) == nil
    }
}

extension Tensor {
    /// Hands over all elements, and what `body` throws.
    fileprivate func forEach<E: Error>(_ body: (UnsafeBufferPointer<Float>) throws(E) -> Void) throws(E) {
        try body(UnsafeBufferPointer(start: pointer, count: shape.count))
    }
}
