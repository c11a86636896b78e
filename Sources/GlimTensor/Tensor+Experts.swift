import CGlimKernels

/// The weights of one layer's routed experts, ready for a step.
public struct ExpertWeights: Sendable {
    /// E matrices `[F, D]`.
    public let gate: Weight
    /// E matrices `[F, D]`.
    public let up: Weight
    /// E matrices `[D, F]`.
    public let down: Weight

    /// Shapes that do not belong together are a bug and trap.
    public init(gate: Weight, up: Weight, down: Weight) {
        precondition(
            gate.layout == up.layout && gate.count == down.count, "ExpertWeights: \(gate.layout), \(up.layout)")
        precondition(down.inputs == gate.outputs && down.outputs == gate.inputs, "ExpertWeights: \(down.layout)")
        (self.gate, self.up, self.down) = (gate, up, down)
    }
}

extension Tensor {
    /// Rows of one piece of expert work.
    private static let expertRows = Product.rowBlock

    /// `y[t] = Σ_e weight[t, e] · down_e(silu(gate_e(x)) · up_e(x))`, the experts of a token added in ascending order.
    ///
    /// Quantised experts compute as in `linear`: a token's row is quantised once for all of its experts, and again what
    /// `down` reads.
    ///
    /// - Parameters:
    ///   - x: `[T, D]`
    ///   - routing: of these T tokens.
    ///   - experts: every expert that the routing names.
    /// - Returns: `[T, D]`
    public static func mixture(_ x: Tensor, _ routing: Routing, _ experts: ExpertWeights, tape: Tape? = nil) -> Tensor {
        let plan = ExpertPlan(routing, count: experts.gate.count)
        let outer = Tensor(uninitialized: [plan.tokens.count, x.shape.last])
        var operands = ExpertOperands(x)
        let made = compute(plan.part(Array(plan.range.indices)), experts, &operands, into: outer)
        plan.observe(made.gateSaw, by: experts.gate)
        plan.observe(made.inner, by: experts.down)
        var y = weighted(outer, routing, plan)
        tape?.record(&y) { [unowned tape] dy in
            mixturePullback(
                dy, x, routing, experts, plan, seen: (made.gateSaw, made.upSaw), gate: made.gate, up: made.up,
                inner: made.inner, tape: tape!)
        }
        return y
    }

    /// The same with experts that come some at a time, in any order: every row is one expert's alone, and rows are added
    /// when all are there, so that nothing shows of it.
    ///
    /// - Parameters:
    ///   - count: E
    ///   - serve: is given the experts that are needed, those of most tokens first, and calls back with each of them
    ///     once, in weights that are valid meanwhile. What it leaves out counts as zeros.
    /// - Returns: `[T, D]`
    public static func mixture(
        _ x: Tensor, _ routing: Routing, count: Int,
        serve: (_ needed: [Int], _ use: (ExpertWeights, [Int]) -> Void) -> Void
    ) -> Tensor {
        let plan = ExpertPlan(routing, count: count)
        let outer = Tensor(uninitialized: [plan.tokens.count, x.shape.last])
        var operands = ExpertOperands(x)
        var missing = Set(plan.range.indices.filter { !plan.range[$0].isEmpty })
        serve(missing.sorted { (plan.range[$1].count, $0) < (plan.range[$0].count, $1) }) { weights, experts in
            missing.subtract(experts)
            _ = compute(plan.part(experts), weights, &operands, into: outer)
        }
        for expert in missing {
            let rows = plan.range[expert]
            outer.row(rows.lowerBound).update(repeating: 0, count: rows.count * x.shape.last)
        }
        return weighted(outer, routing, plan)
    }

    /// What some experts make of their rows, and what the way back wants of it.
    private struct ExpertOutputs {
        let gate: Tensor
        let up: Tensor
        let inner: Tensor
        /// Rows that products read, where they were gathered as numbers.
        let gateSaw: Tensor?
        let upSaw: Tensor?
    }

