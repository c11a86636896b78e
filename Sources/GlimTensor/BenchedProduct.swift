import CGlimKernels

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
        /// Not a product of two matrices: tokens (rows) whose heads (outputs) look back over positions (inputs), with
        /// GLM-5's widths.
        case attention
    }

    /// Such as "256 x 512 x 1024, f32": rows, outputs, inputs; of attention tokens, heads, positions.
    public let name: String
    /// Of the weights, and of both sides where they are trained in bf16.
    public let format: KernelBench.Format
    /// What its rate is held against.
    public let roof: KernelBench.Roof
    /// What it should reach; 0 of the roof where nothing is asked.
    public let bar: KernelBench.Bar
    /// Of the rate and the roof.
    public var unit: String {
        switch roof {
        case .bandwidth: "B/s"
        case .peak: format.isInteger ? "OP/s" : "FLOP/s"
        }
    }
    let work: Work
    let rows: Int
    let outputs: Int
    let inputs: Int
    /// Bytes of weights that a streaming product goes through, and its roof with it.
    let streamedBytes: Int

    package init(
        _ work: Work, _ rows: Int, _ outputs: Int, _ inputs: Int, _ format: KernelBench.Format = .f32,
        roof: KernelBench.Roof = .peak, bar: KernelBench.Bar = .ofRoof(0), streamedBytes: Int = 512 << 20
    ) {
        let kind =
            switch work {
            case .forward, .pairs: ""
            case .streaming: " from memory"
            case .inputGradient: " dX"
            case .weightGradient: " dW"
            case .attention: " attention"
            }
        name = "\(rows) x \(outputs) x \(inputs)\(kind), \(format.rawValue)"
        (self.work, self.rows, self.outputs, self.inputs) = (work, rows, outputs, inputs)
        (self.format, self.roof, self.bar, self.streamedBytes) = (format, roof, bar, streamedBytes)
    }

    /// Seconds of a turn, long enough that starting the threads does not show.
    private static let turn = 0.005

    /// Measures for `seconds` or so many rounds of turns, whichever is longer.
    public func measure(seconds: Double = 1, rounds: Int = 7) -> KernelBench.Result {
        let work = makeWork()
        let product = Turn(roof == .peak ? work.operations : work.byteCount, of: work.body)
        let (arithmetic, bandwidth) = (arithmeticRoof(work), roof == .bandwidth ? bandwidthRoof(work) : nil)
        let plain = comparison
        var (arithmeticWins, looks) = (0, 0)
        func look() -> Double {
            let rate = arithmetic.rate()
            guard let bandwidth else { return rate }
            let read = bandwidth.rate()
            looks += 1
            if rate < read { arithmeticWins += 1 }
            return min(rate, read)
        }
        var (rates, roofs, ofRoof, timesF32) = ([Double](), [look()], [Double](), [Double]())
        var spent = 0.0
        while rates.count < rounds || spent < seconds {
            spent += MachineProbe.seconds {
                let rate = product.rate()
                rates.append(rate)
                if let plain { timesF32.append(rate / plain.rate()) }
                roofs.append(look())
            }
            // A turn lies between two looks at the roof.
            ofRoof.append(rates[rates.count - 1] * 2 / (roofs[roofs.count - 2] + roofs[roofs.count - 1]))
        }
        return KernelBench.Result(
            rate: median(rates), roof: median(roofs),
            boundBy: roof == .peak || 2 * arithmeticWins > looks ? .peak : .bandwidth, ofRoof: median(ofRoof),
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

    // MARK: What it is held against

    private var comparison: Turn? {
        guard case .timesF32 = bar else { return nil }
        let work = BenchedProduct(.forward, rows, outputs, inputs, bar: .ofRoof(1)).makeWork()
        return Turn(work.operations, of: work.body)
    }

    private static let rounds: Int64 = 20_000

    /// Small pieces, so that a thread which loses its processor holds nobody up.
    private var pieces: Int { 8 * ThreadPool.shared.threadCount }

    /// Multiply-adds alone: as operations, or as the bytes of weights that they would take.
    private func arithmeticRoof(_ work: BenchedWork) -> Turn {
        let pieces = pieces
        let unit = roof == .peak ? 1 : work.byteCount / work.operations
        return Turn(Double(pieces) * probe() * unit) { ThreadPool.shared.run(pieces) { _ in _ = probe() } }
    }

    private func bandwidthRoof(_ work: BenchedWork) -> Turn {
        let pieces = pieces
        return Turn(work.byteCount) {
            for buffer in work.weights {
                let each = buffer.byteCount / 4 / pieces
                ThreadPool.shared.run(pieces) {
                    _ = kernels.pointee.probe_read(buffer.floats + $0 * each, Int64(each))
                }
            }
        }
    }

    /// Some multiply-adds as the product has them; returns how many operations.
    private func probe() -> Double {
        var (value, integer): (Float, Int32) = (1, 1)
        return switch (work, format) {
        case (_, .int8), (_, .int4): kernels.pointee.probe_int8(&integer, Self.rounds)
        case (.pairs, _), (.inputGradient, .bf16), (.weightGradient, .bf16):
            kernels.pointee.probe_bf16(&value, Self.rounds)
        // Weights of bf16 alone are widened.
        default: kernels.pointee.probe_fma(&value, Self.rounds)
        }
    }
}
