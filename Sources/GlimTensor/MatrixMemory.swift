import CGlimKernels

/// Memory for one matrix of a streamed weight, to be filled with rows of a file, some at a time.
///
/// What is set becomes what a weight that is loaded whole holds, to the bit.
package struct MatrixMemory {
    private let pointer: UnsafeMutableRawPointer
    private let shape: Weight
    private let layout: IntegerLayout?

    /// Rows that are set at one time are a multiple of these, unless they are the last.
    package static let panel = Int(GLIM_PANEL)

    /// - Parameters:
    ///   - pointer: to ``Weight/matrixByteCount`` bytes, aligned to 64.
    ///   - shape: a weight, a blueprint perhaps, whose matrices it is like.
    package init(_ pointer: UnsafeMutableRawPointer, like shape: Weight) {
        (self.pointer, self.shape, layout) = (pointer, shape, shape.integerLayout)
    }

    /// Sets rows of integers from the bytes of a file, which are only put in another order.
    ///
    /// - Parameters:
    ///   - rows: row-major, as ``Weight/set(stored:scales:matrix:)`` has them; of a multiple of 32 inputs.
    ///   - scales: `[count, groups]`
    package func set(stored rows: UnsafeRawPointer, scales: UnsafePointer<Float>, first: Int, count: Int) {
        overPanels(first, count) { layout, panel, row in
            layout.pack(
                panel, of: pointer, stored: rows + row * layout.inputs * layout.bits / 8,
                scales: scales + row * layout.groupCount)
        }
    }

    /// Sets rows of integers, `[count, inputs]` of one byte each.
    package func set(integers rows: UnsafePointer<Int8>, scales: UnsafePointer<Float>, first: Int, count: Int) {
        overPanels(first, count) { layout, panel, row in
            layout.pack(
                panel, of: pointer, rows + row * layout.inputs, scales: scales + row * layout.groupCount)
        }
    }

    private func overPanels(_ first: Int, _ count: Int, _ body: (IntegerLayout, Int, Int) -> Void) {
        guard let layout else { preconditionFailure("MatrixMemory: integers for \(shape.format)") }
        check(first, count)
        for row in stride(from: 0, to: count, by: Self.panel) { body(layout, (first + row) / Self.panel, row) }
    }

    /// Sets rows of numbers, `[count, inputs]`; in bf16 they are rounded.
    package func set(numbers rows: UnsafePointer<Float>, first: Int, count: Int) {
        precondition(layout == nil, "MatrixMemory: numbers for \(shape.format)")
        check(first, count)
        let offset = first / Self.panel * shape.panelStride
        let (N, K) = (Int64(count), Int64(shape.inputs))
        if shape.format == .f32 {
            kernels.pointee.pack_f32(pointer.assumingMemoryBound(to: Float.self) + offset, rows, K, N, K)
        } else {
            kernels.pointee.pack_bf16(pointer.assumingMemoryBound(to: UInt16.self) + offset, rows, K, N, K)
        }
    }

    private func check(_ first: Int, _ count: Int) {
        let end = first + count
        precondition(
            first % Self.panel == 0 && (end == shape.outputs || end < shape.outputs && count % Self.panel == 0),
            "MatrixMemory: \(count) rows from \(first) on of \(shape.outputs)")
    }
}