    /// Computes some experts' rows into their places among all.
    private static func compute(
        _ part: ExpertPlan.Part, _ experts: ExpertWeights, _ operands: inout ExpertOperands, into outer: Tensor
    ) -> ExpertOutputs {
        let (n, D, F) = (part.tokens.count, outer.shape.last, experts.gate.outputs)
        precondition(experts.gate.inputs == D, "mixture: rows of \(D) numbers for \(experts.gate.layout)")
        let (gate, up) = (Tensor(uninitialized: [n, F]), Tensor(uninitialized: [n, F]))
        let (gatePanels, upPanels, downPanels) = (experts.gate.panels(), experts.up.panels(), experts.down.panels())
        let gateRows = operands.rows(part.tokens, for: gatePanels)
        let upRows = upPanels.group == gatePanels.group ? gateRows : operands.rows(part.tokens, for: upPanels)
        part.overPieces(of: gatePanels) { piece, panel, columns in
            let at = panel * Panels.columns
            gatePanels.multiply(
                gate.row(piece.first) + at, stride: F, gateRows.rows, row: piece.first, matrix: piece.expert,
                first: panel, outputs: columns, rows: piece.rows)
            upPanels.multiply(
                up.row(piece.first) + at, stride: F, upRows.rows, row: piece.first, matrix: piece.expert, first: panel,
                outputs: columns, rows: piece.rows)
        }
        let inner = swiGLU(gate: gate, up: up)
        let innerRows = downPanels.operand(inner.pointer, stride: F, rows: n)
        part.overPieces(of: downPanels) { piece, panel, columns in
            downPanels.multiply(
                outer.row(piece.place) + panel * Panels.columns, stride: D, innerRows, row: piece.first,
                matrix: piece.expert, first: panel, outputs: columns, rows: piece.rows)
        }
        withExtendedLifetime((gateRows, upRows, inner)) {}
        return ExpertOutputs(gate: gate, up: up, inner: inner, gateSaw: gateRows.numbers, upSaw: upRows.numbers)
    }

    /// Each token's rows times their weights, added in ascending expert.
    private static func weighted(_ outer: Tensor, _ routing: Routing, _ plan: ExpertPlan) -> Tensor {
        let (T, D, K) = (routing.weights.shape.rows, outer.shape.last, routing.expertsPerToken)
        let y = Tensor(uninitialized: [T, D])
        overRows(T, width: K * D) { first, rows in
            for t in first..<first + rows {
                let out = y.row(t)
                kernels.pointee.scale(out, outer.row(plan.place[t * K]), routing.weights.row(t)[0], Int64(D))
                for k in 1..<max(1, K) {
                    kernels.pointee.add_scaled(
                        out, outer.row(plan.place[t * K + k]), routing.weights.row(t)[k], Int64(D))
                }
            }
        }
        return y
    }

