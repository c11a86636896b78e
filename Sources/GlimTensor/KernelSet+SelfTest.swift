import CGlimKernels

extension KernelSet {
    /// The names of the built-in tables that do not compute small products and a softmax exactly as the portable one does.
    ///
    /// None on a machine that works: all tables give the same bits.
    public static func failingSelfTest() -> [String] {
        let answers = available.indices.map { answer(of: glim_kernels_at(Int32($0))) }
        return zip(available, answers).filter { $1 != answers[answers.count - 1] }.map(\.0)
    }

    /// `softmax(A · Bᵀ)` and the product in bf16, as bits, for sizes that fill no vector and no block.
    static func answer(of table: UnsafePointer<glim_kernels>) -> [UInt32] {
        let (m, n, k) = (7, 45, 301)
        let panels = (n + Int(GLIM_PANEL) - 1) / Int(GLIM_PANEL)
        let random = CounterRandom(seed: 1, purpose: "self-test")
        let a = Tensor((0..<m * k).map { Float(random.uniform(UInt64($0))) - 0.5 }, [m, k])
        let b = Tensor((m * k..<(m + n) * k).map { Float(random.uniform(UInt64($0))) - 0.5 }, [n, k])
        let packed = Tensor(zeros: [panels * Int(GLIM_PANEL) * k])
        let c = Tensor(zeros: [m, n])
        table.pointee.pack_f32(packed.pointer, b.pointer, Int64(k), Int64(n), Int64(k))
        table.pointee.matmul_f32(
            c.pointer, Int64(n), Int64(GLIM_PANEL), a.pointer, Int64(k), packed.pointer, Int64(GLIM_PANEL),
            Int64(Int(GLIM_PANEL) * k), Int64(m), Int64(n), Int64(k), 0)
        table.pointee.softmax(c.pointer, Int64(n), c.pointer, Int64(n), Int64(m), Int64(n))
        let halves = Buffer(byteCount: panels * Int(GLIM_PANEL) * (k + 1) / 2 * 4)
        let d = Tensor(zeros: [m, n])
        table.pointee.pack_bf16(halves.halves, b.pointer, Int64(k), Int64(n), Int64(k))
        table.pointee.matmul_bf16(
            d.pointer, Int64(n), Int64(GLIM_PANEL), a.pointer, Int64(k), halves.halves,
            Int64(Int(GLIM_PANEL) * (k + 1) / 2 * 2), Int64(m), Int64(n), Int64(k), 0)
        return (c.elements + d.elements).map(\.bitPattern)
    }
}
