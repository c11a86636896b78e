/// Number formats to float32, exactly (float64: rounded to nearest). Plain loops that the compiler vectorises.
///
/// The caller has checked every count; sources need no alignment.
enum Decoding {
    /// Whether `decode` reads this format.
    static func isFloating(_ dtype: StoredType) -> Bool {
        switch dtype {
        case .f32, .bf16, .f16, .f64, .f8E4M3, .f8E5M2: true
        default: false
        }
    }

    /// `source` holds `count` elements of `dtype`, `out` has room for as many floats.
    static func decode(
        _ dtype: StoredType, _ source: UnsafeRawPointer, _ out: UnsafeMutablePointer<Float>, count: Int
    ) {
        switch dtype {
        case .f32:
            UnsafeMutableRawPointer(out).copyMemory(from: source, byteCount: 4 * count)
        case .bf16:
            for i in 0..<count {
                out[i] = Float(bitPattern: UInt32(source.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self)) &<< 16)
            }
        case .f16:
            for i in 0..<count { out[i] = float16(source.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self)) }
        case .f64:
            for i in 0..<count {
                out[i] = Float(Double(bitPattern: source.loadUnaligned(fromByteOffset: 8 * i, as: UInt64.self)))
            }
        case .f8E4M3:
            for i in 0..<count { out[i] = float8E4M3(source.load(fromByteOffset: i, as: UInt8.self)) }
        case .f8E5M2:
            for i in 0..<count {
                out[i] = float16(UInt16(source.load(fromByteOffset: i, as: UInt8.self)) &<< 8)
            }
        default:
            preconditionFailure("Decoding: \(dtype) is no floating format")
        }
    }

    /// E4M3 with one factor per block: `out[r, c] = source[r, c] · scale[r / blockRows, c / blockColumns]`.
    ///
    /// - Parameters:
    ///   - source: the rows `rows` of a matrix `[R, C]`, C being `columnCount`.
    ///   - scale: of the whole matrix, `[⌈R / blockRows⌉, ⌈C / blockColumns⌉]`.
    ///   - out: `[rows, C]`.
    static func decodeBlocks(
        _ source: UnsafeRawPointer, scale: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>,
        rows: Range<Int>, columnCount: Int, block: BlockSize
    ) {
        let scaleColumnCount = block.count(columns: columnCount)
        for (i, row) in rows.enumerated() {
            let scaleRow = scale + row / block.rows * scaleColumnCount
            for blockColumn in 0..<scaleColumnCount {
                let factor = scaleRow[blockColumn]
                let start = i * columnCount + blockColumn * block.columns
                let width = min(block.columns, columnCount - blockColumn * block.columns)
                let (from, to) = (source + start, out + start)
                for c in 0..<width { to[c] = float8E4M3(from.load(fromByteOffset: c, as: UInt8.self)) * factor }
            }
        }
    }

    /// IEEE half precision. Integer arithmetic, because x86 before F16C would call a function for each number, and
    /// subnormals by one subtraction, so that no flush-to-zero mode can change them.
    @inline(__always) static func float16(_ half: UInt16) -> Float {
        let magnitude = (UInt32(half) & 0x7FFF) &<< 13
        let exponent = magnitude & 0x0F80_0000
        var bits = magnitude &+ 112 &<< 23
        if exponent == 0x0F80_0000 { bits = bits &+ 112 &<< 23 }  // infinity, NaN
        if exponent == 0 { bits = (Float(bitPattern: magnitude &+ 113 &<< 23) - 0x1p-14).bitPattern }
        return Float(bitPattern: bits | (UInt32(half) & 0x8000) &<< 16)
    }

    /// E4M3 as used in machine learning: bias 7, no infinities, NaN is 0x7F and 0xFF, largest 448, smallest 2⁻⁹.
    @inline(__always) static func float8E4M3(_ byte: UInt8) -> Float {
        let magnitude = (UInt32(byte) & 0x7F) &<< 20
        var bits = magnitude &+ 120 &<< 23
        if magnitude < 1 &<< 23 { bits = (Float(bitPattern: magnitude &+ 121 &<< 23) - 0x1p-6).bitPattern }
        if magnitude == 0x7F &<< 20 { bits = 0x7FC0_0000 }
        return Float(bitPattern: bits | (UInt32(byte) & 0x80) &<< 24)
    }
}
