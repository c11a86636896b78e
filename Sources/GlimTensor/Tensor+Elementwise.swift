import CGlimKernels

extension Tensor {
    /// Elements of one piece of element-wise work: enough to be worth a thread, small enough to stay in cache.
    package static let pieceSize = 16384

    /// Calls `body` with ranges that cover 0 ..< count.
    package static func overElements(_ count: Int, _ body: (Int, Int) -> Void) {
        let pieces = (count + pieceSize - 1) / pieceSize
        ThreadPool.shared.run(pieces) { i in body(i * pieceSize, min(pieceSize, count - i * pieceSize)) }
    }

    /// Calls `body(first, count)` with blocks of rows that cover 0 ..< rows; a block has about `pieceSize` elements.
    package static func overRows(_ rows: Int, width: Int, _ body: (Int, Int) -> Void) {
        let block = max(1, pieceSize / max(1, width))
        ThreadPool.shared.run((rows + block - 1) / block) { i in body(i * block, min(block, rows - i * block)) }
    }

    /// `a + b`, same shapes.
    public static func add(_ a: Tensor, _ b: Tensor, tape: Tape? = nil) -> Tensor {
        precondition(a.shape.count == b.shape.count, "add: \(a.shape) and \(b.shape)")
        var y = Tensor(uninitialized: a.shape)
        overElements(y.shape.count) { i, n in
            kernels.pointee.add(y.pointer + i, a.pointer + i, b.pointer + i, Int64(n))
        }
        tape?.record(&y) { [unowned tape] dy in
            tape!.add(dy, to: a)
            tape!.add(dy, to: b)
        }
        return y
    }

    /// `x · by`.
    public static func scale(_ x: Tensor, by factor: Float, tape: Tape? = nil) -> Tensor {
        var y = Tensor(uninitialized: x.shape)
        overElements(y.shape.count) { i, n in kernels.pointee.scale(y.pointer + i, x.pointer + i, factor, Int64(n)) }
        tape?.record(&y) { [unowned tape] dy in tape!.add(scale(dy, by: factor), to: x) }
        return y
    }

    /// Row-wise concatenation: `[T, A]` and `[T, B]` to `[T, A + B]`.
    public static func concatenate(_ a: Tensor, _ b: Tensor, tape: Tape? = nil) -> Tensor {
        let (rows, A, B) = (a.shape.rows, a.shape.last, b.shape.last)
        precondition(rows == b.shape.rows, "concatenate: \(a.shape) and \(b.shape)")
        var y = Tensor(uninitialized: [rows, A + B])
        for t in 0..<rows {
            y.row(t).update(from: a.row(t), count: A)
            (y.row(t) + A).update(from: b.row(t), count: B)
        }
        tape?.record(&y) { [unowned tape] dy in
            let (da, db) = (Tensor(uninitialized: a.shape), Tensor(uninitialized: b.shape))
            for t in 0..<rows {
                da.row(t).update(from: dy.row(t), count: A)
                db.row(t).update(from: dy.row(t) + A, count: B)
            }
            tape!.add(da, to: a)
            tape!.add(db, to: b)
        }
        return y
    }

    /// The given rows, in the given order: `[T, D]` to `[rows.count, D]`.
    public static func selectRows(_ x: Tensor, _ rows: [Int], tape: Tape? = nil) -> Tensor {
        let width = x.shape.last
        precondition(rows.allSatisfy { $0 >= 0 && $0 < x.shape.rows }, "selectRows: a row is not in \(x.shape)")
        var y = Tensor(uninitialized: [rows.count, width])
        for (i, row) in rows.enumerated() { y.row(i).update(from: x.row(row), count: width) }
        tape?.record(&y) { [unowned tape] dy in
            let dx = Tensor(zeros: x.shape)
            for (i, row) in rows.enumerated() {
                kernels.pointee.add_scaled(dx.row(row), dy.row(i), 1, Int64(width))
            }
            tape!.add(dx, to: x)
        }
        return y
    }

    /// A copy in memory of its own.
    package static func copy(_ x: Tensor) -> Tensor {
        let y = Tensor(uninitialized: x.shape)
        overElements(x.shape.count) { i, n in (y.pointer + i).update(from: x.pointer + i, count: n) }
        return y
    }

    /// `y += x`, for gradients that have one owner.
    package static func accumulate(_ x: Tensor, into y: Tensor) {
        precondition(x.shape.count == y.shape.count, "accumulate: \(x.shape) into \(y.shape)")
        overElements(x.shape.count) { i, n in
            kernels.pointee.add(y.pointer + i, y.pointer + i, x.pointer + i, Int64(n))
        }
    }

    /// Σ x² in double: pieces of a constant size, added in order.
    package static func sumOfSquares(_ x: Tensor) -> Double {
        let count = x.shape.count
        var sums = [Double](repeating: 0, count: (count + pieceSize - 1) / pieceSize)
        sums.withUnsafeMutableBufferPointer { sums in
            // Disjoint entries.
            nonisolated(unsafe) let sums = sums
            overElements(count) { i, n in sums[i / pieceSize] = kernels.pointee.sum_squares(x.pointer + i, Int64(n)) }
        }
        return sums.reduce(0, +)
    }
}
