/// A 64-bit hash of bytes that is the same on every machine, in every run and in every version.
///
/// Not cryptographic: it deduplicates documents, decides which of them validate, and notices damaged pages of a store.
/// Eight bytes at a time are multiplied and folded into the state; the length goes in first, so that zeros at the end
/// count.
package enum ContentHash {
    package static func hash(_ bytes: borrowing [UInt8], seed: UInt64 = 0) -> UInt64 {
        bytes.withUnsafeBytes { hash($0, seed: seed) }
    }

    package static func hash(_ bytes: UnsafeRawBufferPointer, seed: UInt64) -> UInt64 {
        var state = mix(seed ^ mix(UInt64(bytes.count) &+ 0x9E37_79B9_7F4A_7C15))
        var i = 0
        while i + 8 <= bytes.count {
            let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self))
            state = fold(state ^ word)
            i += 8
        }
        var tail: UInt64 = 0
        while i < bytes.count {
            tail = tail << 8 | UInt64(bytes[i])
            i += 1
        }
        return mix(fold(state ^ tail))
    }

    /// Both halves of the 128-bit product with an odd constant, so that every input bit reaches every output bit.
    private static func fold(_ x: UInt64) -> UInt64 {
        let product = (x ^ 0xA076_1D64_78BD_642F).multipliedFullWidth(by: 0xE703_7ED1_A0B4_28DB)
        return product.high ^ product.low ^ (x &<< 1)
    }

    private static func mix(_ x: UInt64) -> UInt64 {
        var z = x
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
