import Foundation
import GlimTensor

/// `glim bench kernels`: every product of a model against the peak or the bandwidth of this machine.
enum BenchKernels {
    static func run() throws -> BenchTable {
        var table = BenchTable(.kernels)
        try table.begin()
        for product in KernelBench.products {
            let result = product.measure()
            let (bar, ok) =
                switch product.bar {
                case .ofRoof(let least):
                    ("\(Int((100 * least).rounded()))% of \(result.boundBy.rawValue)", result.ofRoof >= least)
                case .timesF32(let least):
                    ("\(least) x f32: \(String(format: "%.2f", result.timesF32 ?? 0))", (result.timesF32 ?? 0) >= least)
                }
            try table.add(
                .init(
                    name: product.name,
                    measured: result.rate, unit: product.unit, roof: result.roof,
                    fraction: result.ofRoof, bar: bar, ok: ok))
        }
        return table
    }
}
