/// What a request may go on with and where it ends, as its own tokens decide: a grammar, a schema, a text that ends it.
///
/// A value: a copy goes its own way, for drafts are guessed before it is known whether they come.
public protocol TokenRule: Sendable {
    /// The tokens that may come next, as `Sampler.draw` takes them; nil allows all. Where none of the model's is allowed
    /// before ``advance(_:)`` says that the request ends, it ends with ``EngineError/nothingAllowed(position:)``.
    func mask() -> [UInt64]?

    /// Takes note of a token that was drawn.
    ///
    /// - Returns: whether the request ends with it.
    mutating func advance(_ token: Int32) -> Bool
}
