/// The number formats of GGUF files to float32 and back. The caller has checked every count; sources need no alignment.
///
/// Source: the formats and their rounding as ggml documents them; numbers of a block times its scale.
enum GGMLBlocks {
    /// `source` holds whole blocks of `type`, `count` numbers in all; `out` has room for them.
    static func decode(
        _ type: GGMLType, _ source: UnsafeRawPointer, _ out: UnsafeMutablePointer<Float>, count: Int
    ) {
        switch type {
        case .f32: Decoding.decode(.f32, source, out, count: count)
        case .f16: Decoding.decode(.f16, source, out, count: count)
        case .bf16: Decoding.decode(.bf16, source, out, count: count)
        case .q8_0:
            for block in 0..<count / 32 {
                let (from, to) = (source + 34 * block, out + 32 * block)
                let scale = half(from)
                for i in 0..<32 { to[i] = Float(from.load(fromByteOffset: 2 + i, as: Int8.self)) * scale }
            }
        case .q4_0:
            for block in 0..<count / 32 {
                let (from, to) = (source + 18 * block, out + 32 * block)
                let scale = half(from)
                for i in 0..<16 {
                    let pair = from.load(fromByteOffset: 2 + i, as: UInt8.self)
                    to[i] = Float(Int(pair & 15) - 8) * scale
                    to[i + 16] = Float(Int(pair >> 4) - 8) * scale
                }
            }
        case .q6_K:
            for block in 0..<count / 256 { decodeSixBits(source + 210 * block, out + 256 * block) }
        }
    }

    /// The integers and scales of whole blocks of `q8_0` or `q4_0`.
    static func integers(
        _ type: GGMLType, _ source: UnsafeRawPointer, count: Int
    ) -> (integers: [Int8], scales: [Float]) {
        let scales = (0..<count / 32).map { half(source + type.blockByteCount * $0) }
        let integers = [Int8](unsafeUninitializedCapacity: count) { to, written in
            written = count
            for block in 0..<count / 32 {
                let (from, first) = (source + type.blockByteCount * block + 2, 32 * block)
                for i in 0..<(type == .q8_0 ? 32 : 16) {
                    let byte = from.load(fromByteOffset: i, as: UInt8.self)
                    if type == .q8_0 {
                        to[first + i] = Int8(bitPattern: byte)
                    } else {
                        to[first + i] = Int8(truncatingIfNeeded: byte & 15) - 8
                        to[first + i + 16] = Int8(truncatingIfNeeded: byte >> 4) - 8
                    }
                }
            }
        }
        return (integers, scales)
    }

    /// Four bits of a number in the first 128 bytes, two more in the next 64, then a scale for each 16 numbers.
    private static func decodeSixBits(_ block: UnsafeRawPointer, _ out: UnsafeMutablePointer<Float>) {
        let scale = half(block + 208)
        func byte(_ offset: Int) -> Int { Int(block.load(fromByteOffset: offset, as: UInt8.self)) }
        for part in 0..<2 {
            let (low, high, scales) = (64 * part, 128 + 32 * part, 192 + 8 * part)
            for i in 0..<32 {
                for quarter in 0..<4 {
                    let four = byte(low + i + (quarter % 2) * 32) >> (quarter < 2 ? 0 : 4) & 15
                    let two = byte(high + i) >> (2 * quarter) & 3
                    let own = block.load(fromByteOffset: scales + i / 16 + 2 * quarter, as: Int8.self)
                    out[128 * part + 32 * quarter + i] = scale * Float(own) * Float((four | two << 4) - 32)
                }
            }
        }
    }

    private static func half(_ from: UnsafeRawPointer) -> Float {
        Decoding.float16(from.loadUnaligned(as: UInt16.self))
    }

    // MARK: Writing

    /// Whole blocks of `type`, which must be writable.
    static func encode(_ type: GGMLType, _ numbers: UnsafeBufferPointer<Float>, into out: inout [UInt8]) {
        func append(_ half: UInt16) {
            out.append(UInt8(truncatingIfNeeded: half))
            out.append(UInt8(truncatingIfNeeded: half >> 8))
        }
        switch type {
        case .f32: out.append(contentsOf: UnsafeRawBufferPointer(numbers))
        case .f16: for number in numbers { append(float16(number)) }
        case .bf16: for number in numbers { append(TensorSink.bfloat16(number)) }
        case .q8_0:
            for start in stride(from: 0, to: numbers.count, by: 32) {
                let block = UnsafeBufferPointer(rebasing: numbers[start..<start + 32])
                let scale = block.reduce(0) { max($0, abs($1)) } / 127
                let inverse = scale == 0 ? 0 : 1 / scale
                append(float16(scale))
                for number in block { out.append(UInt8(bitPattern: Int8(clamped(number * inverse, to: 127)))) }
            }
        case .q4_0:
            for start in stride(from: 0, to: numbers.count, by: 32) {
                let block = UnsafeBufferPointer(rebasing: numbers[start..<start + 32])
                // The largest becomes -8, whatever its sign: one level more on its side.
                var largest: Float = 0
                for number in block where abs(number) > abs(largest) { largest = number }
                let scale = largest / -8
                let inverse = scale == 0 ? 0 : 1 / scale
                func level(_ number: Float) -> UInt8 {
                    let shifted = Float(8.5).addingProduct(number, inverse)
                    return shifted >= 0 ? UInt8(min(15, shifted)) : 0
                }
                append(float16(scale))
                for i in 0..<16 { out.append(level(block[i]) | level(block[i + 16]) << 4) }
            }
        case .q6_K: preconditionFailure("GGMLBlocks: Q6_K is not written")
        }
    }

    /// Rounded, halves away from zero. What is no number becomes 0: its block's scale says that it was none.
    private static func clamped(_ number: Float, to limit: Float) -> Float {
        number.isNaN ? 0 : min(limit, max(-limit, number.rounded()))
    }

    /// Round to nearest, ties to even; beyond 65,504 infinity; a NaN stays one.
    static func float16(_ value: Float) -> UInt16 {
        let sign = UInt16(truncatingIfNeeded: value.bitPattern >> 16) & 0x8000
        let magnitude = value.bitPattern & 0x7FFF_FFFF
        if magnitude > 0x7F80_0000 { return sign | 0x7E00 }
        if magnitude >= 0x4780_0000 { return sign | 0x7C00 }
        if magnitude < 0x3880_0000 {
            // Below 2⁻¹⁴ a half counts in units of 2⁻²⁴, as the sum with 0.5 does, which rounds to them.
            let sum = Float(bitPattern: magnitude) + 0.5
            return sign | UInt16(truncatingIfNeeded: sum.bitPattern &- Float(0.5).bitPattern)
        }
        let rounded = magnitude &- 112 &<< 23 &+ 0xFFF &+ (magnitude >> 13 & 1)
        return sign | UInt16(truncatingIfNeeded: rounded >> 13)
    }
}