    private static func mixturePullback(
        _ dy: Tensor, _ x: Tensor, _ routing: Routing, _ experts: ExpertWeights, _ plan: ExpertPlan,
        seen: (gate: Tensor?, up: Tensor?), gate: Tensor, up: Tensor, inner: Tensor, tape: Tape
    ) {
        let (T, D, F, K) = (x.shape.rows, x.shape.last, experts.gate.outputs, routing.expertsPerToken)
        let dy_rows = plan.gather(dy)
        // What the products saw, which where they are quantised is not what came in.
        let gateSaw = seen.gate ?? plan.gather(experts.gate.seen(x))
        let upSaw = seen.up ?? plan.gather(experts.up.seen(x))
        let inner = experts.down.seen(inner)
        // What reaches the inner activations before the routing weight: it gives the weight's own gradient too, for
        // dy · outer = (dy · W_down) · inner.
        let dinner = Tensor(uninitialized: [T * K, F])
        let downTurned = experts.down.transposedPanels()
        plan.overPieces { e, first, rows in
            downTurned.multiply(dinner.row(first), stride: F, dy_rows.row(first), stride: D, matrix: e, rows: rows)
        }
        let dweights = Tensor(uninitialized: [T, K])
        let weighted = Tensor(uninitialized: [T * K, F])
        overRows(T, width: K * F) { first, rows in
            for t in first..<first + rows {
                for k in 0..<K {
                    let (row, weight) = (plan.place[t * K + k], routing.weights.row(t)[k])
                    dweights.row(t)[k] = kernels.pointee.dot(dinner.row(row), inner.row(row), Int64(F))
                    kernels.pointee.scale(dinner.row(row), dinner.row(row), weight, Int64(F))
                    kernels.pointee.scale(weighted.row(row), inner.row(row), weight, Int64(F))
                }
            }
        }
        tape.add(dweights, to: routing.weights)
        plan.weightGradient(of: experts.down, dy_rows, weighted, tape)
        let (dgate, dup) = (Tensor(uninitialized: [T * K, F]), Tensor(uninitialized: [T * K, F]))
        overElements(T * K * F) { i, n in
            kernels.pointee.swiglu_backward(
                dgate.pointer + i, dup.pointer + i, dinner.pointer + i, gate.pointer + i, up.pointer + i, Int64(n))
        }
        plan.weightGradient(of: experts.gate, dgate, gateSaw, tape)
        plan.weightGradient(of: experts.up, dup, upSaw, tape)
        let dx_rows = Tensor(uninitialized: [T * K, D])
        let (gateTurned, upTurned) = (experts.gate.transposedPanels(), experts.up.transposedPanels())
        plan.overPieces { e, first, rows in
            let dx = dx_rows.row(first)
            gateTurned.multiply(dx, stride: D, dgate.row(first), stride: F, matrix: e, rows: rows)
            upTurned.multiply(dx, stride: D, dup.row(first), stride: F, matrix: e, rows: rows, accumulate: true)
        }
        tape.write(to: x) { dx, accumulate in
            overRows(T, width: K * D) { first, rows in
                for t in first..<first + rows {
                    if !accumulate { (dx + t * D).update(from: dx_rows.row(plan.place[t * K]), count: D) }
                    for k in accumulate ? 0..<K : 1..<max(1, K) {
                        kernels.pointee.add(dx + t * D, dx + t * D, dx_rows.row(plan.place[t * K + k]), Int64(D))
                    }
                }
            }
        }
    }

    /// The rows (token, slot) sorted by expert, tokens in order within one, and the pieces they are worked on in.
    private struct ExpertPlan {
        let tokens: [Int32]  // token of each sorted row
        let place: [Int]  // sorted row of (token, slot)
        let range: [Range<Int>]  // rows of each expert

        init(_ routing: Routing, count: Int) {
            let K = routing.expertsPerToken
            precondition(
                routing.load.count == count && routing.experts.count == routing.weights.shape.rows * K,
                "mixture: \(routing.experts.count) choices of \(routing.load.count) experts for \(count)")
            var start = [Int](repeating: 0, count: count + 1)
            for e in 0..<count { start[e + 1] = start[e] + routing.load[e] }
            var next = start
            var tokens = [Int32](repeating: 0, count: routing.experts.count)
            var place = [Int](repeating: 0, count: routing.experts.count)
            for (i, e) in routing.experts.enumerated() {
                let row = next[Int(e)]
                next[Int(e)] += 1
                (tokens[row], place[i]) = (Int32(i / K), row)
            }
            (self.tokens, self.place) = (tokens, place)
            range = (0..<count).map { start[$0]..<start[$0 + 1] }
        }

        /// The rows of some experts, one expert's behind another's.
        struct Part {
            let tokens: [Int32]
            let pieces: [Piece]

            /// Calls `body(piece, panel, columns)` for pieces of all outputs: few rows leave a piece little to do but to
            /// read its part of a matrix, and these parts come out even.
            func overPieces(of panels: Panels, _ body: (Piece, Int, Int) -> Void) {
                let parts = pieces.count >= 8 * ThreadPool.shared.threadCount ? 1 : min(4, panels.count)
                ThreadPool.shared.run(pieces.count * parts) { i in
                    let (piece, part) = (pieces[i / parts], i % parts)
                    let (from, to) = (panels.count * part / parts, panels.count * (part + 1) / parts)
                    let columns = min(panels.outputs, to * Panels.columns) - from * Panels.columns
                    body(piece, from, columns)
                }
            }
        }

