import CGlimKernels

extension Tensor {
    /// `y = x · Wᵀ`.
    ///
    /// With a quantised weight both sides are in integers: rows of x to int8, each alone, with a scale for each group of
    /// inputs. Sums of groups are exact, and added in ascending order.
    /// - Parameters:
    ///   - x: `[T, inputs]`
    ///   - weight: one matrix `[outputs, inputs]`.
    /// - Returns: `[T, outputs]`
    public static func linear(_ x: Tensor, _ weight: Weight, tape: Tape? = nil) -> Tensor {
        linear(x, [weight], tape: tape)[0]
    }

    /// Products of several weights with one x, which is quantised once: one job of the threads, where each alone would
    /// be a small one.
    ///
    /// - Parameter untaped: further weights, whose products are made, but not recorded.
    /// - Returns: `[T, outputs]` for each of both, in order.
    public static func linear(
        _ x: Tensor, _ weights: [Weight], untaped: [Weight] = [], tape: Tape? = nil
    ) -> [Tensor] {
        let rows = x.shape.rows
        let all = weights + untaped
        var made = all.map { weight in
            precondition(
                weight.count == 1 && !weight.isVector && weight.inputs == x.shape.last,
                "linear: weight \(weight.layout) for \(x.shape)")
            return Tensor(uninitialized: [rows, weight.outputs])
        }
        Product.forward(made.map(\.pointer), x.pointer, rows: rows, all)
        guard let tape else { return made }
        for (i, weight) in weights.enumerated() {
            tape.record(&made[i]) { [unowned tape] dy in
                tape.write(to: x) { dx, accumulate in
                    Product.inputGradient(
                        dx, stride: weight.inputs, dy.pointer, stride: weight.outputs, weight, matrix: 0, rows: rows,
                        accumulate: accumulate)
                }
                tape.write(to: weight) { gradient, accumulate in
                    Product.weightGradient(
                        gradient, dy.pointer, stride: weight.outputs, x.pointer, stride: weight.inputs, weight,
                        rows: rows, accumulate: accumulate)
                }
            }
        }
        return made
    }
}

