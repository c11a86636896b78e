import CGlimKernels

/// Trained numbers as operations want them: packed, in one number format, with a version.
///
/// A matrix `[out, in]` lies in panels of 32 outputs: the k group innermost (1 for f32, 2 for bf16, 4 or 8 for
/// integers), then the columns of a panel, then k. One row streams it at memory bandwidth, many rows are a blocked
/// product, and both do the same multiply-adds in the same order. A weight may hold several matrices of one shape
/// (heads, experts).
///
/// Where the bytes live is the weight's own business: memory of its own, or pieces that a source of experts filled from
/// disk.
// @unchecked: changed only by the optimizer or a loader, between steps, never while an operation reads.
public final class Weight: @unchecked Sendable {
    /// The number format.
    public enum Format: Sendable, Hashable {
        case f32
        case bf16
        /// Integers from -128 to 127, with an f32 scale for each output and group of inputs.
        case int8(group: Int)
        /// The same from -8 to 7.
        case int4(group: Int)
    }

    /// What the numbers mean.
    public enum Layout: Sendable, Equatable {
        /// `count` matrices `[outputs, inputs]` in panels.
        case panels(count: Int, outputs: Int, inputs: Int)
        /// A plain vector: norm weights, biases.
        case vector(Int)
    }

    /// Who owns the bytes.
    public enum Residence: Sendable, Equatable {
        case owned
        /// A source of experts, for the moment.
        case streamed
    }

    /// Of the numbers kept.
    public let format: Format
    /// What they mean, and how they lie.
    public let layout: Layout
    /// Who owns their bytes.
    public let residence: Residence
    /// Raised by whoever changes the numbers; derived forms (the transposed panels) follow it.
    public private(set) var version: UInt64 = 0
    /// Frozen weights get no gradient and are left alone by optimizers.
    public var isFrozen = false

    /// Products with this weight are in bf16: it and what it meets are rounded, sums are f32. The numbers kept and
    /// trained stay in `format`. Where products are in integers, those of gradients are in bf16.
    public let computesInBF16: Bool

    /// Products with this weight are in integers, nil for none: it is quantised so, and what it meets to int8 with a
    /// scale for each row and group of inputs. Of a weight kept in integers it is `format`; the numbers of another are
    /// trained as they are, through the quantised ones (quantisation-aware training).
    public let quantization: Format?

    /// Gathers what products with this weight meet; nil but in calibration.
    package var statistics: ActivationStatistics?

    package let buffer: Buffer
    /// Where each matrix lies, of a streamed weight; nil of others, whose matrices lie one behind another.
    let places: [UnsafeMutableRawPointer?]?
    let rounded = DerivedPanels()
    let quantized = DerivedPanels()
    let transposed = DerivedPanels()

    /// `count` matrices of zeros. Those of integers are frozen: there is nothing that a gradient could move.
    ///
    /// - Parameters:
    ///   - quantization: integers that products are in, for a weight whose numbers are trained.
    ///   - isBlueprint: take no memory: the weight tells its shape and nothing else.
    ///   - isZeroed: false leaves the memory as it is, for a loader that sets every matrix: on as many threads as it has,
    ///     where zeros would all be written by this one, and memory is taken when it is first written.
    public init(
        outputs: Int, inputs: Int, count: Int = 1, format: Format = .f32, computesInBF16: Bool = false,
        quantization: Format? = nil, isBlueprint: Bool = false, isZeroed: Bool = true
    ) {
        precondition(outputs > 0 && inputs > 0 && count > 0, "Weight: \(count) x [\(outputs), \(inputs)]")
        (self.format, residence, self.computesInBF16) = (format, .owned, computesInBF16)
        self.quantization = format.group == nil ? quantization : format
        isFrozen = format.group != nil
        layout = .panels(count: count, outputs: outputs, inputs: inputs)
        if let quantization = self.quantization {
            precondition(
                IntegerLayout(quantization, outputs: outputs, inputs: inputs) != nil,
                "Weight: \(quantization) of \(inputs) inputs")
        }
        let bytes = isBlueprint ? 0 : Self.byteCount(layout, format)
        places = nil
        buffer = Buffer(exactly: bytes)
        if isZeroed { buffer.pointer.initializeMemory(as: UInt8.self, repeating: 0, count: bytes) }
    }

