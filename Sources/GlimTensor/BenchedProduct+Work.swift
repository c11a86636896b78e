import CGlimKernels

/// What a benched product does, made once: its operands and one call.
struct BenchedWork {
    /// One product with each of the weights.
    let body: () -> Void
    /// What they are read from, scales included.
    let weights: [Buffer]
    /// Of one call; a multiply-add is two.
    let operations: Double

    /// Of the weights.
    var byteCount: Double { weights.reduce(0) { $0 + Double($1.byteCount) } }
}

extension BenchedProduct {
    func makeWork() -> BenchedWork {
        work == .attention ? attentionWork() : format.isInteger ? integerWork() : floatWork()
    }

    private func work(_ weights: [Buffer], _ body: @escaping () -> Void) -> BenchedWork {
        let each = 2 * Double(rows) * Double(outputs) * Double(inputs)
        return BenchedWork(body: body, weights: weights, operations: each * Double(weights.count))
    }

    /// As many weights as a call goes through, of this size each.
    private func weightCount(_ byteCount: Int) -> Int {
        work == .streaming ? max(1, streamedBytes / byteCount) : 1
    }

    // MARK: Floating point

    private func floatWork() -> BenchedWork {
        let trained = work == .inputGradient || work == .weightGradient
        func make() -> Weight {
            let weight = Weight(
                outputs: outputs, inputs: inputs, format: format == .f32 || trained ? .f32 : .bf16,
                computesInBF16: trained && format == .bf16)
            Self.fill(weight.buffer)
            return weight
        }
        let first = make()
        let weights = [first] + (1..<weightCount(first.byteCount)).map { _ in make() }
        return work(weights.map(\.buffer), body(weights))
    }

    private func body(_ weights: [Weight]) -> () -> Void {
        let (x, y) = (filled(rows, inputs), filled(rows, outputs))
        let (rows, outputs, inputs) = (rows, outputs, inputs)
        switch work {
        case .attention:
            preconditionFailure("BenchedProduct: attention has no weights")
        case .forward, .streaming:
            return {
                for weight in weights { Product.forward([y.pointer], x.pointer, rows: rows, [weight]) }
            }
        case .pairs:
            return {
                Product.run(rows: rows, [(outputs, inputs)]) { _, row, count, panel, columns in
                    kernels.pointee.matmul_bf16(
                        y.row(row) + panel * Int(GLIM_PANEL), Int64(outputs), Int64(GLIM_PANEL), x.row(row),
                        Int64(inputs), weights[0].halves + panel * weights[0].panelStride,
                        Int64(weights[0].panelStride), Int64(count), Int64(columns), Int64(inputs), 0)
                }
            }
        case .inputGradient:
            return {
                // Training turns the weights once a step.
                weights[0].changed()
                Product.inputGradient(
                    x.pointer, stride: inputs, y.pointer, stride: outputs, weights[0], matrix: 0, rows: rows,
                    accumulate: false)
            }
        case .weightGradient:
            let gradient = Tensor(uninitialized: [weights[0].elementCount])
            return {
                Product.weightGradient(
                    gradient.pointer, y.pointer, stride: outputs, x.pointer, stride: inputs, weights[0], rows: rows,
                    accumulate: false)
            }
        }
    }

    // MARK: Integers

    /// What a group of inputs shares a scale with.
    private static let group = 128

