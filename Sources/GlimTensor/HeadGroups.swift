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
}
