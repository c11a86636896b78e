import CGlimKernels

extension Weight {
    /// How a matrix kept in integers lies; nil for floating point.
    var integerLayout: IntegerLayout? { IntegerLayout(format, outputs: outputs, inputs: inputs) }

    /// Scales of one row; 0 in floating point.
    package var groupCount: Int { integerLayout?.groupCount ?? 0 }

    /// Sets matrix `index` of a weight of integers, as it is; `changed()` is to be called after the last.
    public func set(_ matrix: IntegerMatrix, matrix index: Int = 0) {
        guard let held = integerLayout, matrix.format == format, matrix.outputs == outputs, matrix.inputs == inputs,
            index < count
        else { preconditionFailure("Weight.set: \(matrix.format), matrix \(index), for \(format), \(layout)") }
        let base = buffer.pointer + index * held.byteCount
        matrix.integers.withUnsafeBufferPointer { rows in
            matrix.scales.withUnsafeBufferPointer { scales in
                guard let rows = rows.baseAddress, let scales = scales.baseAddress else { return }
                for panel in 0..<panelCount {
                    let first = panel * Int(GLIM_PANEL)
                    held.pack(panel, of: base, rows + first * inputs, scales: scales + first * held.groupCount)
                }
            }
        }
    }

    /// Sets rows of matrix `index` of a weight of integers from the bytes of a file, which are only put in another order;
    /// `changed()` is to be called after the last.
    ///
    /// - Parameters:
    ///   - stored: row-major, of 8 bits a byte each; of 4 two a byte, each plus 8, the first in the lowest bits. The
    ///     inputs are a multiple of 32.
    ///   - scales: of the whole matrix, `[outputs, groups]`
    ///   - first: a multiple of 32; so is the number of rows, unless they are the last.
    public func set(stored: UnsafeRawBufferPointer, scales: [Float], from first: Int = 0, matrix index: Int = 0) {
        let width = inputs * format.bits / 8
        guard let held = integerLayout, inputs.isMultiple(of: 32), index < count, stored.count.isMultiple(of: width),
            scales.count == outputs * held.groupCount
        else {
            preconditionFailure("Weight.set: \(stored.count) bytes, \(scales.count) scales for \(format), \(layout)")
        }
        let memory = MatrixMemory(buffer.pointer + index * held.byteCount, like: self)
        scales.withUnsafeBufferPointer { scales in
            guard let rows = stored.baseAddress, let scales = scales.baseAddress else { return }
            memory.set(
                stored: rows, scales: scales + first * held.groupCount, first: first, count: stored.count / width)
        }
    }

    /// Matrix `index` in the integers that its products are in; nil where they are in floating point.
    public func integers(matrix index: Int = 0) -> IntegerMatrix? {
        precondition(index < count, "Weight.integers: matrix \(index) of \(count)")
        let held = panels()
        guard let quantization, case .integers(let layout) = held.arithmetic else { return nil }
        let base = held.buffer.pointer + index * layout.byteCount
        let numbers = Tensor(uninitialized: [outputs, inputs])
        let scales = Tensor(uninitialized: [outputs, layout.groupCount])
        // Times one: the integers alone.
        let ones = Tensor(uninitialized: [panelCount * layout.panelScaleCount])
        ones.pointer.update(repeating: 1, count: ones.shape.count)
        layout.restore(numbers.pointer, panels: 0..<panelCount, of: base, scales: ones.pointer)
        kernels.pointee.unpack_f32(
            scales.pointer, Int64(layout.groupCount), layout.scales(base, panel: 0), Int64(outputs),
            Int64(layout.groupCount))
        return IntegerMatrix(
            quantization, outputs: outputs, inputs: inputs,
            integers: numbers.withElements { $0.map { Int8($0) } }, scales: scales.elements)
    }

    /// What the weight's numbers are quantised to, made again when they changed.
    func quantizedPanels(_ layout: IntegerLayout) -> Buffer {
        quantized.buffer(version: version, byteCount: count * layout.byteCount) { made in
            ThreadPool.shared.run(count * panelCount) { i in
                let (m, p) = (i / panelCount, i % panelCount)
                let rows = Buffer(byteCount: Int(GLIM_PANEL) * inputs * 4)
                kernels.pointee.unpack_f32(
                    rows.floats, Int64(inputs), matrix(m) + p * panelStride,
                    Int64(min(outputs - p * Int(GLIM_PANEL), Int(GLIM_PANEL))), Int64(inputs))
                layout.quantize(p, of: made.pointer + m * layout.byteCount, rows.floats)
            }
        }
    }

    /// The integers that products are in, times their scales, in panels of f32; nil of a weight that has none.
    func restoredPanels() -> Buffer? {
        let held = panels()
        guard case .integers(let layout) = held.arithmetic else { return nil }
        let stride = Int(GLIM_PANEL) * inputs
        let made = Buffer(byteCount: count * panelCount * stride * 4)
        ThreadPool.shared.run(count * panelCount) { i in
            let (m, p) = (i / panelCount, i % panelCount)
            let rows = Buffer(byteCount: stride * 4)
            layout.restore(rows.floats, panels: p..<p + 1, of: held.buffer.pointer + m * layout.byteCount)
            kernels.pointee.pack_f32(
                made.floats + i * stride, rows.floats, Int64(inputs),
                Int64(min(outputs - p * Int(GLIM_PANEL), Int(GLIM_PANEL))), Int64(inputs))
        }
        return made
    }

    /// Rows as products with this weight see them: quantised, where it is, and multiplied out again.
    func seen(_ x: Tensor) -> Tensor {
        seen(x.pointer, stride: x.shape.last, rows: x.shape.rows) ?? x
    }

    /// The same of rows of `inputs` numbers; nil where they are seen as they are.
    func seen(_ x: UnsafePointer<Float>, stride: Int, rows: Int) -> Tensor? {
        quantization?.group.map {
            IntegerRows(x, stride: stride, rows: rows, inputs: inputs, group: $0).restored(rows: rows)
        }
    }
}
