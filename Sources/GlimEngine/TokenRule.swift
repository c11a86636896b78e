/// What a request may go on with and where it ends, as its own tokens decide: a grammar, a schema, a text that ends it.
///
/// A value: a copy goes its own way, for drafts are guessed before it is known whether they come.
public protocol TokenRule: Sendable {
    /// Takes tokens out that may not come next: sets their logits to -infinity.
    func restrict(_ logits: UnsafeMutableBufferPointer<Float>)

    /// Takes note of a token that was drawn.
    ///
    /// - Returns: whether the request ends with it.
    mutating func advance(_ token: Int32) -> Bool
}
