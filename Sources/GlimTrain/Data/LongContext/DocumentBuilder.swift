/// Makes documents of any length, each a function of the builder's seed and the document's number alone.
public protocol DocumentBuilder: Sendable {
    /// - Parameters:
    ///   - index: which document, from 0.
    ///   - byteCount: how long it may be; it is not much shorter where there is text enough.
    func document(_ index: Int, byteCount: Int) -> Document
}
