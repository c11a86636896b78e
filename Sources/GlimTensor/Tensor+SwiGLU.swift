import CGlimKernels

extension Tensor {
    /// `silu(gate) · up`, same shapes.
    public static func swiGLU(gate: Tensor, up: Tensor, tape: Tape? = nil) -> Tensor {
        precondition(gate.shape == up.shape, "swiGLU: \(gate.shape) and \(up.shape)")
        let count = gate.shape.count
        var y = Tensor(uninitialized: gate.shape)
        overElements(count) { i, n in
            kernels.pointee.swiglu(y.pointer + i, gate.pointer + i, up.pointer + i, Int64(n))
        }
        tape?.record(&y) { [unowned tape] dy in
            let (dgate, dup) = (Tensor(uninitialized: gate.shape), Tensor(uninitialized: gate.shape))
            overElements(count) { i, n in
                kernels.pointee.swiglu_backward(
                    dgate.pointer + i, dup.pointer + i, dy.pointer + i, gate.pointer + i, up.pointer + i, Int64(n))
            }
            tape!.add(dgate, to: gate)
            tape!.add(dup, to: up)
        }
        return y
    }
}
