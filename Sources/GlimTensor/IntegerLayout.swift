import CGlimKernels

extension Weight.Format {
    /// Inputs that share a scale, a multiple of 32; nil for floating point.
    public var group: Int? {
        switch self {
        case .f32, .bf16: nil
        case .int8(let group), .int4(let group): group
        }
    }

    /// Of a number, without its share of a scale.
    public var bits: Int {
        switch self {
        case .f32: 32
        case .bf16: 16
        case .int8: 8
        case .int4: 4
        }
    }

    /// Integers of 8 or 4 bits for matrices of so many inputs, in groups of 128, 64 or 32, the most that divide them; or
    /// else with one scale for all of a row, for files of the compressed-tensors library know no shorter last group.
    ///
    /// - Parameter mostInGroup: 128, 64 or 32.
    public static func integers(bits: Int, inputs: Int, mostInGroup: Int = 128) -> Weight.Format {
        precondition(bits == 8 || bits == 4, "Weight.Format: integers of \(bits) bits")
        let group =
            [128, 64, 32].first { $0 <= mostInGroup && inputs.isMultiple(of: $0) } ?? Int(glim_integer_k(Int64(inputs)))
        return bits == 8 ? .int8(group: group) : .int4(group: group)
    }
}

extension Weight.Format: CustomStringConvertible {
    public var description: String {
        switch self {
        case .f32: "f32"
        case .bf16: "bf16"
        case .int8(let group): "int8 in groups of \(group)"
        case .int4(let group): "int4 in groups of \(group)"
        }
    }
}

/// How one matrix of integers lies in memory: its panels of 32 outputs, then those of its scales.
struct IntegerLayout {
    let bits: Int
    let group: Int
    let outputs: Int
    let inputs: Int

    private static let panel = Int(GLIM_PANEL)

    /// Nil for floating point, and for groups that the kernels, or files, do not have: all must be of one size, but that
    /// one group may be larger than a row.
    init?(_ format: Weight.Format, outputs: Int, inputs: Int) {
        guard let group = format.group, group > 0, group.isMultiple(of: 32),
            inputs.isMultiple(of: group) || group >= inputs && group <= Int(glim_integer_k(Int64(inputs)))
        else { return nil }
        (bits, self.group, self.outputs, self.inputs) = (format.bits, group, outputs, inputs)
    }

    /// Scales of one output.
    var groupCount: Int { (inputs + group - 1) / group }
    var panelCount: Int { (outputs + Self.panel - 1) / Self.panel }
    /// Bytes from one panel of integers to the next.
    var panelByteCount: Int { Self.panel * Int(glim_integer_k(Int64(inputs))) * bits / 8 }
    /// Scales of one panel.
    var panelScaleCount: Int { Self.panel * groupCount }
    /// Where the scales begin.
    private var scaleOffset: Int { panelCount * panelByteCount }
    /// Of the matrix.
    var byteCount: Int { scaleOffset + 4 * panelCount * panelScaleCount }

    /// Outputs of a panel: 32, and of the last one what is left.
    private func outputCount(_ panels: Range<Int>) -> Int {
        min(outputs, panels.upperBound * Self.panel) - panels.lowerBound * Self.panel
    }

    func numbers(_ matrix: UnsafeMutableRawPointer, panel: Int) -> UnsafeMutablePointer<UInt8> {
        (matrix + panel * panelByteCount).assumingMemoryBound(to: UInt8.self)
    }

    func scales(_ matrix: UnsafeMutableRawPointer, panel: Int) -> UnsafeMutablePointer<Float> {
        (matrix + scaleOffset).assumingMemoryBound(to: Float.self) + panel * panelScaleCount
    }

    // MARK: One panel

