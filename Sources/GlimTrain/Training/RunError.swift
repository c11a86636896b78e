import GlimCheckpoint

/// Why a run cannot begin or go on.
public struct RunError: Error, Equatable, CustomStringConvertible {
    /// One line: what is wrong, where, and what to do.
    public let description: String
    init(_ description: String) { self.description = description.onOneLine }
}
