/// Which tokens have come in a sequence, and how often: what penalties for repetition are a function of.
public struct TokenCounts: Sendable, Equatable {
    let prompt: Set<Int32>
    /// Never zero.
    private(set) var drawn: [Int32: Int] = [:]

    /// - Parameter prompt: all that the model was given before it drew.
    public init(prompt: some Sequence<Int32>) { self.prompt = Set(prompt) }

    /// Counts a token that was drawn.
    public mutating func add(_ token: Int32) { drawn[token, default: 0] += 1 }

    /// Takes the last of these tokens back, such as a draft that was wrong. One that was not counted is a bug and traps.
    public mutating func remove(_ token: Int32) {
        guard let count = drawn[token] else { preconditionFailure("TokenCounts: \(token) has not been drawn") }
        drawn[token] = count == 1 ? nil : count - 1
    }
}
