import CGlimKernels

/// The products of a model, each measured beside what the machine reaches at the same moment: what
/// `glim bench kernels` prints.
///
/// Roof and product take turns of some milliseconds, and a figure is the median of the turns' ratios: clocks,
/// neighbours and memory bandwidth drift, but the two sides of a ratio drift together.
public enum KernelBench {
    /// What a rate is held against.
    public enum Roof: String, Sendable {
        /// Multiply-adds from registers alone, in the product's own format.
        case peak
        /// Reading the same bytes of weights.
        case bandwidth
    }

    /// What a product should reach.
    public enum Bar: Sendable, Equatable {
        case ofRoof(Double)
        case timesF32(Double)
    }

    /// What was measured of one product.
    public struct Result: Sendable {
        /// Operations a second (a multiply-add is two), or bytes of weights where the roof is bandwidth.
        public let rate: Double
        /// The roof in the same unit.
        public let roof: Double
        /// The rate by the roof.
        public let ofRoof: Double
        /// The rate by that of the same product in f32, for bars that ask it.
        public let timesF32: Double?
    }

    /// The products that matter, with what they should reach on any machine that has AVX-512 with BF16.
    public static var products: [BenchedProduct] {
        let cubes = [(256, 0.9), (512, 0.9), (1024, 0.9), (2048, 0.85), (4096, 0.75)]
        let few = [(1, 0.93), (2, 0.93), (4, 0.88), (8, 0.78)]
        // A wide one, then nano's.
        let trained = [(4096, 1024, 1024), (4096, 640, 256), (4096, 256, 640)]
        return cubes.map { BenchedProduct(.forward, $0, $0, $0, bar: .ofRoof($1)) }
            + cubes.map { BenchedProduct(.pairs, $0.0, $0.0, $0.0, .bf16, bar: .timesF32(1.85)) }
            + [Weight.Format.f32, .bf16].flatMap { format in
                few.map { BenchedProduct(.streaming, $0, 4096, 4096, format, roof: .bandwidth, bar: .ofRoof($1)) }
                    + [BenchedProduct(.streaming, 32, 4096, 4096, format, bar: .ofRoof(0.8))]
            }
            + trained.flatMap { rows, outputs, inputs in
                [BenchedProduct.Work.inputGradient, .weightGradient].map {
                    BenchedProduct($0, rows, outputs, inputs, bar: .ofRoof(0.85))
                }
            }
    }
}

/// One product, to be measured with the threads that `ThreadPool.shared` has.
public struct BenchedProduct: Sendable {
    package enum Work: Sendable {
        /// The same weights each time: caches hold them as far as they can.
        case forward
        /// Both sides in bf16.
        case pairs
        /// More weights in turn than any cache holds.
        case streaming
        case inputGradient
        case weightGradient
    }

    /// Such as "256 x 512 x 1024, f32": rows, outputs, inputs.
    public let name: String
    /// Of the weights.
    public let format: Weight.Format
    public let roof: KernelBench.Roof
    public let bar: KernelBench.Bar
    private let work: Work
    private let rows: Int
    private let outputs: Int
    private let inputs: Int

    package init(
        _ work: Work, _ rows: Int, _ outputs: Int, _ inputs: Int, _ format: Weight.Format = .f32,
        roof: KernelBench.Roof = .peak, bar: KernelBench.Bar
    ) {
        let kind =
            switch work {
            case .forward, .pairs: ""
            case .streaming: " from memory"
            case .inputGradient: " dX"
            case .weightGradient: " dW"
            }
        name = "\(rows) x \(outputs) x \(inputs)\(kind), \(format)"
        (self.work, self.rows, self.outputs, self.inputs) = (work, rows, outputs, inputs)
        (self.format, self.roof, self.bar) = (format, roof, bar)
    }

    /// Bytes of weights that a streaming product goes through, and its roof with it.
    private static let streamedBytes = 512 << 20
    /// Seconds of a turn, long enough that starting the threads does not show.
    private static let turn = 0.005

