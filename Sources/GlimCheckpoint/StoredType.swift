/// The number formats a safetensors file can hold, under the names its header uses.
public enum StoredType: String, Sendable, CaseIterable {
    case bool = "BOOL"
    case f4 = "F4"
    case f6E2M3 = "F6_E2M3"
    case f6E3M2 = "F6_E3M2"
    case u8 = "U8"
    case i8 = "I8"
    case f8E5M2 = "F8_E5M2"
    case f8E4M3 = "F8_E4M3"
    case f8E8M0 = "F8_E8M0"
    case f8E4M3FNUZ = "F8_E4M3FNUZ"
    case f8E5M2FNUZ = "F8_E5M2FNUZ"
    case i16 = "I16"
    case u16 = "U16"
    case f16 = "F16"
    case bf16 = "BF16"
    case i32 = "I32"
    case u32 = "U32"
    case f32 = "F32"
    case c64 = "C64"
    case f64 = "F64"
    case i64 = "I64"
    case u64 = "U64"

    /// Bits of one element.
    public var bitCount: Int {
        switch self {
        case .f4: 4
        case .f6E2M3, .f6E3M2: 6
        case .bool, .u8, .i8, .f8E5M2, .f8E4M3, .f8E8M0, .f8E4M3FNUZ, .f8E5M2FNUZ: 8
        case .i16, .u16, .f16, .bf16: 16
        case .i32, .u32, .f32: 32
        case .c64, .f64, .i64, .u64: 64
        }
    }

    /// Elements and bytes of a tensor of this type, or nil if either overflows or the last byte is not full.
    package func size(of shape: [Int]) -> (elementCount: Int, byteCount: Int)? {
        var elementCount = 1
        for length in shape {
            let (product, overflow) = elementCount.multipliedReportingOverflow(by: length)
            guard length >= 0, !overflow else { return nil }
            elementCount = product
        }
        let (bits, overflow) = elementCount.multipliedReportingOverflow(by: bitCount)
        guard !overflow, bits % 8 == 0 else { return nil }
        return (elementCount, bits / 8)
    }
}

/// What a checkpoint's header says about one tensor.
public struct TensorInfo: Sendable, Equatable {
    /// What it is stored in.
    public let dtype: StoredType
    /// Outermost first; empty for a scalar.
    public let shape: [Int]
    /// The product of the shape; 1 for a scalar.
    public let elementCount: Int
    /// Of all elements, as stored.
    public let byteCount: Int
    /// Where its bytes begin, counted from the start of the file.
    package let fileOffset: Int

    /// The length of the first axis; 1 for a scalar.
    public var rowCount: Int { shape.first ?? 1 }
}
