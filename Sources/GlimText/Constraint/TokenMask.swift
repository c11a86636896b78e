/// Which tokens of a vocabulary may be drawn: a bit for each id.
public struct TokenMask: Hashable, Sendable {
    /// How many ids it tells of. No other may be drawn.
    public let count: Int
    /// 64 ids a word, the lowest in the lowest bit. Bits of ids that there are not are zero.
    public private(set) var words: [UInt64]

    /// Allows all ids, or none.
    public init(count: Int, allowsAll: Bool = false) {
        self.count = count
        words = [UInt64](repeating: allowsAll ? .max : 0, count: (count + 63) / 64)
        if allowsAll, count % 64 > 0 { words[words.count - 1] = 1 << UInt64(count % 64) - 1 }
    }

    /// Whether a token may be drawn; an id that there is not may not, and cannot be allowed.
    public subscript(id: Int32) -> Bool {
        get { id >= 0 && id < count && words[Int(id) / 64] >> UInt64(id % 64) & 1 == 1 }
        set {
            guard id >= 0, id < count else { return }
            if newValue {
                words[Int(id) / 64] |= 1 << UInt64(id % 64)
            } else {
                words[Int(id) / 64] &= ~(1 << UInt64(id % 64))
            }
        }
    }

    /// How many tokens may be drawn.
    public var allowedCount: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

    /// Allows what the other allows, too.
    ///
    /// - Parameter other: of the same vocabulary.
    public mutating func formUnion(_ other: TokenMask) {
        precondition(count == other.count, "TokenMask: \(count) and \(other.count) tokens")
        for k in words.indices { words[k] |= other.words[k] }
    }
}
