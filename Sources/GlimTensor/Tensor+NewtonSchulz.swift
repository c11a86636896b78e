import CGlimKernels

extension Tensor {
    /// Five steps of Newton–Schulz with the quintic of Muon (Jordan et al., 2024): about `U Vᵀ` of `x = U S Vᵀ`, its
    /// singular values between 0.5 and 1.2.
    ///
    /// - Parameters:
    ///   - x: `[L, S]`, L no less than S; the numbers are lost.
    ///   - isShared: the pool's threads divide each product; else all of it is this thread's. No bit depends on it.
    /// - Returns: `[L, S]`
    package static func newtonSchulz(_ x: Tensor, isShared: Bool) -> Tensor {
        let (L, S) = (x.shape.rows, x.shape.last)
        precondition(L >= S, "newtonSchulz: \(x.shape) is not tall")
        let scale = Float(1 / (sumOfSquares(x).squareRoot() + 1e-7))
        overElements(x.shape.count) { i, n in kernels.pointee.scale(x.pointer + i, x.pointer + i, scale, Int64(n)) }
        var (x, next) = (x, Tensor(uninitialized: x.shape))
        let (gram, factor) = (Tensor(uninitialized: [S, S]), Tensor(uninitialized: [S, S]))
        for _ in 0..<5 {
            // X (a I + b A + c A²), A = Xᵀ X
            Product.rowMajor(gram, x, x, isTransposed: true, isShared: isShared)
            Product.rowMajor(factor, gram, gram, isShared: isShared)
            overElements(S * S) { i, n in
                kernels.pointee.scale(factor.pointer + i, factor.pointer + i, 2.0315, Int64(n))
                kernels.pointee.add_scaled(factor.pointer + i, gram.pointer + i, -4.7750, Int64(n))
            }
            for i in 0..<S { factor.row(i)[i] += 3.4445 }
            Product.rowMajor(next, x, factor, isShared: isShared)
            swap(&x, &next)
        }
        return x
    }
}