    /// Measures for `seconds` or seven rounds of turns, whichever is longer.
    public func measure(seconds: Double = 1) -> KernelBench.Result {
        let weights = makeWeights()
        let product = Turn(amount, of: body(weights))
        let top = Turn(roofAmount(weights), of: roofBody(weights))
        let plain = comparison
        var (rates, roofs, ofRoof, timesF32) = ([Double](), [top.rate()], [Double](), [Double]())
        var spent = 0.0
        while rates.count < 7 || spent < seconds {
            spent += MachineProbe.seconds {
                let rate = product.rate()
                rates.append(rate)
                if let plain { timesF32.append(rate / plain.rate()) }
                roofs.append(top.rate())
            }
            // A turn lies between two looks at the roof.
            ofRoof.append(rates[rates.count - 1] * 2 / (roofs[roofs.count - 2] + roofs[roofs.count - 1]))
        }
        return KernelBench.Result(
            rate: median(rates), roof: median(roofs), ofRoof: median(ofRoof),
            timesF32: plain == nil ? nil : median(timesF32))
    }

    /// Work that is repeated until it fills a turn.
    private struct Turn {
        let amount: Double
        let repeats: Int
        let body: () -> Void

        init(_ amount: Double, of body: @escaping () -> Void) {
            body()
            let time = MachineProbe.seconds(body)
            (self.amount, self.body) = (amount, body)
            repeats = max(1, Int((BenchedProduct.turn / max(time, 1e-7)).rounded(.up)))
        }

        func rate() -> Double {
            let time = MachineProbe.seconds { for _ in 0..<repeats { body() } }
            return amount * Double(repeats) / time
        }
    }

    private func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

    // MARK: The work

    /// Of one call of `body`, in the unit of the roof.
    private var amount: Double {
        switch (roof, work) {
        case (.bandwidth, _): Double(Self.streamedBytes)
        case (.peak, .streaming): operations * Double(streamedCount)
        case (.peak, _): operations
        }
    }
    private var operations: Double { 2 * Double(rows) * Double(outputs) * Double(inputs) }
    private var streamedCount: Int { max(1, Self.streamedBytes / (outputs * inputs * (format == .f32 ? 4 : 2))) }

    private func makeWeights() -> [Weight] {
        (0..<(work == .streaming ? streamedCount : 1)).map { _ in
            let weight = Weight(outputs: outputs, inputs: inputs, format: format)
            Self.fill(weight.buffer)
            return weight
        }
    }

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

    private func body(_ weights: [Weight]) -> () -> Void {
        let (x, y) = (filled(rows, inputs), filled(rows, outputs))
        let (rows, outputs, inputs) = (rows, outputs, inputs)
        switch work {
        case .forward, .streaming:
            return {
                for weight in weights {
                    Product.forward(
                        y.pointer, stride: outputs, x.pointer, stride: inputs, weight, matrix: 0, rows: rows)
                }
            }
        case .pairs:
            return {
                Product.run(rows: rows, outputs: outputs, inputs: inputs) { row, count, panel, columns in
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

    // MARK: What it is held against

    private var comparison: Turn? {
        guard case .timesF32 = bar else { return nil }
        let plain = BenchedProduct(.forward, rows, outputs, inputs, bar: .ofRoof(1))
        return Turn(plain.operations, of: plain.body(plain.makeWeights()))
    }

    /// Pieces of a look at the roof: small ones, so that a thread which loses its processor holds nobody up.
    private var roofPieces: Int { 8 * ThreadPool.shared.threadCount }
    private static let rounds: Int64 = 20_000

    private func roofAmount(_ weights: [Weight]) -> Double {
        var value: Float = 1
        return switch roof {
        case .bandwidth: amount
        case .peak: Double(roofPieces) * probe(&value, Self.rounds)
        }
    }

    /// Streamed weights of any format meet f32.
    private var probe: (UnsafeMutablePointer<Float>, Int64) -> Double {
        work == .pairs ? kernels.pointee.probe_bf16 : kernels.pointee.probe_fma
    }

    private func roofBody(_ weights: [Weight]) -> () -> Void {
        let pieces = roofPieces
        switch roof {
        case .peak:
            let probe = probe
            return {
                ThreadPool.shared.run(pieces) { _ in
                    var value: Float = 1
                    _ = probe(&value, Self.rounds)
                }
            }
        case .bandwidth:
            return {
                for weight in weights {
                    let each = weight.byteCount / 4 / pieces
                    ThreadPool.shared.run(pieces) {
                        _ = kernels.pointee.probe_read(weight.buffer.floats + $0 * each, Int64(each))
                    }
                }
            }
        }
    }
}
