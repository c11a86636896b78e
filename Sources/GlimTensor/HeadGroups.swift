/// How the heads of a layer are divided for attention: groups of four, a function of the shape alone.
///
/// A grouped tensor `[T, H, W]` is stored as `[groups][T, heads of the group, W]`, so that the rows (token, head) of a
/// group lie one stride apart and form one operand. Groups are the unit of parallel work, in the backward pass too,
/// where each sums its own gradient of the shared keys.
struct HeadGroups {
    static let size = 4
    let heads: Int

    var count: Int { (heads + Self.size - 1) / Self.size }
    /// Heads of group g.
    func heads(in g: Int) -> Int { min(Self.size, heads - g * Self.size) }
    /// Where group g starts in a grouped tensor of `tokens` tokens and `width` values a head.
    func offset(_ g: Int, tokens: Int, width: Int) -> Int { g * Self.size * tokens * width }
    /// Where (token 0, head h) starts, and the distance to the next token.
    func place(head h: Int, tokens: Int, width: Int) -> (offset: Int, stride: Int) {
        let g = h / Self.size
        return (offset(g, tokens: tokens, width: width) + h % Self.size * width, heads(in: g) * width)
    }

    /// Calls `body` with a token's rows of some groups as one operand: queries, and where outputs and their sums go.
    func withRows(
        of bundle: Range<Int>, tokens: Int, token: Int, q: Tensor, out: Tensor, lse: Tensor?,
        _ body: (
            _ q: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>, _ lse: UnsafeMutablePointer<Float>?,
            _ heads: Int
        ) -> Void
    ) {
        func row(_ tensor: Tensor, _ g: Int) -> (pointer: UnsafeMutablePointer<Float>, width: Int) {
            let width = tensor.shape.count / (tokens * heads)
            return (tensor.pointer + offset(g, tokens: tokens, width: width) + token * heads(in: g) * width, width)
        }
        if bundle.count == 1 {
            let g = bundle.lowerBound
            body(row(q, g).pointer, row(out, g).pointer, lse.map { row($0, g).pointer }, heads(in: g))
            return
        }
        // Groups lie apart: their rows are brought together, and results taken back.
        let count = bundle.reduce(0) { $0 + heads(in: $1) }
        let (qWidth, outWidth) = (row(q, 0).width, row(out, 0).width)
        let held = Tensor(uninitialized: [count, qWidth + outWidth + 1])
        let (qs, outs) = (held.pointer, held.pointer + count * qWidth)
        let sums = outs + count * outWidth
        func forEachGroup(_ body: (_ g: Int, _ first: Int, _ heads: Int) -> Void) {
            var first = 0
            for g in bundle {
                body(g, first, heads(in: g))
                first += heads(in: g)
            }
        }
        forEachGroup { g, first, heads in
            (qs + first * qWidth).update(from: row(q, g).pointer, count: heads * qWidth)
        }
        body(qs, outs, lse.map { _ in sums }, count)
        forEachGroup { g, first, heads in
            row(out, g).pointer.update(from: outs + first * outWidth, count: heads * outWidth)
            if let lse { row(lse, g).pointer.update(from: sums + first, count: heads) }
        }
    }
}