    /// Rows are quantised beforehand: products with one input share that.
    private func integerWork() -> BenchedWork {
        let (rows, outputs, inputs, isWide) = (rows, outputs, inputs, format == .int8)
        let (panel, groups) = (Int(GLIM_PANEL), (inputs + Self.group - 1) / Self.group)
        let panelBytes = panel * Int(glim_integer_k(Int64(inputs))) / (isWide ? 1 : 2)
        let panels = (outputs + panel - 1) / panel
        let byteCount = panels * (panelBytes + panel * groups * 4)
        // The scales behind the integers.
        let weights = (0..<weightCount(byteCount)).map { _ in
            let weight = Buffer(byteCount: byteCount)
            Self.fill(weight)
            return weight
        }
        let (x, stride) = (filled(rows, inputs), Int(glim_integer_stride(Int64(inputs))))
        let quantised = Buffer(byteCount: rows * stride)
        let quantisedGroups = Buffer(byteCount: rows * groups * MemoryLayout<glim_row_group>.stride)
        let integers = quantised.pointer.assumingMemoryBound(to: Int8.self)
        let scales = quantisedGroups.pointer.assumingMemoryBound(to: glim_row_group.self)
        kernels.pointee.quantize_rows(
            integers, Int64(stride), scales, x.pointer, Int64(inputs), Int64(rows), Int64(inputs), Int64(Self.group))
        let y = Tensor(uninitialized: [rows, outputs])
        let product = isWide ? kernels.pointee.matmul_int8 : kernels.pointee.matmul_int4
        func multiply(_ weight: Buffer) {
            let numbers = weight.pointer.assumingMemoryBound(to: UInt8.self)
            let weightScales = weight.floats + panels * panelBytes / 4
            Product.run(rows: rows, [(outputs, inputs)]) { _, row, count, first, columns in
                let (out, a, aScales) = (y.row(row) + first * panel, integers + row * stride, scales + row * groups)
                let (b, bScales) = (numbers + first * panelBytes, weightScales + first * panel * groups)
                product(
                    out, Int64(outputs), Int64(panel), a, Int64(stride), aScales, b, bScales, Int64(count),
                    Int64(columns), Int64(inputs), Int64(Self.group), 0)
            }
        }
        return work(weights) {
            // What pointers point into is held, too.
            withExtendedLifetime((quantised, quantisedGroups)) {
                for weight in weights { multiply(weight) }
            }
        }
    }

    // MARK: Attention

    /// The last `rows` tokens of a sequence, each seeing what is before it.
    private func attentionWork() -> BenchedWork {
        let (latent, rotated) = (512, 64)
        let q = Tensor(uninitialized: [rows, outputs, latent + rotated])
        Self.fill(q.buffer)
        let keys = filled(inputs, latent + rotated)
        let pages = KeyPages(rows: SequenceSlice(row: 0, count: inputs, position: 0), of: keys)
        let slice = SequenceSlice(row: 0, count: rows, position: inputs - rows)
        let scale = 1 / Float(latent + rotated).squareRoot()
        let seen = (inputs - rows + 1...inputs).reduce(0, +)
        let body = {
            _ = Tensor.attention(
                q, keys: keys, pages: [pages], slices: [slice], selection: nil, valueWidth: latent, scale: scale)
        }
        // A score over the whole key, and the sum of its values.
        return BenchedWork(
            body: body, weights: [keys.buffer],
            operations: 2 * Double(seen) * Double(outputs) * Double(2 * latent + rotated))
    }

    // MARK: Numbers

    /// Numbers of ordinary size, read as f32 or as bf16.
    private static func fill(_ buffer: Buffer) {
        let words = buffer.pointer.assumingMemoryBound(to: UInt32.self)
        let count = buffer.byteCount / 4
        let pieces = (count + 0xFFFF) / 0x10000
        ThreadPool.shared.run(pieces) { piece in
            var state = UInt32(truncatingIfNeeded: piece &* 40503 &+ 1)
            for i in piece * 0x10000..<min(count, (piece + 1) * 0x10000) {
                state = state &* 1_664_525 &+ 1_013_904_223
                words[i] = state & 0x83FF_83FF | 0x3C00_3C00
            }
        }
    }

    private func filled(_ rows: Int, _ columns: Int) -> Tensor {
        let tensor = Tensor(uninitialized: [rows, columns])
        Self.fill(tensor.buffer)
        return tensor
    }
}