    /// A vector.
    public init(vector: [Float]) {
        precondition(!vector.isEmpty, "Weight: an empty vector")
        (format, residence, layout, computesInBF16) = (.f32, .owned, .vector(vector.count), false)
        (quantization, places) = (nil, nil)
        buffer = Tensor(vector, [vector.count]).buffer
    }

    /// Matrices that lie apart, each where a source of experts has read it to; products are all that can be asked of
    /// them, and a matrix without a place is not to be asked for.
    ///
    /// - Parameters:
    ///   - places: one a matrix, valid as long as the weight is used.
    ///   - shape: a weight, a blueprint perhaps, that they are like.
    package init(places: [UnsafeMutableRawPointer?], like shape: Weight) {
        precondition(
            places.count == shape.count && !(shape.computesInBF16 && shape.format == .f32)
                && shape.quantization == (shape.format.group == nil ? nil : shape.format),
            "Weight: \(places.count) places for \(shape.layout) in \(shape.format)")
        (format, layout, residence, self.places) = (shape.format, shape.layout, .streamed, places)
        (computesInBF16, quantization, isFrozen) = (shape.computesInBF16, shape.quantization, true)
        buffer = Buffer(byteCount: 0)
    }

    /// Outputs of one matrix (or the vector's width).
    public var outputs: Int {
        switch layout {
        case .panels(_, let outputs, _): outputs
        case .vector(let width): width
        }
    }
    /// Inputs of one matrix; 1 for a vector.
    public var inputs: Int {
        switch layout {
        case .panels(_, _, let inputs): inputs
        case .vector: 1
        }
    }
    /// Matrices held.
    public var count: Int {
        switch layout {
        case .panels(let count, _, _): count
        case .vector: 1
        }
    }
    /// A vector rather than matrices.
    public var isVector: Bool { if case .vector = layout { true } else { false } }

    /// Bytes of the packed numbers.
    public var byteCount: Int { Self.byteCount(layout, format) }
    /// Bytes of the memory that it takes, or as a blueprint would.
    package var heldByteCount: Int { Buffer.heldByteCount(exactly: byteCount) }
    /// Bytes of one matrix.
    package var matrixByteCount: Int { byteCount / count }
    /// Numbers, padding included; not of integers.
    package var elementCount: Int {
        precondition(format.group == nil, "Weight: \(format) has scales beside its numbers")
        return byteCount / (format == .f32 ? 4 : 2)
    }
    /// Numbers of one matrix, padding included.
    package var matrixStride: Int { elementCount / count }
    /// Numbers without padding.
    public var parameterCount: Int { count * outputs * inputs }
    package var hasPadding: Bool { !isVector && outputs % Int(GLIM_PANEL) != 0 }
    package var panelCount: Int { (outputs + Int(GLIM_PANEL) - 1) / Int(GLIM_PANEL) }
    /// Numbers from one panel to the next.
    package var panelStride: Int { Int(GLIM_PANEL) * (format == .f32 ? inputs : (inputs + 1) / 2 * 2) }

    private static func byteCount(_ layout: Layout, _ format: Format) -> Int {
        switch layout {
        case .vector(let width): width * 4
        case .panels(let count, let outputs, let inputs):
            count
                * (IntegerLayout(format, outputs: outputs, inputs: inputs)?.byteCount
                    ?? (outputs + Int(GLIM_PANEL) - 1) / Int(GLIM_PANEL) * Int(GLIM_PANEL)
                        * (format == .f32 ? inputs * 4 : (inputs + 1) / 2 * 4))
        }
    }

    // MARK: For operations and optimizers

    package var floats: UnsafeMutablePointer<Float> {
        precondition(format == .f32, "Weight: f32 wanted, \(format) found")
        return buffer.floats
    }
    package func matrix(_ i: Int) -> UnsafeMutablePointer<Float> { floats + i * matrixStride }
    package var halves: UnsafeMutablePointer<UInt16> { buffer.pointer.assumingMemoryBound(to: UInt16.self) }

    /// To be called after the numbers changed.
    public func changed() { version += 1 }

    // MARK: For loaders and savers