    /// Quantises the rows of a panel, f32 `[32, inputs]`, into its place.
    func quantize(_ panel: Int, of matrix: UnsafeMutableRawPointer, _ rows: UnsafePointer<Float>) {
        let n = outputCount(panel..<panel + 1)
        let (N, K, G) = (Int64(n), Int64(inputs), Int64(group))
        let scales = Buffer(byteCount: 4 * n * groupCount)
        let integers = Buffer(byteCount: n * inputs)
        kernels.pointee.weight_scales(scales.floats, rows, K, N, K, G, Int32(bits))
        kernels.pointee.quantize_weights(integers.integers, K, scales.floats, rows, K, N, K, G, Int32(bits))
        pack(panel, of: matrix, integers.integers, scales: scales.floats)
    }

    /// Puts the rows of a panel, integers `[32, inputs]` with scales `[32, groups]`, into its place.
    func pack(
        _ panel: Int, of matrix: UnsafeMutableRawPointer, _ rows: UnsafePointer<Int8>, scales: UnsafePointer<Float>
    ) {
        let (N, K) = (Int64(outputCount(panel..<panel + 1)), Int64(inputs))
        let pack = bits == 8 ? kernels.pointee.pack_int8 : kernels.pointee.pack_int4
        pack(numbers(matrix, panel: panel), rows, K, N, K)
        packScales(panel, of: matrix, scales)
    }

    private func packScales(_ panel: Int, of matrix: UnsafeMutableRawPointer, _ scales: UnsafePointer<Float>) {
        kernels.pointee.pack_f32(
            self.scales(matrix, panel: panel), scales, Int64(groupCount), Int64(outputCount(panel..<panel + 1)),
            Int64(groupCount))
    }

    /// The same of rows as files have them (``Weight/set(stored:scales:matrix:)``), of a multiple of 32 inputs.
    ///
    /// A panel holds words of four integers of 8 bits or eight of 4, the words of its 32 outputs side by side. Its
    /// integers of 8 bits are each plus 128; those of 4 are plus 8 as in the file, and a byte holds number i of a word
    /// beside number i + 4, where the file has i + 1.
    func pack(
        _ panel: Int, of matrix: UnsafeMutableRawPointer, stored rows: UnsafeRawPointer, scales: UnsafePointer<Float>
    ) {
        let (width, n) = (inputs * bits / 32, outputCount(panel..<panel + 1))
        let to = UnsafeMutableRawPointer(numbers(matrix, panel: panel)).assumingMemoryBound(to: UInt32.self)
        if n < Self.panel { to.update(repeating: bits == 8 ? 0x8080_8080 : 0x8888_8888, count: width * Self.panel) }
        // A cache line of each row at a time.
        for first in stride(from: 0, to: width, by: 16) {
            for row in 0..<n {
                let (from, column) = (rows + row * width * 4, to + row)
                for i in first..<min(width, first + 16) {
                    let word = from.loadUnaligned(fromByteOffset: 4 * i, as: UInt32.self)
                    column[i * Self.panel] = bits == 8 ? word ^ 0x8080_8080 : Self.interleaved(word)
                }
            }
        }
        packScales(panel, of: matrix, scales)
    }

    /// Eight numbers of four bits, 0 1 2 3 4 5 6 7 from the lowest bits on, as 0 4 1 5 2 6 3 7.
    private static func interleaved(_ word: UInt32) -> UInt32 {
        func spread(_ half: UInt32) -> UInt32 {
            let pairs = (half | half &<< 8) & 0x00FF_00FF
            return (pairs | pairs &<< 4) & 0x0F0F_0F0F
        }
        return spread(word & 0xFFFF) | spread(word &>> 16) &<< 4
    }

    /// Integers times their scales, f32 `[outputs of the panels, inputs]`.
    ///
    /// - Parameter scales: panels of others to use instead of the matrix's own.
    func restore(
        _ out: UnsafeMutablePointer<Float>, panels: Range<Int>, of matrix: UnsafeMutableRawPointer,
        scales: UnsafePointer<Float>? = nil
    ) {
        let unpack = bits == 8 ? kernels.pointee.unpack_int8 : kernels.pointee.unpack_int4
        unpack(
            out, Int64(inputs), numbers(matrix, panel: panels.lowerBound),
            scales ?? UnsafePointer(self.scales(matrix, panel: panels.lowerBound)), Int64(outputCount(panels)),
            Int64(inputs), Int64(group))
    }
}
