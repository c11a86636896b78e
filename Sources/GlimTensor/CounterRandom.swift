/// Random numbers as a pure function of (seed, purpose, index): no state, no call order.
///
/// Two programs that ask for the same number get the same number, whatever else they drew before, on whatever
/// thread. The mixer is SplitMix64's finaliser applied to a chain of the three keys.
public struct CounterRandom: Sendable, Equatable {
    private let key: UInt64

    /// - Parameters:
    ///   - seed: the run's seed.
    ///   - purpose: what the numbers are for (`"init.model.norm.weight"`, `"shuffle"`); streams of different
    ///     purposes are independent.
    public init(seed: UInt64, purpose: String) {
        var key = Self.mix(seed &+ 0x9E37_79B9_7F4A_7C15)
        for byte in purpose.utf8 { key = Self.mix(key ^ UInt64(byte) &+ 0x9E37_79B9_7F4A_7C15) }
        self.key = key
    }

    /// 64 uniform bits.
    public func bits(_ index: UInt64) -> UInt64 {
        Self.mix(key &+ (index &+ 1) &* 0x9E37_79B9_7F4A_7C15)
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    public func uniform(_ index: UInt64) -> Double {
        Double(bits(index) >> 11) * 0x1p-53
    }

    /// Uniform in 0..<bound; the bias is below 2^-64·bound.
    public func integer(_ index: UInt64, below bound: Int) -> Int {
        precondition(bound > 0, "CounterRandom.integer: bound is \(bound)")
        return Int(bits(index).multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// A permutation of 0..<count (Fisher–Yates), the same for the same stream.
    public func permutation(_ count: Int) -> [Int] {
        var order = Array(0..<count)
        for i in stride(from: count - 1, to: 0, by: -1) {
            order.swapAt(i, integer(UInt64(i), below: i + 1))
        }
        return order
    }

    private static func mix(_ x: UInt64) -> UInt64 {
        var z = x
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
