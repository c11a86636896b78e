import CGlimKernels

/// Queries of the indexer, as they meet keys of a format.
struct IndexQueries: Sendable {
    private let q: Tensor
    private let weights: Tensor
    private let scale: Float
    /// One row for each token and head. A group's scale is what the head's products are multiplied by: the scale of its
    /// integers, that of all products, and the head's weight.
    private let integers: IntegerRows?
    private let heads: Int
    private let width: Int

    /// - Parameters:
    ///   - q: `[T, I · X]`
    ///   - weights: `[T, I]`
    init(_ q: Tensor, _ weights: Tensor, _ scale: Float, format: KeyFormat) {
        (self.q, self.weights, self.scale, heads) = (q, weights, scale, weights.shape.last)
        width = q.shape.last / heads
        guard format == .int8 else {
            integers = nil
            return
        }
        let rows = q.shape.rows * heads
        let made = IntegerRows(q.pointer, stride: width, rows: rows, inputs: width, group: width)
        let groups = made.groups(of: 0)
        for i in 0..<rows { groups[i].scale = groups[i].scale * scale * weights.pointer[i] }
        integers = made
    }

    /// Scores of some rows over all keys that each sees: row i of `out`, rows as far apart as the last one sees keys,
    /// has those of positions 0 to `position` + i.
    func score(_ out: UnsafeMutablePointer<Float>, rows: Range<Int>, _ pages: KeyPages, position: Int) {
        pages.pages.withUnsafeBufferPointer {
            score(out, stride: position + rows.count, rows, $0.baseAddress!, pages, position: position)
        }
    }

    /// Scores of one row over some of the keys that it sees, from the beginning of a page on.
    func score(_ out: UnsafeMutablePointer<Float>, row: Int, _ pages: KeyPages, keys: Range<Int>) {
        pages.pages.withUnsafeBufferPointer {
            // One token that comes right behind these keys sees all of them, and no others.
            score(
                out + keys.lowerBound, stride: 0, row..<row + 1,
                $0.baseAddress! + keys.lowerBound / KeyPages.positions, pages, position: keys.count - 1)
        }
    }

    private func score(
        _ out: UnsafeMutablePointer<Float>, stride: Int, _ rows: Range<Int>,
        _ table: UnsafePointer<UnsafePointer<Float>>, _ pages: KeyPages, position: Int
    ) {
        let (tokens, first) = (Int64(rows.count), rows.lowerBound)
        if let integers {
            kernels.pointee.index_scores_int8(
                out, Int64(stride), integers.row(first * heads), Int64(integers.stride),
                integers.groups(of: first * heads), tokens, Int64(heads), table, Int64(position), Int64(width))
        } else {
            let scratch = Tensor(uninitialized: [Int(glim_attention_scratch(tokens * Int64(heads), Int64(width)))])
            kernels.pointee.index_scores(
                out, Int64(stride), q.row(first), weights.row(first), tokens, Int64(heads), table, Int64(pages.stride),
                pages.format == .bf16 ? 1 : 0, Int64(position), Int64(width), scale, scratch.pointer)
        }
    }
}