    /// Sets matrix `index` (or the vector) from rows: `[outputs, inputs]` row-major, or `[inputs, outputs]` where
    /// `transposed`; a weight of integers quantises them. Different matrices may be set at one time; `changed()` is to
    /// be called after the last.
    ///
    /// - Parameter numbers: f32 numbers in this layout to set instead of the weight's own.
    public func set(
        _ rows: UnsafeBufferPointer<Float>, matrix index: Int = 0, transposed: Bool = false, numbers: Tensor? = nil
    ) {
        precondition(index < count && rows.count == outputs * inputs, "Weight.set: \(rows.count) numbers for \(layout)")
        precondition(numbers.map { $0.shape.count == elementCount } ?? true, "Weight.set: \(layout)")
        guard let base = rows.baseAddress else { return }
        if isVector {
            (numbers?.pointer ?? floats).update(from: base, count: outputs)
            return
        }
        let turned = transposed ? Tensor(uninitialized: [outputs, inputs]) : nil
        if let turned {
            for i in 0..<inputs {
                for o in 0..<outputs { turned.pointer[o * inputs + i] = base[i * outputs + o] }
            }
        }
        let from = turned.map { UnsafePointer($0.pointer) } ?? base
        pack(from, first: 0, count: outputs, matrix: index, numbers: numbers)
    }

    /// Sets some of a matrix's rows, `[count, inputs]`, so that not all of them have to be in memory at one time.
    ///
    /// - Parameter first: a multiple of 32; so is the number of rows, unless they are the last.
    public func set(_ rows: UnsafeBufferPointer<Float>, from first: Int, matrix index: Int = 0) {
        let (n, panel) = (rows.count / inputs, Int(GLIM_PANEL))
        precondition(
            !isVector && index < count && rows.count == n * inputs && first % panel == 0
                && (first + n == outputs || first + n < outputs && n % panel == 0),
            "Weight.set: \(rows.count) numbers from row \(first) on, for \(layout)")
        if let base = rows.baseAddress { pack(base, first: first, count: n, matrix: index) }
    }

    private func pack(
        _ rows: UnsafePointer<Float>, first: Int, count n: Int, matrix index: Int, numbers: Tensor? = nil
    ) {
        let (N, K, panel) = (Int64(n), Int64(inputs), Int(GLIM_PANEL))
        if let integerLayout {
            let matrix = buffer.pointer + index * integerLayout.byteCount
            for row in stride(from: 0, to: n, by: panel) {
                integerLayout.quantize((first + row) / panel, of: matrix, rows + row * inputs)
            }
            return
        }
        let offset = index * matrixStride + first / panel * panelStride
        if format == .f32 || numbers != nil {
            kernels.pointee.pack_f32((numbers?.pointer ?? floats) + offset, rows, K, N, K)
        } else {
            kernels.pointee.pack_bf16(halves + offset, rows, K, N, K)
        }
    }

    /// The rows of matrix `index` of `numbers` (the weight itself, or a gradient in its layout), row-major
    /// `[outputs, inputs]`, or `[inputs, outputs]` where `transposed`; integers times their scales.
    public func rows(matrix index: Int = 0, of numbers: Tensor? = nil, transposed: Bool = false) -> Tensor {
        precondition(index < count, "Weight.rows: matrix \(index) of \(count)")
        if isVector {
            return numbers ?? Tensor(Array(UnsafeBufferPointer(start: floats, count: outputs)), [outputs])
        }
        let plain = Tensor(uninitialized: [outputs, inputs])
        if let numbers {
            precondition(numbers.shape.count == elementCount, "Weight.rows: \(numbers.shape) for \(layout)")
            kernels.pointee.unpack_f32(
                plain.pointer, Int64(inputs), numbers.pointer + index * matrixStride, Int64(outputs), Int64(inputs))
        } else if let integerLayout {
            integerLayout.restore(
                plain.pointer, panels: 0..<panelCount, of: buffer.pointer + index * integerLayout.byteCount)
        } else if format == .f32 {
            kernels.pointee.unpack_f32(
                plain.pointer, Int64(inputs), matrix(index), Int64(outputs), Int64(inputs))
        } else {
            kernels.pointee.unpack_bf16(
                plain.pointer, Int64(inputs), halves + index * matrixStride, Int64(outputs), Int64(inputs))
        }
        guard transposed else { return plain }
        let turned = Tensor(uninitialized: [inputs, outputs])
        for o in 0..<outputs {
            for i in 0..<inputs { turned.pointer[i * outputs + o] = plain.pointer[o * inputs + i] }
        }
        return turned
    }
}