/// How a product is divided among threads: over rows and panels of outputs, never over the sum.
package enum Product {
    private static let panel = Int(GLIM_PANEL)
    /// Multiply-adds below which a product is not worth sharing.
    private static let shared = 1 << 15

    /// `y = x · Wᵀ` for each of some weights of one matrix; rows lie side by side.
    package static func forward(
        _ y: [UnsafeMutablePointer<Float>], _ x: UnsafePointer<Float>, rows: Int, _ weights: [Weight]
    ) {
        for weight in weights { weight.statistics?.add(x, stride: weight.inputs, rows: rows, matrix: 0) }
        let panels = weights.map { $0.panels() }
        var operands: [Panels.Operand] = []
        for (i, one) in panels.enumerated() {
            let same = panels[..<i].firstIndex { $0.group == one.group }
            operands.append(same.map { operands[$0] } ?? one.operand(x, stride: one.inputs, rows: rows))
        }
        let made = operands
        run(rows: rows, panels.map { ($0.outputs, $0.inputs) }) { i, row, count, first, columns in
            panels[i].multiply(
                y[i] + row * panels[i].outputs + first * panel, stride: panels[i].outputs, made[i], row: row, matrix: 0,
                first: first,
                outputs: columns, rows: count)
        }
    }

    /// `dx (+)= dy · W`.
    package static func inputGradient(
        _ dx: UnsafeMutablePointer<Float>, stride lddx: Int, _ dy: UnsafePointer<Float>, stride lddy: Int,
        _ weight: Weight, matrix: Int, rows: Int, accumulate: Bool
    ) {
        multiply(dx, lddx, dy, lddy, weight.transposedPanels(), matrix, rows, accumulate)
    }

    private static func multiply(
        _ y: UnsafeMutablePointer<Float>, _ ldy: Int, _ x: UnsafePointer<Float>, _ ldx: Int, _ panels: Panels,
        _ matrix: Int, _ rows: Int, _ accumulate: Bool
    ) {
        let operand = panels.operand(x, stride: ldx, rows: rows)
        run(rows: rows, [(panels.outputs, panels.inputs)]) { _, row, count, first, columns in
            panels.multiply(
                y + row * ldy + first * panel, stride: ldy, operand, row: row, matrix: matrix, first: first,
                outputs: columns, rows: count, accumulate: accumulate)
        }
    }

    /// `C = A · B` of row-major matrices, or `Aᵀ · B`.
    ///
    /// - Parameter isShared: divided among threads, or this thread's alone.
    static func rowMajor(_ c: Tensor, _ a: Tensor, _ b: Tensor, isTransposed: Bool = false, isShared: Bool) {
        let (M, N, K) = (c.shape.rows, c.shape.last, b.shape.rows)
        precondition(
            b.shape.last == N && a.shape.dimensions == (isTransposed ? [K, M] : [M, K]),
            "rowMajor: \(a.shape) by \(b.shape) for \(c.shape)")
        func multiply(_: Int, _ row: Int, _ rows: Int, _ first: Int, _ columns: Int) {
            kernels.pointee.matmul_f32(
                c.row(row) + first * panel, Int64(N), Int64(panel), isTransposed ? a.pointer + row : a.row(row),
                Int64(a.shape.last), b.pointer + first * panel, Int64(N), Int64(panel), Int64(rows), Int64(columns),
                Int64(K), isTransposed ? GLIM_A_TRANSPOSED : 0)
        }
        if isShared { run(rows: M, [(N, K)], multiply) } else { multiply(0, 0, M, 0, N) }
    }

    /// `dW (+)= dyᵀ · x`, in the layout of one matrix of the weight; the sum runs over rows in ascending order.
    ///
    /// Of a quantised weight this is straight-through: x is what its products saw, and the gradient of the quantised
    /// numbers counts as that of the numbers they were made of.
    package static func weightGradient(
        _ gradient: UnsafeMutablePointer<Float>, _ dy: UnsafePointer<Float>, stride lddy: Int,
        _ x: UnsafePointer<Float>, stride ldx: Int, _ weight: Weight, rows: Int, accumulate: Bool
    ) {
        let grid = gradientGrid(weight)
        let seen = weight.seen(x, stride: ldx, rows: rows)
        let (x, ldx) = (seen.map { UnsafePointer($0.pointer) } ?? x, seen?.shape.last ?? ldx)
        ThreadPool.shared.run(grid.count) { piece in
            weightGradientPiece(
                grid[piece], gradient, dy, stride: lddy, x, stride: ldx, weight, rows: rows, accumulate: accumulate)
        }
        withExtendedLifetime(seen) {}
    }

    /// How the gradient of each matrix of a weight is divided: inputs are the rows of that product.
    static func gradientGrid(_ weight: Weight) -> Grid {
        // As deep as the usual thousands of tokens.
        Grid(rows: weight.inputs, panels: weight.panelCount, depth: 4096, times: weight.count)
    }

    /// One piece: some panels of outputs by a block of inputs.
    static func weightGradientPiece(
        _ piece: Grid.Piece, _ gradient: UnsafeMutablePointer<Float>, _ dy: UnsafePointer<Float>, stride lddy: Int,
        _ x: UnsafePointer<Float>, stride ldx: Int, _ weight: Weight, rows: Int, accumulate: Bool
    ) {
        let (inputs, panels) = piece
        let (p, first) = (panels.lowerBound, inputs.lowerBound)
        let product = weight.computesInBF16 ? kernels.pointee.matmul_bf16_rows : kernels.pointee.matmul_f32
        product(
            gradient + p * weight.panelStride + first * panel, Int64(panel), Int64(weight.panelStride), x + first,
            Int64(ldx), dy + p * panel, Int64(lddy), Int64(panel), Int64(inputs.count),
            Int64(min(panels.upperBound * panel, weight.outputs) - p * panel), Int64(rows),
            GLIM_A_TRANSPOSED | (accumulate ? GLIM_ACCUMULATE : 0))
    }

    /// Calls `body(product, row, rows, panel, columns)` for pieces that cover all rows and outputs of some products.
    static func run(
        rows: Int, _ products: [(outputs: Int, inputs: Int)], _ body: (Int, Int, Int, Int, Int) -> Void
    ) {
        guard rows > 0 else { return }
        if products.reduce(0, { $0 + rows * $1.outputs * $1.inputs }) < shared {
            for (i, product) in products.enumerated() { body(i, 0, rows, 0, product.outputs) }
            return
        }
        var (grids, ends): ([Grid], [Int]) = ([], [])
        for (outputs, inputs) in products {
            grids.append(Grid(rows: rows, panels: (outputs + panel - 1) / panel, depth: inputs))
            ends.append(grids.last!.count + (ends.last ?? 0))
        }
        let (all, until) = (grids, ends)
        ThreadPool.shared.run(until.last ?? 0) { piece in
            let i = until.firstIndex { piece < $0 }!
            let (rows, panels) = all[i][piece - until[i] + all[i].count]
            let first = panels.lowerBound * panel
            let columns = min(products[i].outputs, panels.upperBound * panel) - first
            body(i, rows.lowerBound, rows.count, panels.lowerBound, columns)
        }
    }

    /// Rows of one piece at most: as many as the kernels copy for all columns of a block of k.
    static let rowBlock = 192

    /// Blocks of rows by ranges of panels, as few as keep every thread busy to the end.
    struct Grid {
        typealias Piece = (rows: Range<Int>, panels: Range<Int>)

        private let rows: Int
        private let panels: Int
        private let rowPieces: Int
        private let panelPieces: Int
        var count: Int { rowPieces * panelPieces }

        /// Multiply-adds of a piece that takes about 2 ms, and those for each row of few: reading weights takes longer.
        private static let (longest, longestOfRow) = (1 << 29, 1 << 17)

        /// - Parameters:
        ///   - depth: multiply-adds of one output.
        ///   - times: how many such products there are.
        init(rows: Int, panels: Int, depth: Int, times: Int = 1) {
            (self.rows, self.panels) = (rows, panels)
            let threads = ThreadPool.shared.threadCount
            let work = rows * panels * Product.panel * depth * times
            let longest = min(Self.longest, rows * Self.longestOfRow)
            // Few pieces have to come out even, and to be short enough that nobody waits long for the last.
            func isEnough(_ count: Int) -> Bool {
                count >= 8 * threads || count % threads == 0 && (work / count <= longest || count >= 4 * threads)
            }
            // Shorter blocks of rows cost least, down to some tiles; then fewer panels, for which rows are copied again.
            let least = (rows + rowBlock - 1) / rowBlock
            let most = max(least, rows / 48)
            rowPieces = (least...most).first { isEnough($0 * times) } ?? least
            let fewest = max(1, min(4, panels / threads))
            var wanted = 1
            while threads > 1, !isEnough(rowPieces * times * wanted), panels / (wanted + 1) >= fewest { wanted += 1 }
            panelPieces = wanted
        }

        subscript(piece: Int) -> Piece {
            let (i, j) = (piece / panelPieces, piece % panelPieces)
            // Whole tiles of the largest kernels.
            let strips = (rows + 11) / 12
            let row = { min(rows, strips * $0 / rowPieces * 12) }
            return (row(i)..<row(i + 1), panels * j / panelPieces..<panels * (j + 1) / panelPieces)
        }
    }
}
