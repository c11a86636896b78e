/// The number formats of a GGUF file that are read here, under the numbers of its tensor table.
public enum GGMLType: UInt32, Sendable, CaseIterable {
    case f32 = 0
    case f16 = 1
    /// Blocks of 32: a half-precision scale and four-bit numbers plus 8.
    case q4_0 = 2
    /// Blocks of 32: a half-precision scale and eight-bit numbers.
    case q8_0 = 8
    /// Blocks of 256, six bits a number. Read only: llama.cpp writes the head so where everything else is `q4_0`.
    case q6_K = 14
    case bf16 = 30

    /// As llama.cpp writes it.
    public var name: String {
        switch self {
        case .f32: "F32"
        case .f16: "F16"
        case .q4_0: "Q4_0"
        case .q8_0: "Q8_0"
        case .q6_K: "Q6_K"
        case .bf16: "BF16"
        }
    }

    /// Numbers of one block; a row holds whole blocks.
    public var blockCount: Int {
        switch self {
        case .f32, .f16, .bf16: 1
        case .q4_0, .q8_0: 32
        case .q6_K: 256
        }
    }

    /// Bytes of one block.
    public var blockByteCount: Int {
        switch self {
        case .f32: 4
        case .f16, .bf16: 2
        case .q4_0: 2 + 16
        case .q8_0: 2 + 32
        case .q6_K: 128 + 64 + 16 + 2
        }
    }

    /// Bytes of so many numbers, which are whole blocks.
    func byteCount(_ count: Int) -> Int { count / blockCount * blockByteCount }

    /// Those that can be written.
    public static let writable: [GGMLType] = [.f32, .f16, .bf16, .q8_0, .q4_0]

    /// What llama.cpp calls a format by its number, for errors.
    static func name(ofNumber number: UInt32) -> String {
        GGMLType(rawValue: number)?.name ?? otherNames[number] ?? "format number \(number)"
    }

    private static let otherNames: [UInt32: String] = [
        3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 15: "Q8_K",
        16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
        24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
        40: "NVFP4",
    ]
}
