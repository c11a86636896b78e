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
        /// Reading the same bytes of weights; where a machine reads faster than it multiplies that many rows with what
        /// it reads, the rate at which it can multiply.
        case bandwidth
    }

    /// What a product multiplies with.
    public enum Format: String, Sendable {
        case f32
        case bf16
        /// Integers with a scale for every 128 inputs.
        case int8
        case int4

        var isInteger: Bool { self == .int8 || self == .int4 }
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
        /// What that is: `peak` also where bandwidth was asked for and arithmetic allows less.
        public let boundBy: Roof
        /// The rate by the roof.
        public let ofRoof: Double
        /// The rate by that of the same product in f32, for bars that ask it.
        public let timesF32: Double?
    }

    /// A few of them, and attention over many tokens and for one: what tells in seconds how fast a table is.
    public static var glance: [BenchedProduct] {
        let formats = [Format.f32, .bf16, .int8, .int4]
        let many = formats.map { BenchedProduct($0 == .bf16 ? .pairs : .forward, 256, 512, 512, $0) }
        let one = formats.map {
            BenchedProduct(.streaming, 1, 4096, 4096, $0, roof: .bandwidth, streamedBytes: 128 << 20)
        }
        let attention = [
            BenchedProduct(.attention, 64, 8, 512), BenchedProduct(.attention, 1, 8, 4096),
        ]
        return many + one + attention
    }

    /// The products that matter, with what they should reach on any machine that has AVX-512 with BF16 and VNNI.
    public static var products: [BenchedProduct] {
        let cubes = [(256, 0.9), (512, 0.9), (1024, 0.9), (2048, 0.85), (4096, 0.75)]
        let few = [(1, 0.93), (2, 0.93), (4, 0.88), (8, 0.78)]
        // A wide one, then nano's.
        let trained = [(4096, 1024, 1024), (4096, 640, 256), (4096, 256, 640)]
        return cubes.map { BenchedProduct(.forward, $0, $0, $0, bar: .ofRoof($1)) }
            + cubes.map { BenchedProduct(.pairs, $0.0, $0.0, $0.0, .bf16, bar: .timesF32(1.85)) }
            + [Format.int8, .int4].flatMap { format in
                [1024, 2048, 4096].map { BenchedProduct(.forward, 512, $0, $0, format, bar: .ofRoof(0.75)) }
            }
            + [Format.f32, .bf16, .int8, .int4].flatMap { format in
                few.map { BenchedProduct(.streaming, $0, 4096, 4096, format, roof: .bandwidth, bar: .ofRoof($1)) }
            }
            + [Format.f32, .bf16].map { BenchedProduct(.streaming, 32, 4096, 4096, $0, bar: .ofRoof(0.8)) }
            + [Format.f32, .bf16].flatMap { format in
                trained.flatMap { rows, outputs, inputs in
                    [BenchedProduct.Work.inputGradient, .weightGradient].map {
                        BenchedProduct($0, rows, outputs, inputs, format, bar: .ofRoof(0.85))
                    }
                }
            }
    }
}