        struct Piece {
            let expert: Int
            /// Its first row of the part, and of all.
            let first: Int
            let place: Int
            let rows: Int
        }

        func part(_ experts: [Int]) -> Part {
            var (rows, pieces): ([Int32], [Piece]) = ([], [])
            for e in experts {
                for place in stride(from: range[e].lowerBound, to: range[e].upperBound, by: expertRows) {
                    let end = min(place + expertRows, range[e].upperBound)
                    pieces.append(Piece(expert: e, first: rows.count, place: place, rows: end - place))
                    rows += tokens[place..<end]
                }
            }
            return Part(tokens: rows, pieces: pieces)
        }

        func gather(_ x: Tensor) -> Tensor { Tensor.gathered(x, tokens) }

        /// Tells a calibration what each expert's product met.
        func observe(_ x: Tensor?, by weight: Weight) {
            guard let statistics = weight.statistics, let x else { return }
            for (e, rows) in range.enumerated() where !rows.isEmpty {
                statistics.add(x.row(rows.lowerBound), stride: x.shape.last, rows: rows.count, matrix: e)
            }
        }

        /// Calls `body(expert, row, rows)` for pieces of all rows.
        func overPieces(_ body: (Int, Int, Int) -> Void) {
            let pieces = part(Array(range.indices)).pieces
            ThreadPool.shared.run(pieces.count) { i in body(pieces[i].expert, pieces[i].place, pieces[i].rows) }
        }

        /// Sums over each expert's rows in order; an expert without rows has a gradient of zero.
        func weightGradient(of weight: Weight, _ dy: Tensor, _ x: Tensor, _ tape: Tape) {
            let grid = Product.gradientGrid(weight)
            tape.write(to: weight) { gradient, accumulate in
                ThreadPool.shared.run(weight.count * grid.count) { i in
                    let e = i / grid.count
                    let rows = range[e]
                    guard !rows.isEmpty else {
                        if !accumulate, i % grid.count == 0 {
                            (gradient + e * weight.matrixStride).update(repeating: 0, count: weight.matrixStride)
                        }
                        return
                    }
                    Product.weightGradientPiece(
                        grid[i % grid.count], gradient + e * weight.matrixStride, dy.row(rows.lowerBound),
                        stride: dy.shape.last, x.row(rows.lowerBound), stride: x.shape.last, weight,
                        rows: rows.count, accumulate: accumulate)
                }
            }
        }
    }

    private static func gathered(_ x: Tensor, _ tokens: [Int32]) -> Tensor {
        let (rows, width) = (tokens.count, x.shape.last)
        let y = Tensor(uninitialized: [rows, width])
        overRows(rows, width: width) { first, n in
            for i in first..<first + n { y.row(i).update(from: x.row(Int(tokens[i])), count: width) }
        }
        return y
    }

    /// Tokens as experts multiply with them: quantised once, however many experts take them, and when.
    private struct ExpertOperands {
        private let x: Tensor
        /// By the inputs that share a scale.
        private var quantised: [Int: IntegerRows] = [:]

        init(_ x: Tensor) { self.x = x }

        /// Rows of some tokens as panels want them; and as numbers, where these were made.
        mutating func rows(_ tokens: [Int32], for panels: Panels) -> (rows: Panels.Operand, numbers: Tensor?) {
            if let group = panels.group, let known = quantised[group] {
                return (.integers(known.gathered(tokens)), nil)
            }
            switch panels.operand(x.pointer, stride: x.shape.last, rows: x.shape.rows) {
            case .numbers:
                let gathered = Tensor.gathered(x, tokens)
                return (.numbers(gathered.pointer, stride: x.shape.last), gathered)
            case .integers(let rows):
                quantised[rows.group] = rows
                return (.integers(rows.gathered(tokens)), nil)
            }
        }
    }
}
